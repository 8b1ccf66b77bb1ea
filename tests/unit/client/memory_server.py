"""A memory twin of an API server behind the Transport protocol: collections, versions, watches, and faults on demand.

It knows no validation and no kinds; whoever tests against the real handler chain uses wherry.testing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from wherry.client.transport import Response, TransportError, status_error
from wherry.meta.errors import StatusError, already_exists, conflict, expired, not_found

Object = dict[str, Any]


class MemoryServer:
    """Objects by path; every write bumps one version and reaches every watcher of the collection."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.version = 0
        self.events: list[tuple[int, str, str, Object]] = []
        self.oldest = 0
        self.watchers: set[asyncio.Event] = set()
        self.requests: list[str] = []
        self.down = False
        self.generation = 0

    # What tests do to it ----------------------------------------------------------------------------------------------

    def put(self, path: str, **fields: Any) -> Object:
        """Create or replace the object at a full path."""
        collection, _, name = path.rpartition("/")
        kind = "MODIFIED" if path in self.objects else "ADDED"
        metadata = {"name": name, "uid": f"uid-{name}"} | fields.pop("metadata", {})
        parts = path.split("/")
        if "namespaces" in parts:
            metadata.setdefault("namespace", parts[parts.index("namespaces") + 1])
        self.objects[path] = {**fields, "metadata": metadata}
        return self._commit(kind, collection, self.objects[path])

    def remove(self, path: str) -> None:
        """Delete the object at a full path."""
        self._commit("DELETED", path.rpartition("/")[0], self.objects.pop(path))

    def compact(self) -> None:
        """Forget all events: watches from before now get 410."""
        self.oldest, self.events = self.version, []

    def cut(self) -> None:
        """Close every watch."""
        self.generation += 1
        self._wake()

    def _commit(self, kind: str, collection: str, obj: Object) -> Object:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, collection, orjson.loads(orjson.dumps(obj))))
        self._wake()
        return obj

    def _wake(self) -> None:
        for watcher in self.watchers:
            watcher.set()

    # Transport --------------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        self.requests.append(f"{method} {path}")
        await asyncio.sleep(0)
        if self.down:
            raise TransportError("memory: refused")
        try:
            answer = self._handle(method, path, orjson.loads(body) if body else {})
        except StatusError as error:
            return Response(error.code, {}, orjson.dumps(error.status()))
        return Response(200, {}, orjson.dumps(answer))

    def _handle(self, method: str, path: str, body: Any) -> Any:
        plural, name = path.rsplit("/", 2)[-2:]
        if method == "POST":
            full = f"{path}/{body['metadata']['name']}"
            if full in self.objects:
                raise already_exists(name, body["metadata"]["name"])
            return self.put(full, **body)
        if method == "GET" and path not in self.objects and _is_collection(name):
            items = [obj for key, obj in self.objects.items() if _holds(path, key.rpartition("/")[0])]
            return {"metadata": {"resourceVersion": str(self.version)}, "items": items}
        if path not in self.objects:
            raise not_found(plural, name)
        if method == "PUT":
            if body["metadata"].get("resourceVersion") not in (
                None,
                self.objects[path]["metadata"]["resourceVersion"],
            ):
                raise conflict(plural, name, "modified")
            return self.put(path, **body)
        if method == "PATCH":
            return self.put(path, **(self.objects[path] | body))
        if method == "DELETE":
            self.remove(path)
            return {"kind": "Status"}
        return self.objects[path]

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
        self.requests.append(f"WATCH {path}")
        if self.down:
            raise TransportError("memory: refused")
        since = int((query or {})["resourceVersion"])
        if since < self.oldest:
            error = expired(f"too old resource version: {since} ({self.oldest})")
            raise status_error(410, orjson.dumps(error.status()))
        woken = asyncio.Event()
        self.watchers.add(woken)
        try:
            yield self._lines(path, since, woken, float((query or {}).get("timeoutSeconds", "300")))
        finally:
            self.watchers.discard(woken)

    async def _lines(self, path: str, since: int, woken: asyncio.Event, seconds: float) -> AsyncIterator[bytes]:
        generation, loop = self.generation, asyncio.get_running_loop()
        end = loop.time() + seconds
        while generation == self.generation:
            woken.clear()
            for version, kind, collection, obj in list(self.events):
                if version > since and _holds(path, collection):
                    yield orjson.dumps({"type": kind, "object": obj})
            since = self.version
            try:
                async with asyncio.timeout_at(end):
                    await woken.wait()
            except TimeoutError:
                return

    async def close(self) -> None:
        self.cut()


def _is_collection(name: str) -> bool:
    return name in ("pods", "leases", "events", "nodes", "widgets")


def _holds(path: str, collection: str) -> bool:
    """Whether `path` (of one namespace or of all) lists what is in `collection`."""
    if path == collection:
        return True
    prefix, _, plural = path.rpartition("/")
    return "/namespaces/" not in path and collection.startswith(prefix) and collection.endswith(f"/{plural}")
