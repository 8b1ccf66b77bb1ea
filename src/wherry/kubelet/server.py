"""The kubelet's own server: logs, exec, attach, port-forward, run, pods, statistics, health.

TLS with the cluster's client CA; authorization.py decides who may. Paths and parameters are kubelet's, so that any API
server can stand before it. The streaming protocols are in streaming/.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from wherry.api.core_v1 import Pod
from wherry.kubelet.authorization import Authorization
from wherry.kubelet.context import NodeContext
from wherry.kubelet.logs import LogOptions, read_log
from wherry.kubelet.options import ServerTls
from wherry.kubelet.runtimes.protocol import LOG_FILE, RUNNING, ContainerRecord, PodRecord, RuntimeFailure, Streams
from wherry.kubelet.stats import summary
from wherry.kubelet.status import container_of
from wherry.kubelet.streaming import portforward, remotecommand
from wherry.kubelet.streaming.remotecommand import Wanted
from wherry.meta import wire
from wherry.meta.errors import quote

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
RUN_SECONDS = 120.0


class KubeletServer:
    """One node's server. `start` binds; `run` serves until cancelled."""

    def __init__(self, node: NodeContext, pods: Callable[[], list[Pod]]) -> None:
        self._node = node
        self._pods = pods
        self._authorization = Authorization(node.client, node.options.node_name)
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; the port. Raises OSError."""
        options = self._node.options
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for path, handler in (("exec", self._exec), ("attach", self._attach)):
            app.router.add_route("*", f"/{path}/{{namespace}}/{{pod}}/{{container}}", handler)
        app.router.add_route("*", "/portForward/{namespace}/{pod}", self._port_forward)
        app.router.add_post("/run/{namespace}/{pod}/{container}", self._run)
        for path in ("/healthz", "/healthz/ping"):
            app.router.add_get(path, self._healthz)
        for path, get in (("/pods", self._list_pods), ("/configz", self._configz), ("/stats/summary", self._summary)):
            app.router.add_get(path, get)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)
        await self._runner.setup()
        context = tls_context(options.tls) if options.tls else None
        site = web.TCPSite(self._runner, options.bind_address, options.port, ssl_context=context)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def run(self) -> None:
        """Until cancelled; then close."""
        try:
            await asyncio.Event().wait()
        finally:
            if self._runner:
                await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        await self._authorization.check(request)
        try:
            return await handler(request)
        except (RuntimeFailure, TimeoutError) as error:
            raise web.HTTPInternalServerError(text=str(error) or "timed out") from error

    # Finding ----------------------------------------------------------------------------------------------------------

    async def _pod(self, request: web.Request) -> tuple[Pod, PodRecord]:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        for pod in self._pods():
            if pod.metadata.namespace == namespace and pod.metadata.name == name:
                record = await self._node.runtime.pod(pod.metadata.uid or "")
                return pod, record or PodRecord(pod.metadata.uid or "", name, namespace)
        raise web.HTTPNotFound(text=f"pod {quote(f'{name}_{namespace}')} does not exist")

    async def _running(self, request: web.Request) -> ContainerRecord:
        pod, record = await self._pod(request)
        name = request.match_info["container"]
        found = record.newest(name)
        if container_of(pod, name) is None or found is None or found.state != RUNNING:
            raise web.HTTPNotFound(text=f"container not found ({quote(name)})")
        return found

    # Logs -------------------------------------------------------------------------------------------------------------

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        pod, record = await self._pod(request)
        try:
            options = LogOptions.of(dict(request.query), self._node.clock.now())
        except ValueError as error:
            raise web.HTTPUnprocessableEntity(text=str(error)) from error
        found = self._logged(pod, record, request)
        path = Path(found.annotations.get(LOG_FILE, ""))
        chunks = read_log(path, options, self._node.clock, lambda: self._is_running(record.uid, found.id))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        if not path.is_file():
            raise web.HTTPInternalServerError(
                text=f"failed to open log file {quote(str(path))}: no such file or directory"
            )
        await response.prepare(request)
        await self._send(response, chunks)
        return response

    async def _send(self, response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> None:
        try:
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            log.debug("a reader of logs went away")

    def _logged(self, pod: Pod, record: PodRecord, request: web.Request) -> ContainerRecord:
        name, previous = request.match_info["container"], request.query.get("previous") in ("true", "1")
        container = container_of(pod, name)
        if container is None:
            text = f"container {quote(name)} not found in pod {quote(pod.metadata.name or '')}"
            raise web.HTTPNotFound(text=text)
        records = [item for item in record.all_of(name) if item.started_at]
        if previous:
            if len(records) < 2:
                text = f"previous terminated container {quote(name)} in pod {quote(pod.metadata.name or '')} not found"
                raise web.HTTPBadRequest(text=text)
            return records[1]
        if not records:
            why = next((item for item in pod.status.containerStatuses if item.name == name), None)
            reason = why.state.waiting.reason if why and why.state.waiting else "ContainerCreating"
            text = f"container {quote(name)} in pod {quote(pod.metadata.name or '')} is waiting to start: {reason}"
            raise web.HTTPBadRequest(text=text)
        return records[0]

    async def _is_running(self, uid: str, container_id: str) -> bool:
        record = await self._node.runtime.pod(uid)
        return bool(record and any(item.id == container_id and item.state == RUNNING for item in record.containers))

    # Streams ----------------------------------------------------------------------------------------------------------

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        container, wanted = await self._running(request), Wanted.of(request.query)
        command = request.query.getall("command", [])
        if not wanted.any:
            raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr")

        async def work(streams: Streams) -> int:
            return await self._node.runtime.exec(container.id, command, streams)

        return await remotecommand.serve(request, wanted, work)

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        container, wanted = await self._running(request), Wanted.of(request.query)

        async def work(streams: Streams) -> int:
            await self._node.runtime.attach(container.id, streams)
            return 0

        return await remotecommand.serve(request, wanted, work)

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        _, record = await self._pod(request)
        sandbox = record.sandbox
        if sandbox is None or not sandbox.ready:
            raise web.HTTPInternalServerError(text="pod is not running")
        return await portforward.serve(request, lambda port: self._node.runtime.connect(sandbox.id, port))

    async def _run(self, request: web.Request) -> web.StreamResponse:
        container = await self._running(request)
        command = (await request.post()).get("cmd") or request.query.get("cmd") or ""
        result = await self._node.runtime.exec_sync(container.id, str(command).split(), RUN_SECONDS)
        return web.Response(body=result.output)

    # Facts ------------------------------------------------------------------------------------------------------------

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _list_pods(self, request: web.Request) -> web.StreamResponse:
        items = [wire.to_builtins(pod) for pod in self._pods()]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _configz(self, request: web.Request) -> web.StreamResponse:
        options = self._node.options
        config = {
            "port": options.port,
            "clusterDNS": list(options.cluster_dns),
            "clusterDomain": options.cluster_domain,
            "maxPods": options.max_pods,
            "nodeLeaseDurationSeconds": options.lease_duration_seconds,
            "containerLogMaxFiles": options.container_log_max_files,
        }
        return web.json_response({"kubeletconfig": config})

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        found = await self._node.runtime.stats()
        return web.json_response(summary(self._node.options, self._pods(), found, self._node.clock.now()))

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        pods = self._pods()
        running = sum(pod.status.phase == "Running" for pod in pods)
        text = "# TYPE kubelet_running_pods gauge\n" + f"kubelet_running_pods {running}\n"
        text += "# TYPE kubelet_working_pods gauge\n" + f"kubelet_working_pods {len(pods)}\n"
        text += "# TYPE kubelet_node_name gauge\n" + f'kubelet_node_name{{node="{self._node.options.node_name}"}} 1\n'
        return web.Response(text=text, content_type="text/plain")


def tls_context(tls: ServerTls) -> ssl.SSLContext:
    """TLS that asks for a client certificate and verifies the one it gets. Raises OSError, ssl.SSLError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.client_ca_file:
        context.load_verify_locations(tls.client_ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
