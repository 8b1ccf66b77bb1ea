"""A server in process on a memory store, and the two ways tests talk to it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.client.client import Client
from wherry.client.transport import Response
from wherry.server.app import Server
from wherry.server.http import UserInfo
from wherry.server.options import ServerOptions
from wherry.store.local import LocalStore, memory_store

Json = dict[str, Any]


@dataclass
class Api:
    """Raw requests as an administrator, JSON in and out."""

    server: Server
    store: LocalStore

    def __post_init__(self) -> None:
        self.transport = self.server.transport(UserInfo("admin", groups=["system:masters"]))

    @property
    def client(self) -> Client:
        return self.server.client()

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Response:
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        headers = {"content-type": content_type} if data else {}
        if "accept" in query:
            headers["accept"] = query.pop("accept")
        return await self.transport.request(method, path, query=query, body=data, headers=headers)

    async def json(self, method: str, path: str, body: Any = None, **rest: str) -> Json:
        answer = await self.send(method, path, body, **rest)
        found: Json = orjson.loads(answer.body)
        return found

    async def ok(self, method: str, path: str, body: Any = None, **rest: str) -> Json:
        answer = await self.send(method, path, body, **rest)
        assert answer.status < 300, answer.body
        found: Json = orjson.loads(answer.body)
        return found

    async def refused(self, code: int, method: str, path: str, body: Any = None, **rest: str) -> Json:
        answer = await self.send(method, path, body, **rest)
        assert answer.status == code, (answer.status, answer.body)
        found: Json = orjson.loads(answer.body)
        assert found["kind"] == "Status" and found["status"] == "Failure"
        return found


@pytest.fixture
def server_options() -> ServerOptions:
    """Of `api`; tests that need others have a fixture of this name."""
    return ServerOptions()


@pytest.fixture
async def api(server_options: ServerOptions) -> AsyncIterator[Api]:
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy, server_options)
    await server.start()
    made = Api(server, store)
    await made.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    yield made
    await server.close()
    await store.close()


@pytest.fixture
def config_map() -> Callable[..., Json]:
    def make(name: str = "one", **more: Any) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, **more.pop("metadata", {})},
            "data": more or {"a": "1"},
        }

    return make


MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def pod(name: str, **spec: Any) -> Json:
    containers = [{"name": "main", "image": "image"}]
    return {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": containers, **spec}}
