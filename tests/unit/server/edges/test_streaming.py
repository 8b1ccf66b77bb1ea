"""exec, logs and proxies against a kubelet made of a real aiohttp server."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.unit.server.edges.certificates import make_authority
from tests.unit.server.edges.worlds import ObjectCaches
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import (
    Container,
    ContainerPort,
    DaemonEndpoint,
    Node,
    NodeAddress,
    NodeDaemonEndpoints,
    NodeStatus,
    Pod,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from wherry.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.server.frontend import HttpsFrontend
from wherry.server.handlers.proxying import Proxies, split_name
from wherry.server.handlers.streaming import PodStreams
from wherry.server.http import Handler, Request, RequestInfo, Response
from wherry.server.kubelets import Kubelets
from wherry.server.negotiation import status_response


class Kubelet:
    """Echoes on exec, counts on logs, and tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        if request.path.startswith("/exec") or request.path == "/socket":
            assert "Authorization" not in request.headers
            socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
            await socket.prepare(request)
            async for message in socket:
                await socket.send_bytes(b"\x01" + message.data)
            return socket
        if request.path.startswith("/containerLogs"):
            if request.path.endswith("waiting"):
                return web.Response(status=400, text='container "waiting" in pod "p" is waiting to start')
            return web.Response(body=b"one\ntwo\n")
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": "/elsewhere?x=1"})
        return web.json_response({"path": request.path_qs, "method": request.method, "body": await request.text()})


