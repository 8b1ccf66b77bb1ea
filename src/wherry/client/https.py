"""The road over the network: HTTPS with client certificates or bearer tokens, on one keep-alive pool.

Certificates and tokens come as bytes or as files (client/kubeconfig.py reads both from a kubeconfig); a token file is
read again each minute, because service-account tokens rotate. Proxy variables of the environment are not followed: the
API server is where the kubeconfig says it is.
"""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from wherry.aio.clock import Clock
from wherry.client.transport import Response, TransportError, status_error

CONNECTIONS_MAX = 256
CONNECT_TIMEOUT_SECONDS = 30.0
REQUEST_TIMEOUT_SECONDS = 90.0
"""Longer than the server's own 60 s for a request, so that its answer is the one seen."""
LINE_BYTES_MAX = 32 << 20
"""A watch event is a little larger than its object; no object is near this."""
READ_BUFFER_BYTES = 256 << 10
TOKEN_RELOAD_SECONDS = 60.0

_CONNECTION_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


def tls_context(
    *, ca: bytes | None = None, cert: bytes | None = None, key: bytes | None = None, insecure: bool = False
) -> ssl.SSLContext:
    """A client context from PEM bytes: `ca` replaces the system's authorities. Raises ssl.SSLError for bad PEM."""
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert and key:
        with tempfile.NamedTemporaryFile(
            prefix="wherry-", suffix=".pem"
        ) as file:  # ssl loads key pairs from files only
            file.write(cert.rstrip() + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


class TokenFile:
    """A bearer token kept in a file, read at most once a minute. Raises OSError when it cannot be read at first."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._token = path.read_text().strip()
        self._read_at = clock.monotonic()

    def __call__(self) -> str:
        now = self._clock.monotonic()
        if now - self._read_at >= TOKEN_RELOAD_SECONDS:
            self._read_at = now
            try:
                self._token = self._path.read_text().strip() or self._token
            except OSError:
                return self._token  # being replaced just now; the old one is good for a while
        return self._token


class HttpsTransport:
    """A Transport to `server_url` ("https://127.0.0.1:6443", a path prefix is kept; plain http works too)."""

    def __init__(
        self, server_url: str, *, tls: ssl.SSLContext | None = None, token: Callable[[], str] | str | None = None
    ) -> None:
        self._base = URL(server_url.rstrip("/"))
        self._tls = tls
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    @property
    def server_url(self) -> str:
        """Where this leads."""
        return str(self._base)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """See Transport."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
        url, sent = self._url(path, query), self._headers(headers)
        try:
            async with self._open().request(method, url, data=body or None, headers=sent, timeout=timeout) as answer:
                lowered = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status, lowered, await answer.read())
        except _CONNECTION_ERRORS as error:
            raise self._translate(error) from error

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See Transport."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
        url, sent = self._url(path, query), self._headers(headers)
        try:
            answer = await self._open().request(method, url, data=body or None, headers=sent, timeout=timeout)
        except _CONNECTION_ERRORS as error:
            raise self._translate(error) from error
        try:
            if answer.status >= 300:
                raise status_error(answer.status, await answer.read())
            yield _Lines(answer.content, self._translate)
        finally:
            answer.close()  # the connection is in the middle of an answer and cannot be used again

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)  # lets closed sockets leave the loop

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._tls if self._tls is not None else True, limit=CONNECTIONS_MAX, limit_per_host=0
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                read_bufsize=READ_BUFFER_BYTES,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            )
        return self._session

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        url = self._base.with_path(self._base.path.rstrip("/") + path)
        return URL(f"{url}?{urlencode(query)}", encoded=True) if query else url

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        sent = dict(headers or {})
        token = self._token() if callable(self._token) else self._token
        if token:
            sent["authorization"] = f"Bearer {token}"
        return sent

    def _translate(self, error: BaseException) -> TransportError:
        if isinstance(error, TimeoutError):
            return TransportError(f"{self._base}: no answer in time")
        return TransportError(f"{self._base}: {error or type(error).__name__}")


class _Lines:
    """Lines of any length up to a bound; the reader's own buffer holds back a server faster than its reader."""

    def __init__(self, content: aiohttp.StreamReader, translate: Callable[[BaseException], TransportError]) -> None:
        self._content = content
        self._translate = translate
        self._pending: list[bytes] = []
        self._rest = bytearray()

    def __aiter__(self) -> "_Lines":
        return self

    async def __anext__(self) -> bytes:
        while not self._pending:
            await self._fill()
        return self._pending.pop()

    async def _fill(self) -> None:
        try:
            chunk = await self._content.readany()
        except _CONNECTION_ERRORS as error:
            raise self._translate(error) from error
        if not chunk:
            if not self._rest:
                raise StopAsyncIteration
            self._pending, self._rest = [bytes(self._rest)], bytearray()
            return
        head, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            self._rest += chunk
            if len(self._rest) > LINE_BYTES_MAX:
                raise self._translate(ValueError(f"a line of the stream is longer than {LINE_BYTES_MAX} bytes"))
            return
        lines = (bytes(self._rest) + head).split(b"\n")
        self._rest = bytearray(tail)
        self._pending = lines[::-1]
