"""A SPDY connection over any pair of byte functions: streams that can be read, written and closed.

The pair is a TCP connection (kubectl's SPDY upgrade, containerd's streaming server) or the messages of a WebSocket
(kubectl's tunnel). Each stream buffers what its reader has not taken; the connection stops reading when a buffer is
full, which holds the peer back through TCP.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from wherry.kubelet.streaming import spdy

BUFFER_MAX_CHUNKS = 64
ACCEPT_QUEUE_MAX = 256
Read = Callable[[], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


class Stream:
    """One of a connection's streams."""

    def __init__(self, connection: "Connection", number: int, headers: Mapping[str, str]) -> None:
        self.number = number
        self.headers = dict(headers)
        self.accepted = asyncio.Event()
        self._connection = connection
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(BUFFER_MAX_CHUNKS)
        self._read_ended = False
        self._write_ended = False

    async def read(self) -> bytes:
        """The next bytes; b"" at the end."""
        if self._read_ended:
            return b""
        data = await self._chunks.get()
        if not data:
            self._read_ended = True
        return data

    async def read_all(self) -> bytes:
        """Everything up to the end."""
        parts = []
        while data := await self.read():
            parts.append(data)
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Send. Raises ConnectionError when the connection is gone."""
        if data and not self._write_ended:
            await self._connection.send(self._connection.framer.data(self.number, data))

    async def close(self) -> None:
        """Send no more."""
        if not self._write_ended:
            self._write_ended = True
            await self._connection.send(self._connection.framer.data(self.number, b"", fin=True))

    async def reset(self) -> None:
        """Send no more, and want no more."""
        self._write_ended = True
        self._connection.forget(self)
        await self._connection.send(self._connection.framer.reset(self.number, spdy.RST_CANCEL))

    async def deliver(self, data: bytes, fin: bool) -> None:
        """From the connection: bytes have come."""
        if data:
            await self._chunks.put(data)
        if fin:
            await self._chunks.put(b"")

    def abort(self) -> None:
        """From the connection: nothing will come any more."""
        self.accepted.set()
        while self._chunks.full():
            self._chunks.get_nowait()
        self._chunks.put_nowait(b"")


class Connection:
    """Run `run` in a task of its own; it ends with the peer."""

    def __init__(self, read: Read, write: Write, *, client: bool) -> None:
        self.framer = spdy.Framer(1 if client else 2)
        self._read, self._write = read, write
        self._streams: dict[int, Stream] = {}
        self._opened: asyncio.Queue[Stream | None] = asyncio.Queue(ACCEPT_QUEUE_MAX)
        self._sending = asyncio.Lock()
        self.closed = asyncio.Event()

    async def run(self) -> None:
        """Read frames until the peer ends. Raises spdy.SpdyFailure, ConnectionError."""
        try:
            while data := await self._read():
                for event in self.framer.receive(data):
                    await self._handle(event)
        finally:
            self.closed.set()
            for stream in self._streams.values():
                stream.abort()
            if not self._opened.full():
                self._opened.put_nowait(None)

    async def streams(self) -> AsyncIterator[Stream]:
        """Streams that the peer opens."""
        while (stream := await self._opened.get()) is not None:
            yield stream

    async def open(self, headers: Mapping[str, str]) -> Stream:
        """Open a stream and wait until the peer has accepted it."""
        async with self._sending:
            number, frame = self.framer.open(headers)
            stream = self._streams[number] = Stream(self, number, headers)
            await self._write(frame)
        await stream.accepted.wait()
        if self.closed.is_set():
            raise ConnectionResetError("the peer closed the connection")
        return stream

    async def send(self, frame: bytes) -> None:
        """One frame or several, whole."""
        async with self._sending:
            await self._write(frame)

    def forget(self, stream: Stream) -> None:
        """Nothing for this stream is wanted any more."""
        self._streams.pop(stream.number, None)

    async def _handle(self, event: spdy.Event) -> None:
        match event:
            case spdy.StreamOpened(number, headers, fin):
                stream = self._streams[number] = Stream(self, number, headers)
                await self.send(self.framer.accept(number))
                await stream.deliver(b"", fin)
                await self._opened.put(stream)
            case spdy.StreamAccepted(number):
                if number in self._streams:
                    self._streams[number].accepted.set()
            case spdy.DataReceived(number, data, fin):
                if number in self._streams:
                    await self._streams[number].deliver(data, fin)
            case spdy.StreamReset(number):
                if number in self._streams:
                    self._streams.pop(number).abort()
            case spdy.PingReceived(reply):
                await self.send(reply)
            case spdy.GoneAway():
                pass
