"""One HTTPS client for everything the server asks of others: bounded in time and size, worded as Go's client.

A `Remote` is one party: a URL or a Service, whom to trust, what to show. `Callouts.post` sends JSON there and returns
the JSON that comes back; `Callouts.session` with `Remote.locate` is for those who pass bytes on (aggregation). Nobody's
redirects are followed and no proxy variable of the environment is heeded.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.meta.errors import StatusError, generic, quote
from wherry.server.callouts.services import service_endpoint
from wherry.server.kubelets import Endpoint
from wherry.server.strategies.strategy import Caches

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES_MAX = 32 << 20
"""An answer beyond this is no answer. The largest honest ones are lists of converted objects."""
REFUSAL_BYTES_MAX = 2048
"""How much of an answer that is no success is shown."""


class CalloutError(Exception):
    """No usable answer; the message says of whom and why. `status`: what the other side said instead, if it did."""

    def __init__(self, message: str, status: StatusError | None = None, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True, eq=False)
class Remote:
    """One party to ask. Made by `Callouts`."""

    url: str
    """Scheme, authority and path: what is asked, and how messages name it."""
    tls: ssl.SSLContext | None
    endpoint: Callable[[], Endpoint | None] = lambda: None
    """Where to connect instead of the URL's authority. Raises StatusError."""
    server_name: str | None = None
    """Whose certificate it must show; None: the URL's host."""
    token: Callable[[], str] | str | None = None

    def locate(self) -> tuple[str, str]:
        """Scheme and authority to connect to; the Host header. Raises StatusError."""
        parts = urlsplit(self.url)
        endpoint = self.endpoint()
        authority = parts.netloc if endpoint is None else endpoint.authority
        return f"{parts.scheme}://{authority}", parts.netloc

    def credentials(self) -> dict[str, str]:
        """Headers that say who asks."""
        token = self.token() if callable(self.token) else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


