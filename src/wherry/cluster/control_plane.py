"""The control plane of one cluster in this process: store, API server, controllers, scheduler.

Everything but the server reaches it through a direct call (the in-process transport, with the identity it would have in
any cluster); nothing goes round it.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Supervisor
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.cluster.addresses import Ranges
from wherry.cluster.failure import ClusterError
from wherry.cluster.pki import Pki
from wherry.server.app import Server
from wherry.server.bootstrap import Advertised
from wherry.server.edges import EdgeOptions
from wherry.server.frontend import HttpsFrontend, ListenError, tls_context
from wherry.server.http import Request, Response
from wherry.server.options import ServerOptions
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
    node_grace_seconds: float = 40.0
    """How long a node may be silent before it counts as lost."""


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
        self._loaded = asyncio.Event()

    async def start(self, stack: AsyncExitStack) -> None:
        """Open the store and serve. What must be closed goes onto `stack`. Raises ClusterError."""
        store = await self._open_store()
        stack.push_async_callback(store.close)
        frontend = self._frontend()
        # Listening comes first because a free port must be known to be advertised; early callers wait (`_answer`).
        await self._listen(frontend)
        stack.push_async_callback(frontend.close)
        self.port = frontend.port
        self.server = Server(store, self._clock, self._entropy, self._server_options())
        stack.push_async_callback(self.server.close)
        await self.server.start()
        self._loaded.set()
        self.client = self.server.client()

    def start_components(self, supervisor: Supervisor, informers: Informers) -> None:
        """Run the controllers and the scheduler under `supervisor`."""
        from wherry.controllers.manager import ControllerManager, ManagerOptions
        from wherry.scheduler.scheduler import Scheduler

        options = ManagerOptions(
            cluster_cidr=self._options.ranges.pod_cidr,
            node_monitor_grace_period_seconds=self._options.node_grace_seconds,
            root_ca=self._pki.ca.cert.read_text(),
        )
        manager = ControllerManager(
            self.client,
            self._clock,
            self._entropy,
            options,
            self.server.registry.resources,
            informers=informers,
        )
        supervisor.start("controllers", manager.run)

        async def schedule() -> None:
            await Scheduler(self.client, informers, self._clock, self._entropy).run()

        supervisor.start("scheduler", schedule)

    async def _answer(self, request: Request) -> Response:
        await self._loaded.wait()
        return await self.server.handle(request)

    async def _open_store(self) -> LocalStore:
        directory = self._options.directory / "store"
        directory.mkdir(parents=True, exist_ok=True)
        try:
            return await open_store(directory, self._clock, self._entropy)
        except (DataDirectoryInUseError, CorruptStoreError) as error:
            raise ClusterError(str(error)) from error

    def _frontend(self) -> HttpsFrontend:
        names = [*SERVER_NAMES, self._options.address, self._options.ranges.api_address]
        pair = self._pki.serving("apiserver", "kube-apiserver", names)
        return HttpsFrontend(self._answer, tls_context(str(pair.cert), str(pair.key), str(self._pki.ca.cert)))

    async def _listen(self, frontend: HttpsFrontend) -> None:
        try:
            await frontend.start(self._options.listen, self._options.port)
        except ListenError as error:
            raise ClusterError(f"{error} with --port") from error

    def _server_options(self) -> ServerOptions:
        kubelet_client = self._pki.client(
            "apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"]
        )
        options = self._options
        return ServerOptions(
            edges=EdgeOptions(
                signing_key=self._pki.service_account_key.read_bytes(),
                kubelet_client_certificate=str(kubelet_client.cert),
                kubelet_client_key=str(kubelet_client.key),
                kubelet_authority=str(self._pki.ca.cert),
                advertised=f"{options.address}:{self.port}",
            ),
            service_cidr=options.ranges.service_cidr,
            advertised=Advertised(
                service_ip=options.ranges.api_address,
                address=options.address,
                port=self.port,
                client_ca=self._pki.ca.cert.read_text(),
            ),
        )
