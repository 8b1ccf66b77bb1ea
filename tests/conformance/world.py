"""A cluster inside the test and the words the conformance tests use with it.

`World` speaks raw JSON, as the wire does, as an administrator; `world.client` is the typed client. `world.kubectl` runs
the real kubectl over HTTPS. Which parts of a cluster run is the fixture's choice (conftest.py).
"""

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Supervisor
from wherry.client import kubeconfig
from wherry.client.informer import Informers
from wherry.client.transport import Response
from wherry.cluster.pki import Pki
from wherry.server.app import Server
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.bootstrap import Advertised
from wherry.server.edges import EdgeOptions
from wherry.server.frontend import HttpsFrontend
from wherry.server.http import UserInfo
from wherry.server.options import ServerOptions
from wherry.server.tls import tls_context
from wherry.store.local import memory_store

Json = dict[str, Any]
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.01
NODES = ("node-1", "node-2")


@dataclass(frozen=True)
class Ran:
    """What a command said."""

    code: int
    out: str
    err: str


class World:
    """A server, what else the fixture started, and a namespace for the test: `world.namespace`."""

    namespace = "default"
    kubeconfig: Path | None = None
    port = 0

    def __init__(self, server: Server) -> None:
        self.server = server
        self.transport = server.transport(UserInfo("admin", groups=["system:masters"]))
        self.client = server.client()

    def core(self, plural: str, name: str = "", namespace: str | None = None) -> str:
        """The path of a namespaced kind of the core group, in the test's namespace unless told."""
        return self.path("/api/v1", plural, name, namespace)

    def path(self, group_version: str, plural: str, name: str = "", namespace: str | None = None) -> str:
        """A path below "/apis/apps/v1"; `name` may go on: "web/status"."""
        return f"{group_version}/namespaces/{namespace or self.namespace}/{plural}" + (f"/{name}" if name else "")

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Response:
        """The whole answer; `accept` is a header, everything else in `query` a query parameter."""
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        headers = {"content-type": content_type} if data else {}
        if "accept" in query:
            headers["accept"] = query.pop("accept")
        return await self.transport.request(method, path, query=query, body=data, headers=headers)

    async def ok(self, method: str, path: str, body: Any = None, **rest: str) -> Json:
        """The body of an answer that must be a success."""
        answer = await self.send(method, path, body, **rest)
        assert answer.status < 300, (method, path, answer.status, answer.body)
        found: Json = orjson.loads(answer.body)
        return found

    async def get(self, path: str, **query: str) -> Json:
        """GET that must succeed."""
        return await self.ok("GET", path, **query)

    async def create(self, path: str, body: Json, **query: str) -> Json:
        """POST that must succeed."""
        return await self.ok("POST", path, body, **query)

    async def replace(self, path: str, body: Json, **query: str) -> Json:
        """PUT that must succeed."""
        return await self.ok("PUT", path, body, **query)

    async def patch(self, path: str, body: Any, kind: str = "merge", **query: str) -> Json:
        """PATCH of a kind of PATCHES that must succeed."""
        return await self.ok("PATCH", path, body, content_type=PATCHES[kind], **query)

    async def delete(self, path: str, options: Json | None = None, **query: str) -> Json:
        """DELETE that must succeed; of a collection too."""
        return await self.ok("DELETE", path, options, **query)

    async def refused(self, code: int, method: str, path: str, body: Any = None, **rest: str) -> Json:
        """The Status of an answer that must be a refusal with this code."""
        answer = await self.send(method, path, body, **rest)
        assert answer.status == code, (method, path, answer.status, answer.body)
        found: Json = orjson.loads(answer.body)
        assert found["kind"] == "Status" and found["status"] == "Failure"
        return found

    async def gone(self, path: str) -> None:
        """Wait until there is nothing at `path`."""

        async def absent() -> bool:
            return (await self.send("GET", path)).status == 404

        await self.until(absent, f"{path} is still there")

    async def until(self, condition: Callable[[], Any], what: str = "", timeout_seconds: float = WAIT_SECONDS) -> Any:
        """What `condition` (a function, also an asynchronous one) returns once that is true."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    holds = condition()
                    holds = await holds if inspect.isawaitable(holds) else holds
                    if holds:
                        return holds
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(what or f"{getattr(condition, '__name__', 'condition')} does not hold") from None

    async def until_object(self, path: str, condition: Callable[[Json], Any], **query: str) -> Json:
        """The object at `path` once it is there and `condition(object)` holds."""
        seen: list[Any] = [None]

        async def holds() -> bool:
            answer = await self.send("GET", path, **query)
            seen[0] = orjson.loads(answer.body)
            return answer.status == 200 and bool(condition(seen[0]))

        try:
            await self.until(holds)
        except AssertionError:
            raise AssertionError(f"condition does not hold of {seen[0]}") from None
        return dict(seen[0])

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator["Watch"]:
        """Events of a collection, from now on or from `resourceVersion`."""
        if "resourceVersion" not in query:
            query["resourceVersion"] = (await self.get(path, limit="1"))["metadata"]["resourceVersion"]
        async with self.transport.stream("GET", path, query={"watch": "true"} | query) as lines:
            watch = Watch(lines)
            try:
                yield watch
            finally:
                await watch.close()

    async def define(self, definition: Json) -> Json:
        """Create a CustomResourceDefinition and wait until it is served."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await self.create(path, definition)
        return await self.until_object(
            f"{path}/{definition['metadata']['name']}",
            lambda it: (
                {"type": "Established", "status": "True"}.items()
                <= next(
                    (c for c in it.get("status", {}).get("conditions", []) if c["type"] == "Established"), {}
                ).items()
            ),
        )

    async def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> Ran:
        """Run the real kubectl in the test's namespace; unless `check` is False it must succeed."""
        assert self.kubeconfig is not None, "kubectl needs the `served` fixture"
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.kubeconfig.parent)}
        process = await asyncio.create_subprocess_exec(
            "kubectl", f"--namespace={self.namespace}", *arguments, env=environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        ran = Ran(process.returncode or 0, out.decode(), err.decode())
        assert not check or not ran.code, f"kubectl {' '.join(arguments)}\n{ran.out}{ran.err}"
        return ran


class Watch:
    """Events as they come."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines
        self._reading: asyncio.Future[bytes] | None = None

    async def next(self) -> Json:
        """The next event; bookmarks are passed over."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                event: Json = orjson.loads(await self._line())
                if event["type"] != "BOOKMARK":
                    return event

    async def _line(self) -> bytes:
        # A read that nobody waited for to its end goes on: cancelling it would end the stream.
        if self._reading is None:
            self._reading = asyncio.ensure_future(anext(self._lines))
        try:
            return await asyncio.shield(self._reading)
        finally:
            if self._reading.done():
                self._reading = None

    async def close(self) -> None:
        """Give up a read that still waits."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def object(self, type_: str) -> Json:
        """The object of the next event, which must be of this type."""
        event = await self.next()
        assert event["type"] == type_, event
        found: Json = event["object"]
        return found

    async def until(self, condition: Callable[[Json], Any]) -> Json:
        """The first event for which `condition(event)` holds."""
        while True:
            event = await self.next()
            if condition(event):
                return event

    async def silent(self, seconds: float = 0.2) -> bool:
        """No event comes for a while."""
        try:
            await asyncio.wait_for(self.next(), seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def world(directory: Path | None = None, *, components: bool = False) -> AsyncGenerator[World, None]:
    """A World over an empty store: with `directory` over HTTPS too; with `components` controllers, scheduler, nodes."""
    clock, entropy = SystemClock(), Entropy(11)
    async with AsyncExitStack() as stack:
        pki = Pki(directory / "pki", clock) if directory else None
        store = memory_store(clock, entropy)
        stack.push_async_callback(store.close)
        late: list[Server] = []
        port = 0
        if pki:
            pair = pki.serving("apiserver", "kube-apiserver", ["127.0.0.1", "localhost"])
            tls = tls_context(str(pair.cert), str(pair.key), str(pki.ca.cert))
            front = HttpsFrontend(lambda request: late[0].handle(request), tls)
            await front.start("127.0.0.1", 0)
            stack.push_async_callback(front.close)
            port = front.port
        server = Server(store, clock, entropy, _options(pki, port))
        late.append(server)
        stack.push_async_callback(server.close)
        await server.start()
        made = World(server)
        if pki:
            made.port, made.kubeconfig = port, _write_kubeconfig(pki, port)
        if components:
            await _start_components(stack, made, clock, entropy)
        yield made


def _options(pki: Pki | None, port: int) -> ServerOptions:
    if pki is None:
        return ServerOptions()
    edges = EdgeOptions(
        authentication=AuthenticationOptions(client_ca=pki.ca.cert),
        signing_key=pki.service_account_key.read_bytes(),
        advertised=f"127.0.0.1:{port}",
    )
    return ServerOptions(edges=edges, advertised=Advertised("10.96.0.1", "127.0.0.1", port))


def _write_kubeconfig(pki: Pki, port: int) -> Path:
    admin = pki.client("admin", "kubernetes-admin", ["system:masters"])
    path = pki.directory.parent / "kubeconfig"
    parts = (pki.ca.cert.read_bytes(), admin.cert.read_bytes(), admin.key.read_bytes())
    kubeconfig.write(
        path, kubeconfig.single_context("test", kubeconfig.Credentials(f"https://127.0.0.1:{port}", *parts))
    )
    return path


async def _start_components(stack: AsyncExitStack, made: World, clock: SystemClock, entropy: Entropy) -> None:
    from wherry.controllers.manager import ControllerManager, ManagerOptions
    from wherry.kubelet.hollow import HollowNodes
    from wherry.scheduler.scheduler import Scheduler

    client = made.client
    informers = Informers(client)
    manager = ControllerManager(
        client, clock, entropy, ManagerOptions(root_ca="PEM"), made.server.registry.resources, informers=informers
    )
    supervisor = Supervisor(clock, entropy)

    async def close() -> None:
        await supervisor.close()
        crashes = [item.last_error for item in supervisor.components.values() if isinstance(item.last_error, Exception)]
        if crashes:
            raise ExceptionGroup("components crashed", crashes)

    stack.push_async_callback(close)
    supervisor.start("controllers", manager.run)
    supervisor.start("scheduler", Scheduler(client, informers, clock, entropy).run)
    supervisor.start("nodes", HollowNodes(NODES, client, informers, clock).run)
    supervisor.start("informers", informers.run)
    await informers.wait_synced()


async def service_account(made: World, namespace: str) -> None:
    """Without controllers nobody makes the account that pods want."""
    await made.create(made.core("serviceaccounts", namespace=namespace), {"metadata": {"name": "default"}})


def pod(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Json:
    """A pod of one container."""
    containers = [{"name": "main", "image": "registry.test/app:1"}]
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"containers": containers, **spec}}


def names(listed: Json | Sequence[Json]) -> list[str]:
    """Names in a list."""
    items = listed["items"] if isinstance(listed, dict) else listed
    return [item["metadata"]["name"] for item in items]


def condition(thing: Json, type_: str) -> Json:
    """A condition of an object's status; empty if it is not there."""
    conditions = thing.get("status", {}).get("conditions") or []
    return next((dict(item) for item in conditions if item["type"] == type_), {})