@asynccontextmanager
async def front(handler: Handler, info: RequestInfo, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a real frontend that asks one handler."""

    async def handle(request: Request) -> Response:
        request.info = info
        try:
            return await handler(request)
        except StatusError as error:
            return status_response(request, error)

    listening = HttpsFrontend(handle, tls)
    await listening.start("127.0.0.1", 0)
    yield listening.port
    await listening.close()


async def serve(
    handle: web.RequestHandler | object, context: ssl.SSLContext | None = None
) -> tuple[web.ServerRunner, int]:
    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    return runner, runner.addresses[0][1]


class World:
    def __init__(self, port: int, authority: str) -> None:
        status = NodeStatus(
            addresses=[NodeAddress(type="InternalIP", address="127.0.0.1")],
            daemonEndpoints=NodeDaemonEndpoints(kubeletEndpoint=DaemonEndpoint(Port=port)),
        )
        self.pod = Pod(
            metadata=ObjectMeta(name="p", namespace="shop"),
            spec=PodSpec(
                nodeName="n1",
                containers=[Container(name="c"), Container(name="waiting", ports=[ContainerPort(containerPort=1)])],
            ),
            status=PodStatus(podIP="127.0.0.1"),
        )
        self.caches = ObjectCaches(Node(metadata=ObjectMeta(name="n1"), status=status), self.pod)
        self.kubelets = Kubelets(self.caches, lambda: ssl.create_default_context(cafile=authority))
        self.streams = PodStreams(self.caches, self.kubelets)
        self.proxies = Proxies(self.caches, self.kubelets, Entropy(1))

    def info(self, sub: str, name: str = "p", resource: str = "pods", rest: str = "") -> RequestInfo:
        return RequestInfo("get", "", "v1", resource, sub, "shop", name, True, "", rest)


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
async def world(kubelet: Kubelet, tmp_path: Path) -> AsyncIterator[World]:
    authority, context = make_authority(tmp_path)
    runner, port = await serve(kubelet.handle, context)
    made = World(port, authority)
    yield made
    await made.kubelets.close()
    await runner.cleanup()


async def body_of(world: World, info: RequestInfo, **query: list[str]) -> bytes:
    request = Request("GET", "/", query)
    request.info = info
    response = await world.streams.log(request)
    assert not isinstance(response.body, bytes | list)
    return b"".join([chunk async for chunk in response.body])


async def test_logs_come_from_the_kubelet_with_their_parameters(world: World, kubelet: Kubelet) -> None:
    assert await body_of(world, world.info("log"), container=["c"], tailLines=["5"], follow=["true"]) == b"one\ntwo\n"
    assert kubelet.asked == ["GET /containerLogs/shop/p/c?follow=true&tailLines=5"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "a container name must be specified for pod p, choose one of: [c waiting]"),
        ({"container": ["x"]}, "container x is not valid for pod p"),
        (
            {"container": ["c"], "tailLines": ["-1"]},
            'PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
        ),
        ({"container": ["waiting"]}, 'container "waiting" in pod "p" is waiting to start'),
    ],
)
async def test_logs_that_cannot_be_had_say_why(world: World, query: dict[str, list[str]], message: str) -> None:
    with pytest.raises(StatusError) as caught:
        await body_of(world, world.info("log"), **query)
    assert caught.value.message == message


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_exec_is_a_pipe_to_the_kubelet(world: World, kubelet: Kubelet, tls: bool, tmp_path: Path) -> None:
    authority, context = make_authority(tmp_path / "front")
    client_context = ssl.create_default_context(cafile=authority)
    headers = {"Authorization": "Bearer secret"}
    big = b"x" * 300_000
    query = "command=sh&command=-c&stdin=true&stdout=true&container=c"
    async with (
        front(world.streams.exec, world.info("exec"), context if tls else None) as port,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context)) as session,
        session.ws_connect(
            f"{'https' if tls else 'http'}://127.0.0.1:{port}/exec?{query}",
            protocols=["v5.channel.k8s.io"],
            headers=headers,
            max_msg_size=0,
        ) as socket,
    ):
        assert socket.protocol == "v5.channel.k8s.io"
        for payload in (b"hello", big, b"end"):
            await socket.send_bytes(payload)
            assert (await socket.receive()).data == b"\x01" + payload
    assert kubelet.asked == ["GET /exec/shop/p/c?input=1&output=1&command=sh&command=-c"]


async def test_spdy_upgrades_pass_through_untouched(world: World) -> None:
    heads = []

    async def backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n\x80\x03")
        writer.write((await reader.readexactly(10))[::-1])
        writer.close()

    server = await asyncio.start_server(backend, "127.0.0.1", 0)
    pod = world.info("proxy", f"p:{server.sockets[0].getsockname()[1]}", rest="spdy")
    async with front(world.proxies.pod, pod) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n")
        writer.write(b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n")
        writer.write(b"X-Stream-Protocol-Version: v3.channel.k8s.io\r\n\r\nearly ")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101") and b"SPDY/3.1" in answer
        writer.write(b"ping")
        assert await reader.read() == b"\x80\x03gnip ylrae"
        writer.close()
        await writer.wait_closed()
    assert heads[0].startswith(b"POST /spdy HTTP/1.1\r\n")
    assert b"v4.channel.k8s.io" in heads[0] and b"v3.channel.k8s.io" in heads[0]
    server.close()


async def test_exec_needs_an_upgrade_a_command_and_a_node(world: World) -> None:
    async def refusal(**query: list[str]) -> StatusError:
        request = Request("POST", "/", query)
        request.info = world.info("exec")
        with pytest.raises(StatusError) as caught:
            await world.streams.exec(request)
        return caught.value

    assert (await refusal(container=["c"], stdout=["true"])).code == 422
    assert (await refusal(container=["c"], stdout=["true"], command=["ls"])).message == "Upgrade request required"
    world.pod.spec.nodeName = None
    assert "does not have a host assigned" in (await refusal(container=["c"], stdout=["1"], command=["ls"])).message


async def test_an_unreachable_kubelet_is_a_clear_error(world: World) -> None:
    node = world.caches.get(Node, None, "n1")
    assert node is not None
    node.status.daemonEndpoints.kubeletEndpoint.Port = 1
    async with front(world.streams.exec, world.info("exec")) as port, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(f"http://127.0.0.1:{port}/exec?command=sh&stdout=1&container=c")
    assert caught.value.status == 500


async def test_proxies_reach_nodes_pods_and_services(world: World, kubelet: Kubelet) -> None:
    runner, port = await serve(kubelet.handle)
    world.caches.objects += [
        Service(
            metadata=ObjectMeta(name="web", namespace="shop"),
            spec=ServiceSpec(ports=[ServicePort(name="http", port=80)]),
        ),
        EndpointSlice(
            metadata=ObjectMeta(name="web-1", namespace="shop", labels={"kubernetes.io/service-name": "web"}),
            ports=[EndpointPort(name="http", port=port)],
            endpoints=[Endpoint(addresses=["127.0.0.1"], conditions=EndpointConditions(ready=True))],
        ),
    ]

    async def ask(handler: Handler, info: RequestInfo, path: str) -> tuple[int, bytes, dict[str, str]]:
        request = Request("GET", path, query_string="q=a%20b")
        request.info = info
        response = await handler(request)
        if isinstance(response.body, bytes | list):
            return response.status, b"", response.headers
        return response.status, b"".join([chunk async for chunk in response.body]), response.headers

    base = "/api/v1/namespaces/shop/services/web:http/proxy"
    status, body, _ = await ask(
        world.proxies.service, world.info("proxy", "web:http", "services", "a/b"), base + "/a/b"
    )
    assert (status, body) == (200, b'{"path": "/a/b?q=a%20b", "method": "GET", "body": ""}')
    status, _, headers = await ask(world.proxies.service, world.info("proxy", "web:80", "services"), base)
    assert (status, headers["Location"]) == (301, base + "/?q=a%20b")
    moved = world.info("proxy", "web:http", "services", "moved")
    assert (await ask(world.proxies.service, moved, base + "/moved"))[2]["Location"] == base + "/elsewhere?x=1"
    node = world.info("proxy", "n1", "nodes", "stats")
    assert b"/stats" in (await ask(world.proxies.node, node, "/api/v1/nodes/n1/proxy/stats"))[1]
    pod = world.info("proxy", f"p:{port}", "pods", "x")
    assert b"/x?q" in (await ask(world.proxies.pod, pod, "/api/v1/namespaces/shop/pods/p/proxy/x"))[1]
    with pytest.raises(StatusError) as caught:
        await ask(world.proxies.service, world.info("proxy", "web:udp", "services", "x"), base + "/x")
    assert caught.value.message == 'no service port "udp" found for service "web"'
    await runner.cleanup()


@pytest.mark.parametrize(
    ("text", "parts"),
    [("web", ("", "web", "")), ("web:80", ("", "web", "80")), ("https:web:", ("https", "web", ""))],
)
def test_proxy_names_are_split(text: str, parts: tuple[str, str, str]) -> None:
    assert split_name(text) == parts
