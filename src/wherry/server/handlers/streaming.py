"""What the API server passes on to kubelets: logs, exec, attach and port-forward.

exec, attach and port-forward are upgrades (WebSocket or SPDY); once authorized, the connection becomes a byte pipe to
the kubelet (server/pipe.py), which accepts both protocols, the WebSocket tunnel of port-forward included. Kubelet paths
and parameters are the real kubelet's. proxying.py has the plain HTTP part and how names resolve to addresses.
"""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote as url_quote
from urllib.parse import urlencode

from wherry.api.core_v1 import Pod
from wherry.meta.errors import (
    FieldError,
    StatusError,
    bad_request,
    generic,
    invalid,
    invalid_value,
    not_found,
    required,
    type_invalid,
)
from wherry.server.connection import Connection
from wherry.server.http import Handler, Request, Response
from wherry.server.kubelets import Endpoint, Kubelets, unreachable
from wherry.server.negotiation import status_response
from wherry.server.strategies.strategy import Caches

_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""Parameters of the API, and what kubelets call them."""
_LOG_NUMBERS = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
"""Lowest values allowed."""


class PodStreams:
    """The streaming subresources of pods."""

    def __init__(self, caches: Caches, kubelets: Kubelets) -> None:
        self._caches = caches
        self._kubelets = kubelets

    def subresource_handlers(self) -> dict[tuple[str, str, str], Handler]:
        """By API group, plural and subresource."""
        return {
            ("", "pods", "log"): self.log,
            ("", "pods", "exec"): self.exec,
            ("", "pods", "attach"): self.attach,
            ("", "pods", "portforward"): self.port_forward,
        }

    async def log(self, request: Request) -> Response:
        """GET pods/<name>/log: the kubelet's bytes as they come."""
        from aiohttp import ClientError

        pod = self._pod(request)
        query = _log_query(request, pod)
        container = _container(pod, request.first("container"))
        if not pod.spec.nodeName:
            return Response(200, b"", content_type="text/plain")
        endpoint = self._kubelets.endpoint(pod.spec.nodeName)
        tail = f"?{urlencode(query)}" if query else ""
        url = endpoint.url(f"/containerLogs/{_target(pod)}/{url_quote(container)}{tail}")
        try:
            reply = await self._kubelets.session.get(url, ssl=self._kubelets.context)
        except (ClientError, OSError) as error:
            raise unreachable("GET", url, OSError(str(error))) from error
        if reply.status != 200:
            message = (await reply.text()).strip()
            reply.release()
            known = generic(reply.status)
            raise StatusError(reply.status, known.reason, message or known.message)

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in reply.content.iter_any():
                    yield chunk
            except (ClientError, OSError):
                return  # the kubelet went away: what was read is the answer
            finally:
                reply.close()

        return Response(200, chunks(), content_type="text/plain")

    async def exec(self, request: Request) -> Response:
        """Run a command in a container."""
        faults = [] if request.query.get("command") else [required("command", "")]
        return self._stream(request, "exec", faults, command=request.query.get("command", []))

    async def attach(self, request: Request) -> Response:
        """Attach to a container's first process."""
        return self._stream(request, "attach", [])

    async def port_forward(self, request: Request) -> Response:
        """Connect to ports of a pod."""
        pod = self._pod(request)
        ports = [port for value in request.query.get("ports", []) for port in value.split(",") if port]
        query = urlencode([("port", port) for port in ports])
        return self._upgrade(request, pod, f"/portForward/{_target(pod)}" + (f"?{query}" if query else ""))

    def _stream(
        self, request: Request, verb: str, faults: list[FieldError], command: list[str] | None = None
    ) -> Response:
        pod = self._pod(request)
        wanted = {name: _truth(request.first(name)) for name in _STREAMS}
        if "stdout" not in request.query and "stderr" not in request.query and "stdin" not in request.query:
            wanted["stdout"] = wanted["stderr"] = True
        if wanted["tty"]:
            wanted["stderr"] = False  # a terminal has one output
        if not (wanted["stdin"] or wanted["stdout"] or wanted["stderr"]):
            faults.append(required("stdin", "at least one of stdin, stdout, stderr must be specified"))
        if faults:
            options = {"exec": "PodExecOptions", "attach": "PodAttachOptions"}[verb]
            raise invalid(options, pod.metadata.name or "", faults)
        container = _container(pod, request.first("container"))
        query = [(_STREAMS[name], "1") for name, on in wanted.items() if on]
        query += [("command", word) for word in command or []]
        return self._upgrade(request, pod, f"/{verb}/{_target(pod)}/{url_quote(container)}?{urlencode(query)}")

    def _pod(self, request: Request) -> Pod:
        pod = self._caches.get(Pod, request.info.namespace, request.info.name)
        if pod is None:
            raise not_found("pods", request.info.name)
        return pod

    def _upgrade(self, request: Request, pod: Pod, target: str) -> Response:
        if not pod.spec.nodeName:
            raise bad_request(f"pod {pod.metadata.name} does not have a host assigned")
        return upgrade_to_kubelet(request, self._kubelets, self._kubelets.endpoint(pod.spec.nodeName), target)