@dataclass(slots=True)
class Callouts:
    """All outgoing calls of one server, over one pool of connections that is made on first use."""

    caches: Caches
    entropy: Entropy
    clock: Clock
    _session: "aiohttp.ClientSession | None" = field(default=None, init=False)

    # Parties

    def to_url(
        self, url: str, ca: bytes | None = None, *, cert: bytes | None = None, key: bytes | None = None
    ) -> Remote:
        """A party known by URL. `ca` (PEM) replaces the system's authorities. Raises CalloutError for bad PEM."""
        return Remote(url, _context(ca, cert, key, False))

    def to_service(
        self,
        namespace: str,
        name: str,
        port: int = 443,
        path: str = "",
        *,
        ca: bytes | None = None,
        cert: bytes | None = None,
        key: bytes | None = None,
        insecure: bool = False,
    ) -> Remote:
        """A party behind a Service; its certificate is for <name>.<namespace>.svc. Raises CalloutError for bad PEM."""
        host = f"{name}.{namespace}.svc"

        def endpoint() -> Endpoint:
            return service_endpoint(self.caches, self.entropy, namespace, name, port)

        url = f"https://{host}:{port}/{path.lstrip('/')}"
        return Remote(url, _context(ca, cert, key, insecure), endpoint, host)

    def from_kubeconfig(self, path: Path) -> Remote:
        """A party described by a kubeconfig file, as flags name them. Raises KubeconfigError."""
        from wherry.client.kubeconfig import access  # brings YAML

        found = access(path, clock=self.clock)
        return Remote(found.server, found.tls, token=found.token)

    # Asking

    async def post(self, remote: Remote, value: Any, *, timeout_seconds: float, query: str = "") -> Any:
        """Send JSON, return the JSON answered. Raises CalloutError."""
        body = await self.deliver(remote, value, timeout_seconds=timeout_seconds, query=query)
        try:
            return orjson.loads(body)
        except ValueError as error:
            raise CalloutError(f"couldn't get version/kind; json parse error: {error}") from error

    async def deliver(self, remote: Remote, value: Any, *, timeout_seconds: float, query: str = "") -> bytes:
        """Send JSON, return whatever comes with a 2xx. Raises CalloutError."""
        return await self._ask("POST", remote, orjson.dumps(value), timeout_seconds, query)

    async def fetch(self, remote: Remote, *, timeout_seconds: float, query: str = "") -> bytes:
        """GET whatever comes with a 2xx. Raises CalloutError."""
        return await self._ask("GET", remote, None, timeout_seconds, query)

    async def _ask(self, method: str, remote: Remote, sent: bytes | None, timeout_seconds: float, query: str) -> bytes:
        from aiohttp import ClientError

        shown = f'{method.capitalize()} "{remote.url}{"?" + query if query else ""}"'
        try:
            async with asyncio.timeout(timeout_seconds):
                status, body = await self._exchange(method, remote, sent, query)
        except TimeoutError as error:
            raise CalloutError(f"{shown}: context deadline exceeded", timed_out=True) from error
        except StatusError as error:
            raise CalloutError(error.message, error) from error
        except (ClientError, OSError, ValueError) as error:
            raise CalloutError(f"{shown}: {explain(error)}") from error
        if not 200 <= status < 300:
            refusal = _refusal(status, body)
            raise CalloutError(refusal.message, refusal)
        return body

    async def _exchange(self, method: str, remote: Remote, body: bytes | None, query: str) -> tuple[int, bytes]:
        import yarl

        base, host = remote.locate()
        path = urlsplit(remote.url).path or "/"
        headers = {"Host": host, "Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        answer = await self.session.request(
            method,
            yarl.URL(f"{base}{path}{'?' + query if query else ''}", encoded=True),
            data=body,
            headers=headers | remote.credentials(),
            allow_redirects=False,
            **tls_options(remote),
        )
        try:
            read = bytearray()
            async for chunk in answer.content.iter_any():
                read += chunk
                if len(read) > ANSWER_BYTES_MAX:
                    raise ValueError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
            return answer.status, bytes(read)
        except BaseException:
            answer.close()  # what is left of it must not be read as the next answer
            raise

    @property
    def session(self) -> "aiohttp.ClientSession":
        """The pool: no time limit of its own, bytes as they come."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": "kube-apiserver-admission", "Accept-Encoding": "identity"},
            )
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def tls_options(remote: Remote) -> Mapping[str, Any]:
    """How aiohttp is told whom to trust."""
    options: dict[str, Any] = {"ssl": remote.tls if remote.tls is not None else True}
    if remote.server_name:
        options["server_hostname"] = remote.server_name
    return options


@lru_cache(maxsize=256)
def _context(ca: bytes | None, cert: bytes | None, key: bytes | None, insecure: bool) -> ssl.SSLContext:
    from wherry.client.https import tls_context

    try:
        return tls_context(ca=ca, cert=cert, key=key, insecure=insecure)
    except (ssl.SSLError, ValueError) as error:
        raise CalloutError("unable to load root certificates: unable to parse bytes as PEM block") from error


def _refusal(code: int, body: bytes) -> StatusError:
    """A failed answer as the error it stands for: a Status, or the first of its text."""
    try:
        status = orjson.loads(body)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return StatusError.from_status(status, code)
    found = generic(code)
    if code >= 500 and found.reason in ("", "InternalError"):
        text = body[:REFUSAL_BYTES_MAX].decode(errors="replace").strip() or "unknown"
        found.message = f"an error on the server ({quote(text)}) has prevented the request from succeeding"
    return found


def explain(error: BaseException) -> str:
    """Why a connection failed, as Go's client words it."""
    from aiohttp import ClientConnectorCertificateError, ClientConnectorError, ServerDisconnectedError

    if isinstance(error, ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: x509: {_untrusted(error.certificate_error)}"
    if isinstance(error, ClientConnectorError):
        number = error.os_error.errno
        why = os.strerror(number).lower() if number and number > 0 else str(error.os_error)
        return f"dial tcp {error.host}:{error.port}: connect: {why}"
    if isinstance(error, ServerDisconnectedError):
        return "EOF"
    return str(error) or type(error).__name__


def _untrusted(error: BaseException) -> str:
    why = getattr(error, "verify_message", "") or str(error)
    if "expired" in why:
        return "certificate has expired or is not yet valid"
    if "self-signed" in why or "self signed" in why or "issuer" in why:
        return "certificate signed by unknown authority"
    return why
