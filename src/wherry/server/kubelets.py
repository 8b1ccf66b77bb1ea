"""The road from the API server to kubelets: where they listen, over TLS with the server's own client certificate."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry.api.core_v1 import Node
from wherry.meta.errors import StatusError, internal_error, not_found
from wherry.server.strategies.strategy import Caches

if TYPE_CHECKING:
    import aiohttp

_ORDER = ("InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname")
"""IP addresses first, unlike kube-apiserver: the host names of nodes need not resolve."""
DEFAULT_PORT = 10250


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one kubelet listens."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """host:port, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, target: str) -> str:
        """https URL of a path with query."""
        return f"https://{self.authority}{target}"


def kubelet_context(certificate: str | None, key: str | None, authority: str | None) -> ssl.SSLContext:
    """TLS towards kubelets. As with kube-apiserver, their certificates are only checked when an authority is given."""
    context = ssl.create_default_context(cafile=authority)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate and key:
        context.load_cert_chain(certificate, key)
    return context


class Kubelets:
    """Finds kubelets and talks to them; one HTTP session for all, made on first use."""

    def __init__(self, caches: Caches, make_context: Callable[[], ssl.SSLContext]) -> None:
        self._caches = caches
        self._make_context = make_context
        self._context: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None

    def endpoint(self, node_name: str) -> Endpoint:
        """Where the kubelet of a node listens. Raises 404 for an unknown node, 500 for one without an address."""
        node = self._caches.get(Node, None, node_name)
        if node is None:
            raise not_found("nodes", node_name)
        addresses = {item.type: item.address for item in reversed(node.status.addresses)}
        host = next((addresses[kind] for kind in _ORDER if addresses.get(kind)), None)
        if host is None:
            raise internal_error(f"no preferred addresses found; known addresses: {list(addresses.values())}")
        endpoints = node.status.daemonEndpoints
        port = endpoints.kubeletEndpoint.Port if endpoints else 0
        return Endpoint(host, port or DEFAULT_PORT)

    @property
    def context(self) -> ssl.SSLContext:
        """TLS with the server's client certificate."""
        if self._context is None:
            self._context = self._make_context()
        return self._context

    @property
    def session(self) -> "aiohttp.ClientSession":
        """The shared HTTP session: no time limit of its own, no decompression (bytes are passed on as they are)."""
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False)
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


def unreachable(method: str, url: str, error: OSError) -> StatusError:
    """The 500 when a kubelet does not answer, worded as Go's HTTP client does."""
    return StatusError(500, "", f'{method.title()} "{url}": {error}')