def options_of(request: Request, kind: str) -> dict[str, Any]:
    """The parameters of a connection as the object that admission sees: PodExecOptions, PodProxyOptions, ..."""
    query = request.query
    options: dict[str, Any] = {name: True for name in _STREAMS if _truth(request.first(name))}
    if request.first("container"):
        options["container"] = request.first("container")
    if query.get("command"):
        options["command"] = query["command"]
    if query.get("ports"):
        options["ports"] = [int(port) for item in query["ports"] for port in item.split(",") if port.isdigit()]
    if kind.endswith("ProxyOptions"):
        options = {"path": f"/{request.info.rest}"}
    return {"kind": kind, "apiVersion": "v1", **options}


def upgrade_to_kubelet(request: Request, kubelets: Kubelets, endpoint: Endpoint, target: str) -> Response:
    """A response that turns the connection into a pipe to a kubelet. Raises 400 for requests that are no upgrade."""
    if "upgrade" not in request.headers.get("connection", "").lower() or request.raw is None:
        raise bad_request("Upgrade request required")
    from wherry.server.pipe import handshake, splice

    async def upgrade(connection: Connection) -> Response | None:
        head = handshake(request.method, target, endpoint.authority, request.pairs or ())
        try:
            await splice(connection, endpoint.host, endpoint.port, kubelets.context, head, None)
        except OSError as error:
            return status_response(request, unreachable(request.method, endpoint.url(target.partition("?")[0]), error))
        return None

    return Response(101, upgrade=upgrade)


def _target(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def _truth(text: str) -> bool:
    return text.lower() in ("1", "true", "t")


def _container(pod: Pod, wanted: str) -> str:
    """The container meant; the only one when none is named. Raises 400."""
    spec, name = pod.spec, pod.metadata.name
    names = [container.name for container in spec.containers]
    init = [container.name for container in spec.initContainers]
    ephemeral = [container.name for container in spec.ephemeralContainers]
    if wanted:
        if wanted not in (*names, *init, *ephemeral):
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names) == 1:
        return names[0]
    message = f"a container name must be specified for pod {name}"
    if names:
        message += f", choose one of: [{' '.join(names)}]"
    if init:
        message += f" or one of the init containers: [{' '.join(init)}]"
    raise bad_request(message)


def _log_query(request: Request, pod: Pod) -> list[tuple[str, str]]:
    """The parameters for the kubelet. Raises 422 for values that make no sense."""
    query: list[tuple[str, str]] = []
    faults: list[FieldError] = []
    query += [(name, "true") for name in ("follow", "previous", "timestamps") if _truth(request.first(name))]
    for name, lowest in _LOG_NUMBERS.items():
        text = request.first(name)
        if not text:
            continue
        if not text.lstrip("-").isdigit():
            faults.append(type_invalid(name, text, "must be an integer"))
        elif int(text) < lowest:
            bound = "greater than or equal to 0" if lowest == 0 else "greater than 0"
            faults.append(invalid_value(name, int(text), f"must be {bound}"))
        else:
            query.append((name, text))
    query += [(name, request.first(name)) for name in ("sinceTime", "stream") if request.first(name)]
    if request.first("sinceTime") and request.first("sinceSeconds"):
        faults.append(
            FieldError("FieldValueForbidden", "", "", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        )
    if faults:
        raise invalid("PodLogOptions", pod.metadata.name or "", faults)
    return query
