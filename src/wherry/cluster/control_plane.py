"""The control plane of one cluster in this process: store, API server, controllers, scheduler.

Everything but the server reaches it through a direct call (the in-process transport, with the identity it would have in
any cluster); nothing goes round it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Supervisor
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.cluster import surface
from wherry.cluster.addresses import CLUSTERS_LIMIT, Ranges
from wherry.cluster.failure import ClusterError
from wherry.cluster.pki import Pki
from wherry.server.aggregation.aggregator import AggregationOptions
from wherry.server.app import Server
from wherry.server.authn.front_proxy import FrontProxyOptions
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.bootstrap import Advertised
from wherry.server.edges import EdgeOptions
from wherry.server.frontend import HttpsFrontend, ListenError
from wherry.server.http import Request, Response
from wherry.server.options import ServerOptions
from wherry.server.tls import Serving
from wherry.store.errors import CorruptStoreError, DataDirectoryInUseError
from wherry.store.local import LocalStore, open_store

SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
)
FRONT_PROXY_CLIENT = "front-proxy-client"
"""The name under which this server passes requests on to extension servers."""


@dataclass(slots=True)
class ControlPlaneOptions:
    """What differs between clusters."""

    directory: Path
    address: str
    """The machine's address, by which pods reach the server."""
    listen: str
    """Address to listen on."""
    port: int
    """0: any free port."""
    ranges: Ranges
    runtime_config: tuple[str, ...] = ()
    feature_gates: tuple[str, ...] = ()
    node_grace_seconds: float = 40.0
    """How long a node may be silent before it counts as lost."""


class ApiServer:
    """A store and the API server over it, listening: what `wherry up` and `wherry apiserver` have in common."""

    server: Server
    port: int

    def __init__(self, directory: Path, tls: Serving, clock: Clock, entropy: Entropy) -> None:
        self._directory = directory
        self._clock = clock
        self._entropy = entropy
        self._tls = tls
        self._frontend = HttpsFrontend(self._answer, tls.context)
        self._loaded = asyncio.Event()

    async def start(
        self, stack: AsyncExitStack, listen: str, port: int, options: Callable[[int], ServerOptions]
    ) -> None:
        """Serve on `listen`:`port` (0: any free port; `options` is told which).

        What must be closed goes onto `stack`. Raises ClusterError, ListenError.
        """
        store = await self._open_store()
        stack.push_async_callback(store.close)
        # Listening comes first because a free port must be known to be advertised; early callers wait (`_answer`).
        await self._frontend.start(listen, port)
        stack.push_async_callback(self._frontend.close)
        self.port = self._frontend.port
        self.server = Server(store, self._clock, self._entropy, options(self.port))
        self._frontend.compresses = self.server.options.features.enabled("APIResponseCompression")
        self.server.edges.files.follow(self._tls.files, self._tls.take)
        stack.push_async_callback(self.server.close)
        stack.push_async_callback(self.server.traffic.drain)
        await self.server.start()
        self._loaded.set()

    async def _answer(self, request: Request) -> Response:
        await self._loaded.wait()
        return await self.server.handle(request)

    async def _open_store(self) -> LocalStore:
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            return await open_store(self._directory, self._clock, self._entropy)
        except (DataDirectoryInUseError, CorruptStoreError) as error:
            raise ClusterError(str(error)) from error


class ControlPlane:
    """Store and server, then the components that use them."""

    server: Server
    client: Client
    """An administrator, in process."""

    def __init__(self, options: ControlPlaneOptions, pki: Pki, clock: Clock, entropy: Entropy) -> None:
        self._options = options
        self._pki = pki
        self._clock = clock
        self._entropy = entropy
        self.port = options.port

    async def start(self, stack: AsyncExitStack) -> None:
        """Open the store and serve. What must be closed goes onto `stack`. Raises ClusterError."""
        options = self._options
        names = [*SERVER_NAMES, options.address, options.ranges.api_address]
        pair = self._pki.serving("apiserver", "kube-apiserver", names)
        tls = Serving(pair.cert, pair.key, [self._pki.ca.cert, self._pki.front_proxy_ca.cert])
        api = ApiServer(options.directory / "store", tls, self._clock, self._entropy)
        try:
            await api.start(stack, options.listen, options.port, self._server_options)
        except ListenError as error:
            raise ClusterError(f"{error} with --port") from error
        self.port, self.server = api.port, api.server
        self.client = self.server.client()

    def start_components(self, supervisor: Supervisor, informers: Informers, nodes: asyncio.Event) -> None:
        """Run the controllers and, from when there are `nodes` to schedule to, the scheduler under `supervisor`."""
        from wherry.controllers.manager import ControllerManager, ManagerOptions

        options = ManagerOptions(
            cluster_cidr=self._options.ranges.pod_cidr,
            node_monitor_grace_period_seconds=self._options.node_grace_seconds,
            root_ca=self._pki.ca.cert.read_text(),
            sign_token=self.server.edges.issuer.issue_legacy if self.server.edges.issuer else None,
        )
        manager = ControllerManager(
            self.client,
            self._clock,
            self._entropy,
            options,
            self.server.registry.resources,
            informers=informers,
        )
        supervisor.start("controller-manager", manager.run, manager.health)

        async def schedule() -> None:
            await nodes.wait()
            # With numpy it takes a tenth of a second to import, which nothing else should wait for.
            await asyncio.to_thread(import_module, "wherry.scheduler.scheduler")
            from wherry.scheduler.scheduler import Scheduler

            await Scheduler(self.client, informers, self._clock, self._entropy).run()

        supervisor.start("scheduler", schedule)

    def _server_options(self, port: int) -> ServerOptions:
        kubelet_client = self._pki.client(
            "apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"]
        )
        front_proxy = self._pki.client("front-proxy-client", FRONT_PROXY_CLIENT, front_proxy=True)
        options = self._options
        return ServerOptions(
            aggregation=AggregationOptions(str(front_proxy.cert), str(front_proxy.key)),
            edges=EdgeOptions(
                authentication=AuthenticationOptions(
                    client_ca=self._pki.ca.cert,
                    front_proxy=FrontProxyOptions(self._pki.front_proxy_ca.cert, (FRONT_PROXY_CLIENT,)),
                ),
                signing_key=self._pki.service_account_key.read_bytes(),
                kubelet_client_certificate=str(kubelet_client.cert),
                kubelet_client_key=str(kubelet_client.key),
                kubelet_authority=str(self._pki.ca.cert),
                advertised=f"{options.address}:{port}",
            ),
            runtime_config=surface.runtime_config(options.runtime_config),
            features=surface.features(options.feature_gates),
            service_cidr=options.ranges.service_cidr,
            node_port_part=(options.ranges.number, CLUSTERS_LIMIT),
            advertised=Advertised(
                service_ip=options.ranges.api_address,
                address=options.address,
                port=port,
            ),
        )
