"""pods/proxy, services/proxy and nodes/proxy: HTTP passed on to an address inside the cluster.

Names in the URL read [scheme:]name[:port]. A service resolves to one of its ready endpoints, chosen at random.
Upgrades become byte pipes (server/pipe.py); other answers stream back with their Location header rewritten, so that
redirects stay behind the proxy.
"""

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Pod, Service
from wherry.meta.errors import StatusError, bad_request, not_found, quote, service_unavailable
from wherry.server.callouts.passing import HOP_BY_HOP, PRIVATE, answer_of
from wherry.server.callouts.services import pick
from wherry.server.connection import Connection
from wherry.server.http import Handler, Request, Response
from wherry.server.kubelets import Endpoint, Kubelets
from wherry.server.negotiation import status_response
from wherry.server.strategies.strategy import Caches


@dataclass(frozen=True, slots=True)
class Target:
    """Where a proxied request goes."""

    scheme: str
    endpoint: Endpoint
    context: ssl.SSLContext | None

    def url(self, target: str) -> str:
        """The URL of a path with query."""
        return f"{self.scheme}://{self.endpoint.authority}{target}"


def split_name(text: str) -> tuple[str, str, str]:
    """Scheme, name and port of [scheme:]name[:port]; raises 400."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0], parts[1], parts[2]
    raise bad_request(f"invalid proxy request {quote(text)}")


class Proxies:
    """The proxy subresources."""

    def __init__(self, caches: Caches, kubelets: Kubelets, entropy: Entropy) -> None:
        self._caches = caches
        self._kubelets = kubelets
        self._entropy = entropy

    def subresource_handlers(self) -> dict[tuple[str, str, str], Handler]:
        """By API group, plural and subresource."""
        return {
            ("", "pods", "proxy"): self.pod,
            ("", "services", "proxy"): self.service,
            ("", "nodes", "proxy"): self.node,
        }

    async def pod(self, request: Request) -> Response:
        """To a pod's address; its first declared port unless one is named."""
        scheme, name, port = split_name(request.info.name)
        pod = self._caches.get(Pod, request.info.namespace, name)
        if pod is None:
            raise not_found("pods", name)
        declared = [item.containerPort for container in pod.spec.containers for item in container.ports]
        if port and not port.isdigit():
            raise bad_request(f"invalid port {quote(port)}")
        number = int(port) if port else (declared[0] if declared else 80)
        if not pod.status.podIP:
            raise bad_request("address not allowed")
        return await self._pass_on(request, self._target(scheme, pod.status.podIP, number))

    async def service(self, request: Request) -> Response:
        """To one of a service's ready endpoints."""
        scheme, name, port = split_name(request.info.name)
        namespace = request.info.namespace
        service = self._caches.get(Service, namespace, name)
        if service is None:
            raise not_found("services", name)
        ports = [item for item in service.spec.ports if port in ("", item.name, str(item.port))]
        if not ports or (not port and len(service.spec.ports) > 1 and all(item.name for item in ports)):
            raise service_unavailable(f"no service port {quote(port)} found for service {quote(name)}")
        found = pick(self._caches, self._entropy, service, ports[0])
        return await self._pass_on(request, self._target(scheme, found.host, found.port))

    async def node(self, request: Request) -> Response:
        """To a node's kubelet, or to another port of the node."""
        scheme, name, port = split_name(request.info.name)
        endpoint = self._kubelets.endpoint(name)
        if port and port != str(endpoint.port):
            return await self._pass_on(request, self._target(scheme, endpoint.host, int(port) if port.isdigit() else 0))
        return await self._pass_on(request, Target("https", endpoint, self._kubelets.context))

    def _target(self, scheme: str, host: str, port: int) -> Target:
        context = None
        if scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return Target(scheme or "http", Endpoint(host, port), context)

    async def _pass_on(self, request: Request, target: Target) -> Response:
        rest = request.info.rest
        query = f"?{request.query_string}" if request.query_string else ""
        if not rest and not request.path.endswith("/") and request.method in ("GET", "HEAD"):
            return Response(301, b"", headers={"Location": f"{request.path}/{query}"})
        path = f"/{rest.lstrip('/')}{query}"
        if "upgrade" in request.headers.get("connection", "").lower() and request.raw is not None:
            return _upgrade(request, target, path)
        return await self._exchange(request, target, path)

    async def _exchange(self, request: Request, target: Target, path: str) -> Response:
        import yarl
        from aiohttp import ClientError

        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in HOP_BY_HOP and not name.startswith(PRIVATE)
        }
        headers |= {"X-Forwarded-Uri": request.path, "accept-encoding": "identity"}
        try:
            reply = await self._kubelets.session.request(
                request.method,
                yarl.URL(target.url(path), encoded=True),
                headers=headers,
                data=request.body or None,
                ssl=target.context if target.context else True,
                allow_redirects=False,
            )
        except (ClientError, OSError) as error:
            raise _no_answer(error) from error
        answer = answer_of(reply)
        if "Location" in answer.headers:
            answer.headers["Location"] = _relocate(answer.headers["Location"], request, target)
        return answer


def _upgrade(request: Request, target: Target, path: str) -> Response:
    from wherry.server.pipe import handshake, splice

    async def upgrade(connection: Connection) -> Response | None:
        head = handshake(request.method, path, target.endpoint.authority, request.pairs or ())
        try:
            await splice(connection, target.endpoint.host, target.endpoint.port, target.context, head, None)
        except OSError as error:
            return status_response(request, _no_answer(error))
        return None

    return Response(101, upgrade=upgrade)


def _no_answer(error: BaseException) -> StatusError:
    return service_unavailable(f"error trying to reach service: {error}")


def _relocate(location: str, request: Request, target: Target) -> str:
    """A redirect to the same backend, led back through the proxy; others are left alone."""
    url = urlsplit(location)
    if url.netloc and url.netloc not in (target.endpoint.authority, target.endpoint.host):
        return location
    if not url.netloc and not url.path.startswith("/"):
        return location
    rest = request.info.rest.lstrip("/")
    base = request.path[: len(request.path) - len(rest)].rstrip("/") if rest else request.path.rstrip("/")
    return f"{base}{url.path}" + (f"?{url.query}" if url.query else "")
