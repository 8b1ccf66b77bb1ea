"""Probes and hooks against real servers on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from aiohttp import web

from wherry.aio.clock import SystemClock
from wherry.api.core_v1 import Container, ContainerPort, GRPCAction, HTTPGetAction, LifecycleHandler, TCPSocketAction
from wherry.kubelet import actions
from wherry.kubelet.hooks import run_hook
from wherry.kubelet.runtimes.fake import FakeRuntime
from wherry.kubelet.runtimes.protocol import RUNNING, ContainerRecord

LOOPBACK = "127.0.0.1"
CHECK = "/grpc.health.v1.Health/Check"


@asynccontextmanager
async def grpc_server(answer: Callable[[bytes, Any], Awaitable[bytes]], path: str = CHECK) -> AsyncIterator[int]:
    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer) if details.method == path else None

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handler()])
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def http_server(status: int) -> AsyncIterator[tuple[int, list[str]]]:
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(f"{request.path} {request.headers.get('X-Say', '')}".strip())
        return web.Response(status=status, text="said")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    try:
        yield runner.addresses[0][1], seen
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("service", "status", "outcome"),
    [
        ("", 1, actions.Outcome(True, "service healthy")),
        ("web", 1, actions.Outcome(True, "service healthy")),
        ("", 2, actions.Outcome(False, 'service unhealthy (responded with "NOT_SERVING")')),
        ("", 0, actions.Outcome(False, 'service unhealthy (responded with "UNKNOWN")')),
    ],
)
async def test_a_grpc_service_says_how_it_does(service: str, status: int, outcome: actions.Outcome) -> None:
    asked: list[bytes] = []

    async def answer(request: bytes, context: Any) -> bytes:
        asked.append(request)
        return bytes([8, status]) if status else b""

    async with grpc_server(answer) as port:
        assert await actions.check_grpc(GRPCAction(port=port, service=service), LOOPBACK, 5) == outcome
    assert asked == [b"\x0a\x03web" if service else b""]


async def test_a_grpc_service_that_cannot_say() -> None:
    async def refuse(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b""

    async def hang(request: bytes, context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with grpc_server(refuse) as port:
        refused = await actions.check_grpc(GRPCAction(port=port), LOOPBACK, 5)
    assert refused.message == "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"
    async with grpc_server(refuse, "/other/Method") as port:
        unknown = await actions.check_grpc(GRPCAction(port=port), LOOPBACK, 5)
    start = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
    assert unknown.message.startswith(start)
    async with grpc_server(hang) as port:
        hanging = await actions.check_grpc(GRPCAction(port=port), LOOPBACK, 0.2)
    assert hanging.message == "timeout: health rpc did not complete within 0.2s"
    gone = await actions.check_grpc(GRPCAction(port=port), LOOPBACK, 0.2)
    where = f'"{LOOPBACK}:{port}" within 0.2s'
    assert gone.message == f"timeout: failed to connect service {where}: context deadline exceeded"


async def test_http_and_tcp_probes_find_ports_by_name() -> None:
    async with http_server(503) as (port, seen):
        container = Container(name="c", ports=[ContainerPort(name="web", containerPort=port)])
        failed = await actions.get_http(HTTPGetAction(port="web", path="healthz"), container, LOOPBACK, 5)
        assert (failed.ok, failed.message) == (False, "HTTP probe failed with statuscode: 503")
        assert seen == ["/healthz"]
        assert (await actions.connect_tcp(TCPSocketAction(port="web"), container, LOOPBACK, 5)).ok
    refused = await actions.connect_tcp(TCPSocketAction(port="web"), container, LOOPBACK, 5)
    assert not refused.ok
    refused = await actions.get_http(HTTPGetAction(port="web"), container, LOOPBACK, 5)
    assert refused.message.endswith(f"dial tcp {LOOPBACK}:{port}: connect: connection refused")


async def test_a_hook_is_content_with_any_answer_but_not_with_none() -> None:
    container = Container(name="c")
    record = ContainerRecord("id", "", "c", RUNNING)
    clock = SystemClock()

    async def hook(handler: LifecycleHandler) -> bool:
        return (await run_hook(handler, container, record, FakeRuntime(clock), clock, LOOPBACK, 0.5)).ok

    async with http_server(500) as (port, seen):
        assert await hook(LifecycleHandler(httpGet=HTTPGetAction(port=port, path="/bye")))
        assert seen == ["/bye"]
    assert not await hook(LifecycleHandler(httpGet=HTTPGetAction(port=port, path="/bye")))
    assert not await hook(LifecycleHandler())
