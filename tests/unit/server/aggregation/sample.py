"""A small extension server: group wardle.example.com with flunders, discovery, OpenAPI, a watch and an echo."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from tests.unit.server.callouts.party import Party, party
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.client.transport import Response
from wherry.server.app import Server
from wherry.server.http import UserInfo
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store

Json = dict[str, Any]
GROUP, VERSION = "wardle.example.com", "v1alpha1"
GROUP_VERSION = f"/apis/{GROUP}/{VERSION}"
NAME = f"{VERSION}.{GROUP}"
APISERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
_VERBS = ["create", "delete", "get", "list", "watch"]
DISCOVERY = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/{VERSION}",
    "resources": [
        {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": _VERBS},
        {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
    ],
}


class Wardle:
    """What it keeps, and whether it is well."""

    def __init__(self) -> None:
        self.flunders: dict[str, Json] = {}
        self.well = True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if not self.well:
            return web.Response(status=500)
        if path == GROUP_VERSION:
            return web.json_response(DISCOVERY)
        if path == "/openapi/v3":
            url = f"/openapi/v3{GROUP_VERSION}?hash=1"
            return web.json_response({"paths": {GROUP_VERSION[1:]: {"serverRelativeURL": url}, "version": {}}})
        if path == f"/openapi/v3{GROUP_VERSION}":
            return web.json_response({"openapi": "3.0.0", "components": {"schemas": {"Flunder": {}}}})
        if path == "/openapi/v2":
            paths: Json = {f"{GROUP_VERSION}/flunders": {"get": {}}, "/version": {}}
            return web.json_response({"swagger": "2.0", "paths": paths, "definitions": {"io.wardle.Flunder": {}}})
        if path.startswith(f"{GROUP_VERSION}/namespaces/default/flunders"):
            return await self._flunders(request)
        return web.json_response({"kind": "Status", "status": "Failure", "code": 404}, status=404)

    async def _flunders(self, request: web.Request) -> web.StreamResponse:
        if "upgrade" in request.headers.get("Connection", "").lower():
            return await _echo(request)
        if request.query.get("watch"):
            response = web.StreamResponse()
            await response.prepare(request)
            for name in ("one", "two"):
                await response.write(orjson.dumps({"type": "ADDED", "object": {"metadata": {"name": name}}}) + b"\n")
            return response
        if request.method == "POST":
            flunder = await request.json()
            self.flunders[flunder["metadata"]["name"]] = flunder
            return web.json_response(flunder, status=201)
        name = request.path.rpartition("/")[2]
        if name != "flunders":
            found = self.flunders.pop(name, None) if request.method == "DELETE" else self.flunders.get(name)
            return web.json_response(found or {"kind": "Status", "code": 404}, status=200 if found else 404)
        listed = list(self.flunders.values())
        return web.json_response({"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}", "items": listed})


async def _echo(request: web.Request) -> web.StreamResponse:
    """Whatever comes after the handshake goes back in capitals."""
    transport = request.transport
    assert transport is not None
    done = asyncio.get_running_loop().create_future()

    class Echo(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            request.transport.write(data.upper())  # type: ignore[union-attr]  # it is connected

        def connection_lost(self, exc: Exception | None) -> None:
            if not done.done():
                done.set_result(None)

    transport.set_protocol(Echo())
    user = request.headers.get("X-Remote-User", "")
    transport.write(f"HTTP/1.1 101 Switching Protocols\r\nX-Seen: {user}\r\n\r\n".encode())
    await done
    return web.Response()


class Extended:
    """An API server and its extension."""

    def __init__(self, server: Server, wardle: Wardle, other: Party) -> None:
        self.server, self.wardle, self.party = server, wardle, other
        self.user = UserInfo("ann", "u-1", ["system:masters", "devs"], {"Scopes": ["a", "b"]})

    async def send(self, method: str, path: str, body: Any = None, accept: str = "", **query: str) -> Response:
        headers = {"content-type": "application/json"} | ({"accept": accept} if accept else {})
        data = b"" if body is None else orjson.dumps(body)
        return await self.server.transport(self.user).request(method, path, query=query, body=data, headers=headers)

    async def ok(self, method: str, path: str, body: Any = None, accept: str = "", **query: str) -> Json:
        answer = await self.send(method, path, body, accept, **query)
        assert answer.status < 300, (answer.status, answer.body)
        found: Json = orjson.loads(answer.body)
        return found

    async def register(self, **spec: Any) -> None:
        """A Service that leads to the extension server, and its APIService."""
        service = {"type": "ExternalName", "externalName": "localhost"}
        body = {"metadata": {"name": "sample-api"}, "spec": service}
        await self.ok("POST", "/api/v1/namespaces/default/services", body)
        made = {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 2000,
            "versionPriority": 200,
            "service": {"name": "sample-api", "namespace": "default", "port": self.party.port},
            "caBundle": base64.b64encode(self.party.ca).decode(),
        }
        await self.ok("POST", APISERVICES, {"metadata": {"name": NAME}, "spec": made | spec})

    async def listed(self, name: str) -> dict[str, Json]:
        """All APIServices by name, once `name` is among them."""
        async with asyncio.timeout(20):
            while True:
                found = {it["metadata"]["name"]: it for it in (await self.ok("GET", APISERVICES))["items"]}
                if name in found:
                    return found
                await asyncio.sleep(0.01)

    async def condition(self, status: str, reason: str = "") -> Json:
        """The Available condition once it is so."""
        async with asyncio.timeout(20):
            while True:
                found = await self.ok("GET", f"{APISERVICES}/{NAME}")
                for condition in found.get("status", {}).get("conditions", []):
                    if condition["status"] == status and reason in ("", condition["reason"]):
                        return dict(condition)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def extended(options: ServerOptions | None = None, client_ca: bytes | None = None) -> AsyncIterator[Extended]:
    """An API server in memory and an extension server on the loopback, not registered yet."""
    clock, entropy = SystemClock(), Entropy(3)
    store = memory_store(clock, entropy)
    wardle = Wardle()
    async with party(wardle.answer, client_ca=client_ca) as other:
        server = Server(store, clock, entropy, options)
        await server.start()
        try:
            yield Extended(server, wardle, other)
        finally:
            await server.close()
            await store.close()
