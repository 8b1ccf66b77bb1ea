"""A tiny API server in memory: enough of get, list, watch, create, patch and delete for a kubelet under test."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from wherry.api import schema
from wherry.api.core_v1 import Node, Pod
from wherry.client.transport import Response, status_error
from wherry.meta import strategic
from wherry.meta.errors import StatusError, already_exists, not_found
from wherry.meta.patch import merge_patch

Object = dict[str, Any]


class ApiTwin:
    """Objects by path; every change goes to every watcher whose selector fits."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.patches: list[tuple[str, Object]] = []
        self._version = 0
        self._watchers: list[tuple[str, Mapping[str, str], asyncio.Queue[Object]]] = []

    async def close(self) -> None:
        return None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        try:
            answer = self._answer(method, path, dict(query or {}), json.loads(body) if body else {}, headers or {})
        except StatusError as error:
            return Response(error.code, {}, json.dumps(error.status()).encode())
        return Response(200, {}, json.dumps(answer).encode())

    def _answer(
        self, method: str, path: str, query: dict[str, str], body: Object, headers: Mapping[str, str]
    ) -> Object:
        if method == "POST":
            return self._post(path, body)
        path, _, subresource = path.partition("/status")
        if method == "GET" and path not in self.objects and path.rpartition("/")[2].endswith("s"):
            items = [item for key, item in self.objects.items() if self._fits(key, item, path, query)]
            return {"kind": "List", "metadata": {"resourceVersion": str(self._version)}, "items": items}
        if path not in self.objects:
            raise not_found("things", path.rpartition("/")[2])
        if method == "PATCH":
            self.patches.append((path + ("/status" if subresource else ""), body))
            return self.put(path, self._patched(self.objects[path], body, headers))
        if method == "DELETE":
            return self._delete(path, body)
        return self.objects[path]

    def _post(self, path: str, body: Object) -> Object:
        if path.endswith("/token"):
            return body | {"status": {"token": "a-token", "expirationTimestamp": "2027-01-01T00:00:00Z"}}
        if path.endswith("/tokenreviews"):
            known = body["spec"]["token"] == "friend"
            return body | {"status": {"authenticated": known, "user": {"username": "friend"}}}
        if path.endswith("/subjectaccessreviews"):
            return body | {"status": {"allowed": body["spec"].get("user") == "friend"}}
        key = f"{path}/{body['metadata']['name']}"
        if key in self.objects:
            raise already_exists("things", body["metadata"]["name"])
        return self.put(key, body)

    def _patched(self, old: Object, patch: Object, headers: Mapping[str, str]) -> Object:
        if "strategic" in headers.get("content-type", ""):
            kinds = {"Pod": schema.schema_of(Pod), "Node": schema.schema_of(Node)}
            return strategic.apply(old, patch, kinds.get(old["kind"]))
        return dict(merge_patch(old, patch))

    def _delete(self, path: str, options: Object) -> Object:
        obj = self.objects[path]
        grace = options.get("gracePeriodSeconds", 30)
        if grace and obj["kind"] == "Pod":
            meta = {**obj["metadata"], "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": grace}
            return self.put(path, {**obj, "metadata": meta})
        del self.objects[path]
        self._tell("DELETED", path, obj)
        return {"kind": "Status", "status": "Success"}

    def put(self, path: str, obj: Object) -> Object:
        """Store, with the next version, and tell watchers."""
        self._version += 1
        kind = "MODIFIED" if path in self.objects else "ADDED"
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        self.objects[path] = obj
        self._tell(kind, path, obj)
        return obj

    def _tell(self, kind: str, path: str, obj: Object) -> None:
        for prefix, query, queue in self._watchers:
            if self._fits(path, obj, prefix, query):
                queue.put_nowait({"type": kind, "object": obj})

    def _fits(self, key: str, obj: Object, path: str, query: Mapping[str, str]) -> bool:
        prefix, _, plural = path.rpartition("/")
        if not key.startswith(prefix) or f"/{plural}/" not in key:
            return False
        name, _, value = query.get("fieldSelector", "").partition("=")
        found: Any = obj
        for part in name.split(".") if name else ():
            found = found.get(part, "") if isinstance(found, dict) else ""
        return not name or found == value

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        if method != "GET":
            raise status_error(405, b"")
        queue: asyncio.Queue[Object] = asyncio.Queue()
        watcher = (path, dict(query or {}), queue)
        self._watchers.append(watcher)

        async def lines() -> AsyncIterator[bytes]:
            while True:
                yield json.dumps(await queue.get()).encode()

        try:
            yield lines()
        finally:
            self._watchers.remove(watcher)
