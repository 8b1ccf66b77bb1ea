"""The HTTPS frontend: aiohttp's low-level server round one handler.

It makes a `Request` of what arrives and performs the `Response`; everything in between knows no sockets. Client
certificates are asked for, checked against the cluster's authority but not against the clock: an expired one must get a
401 with a Status, not a broken handshake (authn/x509.py looks at the time).
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from wherry.meta.errors import StatusError, request_entity_too_large
from wherry.meta.wire import encode
from wherry.server.http import Handler, Request, Response

# kube-apiserver refuses bodies over 3 MiB (its maxRequestBodyBytes).
BODY_LIMIT_BYTES = 3 * 1024 * 1024
# A LIST is written in pieces this large, so that other requests get their turn between them.
WRITE_CHUNK_BYTES = 1024 * 1024
KEEP_ALIVE_SECONDS = 120.0
# openssl/x509_vfy.h: do not look at validity periods.
X509_V_FLAG_NO_CHECK_TIME = 0x200000


@dataclass(slots=True)
class ServingOptions:
    """Where and with what to listen."""

    addresses: Sequence[str]
    port: int
    """0 lets the system choose."""
    certificate: Path
    key: Path
    client_authority: Path | None


class PortInUseError(OSError):
    """Another process listens there."""


class Frontend:
    """Listens, and hands every request to `handler`."""

    def __init__(self, options: ServingOptions, handler: Handler) -> None:
        self._options = options
        self._handler = handler
        self.port = options.port
        self._server: web.Server | None = None
        self._listening: list[asyncio.Server] = []
        self._certificates: WeakKeyDictionary[Any, bytes | None] = WeakKeyDictionary()

    async def start(self) -> None:
        """Listen on every address. Raises PortInUseError, or OSError for an address that is not this machine's."""
        loop = asyncio.get_running_loop()
        self._server = web.Server(
            self._serve,
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,
            access_log_class=_NoAccessLog,
            auto_decompress=True,
        )
        context = self._context()
        for address in self._options.addresses:
            try:
                listener = await loop.create_server(self._server, address, self.port, ssl=context, backlog=1024)
            except OSError as error:
                await self.stop()
                if error.errno == 98:  # EADDRINUSE
                    raise PortInUseError(error.errno, f"port {self.port} is in use on {address}") from error
                raise
            self._listening.append(listener)
            self.port = listener.sockets[0].getsockname()[1]

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Stop listening, let requests that run finish for a while, then cut off the rest."""
        for listener in self._listening:
            listener.close()
        self._listening.clear()
        if self._server is not None:
            await self._server.shutdown(grace_seconds)
            self._server = None

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._options.certificate, self._options.key)
        if self._options.client_authority is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(self._options.client_authority)
            context.verify_flags = ssl.VerifyFlags(context.verify_flags | X509_V_FLAG_NO_CHECK_TIME)
        return context

    async def _serve(self, incoming: web.BaseRequest) -> web.StreamResponse:
        try:
            request = await self._request(incoming)
        except StatusError as error:
            return web.Response(status=error.code, body=encode(error.status()), content_type="application/json")
        response = await self._handler(request)
        if response.upgrade is not None:
            upgraded: web.StreamResponse = await response.upgrade(incoming)
            return upgraded
        if isinstance(response.body, bytes):
            return web.Response(status=response.status, body=response.body, headers=response.headers)
        if isinstance(response.body, list):
            return await _send_chunks(incoming, response, response.body)
        return await _send_stream(incoming, response)

    async def _request(self, incoming: web.BaseRequest) -> Request:
        query_string = incoming.rel_url.raw_query_string
        body = b""
        if incoming.can_read_body and not _is_upgrade(incoming):
            body = await _read_body(incoming)
        return Request(
            incoming.method,
            incoming.rel_url.path,
            parse_qs(query_string, keep_blank_values=True) if query_string else {},
            incoming.headers,
            body,
            query_string=query_string,
            remote=incoming.remote or "",
            peer_certificate=self._peer_certificate(incoming.transport),
            raw=incoming,
        )

    def _peer_certificate(self, transport: asyncio.Transport | None) -> bytes | None:
        """The client's certificate, asked of the TLS layer once a connection."""
        if transport is None:
            return None
        try:
            return self._certificates[transport]
        except KeyError:
            tls = transport.get_extra_info("ssl_object")
            found: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
            self._certificates[transport] = found
            return found


class _NoAccessLog(AbstractAccessLogger):
    """aiohttp wants one; requests are counted in /metrics."""

    @property
    def enabled(self) -> bool:
        return False

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Nothing."""


async def _read_body(incoming: web.BaseRequest) -> bytes:
    if (incoming.content_length or 0) > BODY_LIMIT_BYTES:
        raise request_entity_too_large(f"limit is {BODY_LIMIT_BYTES}")
    pieces: list[bytes] = []
    size = 0
    async for piece in incoming.content.iter_any():
        size += len(piece)
        if size > BODY_LIMIT_BYTES:
            raise request_entity_too_large(f"limit is {BODY_LIMIT_BYTES}")
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _is_upgrade(incoming: web.BaseRequest) -> bool:
    return "upgrade" in incoming.headers.get("Connection", "").lower()


async def _send_chunks(incoming: web.BaseRequest, response: Response, chunks: list[bytes]) -> web.StreamResponse:
    size = sum(map(len, chunks))
    if size <= WRITE_CHUNK_BYTES:
        return web.Response(status=response.status, body=b"".join(chunks), headers=response.headers)
    out = web.StreamResponse(status=response.status, headers=response.headers)
    out.content_length = size
    await out.prepare(incoming)
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), WRITE_CHUNK_BYTES):
            await out.write(view[start : start + WRITE_CHUNK_BYTES])
    await out.write_eof()
    return out


async def _send_stream(incoming: web.BaseRequest, response: Response) -> web.StreamResponse:
    out = web.StreamResponse(status=response.status, headers=response.headers)
    out.enable_chunked_encoding()
    body: Any = response.body
    try:
        await out.prepare(incoming)
        _send_at_once(incoming.transport)
        async for chunk in body:
            await out.write(chunk)
        await out.write_eof()
    except (ConnectionError, ssl.SSLError):
        # The peer went away in the middle of the stream: nobody is left to tell.
        out.force_close()
    finally:
        await body.aclose()
    return out


def _send_at_once(transport: asyncio.Transport | None) -> None:
    """Events must not wait for the peer's delayed acknowledgement."""
    raw = transport.get_extra_info("socket") if transport else None
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
