"""A server with webhooks: one party answers them all, each at its own path, by functions."""

import asyncio
import base64
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
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store

Json = dict[str, Any]
Reply = Callable[[Json], Json]
"""From the request of a review to what its response says beside the uid."""
GROUP = "/apis/admissionregistration.k8s.io/v1"
ANY_CONFIGMAP = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


class Hooked:
    """A server, and what its webhooks were asked, by path."""

    def __init__(self, server: Server, other: Party) -> None:
        self.server = server
        self.party = other
        self.replies: dict[str, Reply] = {}
        self.asked: dict[str, list[Json]] = {}
        self.stop = asyncio.Event()
        self._transport = server.transport(SELF)

    async def send(self, method: str, path: str, body: Any = None, **query: str) -> Response:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = b"" if body is None else orjson.dumps(body)
        return await self._transport.request(method, path, query=query, body=data, headers={"content-type": kind})

    async def ok(self, method: str, path: str, body: Any = None, **query: str) -> Json:
        answer = await self.send(method, path, body, **query)
        assert answer.status < 300, answer.body
        found: Json = orjson.loads(answer.body)
        return found

    async def refused(self, code: int, method: str, path: str, body: Any = None, **query: str) -> str:
        """The message of a refusal."""
        answer = await self.send(method, path, body, **query)
        assert answer.status == code, (answer.status, answer.body)
        return str(orjson.loads(answer.body)["message"])

    def webhook(self, path: str, **more: Any) -> Json:
        """One webhook of a configuration, answered at `path`."""
        return {
            "name": f"{path}.webhook.test",
            "clientConfig": {"url": self.party.url(f"/{path}"), "caBundle": base64.b64encode(self.party.ca).decode()},
            "rules": [ANY_CONFIGMAP],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }

    async def configure(self, kind: str, name: str, *webhooks: Json) -> Json:
        """Create a configuration; `kind` is mutating or validating."""
        body = {"metadata": {"name": name}, "webhooks": list(webhooks)}
        return await self.ok("POST", f"{GROUP}/{kind}webhookconfigurations", body)

    async def add(self, kind: str, path: str, reply: Reply, **more: Any) -> None:
        """A configuration of one webhook that answers by `reply`."""
        self.replies[path] = reply
        await self.configure(kind, path, self.webhook(path, **more))


@asynccontextmanager
async def hooked(options: ServerOptions | None = None) -> AsyncIterator[Hooked]:
    """An API server in memory, and a party that answers as `Hooked.replies` say."""
    clock, entropy = SystemClock(), Entropy(5)
    world: list[Hooked] = []

    async def answer(request: web.Request) -> web.Response:
        made, path = world[0], request.path.strip("/")
        review = await request.json()
        asked = review["request"]
        made.asked.setdefault(path, []).append(asked)
        if path == "hang":
            await made.stop.wait()
        response = {"uid": asked["uid"], **made.replies[path](asked)}
        return web.json_response({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})

    store = memory_store(clock, entropy)
    async with party(answer) as other:
        server = Server(store, clock, entropy, options)
        await server.start()
        world.append(Hooked(server, other))
        try:
            yield world[0]
        finally:
            world[0].stop.set()
            await server.close()
            await store.close()


def allow(_: Json) -> Json:
    return {"allowed": True}


def deny(message: str, **status: Any) -> Reply:
    return lambda _: {"allowed": False, "status": {"message": message, **status}}


def patching(*operations: Json, **more: Any) -> Reply:
    patch = base64.b64encode(orjson.dumps(list(operations))).decode()
    return lambda _: {"allowed": True, "patchType": "JSONPatch", "patch": patch, **more}


def setting(key: str, value: str) -> Reply:
    """Adds to a ConfigMap's data."""
    return patching({"op": "add", "path": f"/data/{key}", "value": value})


def configmap(name: str, **more: Any) -> Json:
    return {"metadata": {"name": name, **more}, "data": {"start": "yes"}}
