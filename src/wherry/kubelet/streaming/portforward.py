"""Port-forward as the server sees it: SPDY streams in pairs, plain or tunnelled in a WebSocket, or WebSocket channels.

Each connection of the caller is a data stream and an error stream with the same requestID; the error stream carries
text when the port cannot be reached.
"""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from aiohttp import WSMsgType, web

from wherry.kubelet.runtimes.protocol import BytePipe, RuntimeFailure
from wherry.kubelet.streaming.connection import Connection, Stream
from wherry.kubelet.streaming.upgrade import Upgraded, running, spdy_upgrade

log = logging.getLogger(__name__)

PROTOCOL = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHANNELS = "v4.channel.k8s.io"
PAIRS_MAX = 256
Dial = Callable[[int], Awaitable[BytePipe]]


async def serve(request: web.BaseRequest, dial: Dial) -> web.StreamResponse:
    """Upgrade the request and forward until the caller ends."""
    upgrade = request.headers.get("Upgrade", "").lower()
    if upgrade == "websocket":
        return await _serve_websocket(request, dial)
    if "spdy/3.1" not in upgrade:
        raise web.HTTPBadRequest(text="unable to upgrade: missing upgrade headers in request")
    async with spdy_upgrade(request, PROTOCOL) as connection:
        await forward(connection, dial)
    return Upgraded()


async def forward(connection: Connection, dial: Dial) -> None:
    """Serve every pair of streams until the connection ends."""
    waiting: dict[str, dict[str, Stream]] = {}
    tasks: set[asyncio.Task[None]] = set()
    try:
        async for stream in connection.streams():
            request_id = stream.headers.get("requestid") or stream.headers.get("port", "")
            pair = waiting.setdefault(request_id, {})
            pair[stream.headers.get("streamtype", "")] = stream
            if {"data", "error"} <= pair.keys():
                del waiting[request_id]
                task = asyncio.create_task(_pair(connection, pair["data"], pair["error"], dial))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            elif len(waiting) > PAIRS_MAX:
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pair(connection: Connection, data: Stream, error: Stream, dial: Dial) -> None:
    port = data.headers.get("port", "")
    with suppress(ConnectionError):
        try:
            pipe = await dial(int(port))
        except (RuntimeFailure, OSError, ValueError, TimeoutError) as failure:
            await error.write(f"error forwarding port {port} to pod, uid : {failure}".encode())
        else:
            await _pump(data.read, data.write, pipe, data.close)
        await error.close()
        await data.close()
    connection.forget(data)
    connection.forget(error)


async def _pump(
    read: Callable[[], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
    pipe: BytePipe,
    end: Callable[[], Awaitable[None]],
) -> None:
    """Both ways until the pod's side has ended."""

    async def inward() -> None:
        with suppress(ConnectionError):
            while data := await read():
                await pipe.write(data)
            pipe.write_eof()

    feeder = asyncio.create_task(inward())
    try:
        with suppress(ConnectionError):
            while data := await pipe.read():
                await write(data)
            await end()
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        pipe.close()


# WebSocket ------------------------------------------------------------------------------------------------------------


async def _serve_websocket(request: web.BaseRequest, dial: Dial) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=(TUNNEL, CHANNELS), heartbeat=30.0, max_msg_size=16 << 20)
    await socket.prepare(request)
    if socket.ws_protocol == TUNNEL:
        messages = _binary(socket)

        async def read() -> bytes:
            return await anext(messages, b"")

        connection = Connection(read, socket.send_bytes, client=False)
        async with running(connection):
            await forward(connection, dial)
    else:
        ports = [
            int(item)
            for value in request.query.getall("port", request.query.getall("ports", []))
            for item in value.split(",")
        ]
        await _channels(socket, ports, dial)
    await socket.close()
    return socket


async def _binary(socket: web.WebSocketResponse) -> AsyncIterator[bytes]:
    async for message in socket:
        if message.type is WSMsgType.BINARY and message.data:
            yield message.data


async def _channels(socket: web.WebSocketResponse, ports: list[int], dial: Dial) -> None:
    """Two channels for each port: data and error; the first message on each is the port, little-endian."""
    inputs: list[asyncio.Queue[bytes]] = [asyncio.Queue(64) for _ in ports]
    tasks = []
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await socket.send_bytes(bytes([channel]) + struct.pack("<H", port))
        tasks.append(asyncio.create_task(_channel(socket, index, port, inputs[index], dial)))
    try:
        async for data in _binary(socket):
            if data[0] % 2 == 0 and data[0] // 2 < len(inputs):
                await inputs[data[0] // 2].put(data[1:])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _channel(
    socket: web.WebSocketResponse, index: int, port: int, received: "asyncio.Queue[bytes]", dial: Dial
) -> None:
    async def nothing() -> None:
        return None

    try:
        pipe = await dial(port)
    except (RuntimeFailure, OSError) as failure:
        await socket.send_bytes(bytes([2 * index + 1]) + str(failure).encode())
        return
    await _pump(received.get, lambda data: socket.send_bytes(bytes([2 * index]) + data), pipe, nothing)
    await socket.close()
