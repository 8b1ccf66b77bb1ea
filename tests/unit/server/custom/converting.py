"""A definition of two versions that a webhook converts: v1 has host and port, v2 has hostPort."""

import asyncio
import base64
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from tests.unit.server.callouts.party import Party, party
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.client.transport import Response
from wherry.server.app import SELF, Server
from wherry.store.local import memory_store

Json = dict[str, Any]
TYPES = {
    "json": "application/json",
    "merge": "application/merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
V1, V2 = (f"/apis/example.test/v{number}/namespaces/default/links" for number in (1, 2))


def link(name: str, **content: str) -> Json:
    """One in v1 (host, port) or v2 (hostPort), by what it has."""
    version = "v2" if "hostPort" in content else "v1"
    return {"apiVersion": f"example.test/{version}", "kind": "Link", "metadata": {"name": name}, **content}


def converted(obj: Json, wanted: str) -> Json:
    """What an honest webhook answers."""
    made = copy.deepcopy(obj)
    if wanted.endswith("v2") and "host" in made:
        made["hostPort"] = f"{made.pop('host')}:{made.pop('port')}"
    elif wanted.endswith("v1") and "hostPort" in made:
        made["host"], _, made["port"] = made.pop("hostPort").partition(":")
    made["apiVersion"] = wanted
    return made


class Converting:
    """A server with the definition; `lie` changes the webhook's response before it goes out."""

    def __init__(self, server: Server, other: Party) -> None:
        self.server, self.party = server, other
        self.lie: Callable[[Json], Any] = lambda response: None
        self.conversions = 0

    async def send(self, method: str, path: str, body: Any = None, kind: str = "json", **query: str) -> Response:
        data = b"" if body is None else orjson.dumps(body)
        headers = {"content-type": TYPES[kind]}
        return await self.server.transport(SELF).request(method, path, query=query, body=data, headers=headers)

    async def ok(self, method: str, path: str, body: Any = None, kind: str = "json", **query: str) -> Json:
        answer = await self.send(method, path, body, kind, **query)
        assert answer.status < 300, (answer.status, answer.body)
        found: Json = orjson.loads(answer.body)
        return found

    async def define(self, stored: str = "v1") -> None:
        text = {"type": "string"}
        fields = {"v1": {"host": text, "port": text}, "v2": {"hostPort": text | {"pattern": "^.+:.+$"}}}
        versions = [
            {
                "name": name,
                "served": True,
                "storage": name == stored,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
            }
            for name, properties in fields.items()
        ]
        client = {"url": self.party.url("/convert"), "caBundle": base64.b64encode(self.party.ca).decode()}
        webhook = {"clientConfig": client, "conversionReviewVersions": ["v1", "v1beta1"]}
        spec = {
            "group": "example.test",
            "scope": "Namespaced",
            "names": {"plural": "links", "kind": "Link"},
            "versions": versions,
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        }
        path, body = DEFINITIONS, {"metadata": {"name": "links.example.test"}, "spec": spec}
        if (await self.send("GET", f"{path}/links.example.test")).status == 200:
            await self.ok("PATCH", f"{path}/links.example.test", {"spec": spec}, "merge")
        else:
            await self.ok("POST", path, body)
        await self.server.custom.settled()


@asynccontextmanager
async def converting() -> AsyncIterator[Converting]:
    """A server in memory and the party that converts."""
    clock, entropy = SystemClock(), Entropy(9)
    store = memory_store(clock, entropy)
    worlds: list[Converting] = []

    async def answer(request: web.Request) -> web.Response:
        review = await request.json()
        asked = review["request"]
        worlds[0].conversions += len(asked["objects"])
        response = {
            "uid": asked["uid"],
            "result": {"status": "Success"},
            "convertedObjects": [converted(item, asked["desiredAPIVersion"]) for item in asked["objects"]],
        }
        worlds[0].lie(response)
        return web.json_response({"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response})

    async with party(answer) as other:
        server = Server(store, clock, entropy)
        await server.start()
        worlds.append(Converting(server, other))
        try:
            await worlds[0].define()
            yield worlds[0]
        finally:
            await server.close()
            await store.close()
            await asyncio.sleep(0)
