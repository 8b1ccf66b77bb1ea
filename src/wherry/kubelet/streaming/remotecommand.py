"""Exec and attach as the server sees them: kubectl's streams over SPDY (v1–v4) or WebSocket channels (v1–v5).

Both become a `Streams` for the runtime; `serve` runs the work and sends its outcome on the error stream, from v4 on as
a Status. Protocols: Kubernetes' client-go/tools/remotecommand and apiserver's httpstream (KEP-4006 for v5).
"""

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from wherry.kubelet.runtimes.protocol import RuntimeFailure, Streams
from wherry.kubelet.streaming.connection import Connection, Stream
from wherry.kubelet.streaming.upgrade import Upgraded, spdy_upgrade

log = logging.getLogger(__name__)

SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
WEBSOCKET_PROTOCOLS = ("v5.channel.k8s.io", *SPDY_PROTOCOLS, "base64.channel.k8s.io", "v4.base64.channel.k8s.io")
STREAMS_SECONDS = 30.0
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
INPUT_MAX_MESSAGES = 64
PING_SECONDS = 30.0
Work = Callable[[Streams], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the caller asked for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def of(cls, query: Any) -> "Wanted":
        """From a kubelet's parameters (input, output, error) or the API's (stdin, stdout, stderr)."""

        def on(*names: str) -> bool:
            return any(query.get(name, "").lower() in ("1", "true") for name in names)

        tty = on("tty")
        return cls(on("input", "stdin"), on("output", "stdout"), on("error", "stderr") and not tty, tty)

    @property
    def any(self) -> bool:
        """At least one of them."""
        return self.stdin or self.stdout or self.stderr


class _Caller(Streams, Protocol):
    async def finish(self, outcome: bytes) -> None:
        """Send the outcome and end."""


def success() -> dict[str, Any]:
    """The Status of exit code 0."""
    return {"metadata": {}, "status": "Success"}


def exited(code: int) -> dict[str, Any]:
    """The Status of another exit code."""
    text = f"command terminated with non-zero exit code: exit status {code}"
    causes = [{"reason": "ExitCode", "message": str(code)}]
    base = {"metadata": {}, "status": "Failure", "message": text, "reason": "NonZeroExitCode"}
    return base | {"details": {"causes": causes}}


def failed(text: str) -> dict[str, Any]:
    """The Status of a command that could not be run."""
    message = f"Internal error occurred: {text}"
    base = {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError"}
    return base | {"details": {"causes": [{"message": text}]}, "code": 500}


async def serve(request: web.BaseRequest, wanted: Wanted, work: Work) -> web.StreamResponse:
    """Upgrade the request, run `work` on its streams, tell the outcome."""
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await _serve_websocket(request, wanted, work)
    if "spdy/3.1" not in request.headers.get("Upgrade", "").lower():
        raise web.HTTPBadRequest(text="unable to upgrade: missing upgrade headers in request")
    offered = [
        item.strip() for value in request.headers.getall("X-Stream-Protocol-Version", []) for item in value.split(",")
    ]
    protocol = next((item for item in SPDY_PROTOCOLS if item in offered), "" if not offered else None)
    if protocol is None:
        raise web.HTTPForbidden(
            text=f"unable to negotiate protocol: client supports {offered}, server accepts {list(SPDY_PROTOCOLS)}"
        )
    async with spdy_upgrade(request, protocol) as connection:
        caller = SpdyStreams(connection, wanted, resizes=protocol[:2] in ("v3", "v4"))
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(STREAMS_SECONDS):
                await caller.gather()
            await _run(caller, work, connection.closed, status=protocol.startswith("v4"))
    return Upgraded()


async def _run(caller: _Caller, work: Work, gone: asyncio.Event, *, status: bool) -> None:
    """Run the work until it ends or the caller is gone."""
    task, watcher = asyncio.ensure_future(_outcome(caller, work)), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            outcome = task.result()
            text = outcome.get("message", "")
            await caller.finish(json.dumps(outcome).encode() if status else text.encode())
    finally:
        for item in (task, watcher):
            item.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _outcome(caller: Streams, work: Work) -> dict[str, Any]:
    try:
        code = await work(caller)
    except (RuntimeFailure, TimeoutError) as error:
        return failed(str(error) or "timed out")
    return exited(code) if code else success()


# SPDY -----------------------------------------------------------------------------------------------------------------


class SpdyStreams:
    """Streams of a SPDY connection, told apart by their streamType."""

    def __init__(self, connection: Connection, wanted: Wanted, *, resizes: bool) -> None:
        self.stdin, self.stdout, self.stderr, self.tty = wanted.stdin, wanted.stdout, wanted.stderr, wanted.tty
        self._connection = connection
        self._streams: dict[str, Stream] = {}
        self._expected = {"error"} | {name for name in ("stdin", "stdout", "stderr") if getattr(wanted, name)}
        self._expected |= {"resize"} if resizes and wanted.tty else set()
        self._resize_rest = b""

    async def gather(self) -> None:
        """Wait until the caller has opened all its streams."""
        async for stream in self._connection.streams():
            self._streams[stream.headers.get("streamtype", "")] = stream
            if self._expected <= self._streams.keys():
                return
        raise ConnectionResetError("the caller went away before it opened its streams")

    async def read_stdin(self) -> bytes:
        return await self._streams["stdin"].read()

    async def write(self, stream: str, data: bytes) -> None:
        if stream in self._streams:
            await self._streams[stream].write(data)

    async def read_resize(self) -> tuple[int, int] | None:
        stream = self._streams.get("resize")
        if stream is None:
            return None
        while data := await stream.read():
            self._resize_rest += data
            head, brace, rest = self._resize_rest.rpartition(b"}")
            if brace:
                self._resize_rest = rest
                return parse_size(head[head.rfind(b"{") :] + brace)
        return None

    async def finish(self, outcome: bytes) -> None:
        error = self._streams["error"]
        await error.write(outcome)
        for stream in self._streams.values():
            await stream.close()


def parse_size(data: bytes) -> tuple[int, int]:
    """{"Width": 80, "Height": 24} to (80, 24)."""
    size = json.loads(data)
    return int(size.get("Width", 0)), int(size.get("Height", 0))


# WebSocket ------------------------------------------------------------------------------------------------------------


async def _serve_websocket(request: web.BaseRequest, wanted: Wanted, work: Work) -> web.StreamResponse:
    socket = web.WebSocketResponse(
        protocols=WEBSOCKET_PROTOCOLS, autoping=True, heartbeat=PING_SECONDS, max_msg_size=16 << 20
    )
    await socket.prepare(request)
    protocol = socket.ws_protocol or ""
    caller = WebSocketStreams(socket, wanted, text="base64" in protocol)
    reader = asyncio.create_task(caller.run(), name="websocket")
    try:
        with suppress(ConnectionError):
            await caller.send(STDOUT if wanted.stdout else ERROR, b"")
            await _run(caller, work, caller.gone, status=protocol.startswith(("v4", "v5")))
        await socket.close()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    return socket


class WebSocketStreams:
    """Streams as channels: the first byte (or digit) of each message names one."""

    def __init__(self, socket: web.WebSocketResponse, wanted: Wanted, *, text: bool) -> None:
        self.stdin, self.stdout, self.stderr, self.tty = wanted.stdin, wanted.stdout, wanted.stderr, wanted.tty
        self._socket, self._text = socket, text
        self._input: asyncio.Queue[bytes] = asyncio.Queue(INPUT_MAX_MESSAGES)
        self._sizes: asyncio.Queue[bytes] = asyncio.Queue(INPUT_MAX_MESSAGES)
        self.gone = asyncio.Event()

    async def run(self) -> None:
        """Sort incoming messages until the caller ends."""
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                await self._take(message.data[0] if message.data else STDIN, message.data[1:])
            elif message.type is WSMsgType.TEXT:
                data: str = message.data
                await self._take(int(data[:1] or "0"), base64.b64decode(data[1:]) if self._text else data[1:].encode())
        self.gone.set()
        await self._input.put(b"")

    async def _take(self, channel: int, data: bytes) -> None:
        if channel == STDIN and data:
            await self._input.put(data)
        elif channel == RESIZE and data:
            await self._sizes.put(data)
        elif channel == CLOSE and data[:1] == bytes([STDIN]):
            await self._input.put(b"")

    async def send(self, channel: int, data: bytes) -> None:
        """One message."""
        if self._text:
            await self._socket.send_str(str(channel) + base64.b64encode(data).decode())
        else:
            await self._socket.send_bytes(bytes([channel]) + data)

    async def read_stdin(self) -> bytes:
        return await self._input.get()

    async def write(self, stream: str, data: bytes) -> None:
        await self.send(STDOUT if stream == "stdout" else STDERR, data)

    async def read_resize(self) -> tuple[int, int] | None:
        return parse_size(await self._sizes.get())

    async def finish(self, outcome: bytes) -> None:
        await self.send(ERROR, outcome)
