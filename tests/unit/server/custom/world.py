"""A server in process, and the small fleet of custom kinds that these tests are about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.server.app import Server
from wherry.server.http import UserInfo
from wherry.server.options import ServerOptions
from wherry.store.engine import MemoryEngine
from wherry.store.local import LocalStore

Json = dict[str, Any]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BOATS = "/apis/wherry.example/v1/namespaces/default/boats"
ADMIN = UserInfo("admin", groups=["system:masters"])


class World:
    """A server and what tests say to it."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.server = Server(store, SystemClock(), Entropy(1), ServerOptions(bootstrap=False))

    async def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", accept: str = "", **query: str
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, body, headers)"""
        headers = {"Content-Type": kind} | ({"Accept": accept} if accept else {})
        data = b"" if body is None else orjson.dumps(body)
        answer = await self.server.transport(ADMIN).request(method, path, query=query, body=data, headers=headers)
        found = orjson.loads(answer.body) if answer.body[:1] == b"{" else answer.body
        return answer.status, found, dict(answer.headers)

    async def good(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The body of an answer that must be a success."""
        status, found, _ = await self.call(method, path, body, **more)
        assert status < 300, found
        return found

    async def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """(status, message) of an answer that must be a refusal."""
        status, found, _ = await self.call(method, path, body, **more)
        assert status >= 400, found
        return status, found["message"] if isinstance(found, dict) else found.decode()

    async def until(self, path: str, condition: Any) -> Json:
        """The object at `path` once `condition(object)` holds; None for an object that is gone."""
        async with asyncio.timeout(5):
            while True:
                status, found, _ = await self.call("GET", path)
                if condition(found if status == 200 else None):
                    return found if status == 200 else {}
                await asyncio.sleep(0)

    async def define(self, body: Json) -> Json:
        """Create a definition and wait until it is established."""
        await self.good("POST", DEFINITIONS, body)
        return await self.established(body["metadata"]["name"])

    async def established(self, name: str) -> Json:
        """The definition, once it is established and served as its newest generation says."""
        found = await self.until(f"{DEFINITIONS}/{name}", lambda it: conditions(it).get("Established") == "True")
        await self.served()
        return found

    async def served(self) -> None:
        """Once the definitions' worker has nothing left to do."""
        async with asyncio.timeout(5):
            await self.server.custom.settled()


@asynccontextmanager
async def world(store: LocalStore | None = None) -> AsyncIterator[World]:
    made = World(store or LocalStore(MemoryEngine(), SystemClock()))
    await made.server.start()
    try:
        status, _, _ = await made.call("GET", "/api/v1/namespaces/default")
        if status == 404:
            await made.good("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}})
        yield made
    finally:
        await made.server.close()
        if store is None:
            await made.store.close()


def conditions(definition: Json | None) -> dict[str, str]:
    listed = ((definition or {}).get("status") or {}).get("conditions") or []
    return {item["type"]: item["status"] for item in listed}


def version(name: str = "v1", schema: Json | None = None, storage: bool = True, **more: Any) -> Json:
    made: Json = {"type": "object", "properties": {"spec": schema}} if schema is not None else {"type": "object"}
    if schema is None:
        made["x-kubernetes-preserve-unknown-fields"] = True
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": made}, **more}


def definition(*versions: Json, kind: str = "Boat", scope: str = "Namespaced", **names: Any) -> Json:
    plural = f"{kind.lower()}s"
    return {
        "metadata": {"name": f"{plural}.wherry.example"},
        "spec": {
            "group": "wherry.example",
            "scope": scope,
            "names": {"plural": plural, "kind": kind, **names},
            "versions": list(versions) or [version()],
        },
    }


def boat(name: str = "b", api_version: str = "wherry.example/v1", **content: Any) -> Json:
    return {"apiVersion": api_version, "kind": "Boat", "metadata": {"name": name}, **content}


def spec_of(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}
