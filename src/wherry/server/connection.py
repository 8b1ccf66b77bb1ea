"""One HTTP/1.1 connection: httptools reads requests, this answers them one after the other.

A request is copied nowhere but into `Request`, an answer's bytes go to the transport as they are. Pipelined requests
wait in a short queue. Streams (watches, logs) end with their connection; other requests are answered to the end, for a
write half done must not be torn. An upgrade gives the transport away (pipe.py). Limits and words of refusals are those
of Go's net/http, which clients of Kubernetes know. The listener is in frontend.py.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncIterator
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, unquote, urlsplit

import httptools

from wherry.server.http import Request, Response
from wherry.server.negotiation import BODY_BYTES_MAX, status_response, too_large
from wherry.server.tls import peer_certificates
from wherry.server.transport import close_body

if TYPE_CHECKING:
    from wherry.server.frontend import HttpsFrontend

HEAD_BYTES_MAX = 1 << 20
"""Of request line and headers together; kube-apiserver's own figure."""
HEAD_SECONDS = 32.0
"""From a request's first byte to the end of its headers; kube-apiserver's ReadHeaderTimeout."""
BODY_SECONDS = 60.0
"""From there to the end of the body."""
KEEP_ALIVE_SECONDS = 180.0
"""Go's and Python's clients keep idle connections for 90 s; the server must not be the one that hangs up first."""
LINGER_SECONDS = 0.5
"""After a refusal the rest of the request is still read for a moment, or the refusal would be lost to a reset."""
PIPELINED_MAX = 8
COMPRESSED_BYTES = 128 * 1024
"""Longer answers are compressed for clients that take gzip; kube-apiserver's own figure."""
WRITE_BYTES = 1 << 20
"""Large bodies are written in pieces of this size, each when the one before has left."""

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_BODILESS = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """What a listener makes for each client; also what an upgrade is given."""

    __slots__ = (
        "_alive",
        "_body",
        "_closing",
        "_frontend",
        "_head_bytes",
        "_pairs",
        "_paused",
        "_queue",
        "_reading",
        "_request",
        "_since",
        "_stream",
        "_target",
        "_task",
        "_upgraded",
        "early",
        "parser",
        "peer_certificates",
        "remote",
        "transport",
    )

    def __init__(self, frontend: "HttpsFrontend") -> None:
        self._frontend = frontend
        self.parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport | None = None
        self.remote = ""
        self.peer_certificates: tuple[bytes, ...] = ()
        self.early = b""
        """What came after an upgrade request, for whom the connection is handed to."""
        self._queue: deque[tuple[Request, bool, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stream = False
        self._paused: asyncio.Future[None] | None = None
        self._reading = False
        self._closing = False
        self._upgraded = False
        self._since = 0.0
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._pairs: list[tuple[str, str]] = []
        self._body: list[bytes] | None = None
        self._request: Request | None = None
        self._head_bytes = 0
        self._alive = True

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.remote = peer[0] if isinstance(peer, tuple) else ""
        self.peer_certificates = peer_certificates(transport.get_extra_info("ssl_object"))
        self._since = self._frontend.now()
        self._frontend.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._frontend.connections.discard(self)
        self.transport = None
        self._closing = True
        self._queue.clear()
        if self._stream and self._task is not None:
            self._task.cancel()
        self.resume_writing()

    def eof_received(self) -> bool:
        """The peer says that it leaves. TLS cannot close by halves, and what is written from now on would be logged."""
        if self._stream and self._task is not None:
            self._task.cancel()
        tls = self.transport is not None and self.transport.get_extra_info("ssl_object") is not None
        self._closing = True
        return not tls and self._task is not None

    def pause_writing(self) -> None:
        self._paused = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        waiting, self._paused = self._paused, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            self.early += data
            return
        if self._closing:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded = True
            self.early = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._refuse(400)
        if self._reading and self._body is None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(431)

    # The parser's side

    def on_message_begin(self) -> None:
        self._reset()
        self._reading = True
        self._since = self._frontend.now()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._pairs.append((name.lower().decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._body = []
        self._since = self._frontend.now()
        parser = self.parser
        pairs = self._pairs
        target = self._target.decode("latin-1")
        if not target.startswith("/"):
            target = _origin_form(target)
        path, _, query = target.partition("?")
        headers = dict(pairs)
        request = self._request = Request(
            parser.get_method().decode(),
            unquote(path) if "%" in path else path,
            parse_qs(query, keep_blank_values=True) if query else None,
            headers,
            query_string=query,
            remote=self.remote,
            peer_certificates=self.peer_certificates,
            raw=self,
            pairs=pairs,
        )
        if len(headers) != len(pairs) and sum(name == "host" for name, _ in pairs) > 1:
            self._refuse(400, ": too many Host headers")
        elif "host" not in headers and parser.get_http_version() == "1.1":
            self._refuse(400, ": missing required Host header")
        elif int(headers.get("content-length", 0)) > BODY_BYTES_MAX:
            self._too_large(request)
        elif headers.get("expect", "").lower() == "100-continue" and self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._closing or self._body is None or self._request is None:
            return
        self._body.append(body)
        self._head_bytes += len(body)
        if self._head_bytes > BODY_BYTES_MAX:
            self._too_large(self._request)

    def on_message_complete(self) -> None:
        request = self._request
        self._reading = False
        if request is None or self._closing:
            return
        body, self._body, self._head_bytes = self._body, None, 0
        if body:
            request.body = body[0] if len(body) == 1 else b"".join(body)
        alive, chunks = self.parser.should_keep_alive(), self.parser.get_http_version() != "1.0"
        if self._task is None:
            self._begin(request, alive, chunks)
            return
        self._queue.append((request, alive, chunks))
        if len(self._queue) == PIPELINED_MAX and self.transport is not None:
            self.transport.pause_reading()

    # Answering

    def _begin(self, request: Request, alive: bool, chunks: bool) -> None:
        self._task = self._frontend.loop.create_task(self._serve(request, alive, chunks))

    async def _serve(self, request: Request, alive: bool, chunks: bool) -> None:
        goes_on = False
        try:
            answer = await self._frontend.handle(request)
            if answer.upgrade is not None:
                refused = await answer.upgrade(self)
                if refused is None:
                    return
                answer = refused
            alive = alive and not self._upgraded and not self._closing and answer.headers.get("Connection") != "close"
            await self._answer(request, answer, alive, chunks)
            goes_on = alive
        except ConnectionError:
            pass  # the peer left between two pieces
        finally:
            self._next(goes_on)

    def _next(self, alive: bool) -> None:
        """After an answer: the next request, or the end."""
        self._task, self._stream = None, False
        self._since = self._frontend.now()
        transport = self.transport
        if transport is None:
            return
        if not alive or self._closing:
            self._closing = True
            transport.close()
        elif self._queue:
            if len(self._queue) == PIPELINED_MAX:
                transport.resume_reading()
            self._begin(*self._queue.popleft())

    async def _answer(self, request: Request, answer: Response, alive: bool, chunks: bool) -> None:
        body = answer.body
        if not isinstance(body, bytes | list):
            await self._streamed(request, answer, body, alive, chunks)
            return
        pieces = [body] if isinstance(body, bytes) else body
        size = sum(map(len, pieces))
        compresses = size > COMPRESSED_BYTES and self._frontend.compresses
        if compresses and request.method == "GET" and _takes_gzip(request):
            answer.headers |= {"Content-Encoding": "gzip", "Vary": _vary(answer.headers)}
            pieces = [await asyncio.to_thread(zlib.compress, b"".join(pieces), 1, wbits=31)]
            size = len(pieces[0])
        head = self._head(answer, alive, "" if answer.status in _BODILESS else f"Content-Length: {size}\r\n")
        if request.method == "HEAD" or answer.status in _BODILESS:
            await self._write(head)
        elif len(pieces) == 1 and size <= WRITE_BYTES:
            await self._write(head + pieces[0])
        else:
            await self._write(head)
            for piece in pieces:
                view = memoryview(piece)
                for start in range(0, len(piece), WRITE_BYTES):
                    await self._write(view[start : start + WRITE_BYTES])

    async def _streamed(
        self, request: Request, answer: Response, body: AsyncIterator[bytes], alive: bool, chunks: bool
    ) -> None:
        """To HTTP/1.0, which has no chunks, the end of the connection is the end of the body."""
        self._stream = True
        try:
            await self._write(self._head(answer, alive and chunks, "Transfer-Encoding: chunked\r\n" if chunks else ""))
            if request.method == "HEAD":
                return
            async for chunk in body:
                if chunk:
                    await self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunks else chunk)
            if chunks:
                await self._write(b"0\r\n\r\n")
            elif self.transport is not None:
                self.transport.close()
        finally:
            await close_body(answer)

    async def _write(self, data: bytes | memoryview) -> None:
        """Raises ConnectionError when the peer is gone."""
        if self.transport is None:
            raise ConnectionResetError
        self.transport.write(data)
        if self._paused is not None:
            await self._paused

    def _head(self, answer: Response, alive: bool, length: str) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in answer.headers.items()]
        text = "".join(lines)
        if text.count("\n") != len(lines):  # a value with a line break would be a header of the client's making
            text = "".join(" ".join(line.split()) + "\r\n" for line in lines)
        if not alive and "Connection" not in answer.headers:
            length += "Connection: close\r\n"
        return f"{_LINES[answer.status]}{text}{self._frontend.date()}{length}\r\n".encode()

    # Refusing

    def _too_large(self, request: Request) -> None:
        answer = status_response(request, too_large())
        assert isinstance(answer.body, bytes)
        self._hang_up(self._head(answer, False, f"Content-Length: {len(answer.body)}\r\n") + answer.body)

    def _refuse(self, status: int, detail: str = "") -> None:
        """Turn away what is no request, in the words of Go's server."""
        text = f"{status} {HTTPStatus(status).phrase}{detail}"
        answer = Response(status, content_type="text/plain; charset=utf-8")
        self._hang_up(self._head(answer, False, "") + text.encode())

    def _hang_up(self, last: bytes) -> None:
        """Say this, after what is being answered, and close. The rest of the request is never looked at."""
        if self._closing:
            return
        self._closing = True
        self._queue.clear()
        if self._task is None and self.transport is not None:
            self.transport.write(last)
            self._frontend.loop.call_later(LINGER_SECONDS, self.close)

    # The listener's side

    def look(self, now: float) -> None:
        """Close the connection if it has waited too long for its client."""
        if self._task is not None:
            return
        limit = KEEP_ALIVE_SECONDS
        if self._reading:
            limit = HEAD_SECONDS if self._body is None else BODY_SECONDS
        if now - self._since > limit:
            self.close()

    def begin_close(self) -> asyncio.Task[None] | None:
        """End a stream or an idle connection; the task of a request that is to finish, if there is one."""
        self._closing = True
        if self._stream and self._task is not None:
            self._task.cancel()
        elif self._task is None:
            self.close()
        return self._task

    def close(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.close()


def date_line() -> str:
    """The Date header of now."""
    return f"Date: {formatdate(usegmt=True)}\r\n"


def _origin_form(target: str) -> str:
    """Path and query of a target that is a whole URL."""
    parts = urlsplit(target)
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _vary(headers: dict[str, str]) -> str:
    given = headers.get("Vary")
    return f"{given}, Accept-Encoding" if given else "Accept-Encoding"
