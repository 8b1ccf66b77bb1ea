"""Handing an HTTP connection over to a byte pipe: exec, attach, port-forward and proxied upgrades.

The server does not speak WebSocket or SPDY here. It sends the client's upgrade request to the backend (a kubelet, a
pod) over a connection of its own, and from then on copies bytes both ways, the backend's answer to the handshake
included. Each side stops reading while the other cannot write, so a slow reader costs no memory.
"""

import asyncio
import ssl
from collections.abc import Iterable
from typing import cast

from wherry.server.callouts.passing import PRIVATE
from wherry.server.connection import Connection

_HOP_BY_HOP = frozenset(
    {"authorization", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "content-length", "expect"}
)


class _Half(asyncio.Protocol):
    """One side of the pipe: what it receives goes to its peer."""

    def __init__(self) -> None:
        self.peer: _Half | None = None
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.held: list[bytes] = []
        self.leaving = False
        """The other end has closed; a TLS transport does not call that closing, but logs each further write."""

    def join(self, peer: "_Half") -> None:
        """Connect both sides and pass on what came early."""
        self.peer, peer.peer = peer, self
        for side, other in ((self, peer), (peer, self)):
            for data in side.held:
                other.write(data)
            side.held.clear()

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.leaving and not self.transport.is_closing():
            self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self.held.append(data)
        else:
            self.peer.write(data)

    def pause_writing(self) -> None:
        if self.peer and self.peer.transport:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def eof_received(self) -> None:
        self.leaving = True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if self.peer and self.peer.transport:
            self.peer.transport.close()


def handshake(
    method: str,
    target: str,
    host: str,
    headers: Iterable[tuple[str, str]],
    added: Iterable[tuple[str, str]] = (),
    private: tuple[str, ...] = PRIVATE,
) -> bytes:
    """The request head to send to the backend: the client's, without its credentials and hop-by-hop headers."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    kept = ((name, value) for name, value in headers if not name.lower().startswith(private))
    lines += [f"{name}: {value}" for name, value in kept if name.lower() not in _HOP_BY_HOP]
    lines += [f"{name}: {value}" for name, value in added]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def splice(
    http: Connection, host: str, port: int, context: ssl.SSLContext | None, head: bytes, server_name: str | None
) -> None:
    """Connect a client with a backend, beginning with `head`. Raises OSError before anything is sent.

    Returns when either side has closed.
    """
    loop = asyncio.get_running_loop()
    name = (server_name or host) if context else None
    _, backend = await loop.create_connection(_Half, host, port, ssl=context, server_hostname=name)
    transport = http.transport
    if transport is None:
        if backend.transport:
            backend.transport.close()
        return
    client = _Half()
    client.connection_made(transport)
    transport.set_protocol(client)
    if http.early:
        client.held.append(http.early)
    backend.write(head)
    client.join(backend)
    try:
        await asyncio.wait({client.closed, backend.closed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if backend.transport:
            backend.transport.close()
        transport.set_protocol(http)
        if client.closed.done():
            loop.call_soon(http.connection_lost, None)
        else:
            transport.close()
