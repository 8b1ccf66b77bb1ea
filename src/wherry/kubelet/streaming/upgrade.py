"""From an HTTP request to raw bytes: the SPDY upgrade that aiohttp does not know.

The peer sends nothing before it has seen the 101, so the connection can be taken from aiohttp's protocol between two
frames. The handler returns `Upgraded`, which writes nothing, when the conversation is over.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from wherry.kubelet.streaming.connection import Connection
from wherry.kubelet.streaming.spdy import SpdyFailure

READ_BYTES = 64 * 1024
BUFFER_BYTES = 256 * 1024


class Upgraded(web.StreamResponse):
    """The response of a request whose connection is no longer HTTP."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> Any:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class _Protocol(asyncio.StreamReaderProtocol):
    """Tells aiohttp's protocol of the end, so that it forgets the connection."""

    def __init__(self, reader: asyncio.StreamReader, before: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


@asynccontextmanager
async def spdy_upgrade(request: web.BaseRequest, protocol: str) -> AsyncIterator[Connection]:
    """Answer 101 with `protocol` and speak SPDY; closes the connection at the end."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the caller is gone")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(BUFFER_BYTES, loop=loop)
    raw = _Protocol(reader, request.protocol)
    transport.set_protocol(raw)
    raw.connection_made(transport)
    writer = asyncio.StreamWriter(transport, raw, reader, loop)
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    lines += [f"X-Stream-Protocol-Version: {protocol}"] if protocol else []
    writer.write("\r\n".join([*lines, "", ""]).encode())

    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    connection = Connection(lambda: reader.read(READ_BYTES), write, client=False)
    try:
        async with running(connection):
            yield connection
            with suppress(ConnectionError):
                await writer.drain()
    finally:
        transport.close()


@asynccontextmanager
async def running(connection: Connection) -> AsyncIterator[None]:
    """The connection's reader, as long as the block lasts; a peer that breaks off is no failure of ours."""
    task = asyncio.create_task(connection.run(), name="spdy")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ConnectionError, SpdyFailure):
            await task
