"""The cluster that is measured: whatever a kubeconfig leads to, reached through one bearer token over TLS.

kubectl resolves the kubeconfig (so every kind of credential works) and makes the token: of a service account that is
bound to cluster-admin for as long as the measurement runs. wrk cannot send client certificates, and real clients in a
cluster use tokens, so every request is measured with one.
"""

import asyncio
import json
import os
import ssl
import subprocess
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

NAME = "wherry-benchmark"


@dataclass(slots=True)
class Target:
    """Where requests go, and with what."""

    kubeconfig: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    token: str = ""
    namespace: str = NAME
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """For other programs."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """Run kubectl; its output."""
        command = ["kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        return subprocess.run(command, check=check, stdout=subprocess.PIPE, text=True).stdout

    def encode(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
        """A whole HTTP/1.1 request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {self.token}\r\n"
        if body:
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    def path(self, resource: str, group: str = "") -> str:
        """The path of a collection in the measurement's namespace."""
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{resource}"


def plain_target(kubeconfig: str) -> Target:
    """What the kubeconfig leads to, without a token yet."""
    command = ["kubectl", "--kubeconfig", kubeconfig, "config", "view", "--raw", "--minify", "--flatten", "-o", "json"]
    config = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    cluster = config["clusters"][0]["cluster"]
    where = urlsplit(cluster["server"])
    tls = None
    if where.scheme == "https":
        authority = cluster.get("certificate-authority-data")
        tls = ssl.create_default_context(cadata=b64decode(authority).decode() if authority else None)
        tls.check_hostname = False
    return Target(kubeconfig, where.hostname or "", where.port or 443, tls)


@contextmanager
def prepared(kubeconfig: str) -> Iterator[Target]:
    """A target with a namespace and a token; both are removed in the end."""
    target = plain_target(kubeconfig)
    target.kubectl("create", "namespace", NAME)
    try:
        target.kubectl("create", "serviceaccount", NAME, "-n", NAME)
        account = f"--serviceaccount={NAME}:{NAME}"
        target.kubectl("create", "clusterrolebinding", NAME, "--clusterrole=cluster-admin", account)
        target.token = target.kubectl("create", "token", NAME, "-n", NAME, "--duration=2h").strip()
        yield target
    finally:
        target.kubectl("delete", "clusterrolebinding", NAME, "--ignore-not-found", check=False)
        target.kubectl("delete", "namespace", NAME, "--wait=true", "--timeout=120s", check=False)


class Connection(asyncio.Protocol):
    """One keep-alive connection: a request at a time, or a stream that goes to `on_data`. Spares the CPU it shares."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = bytearray()
        self._wanted = 0
        self.on_data: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        if self.on_data is not None:
            self.on_data(data)
            return
        received = self._received
        received += data
        if not self._wanted:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._wanted = end + 4 + _length(bytes(received[:end]).lower())
        if len(received) >= self._wanted and received.endswith(_end(self._wanted, received)):
            self._finish()

    def _finish(self) -> None:
        answered, received = self._answered, bytes(self._received)
        assert answered is not None
        self._received.clear()
        self._wanted = 0
        answered.set_result((int(received[9:12]), received[received.find(b"\r\n\r\n") + 4 :]))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body (chunked bodies as they came)."""
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answered

    def close(self) -> None:
        """Close the connection."""
        self.transport.close()


def _length(head: bytes) -> int:
    """Bytes of the body; -1 stands for a chunked one, whose end is found by its last chunk."""
    at = head.find(b"\r\ncontent-length:")
    return -1 if at < 0 else int(head[at + 17 :].partition(b"\r\n")[0])


def _end(wanted: int, received: bytearray) -> bytes:
    head_only = received.find(b"\r\n\r\n") + 3 == wanted
    return b"\r\n0\r\n\r\n" if head_only else b""


async def connect(target: Target) -> Connection:
    """A new connection."""
    loop = asyncio.get_running_loop()
    name = target.host if target.tls else None
    _, connection = await loop.create_connection(
        Connection, target.host, target.port, ssl=target.tls, server_hostname=name
    )
    return connection


async def hammer(
    target: Target, connections: int, request: Callable[[int], bytes], *, seconds: float = 1e9, count: int = 1 << 60
) -> tuple[float, int]:
    """Requests per second of `connections` clients that ask without a pause, and how many were asked."""
    opened = await asyncio.gather(*(connect(target) for _ in range(connections)))
    begin, number = time.perf_counter(), 0

    async def work(connection: Connection) -> None:
        nonlocal number
        while number < count and time.perf_counter() - begin < seconds:
            number += 1
            status, body = await connection.ask(request(number - 1))
            if status >= 300:
                raise RuntimeError(f"HTTP {status}: {body[:300]!r}")

    await _all(work(connection) for connection in opened)
    rate = number / (time.perf_counter() - begin)
    for connection in opened:
        connection.close()
    return rate, number


async def _all(work: Iterator[Awaitable[None]]) -> None:
    await asyncio.gather(*work)


def memory_bytes(pids: list[int], name: str = "Pss") -> int:
    """Proportional set size of processes (or another line of smaps_rollup, as Rss)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{name}:"):
                total += int(line.split()[1]) * 1024
    return total


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
