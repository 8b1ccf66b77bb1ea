"""HTTPS: aiohttp's low-level server in front of `Server.handle`.

One task per connection; a request is copied nowhere but into `Request`, a response's bytes go to the transport as they
are. Client certificates are asked for, not required: what is in them is the authenticator's business, their expiry too
(the handshake ignores it, so that an expired certificate gets a 401 that can be read). Streams (watches, logs) end with
their connection; other requests are answered to the end, for a write half done must not be torn.
"""

import asyncio
import errno
import ssl
import zlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, unquote

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from wherry.server.http import Handler, Request, Response
from wherry.server.negotiation import BODY_BYTES_MAX, status_response, too_large
from wherry.server.transport import close_body

KEEP_ALIVE_SECONDS = 180.0
"""Go's and Python's clients keep idle connections for 90 s; the server must not be the one that hangs up first."""
SHUTDOWN_SECONDS = 5.0
BACKLOG = 1024
COMPRESSED_BYTES = 128 * 1024
"""Longer answers are compressed for clients that take gzip; kube-apiserver's own figure."""
WRITE_BYTES = 1 << 20
"""Large bodies are written in pieces of this size, each when the one before has left."""
_NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ssl module has no name for


class ListenError(Exception):
    """The address cannot be listened on; the message says why, and what to do."""


def tls_context(certificate: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """A server's context from PEM files. Raises OSError, ssl.SSLError for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        context.load_verify_locations(client_ca)
    return context


class _Connection(RequestHandler):
    """A connection that knows its client certificate and ends its stream when the peer leaves."""

    __slots__ = ("peer_certificate", "stream")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stream: asyncio.Task[Any] | None = None
        tls = transport.get_extra_info("ssl_object")
        self.peer_certificate: bytes | None = tls.getpeercert(True) if tls is not None else None
        super().connection_made(transport)

    def eof_received(self) -> None:
        """The peer says that it leaves. TLS cannot close by halves, and what is written from now on would be logged."""
        super().eof_received()
        if self.stream is not None:
            self.stream.cancel()

    def connection_lost(self, exc: BaseException | None) -> None:
        stream = self.stream
        super().connection_lost(exc)
        if stream is not None:
            stream.cancel()


class _WebServer(web.Server):
    """aiohttp's server with our connections."""

    def __call__(self) -> Any:
        return _Connection(self, loop=self._loop, **self._kwargs)


class HttpsFrontend:
    """Listens and serves until closed. Plain HTTP when there is no TLS context."""

    def __init__(self, handle: Handler, tls: ssl.SSLContext | None) -> None:
        self._handle = handle
        self._tls = tls
        self._web = _WebServer(
            self._serve, request_factory=self._request, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS
        )
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; `port` 0 takes any. Raises ListenError."""
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._web, host, port, ssl=self._tls, backlog=BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ListenError(f"port {port} on {host} is in use by another program; choose another port") from error
            raise ListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, let requests finish for a while, close every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in self._web.connections:
            if isinstance(connection, _Connection) and connection.stream is not None:
                connection.stream.cancel()
        await self._web.shutdown(SHUTDOWN_SECONDS)

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_BYTES_MAX + 1)

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        path, _, query = raw.raw_path.partition("?")
        connection: Any = raw.protocol
        request = Request(
            raw.method,
            unquote(path) if "%" in path else path,
            parse_qs(query, keep_blank_values=True) if query else None,
            {name.lower(): value for name, value in raw.headers.items()},
            query_string=query,
            remote=raw.remote or "",
            peer_certificate=connection.peer_certificate,
            raw=raw,
        )
        if raw.can_read_body:
            if (raw.content_length or 0) > BODY_BYTES_MAX:
                return await self._refuse(raw, request)
            try:
                request.body = await raw.read()
            except web.HTTPRequestEntityTooLarge:
                return await self._refuse(raw, request)
        answer = await self._handle(request)
        if answer.upgrade is not None:
            upgraded: web.StreamResponse = await answer.upgrade(raw)
            return upgraded
        body = answer.body
        if isinstance(body, bytes):
            return await self._whole(raw, answer, body)
        if isinstance(body, list):
            return await self._whole(raw, answer, b"".join(body))
        return await self._streamed(raw, connection, answer, body)

    async def _refuse(self, raw: web.BaseRequest, request: Request) -> web.StreamResponse:
        answer = status_response(request, too_large())
        assert isinstance(answer.body, bytes)
        response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        response.force_close()  # the rest of the body is never read
        return response

    async def _whole(self, raw: web.BaseRequest, answer: Response, body: bytes) -> web.StreamResponse:
        if len(body) > COMPRESSED_BYTES and raw.method == "GET" and "gzip" in raw.headers.get("Accept-Encoding", ""):
            answer.headers |= {"Content-Encoding": "gzip", "Vary": _vary(answer.headers)}
            body = await asyncio.to_thread(zlib.compress, body, 1, wbits=31)
        if len(body) <= WRITE_BYTES or raw.method == "HEAD":
            return web.Response(status=answer.status, body=body, headers=answer.headers)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = len(body)
        await response.prepare(raw)
        view = memoryview(body)
        for start in range(0, len(body), WRITE_BYTES):
            await response.write(view[start : start + WRITE_BYTES])
        await response.write_eof()
        return response

    async def _streamed(
        self, raw: web.BaseRequest, connection: Any, answer: Response, body: AsyncIterator[bytes]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.enable_chunked_encoding()
        connection.stream = asyncio.current_task()
        try:
            await response.prepare(raw)
            async for chunk in body:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            response.force_close()  # the peer left between two chunks
        finally:
            connection.stream = None
            await close_body(answer)
        return response


def _vary(headers: dict[str, str]) -> str:
    given = headers.get("Vary")
    return f"{given}, Accept-Encoding" if given else "Accept-Encoding"
