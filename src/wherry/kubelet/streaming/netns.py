"""Connections made inside a pod's network namespace: to what listens on the pod's own loopback.

A thread enters the namespace, opens a socket there and goes; a socket stays in the namespace it was made in, so the
event loop can use it from then on.
"""

import asyncio
import ctypes
import os
import socket
import threading
from pathlib import Path

from wherry.kubelet.runtimes.protocol import RuntimeFailure

_CLONE_NEWNET = 0x40000000
READ_BYTES = 64 * 1024


class SocketPipe:
    """A connected pair of streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def write_eof(self) -> None:
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()


async def connect_in_namespace(namespace: str, port: int) -> SocketPipe:
    """A connection to localhost:`port` in the namespace at this path ("": our own). Raises RuntimeFailure."""
    failure: OSError | None = None
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        sock = await asyncio.to_thread(_socket_in, namespace, family)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except OSError as error:
            sock.close()
            failure = failure or error
        else:
            return SocketPipe(*await asyncio.open_connection(sock=sock))
    raise RuntimeFailure(f"failed to connect to localhost:{port} inside namespace: {failure}")


def _socket_in(namespace: str, family: socket.AddressFamily) -> socket.socket:
    """Made by a thread of its own, which ends in the foreign namespace and so cannot disturb another user."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            if namespace:
                _enter(Path(namespace))
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            made.append(sock)
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make, name="in a pod's network")
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise RuntimeFailure(f"cannot enter the pod's network: {made[0]}")
    return made[0]


def _enter(namespace: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with namespace.open("rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(namespace))
