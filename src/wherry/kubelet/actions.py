"""One look at a container, or one poke: exec, HTTP, TCP and gRPC, for probes and lifecycle hooks alike.

The outcome is a value; only a fault of our own raises. Messages are kubelet's.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import aiohttp

from wherry.api.core_v1 import GRPCAction, HTTPGetAction, Pod, TCPSocketAction
from wherry.kubelet.machine import AnyContainer
from wherry.kubelet.runtimes.protocol import Runtime, RuntimeFailure

BODY_MAX_BYTES = 10 * 1024
_USER_AGENT = "kube-probe/1.36"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it went well, and what to say."""

    ok: bool
    message: str = ""


def port_number(container: AnyContainer, port: int | str) -> int | None:
    """A number, or the container port of that name."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    return next((item.containerPort for item in container.ports if item.name == port), None)


async def run_command(runtime: Runtime, container_id: str, command: Sequence[str], timeout_seconds: float) -> Outcome:
    """A command in the container; exit code 0 is well."""
    try:
        result = await runtime.exec_sync(container_id, command, timeout_seconds)
    except TimeoutError:
        return Outcome(False, f"command timed out: {_shell(command)!r} timed out after {timeout_seconds:g}s")
    except RuntimeFailure as error:
        return Outcome(False, str(error))
    return Outcome(result.exit_code == 0, result.output[:BODY_MAX_BYTES].decode(errors="replace"))


def _shell(command: Sequence[str]) -> str:
    return " ".join(command)


async def get_http(
    action: HTTPGetAction, container: AnyContainer, pod_ip: str, timeout_seconds: float, *, any_status: bool = False
) -> Outcome:
    """A GET; any status from 200 to 399 is well, or any at all. Redirects to other hosts are not followed."""
    port = port_number(container, action.port)
    if port is None:
        return Outcome(False, f"couldn't find port: {action.port!r}")
    host = action.host or pod_ip
    scheme = (action.scheme or "HTTP").lower()
    path = action.path or "/"
    shown = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{shown}:{port}{path if path.startswith('/') else '/' + path}"
    headers = {"User-Agent": _USER_AGENT, "Accept": "*/*"} | {item.name: item.value for item in action.httpHeaders}
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=_unverified())) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            body = (await response.content.read(BODY_MAX_BYTES)).decode(errors="replace")
            if any_status or 200 <= response.status < 400:
                return Outcome(True, body)
            return Outcome(False, f"HTTP probe failed with statuscode: {response.status}")
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Outcome(False, f'Get "{url}": {why}')
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(False, f'Get "{url}": {_dial_error(error, host, port)}')


def _dial_error(error: BaseException, host: str, port: int) -> str:
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return f"dial tcp {host}:{port}: connect: connection refused"
    return str(error) or type(error).__name__


@cache
def _unverified() -> ssl.SSLContext:
    """Probes do not verify certificates, as kubelet's do not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect_tcp(action: TCPSocketAction, container: AnyContainer, pod_ip: str, timeout_seconds: float) -> Outcome:
    """A connection that is accepted is well."""
    port, host = port_number(container, action.port), action.host or pod_ip
    if port is None:
        return Outcome(False, f"couldn't find port: {action.port!r}")
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Outcome(False, f"dial tcp {host}:{port}: connect: {(error.strerror or str(error)).lower()}")
    writer.close()
    return Outcome(True)


async def check_grpc(action: GRPCAction, pod_ip: str, timeout_seconds: float) -> Outcome:
    """grpc.health.v1.Health/Check; SERVING is well. The two messages are small enough to write by hand."""
    import grpc.aio

    name = (action.service or "").encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    where = f'"{pod_ip}:{action.port}" within {timeout_seconds:g}s'
    options = (("grpc.primary_user_agent", _USER_AGENT),)
    async with grpc.aio.insecure_channel(f"{pod_ip}:{action.port}", options) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            async with asyncio.timeout(timeout_seconds):
                await channel.channel_ready()
        except TimeoutError:
            return Outcome(False, f"timeout: failed to connect service {where}: context deadline exceeded")
        try:
            answer: bytes = await check(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            return Outcome(False, _grpc_failure(error.code().name, error.details() or "", timeout_seconds))
    status = answer[1] if answer[:1] == b"\x08" and len(answer) > 1 else 0
    if status == 1:
        return Outcome(True, "service healthy")
    return Outcome(
        False,
        f'service unhealthy (responded with "{("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")[status & 3]}")',
    )


def _grpc_failure(code: str, details: str, timeout_seconds: float) -> str:
    if code == "UNIMPLEMENTED":
        return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {details}"
    if code == "DEADLINE_EXCEEDED":
        return f"timeout: health rpc did not complete within {timeout_seconds:g}s"
    shown = "".join(part.capitalize() for part in code.split("_"))
    return f"error: health rpc probe failed: rpc error: code = {shown} desc = {details}"


def pod_address(pod: Pod, node_ip: str, sandbox_ips: Sequence[str]) -> str:
    """Where a pod's ports are reached from its node."""
    if pod.spec.hostNetwork:
        return node_ip
    return sandbox_ips[0] if sandbox_ips else (pod.status.podIP or "127.0.0.1")
