"""Everything one cluster runs, in the order it is started.

Key material and address ranges; the container runtimes beside the control plane; then proxy, DNS and the nodes. All of
it are supervised tasks of one event loop: a crash of one restarts it alone. Read control_plane.py and node.py next.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import wherry
from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Health, Supervisor
from wherry.client import kubeconfig
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.cluster import addresses, instance, report
from wherry.cluster.control_plane import ControlPlane, ControlPlaneOptions
from wherry.cluster.down import remove_containers, remove_tables
from wherry.cluster.failure import ClusterError
from wherry.cluster.network import Masquerade, node_address, service_table
from wherry.cluster.node import ClusterNode, NodePlace
from wherry.cluster.options import CLUSTER_DOMAIN, UpOptions
from wherry.cluster.pki import Pki
from wherry.cluster.readiness import Readiness
from wherry.cluster.runtime_choice import choose
from wherry.cluster.system_services import DNS_PORT, publish_dns
from wherry.meta.time import format_time

if TYPE_CHECKING:
    from wherry.dns.server import DnsServer
    from wherry.proxy.backend import Backend
    from wherry.proxy.proxier import Proxier

LOOPBACK = "127.0.0.1"
DNS_CHECK_SECONDS = 0.02
"""Between two looks at whether DNS answers, while a cluster starts."""


class Cluster:
    """One cluster of this process; an async context manager."""

    readiness: Readiness
    client: Client
    control_plane: ControlPlane
    _pki: Pki
    _server_url = ""

    def __init__(self, options: UpOptions, clock: Clock, entropy: Entropy, tell: Callable[[str], None]) -> None:
        self._options = options
        self._clock = clock
        self._entropy = entropy
        self._tell = tell
        self._stack = AsyncExitStack()
        self.directory = options.directory()
        self.context = f"wherry-{options.name}"
        self.supervisor = Supervisor(clock, entropy)
        self._nodes: list[ClusterNode] = []
        self._runtime = ""
        self._kubeconfig = kubeconfig.paths(options.kubeconfig, os.environ)[0].absolute()

    async def __aenter__(self) -> "Cluster":
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def check_kubeconfig(self) -> None:
        """Raise ClusterError before anything is started when the context could not be written at the end."""
        path = self._kubeconfig
        try:
            if path.exists():
                kubeconfig.load(path)
        except kubeconfig.KubeconfigError as error:
            raise ClusterError(f"{error}; mend it or choose another file with --kubeconfig") from error
        parent = next(parent for parent in path.parents if parent.exists())
        if not parent.is_dir():
            why = f"{parent} is not a directory"
        elif not os.access(parent, os.W_OK | os.X_OK):
            why = f"{parent} may not be written"
        else:
            return
        raise ClusterError(f"cannot write the kubeconfig {path}: {why}; choose another file with --kubeconfig")

    async def undo(self) -> None:
        """After a first start that failed: leave nothing behind but the log."""
        for node in self._nodes:
            if node.containerd is not None:
                await remove_containers(node.containerd, self._clock)
        if self._runtime == "containerd":
            await remove_tables(self.directory, self._options.name)
        with contextlib.suppress(kubeconfig.KubeconfigError):  # what cannot be written has not got the context either
            kubeconfig.remove_context(self._kubeconfig, self.context, self._server_url)
        addresses.release(self.directory)
        for path in self.directory.iterdir():
            if path.name not in ("lock", "wherry.log"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # Starting ---------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        options = self._options
        self._runtime, reason = choose(options.runtime)
        self._tell(f"runtime: {self._runtime} ({reason})")
        contained = self._runtime == "containerd"
        before = instance.read(self.directory)
        ranges = addresses.claim(self.directory, loopback=not contained, before=before.network if before else None)
        address = node_address() if contained else LOOPBACK
        pki = Pki(self.directory / "pki", self._clock)
        self._nodes = self._make_nodes(address, ranges, pki)
        preparing = asyncio.gather(*(node.prepare() for node in self._nodes))
        self.control_plane = ControlPlane(
            ControlPlaneOptions(
                directory=self.directory,
                address=address,
                listen="0.0.0.0" if contained else LOOPBACK,
                # A cluster that comes back keeps its port, so that kubeconfigs and pods go on working.
                port=options.port or (before.port if before else 0),
                ranges=ranges,
                runtime_config=options.runtime_config,
                feature_gates=options.feature_gates,
            ),
            pki,
            self._clock,
            self._entropy,
        )
        try:
            await self.control_plane.start(self._stack)
        finally:
            await preparing
        self.client = self.control_plane.client
        self.control_plane.server.dispatch.add_routes(report.routes(self.control_plane.server.store, self.supervisor))
        server = f"https://{LOOPBACK}:{self.control_plane.port}"
        self._tell(f"API server: {server}")
        if contained:
            await Masquerade(options.name, ranges.number).install(ranges.pod_cidr)
        self._start_components(address, ranges)
        self._server_url, self._pki = server, pki
        self._record(server, ranges)

    def _make_nodes(self, address: str, ranges: addresses.Ranges, pki: Pki) -> list[ClusterNode]:
        if self._runtime == "fake":
            return []
        names = [f"{self._options.name}-{number}" for number in range(1, self._options.nodes + 1)]
        places = [NodePlace(name, self.directory / "nodes" / name, address) for name in names]
        return [ClusterNode(place, self._runtime, ranges, pki, self._clock) for place in places]

    def _start_components(self, address: str, ranges: addresses.Ranges) -> None:
        self._stack.push_async_callback(self.supervisor.close)
        informers = Informers(self.client)
        fake = self._runtime == "fake"
        self.readiness = Readiness(informers, self._options.nodes, wants_dns=not fake)
        self.control_plane.start_components(self.supervisor, informers, self.readiness.nodes)
        if fake:
            self._start_fake_nodes(informers)
        else:
            self._start_network(informers, address, ranges)
        for node in self._nodes:
            node.start(self.supervisor, self.client, self._entropy)
        self.supervisor.start("informers", informers.run)

    def _start_network(self, informers: Informers, address: str, ranges: addresses.Ranges) -> None:
        from wherry.dns.server import DnsOptions, DnsServer
        from wherry.proxy.proxier import Proxier, ProxyOptions

        proxier = Proxier(ProxyOptions(self._nodes[0].place.name), informers, self._proxy_backend(ranges), self._clock)
        self.supervisor.start("proxy", proxier.run, lambda: Health(proxier.trouble))
        dns = DnsServer(DnsOptions(address, 0, CLUSTER_DOMAIN), informers, self._clock)
        self.supervisor.start("dns", dns.run, lambda: Health("" if dns.ready.is_set() else "has not begun to answer"))

        async def publish() -> None:
            await self._publish_dns(dns, proxier, ranges, address)

        self.supervisor.start("dns service", publish)

    async def _publish_dns(self, dns: "DnsServer", proxier: "Proxier", ranges: addresses.Ranges, address: str) -> None:
        from wherry.dns.server import answers

        await dns.ready.wait()
        await publish_dns(self.client, ranges.dns_address, address, dns.port)
        asked = (address, dns.port)
        if self._runtime == "containerd":
            # The way pods take; not before the rules are there, or the question would leave the machine.
            while "kube-system/kube-dns:dns" not in proxier.serving:
                await self._clock.sleep(DNS_CHECK_SECONDS)
            asked = (ranges.dns_address, DNS_PORT)
        while not await answers(*asked, f"kubernetes.default.svc.{CLUSTER_DOMAIN}"):
            await self._clock.sleep(DNS_CHECK_SECONDS)
        self.readiness.dns.set()

    def _proxy_backend(self, ranges: addresses.Ranges) -> "Backend":
        if self._runtime == "containerd":
            from wherry.proxy.nftables import NftablesBackend

            return NftablesBackend(service_table(self._options.name, ranges.number))
        from wherry.proxy.userspace import UserspaceBackend

        return UserspaceBackend(self._clock)

    def _start_fake_nodes(self, informers: Informers) -> None:
        from wherry.kubelet.hollow import HollowNodes

        names = [f"{self._options.name}-{number}" for number in range(1, self._options.nodes + 1)]
        hollow = HollowNodes(names, self.client, informers, self._clock)
        self.supervisor.start("fake nodes", hollow.run)

    # What others find -------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Make the cluster's context current in the user's kubeconfig. Raises ClusterError."""
        pki = self._pki
        admin = pki.client("admin", "kubernetes-admin", ["system:masters"])
        credentials = kubeconfig.Credentials(
            server=self._server_url,
            ca=pki.ca.cert.read_bytes(),
            client_cert=admin.cert.read_bytes(),
            client_key=admin.key.read_bytes(),
        )
        try:
            kubeconfig.write(self.directory / "admin.kubeconfig", kubeconfig.single_context(self.context, credentials))
            kubeconfig.merge_context(self._kubeconfig, self.context, credentials)
        except kubeconfig.KubeconfigError as error:
            raise ClusterError(f"{error}; choose another file with --kubeconfig") from error

    def _record(self, server: str, ranges: addresses.Ranges) -> None:
        record = instance.Instance(
            name=self._options.name,
            pid=os.getpid(),
            server=server,
            port=self.control_plane.port,
            runtime=self._runtime,
            version=wherry.KUBERNETES_VERSION,
            kubeconfig=str(self._kubeconfig),
            context=self.context,
            started=format_time(self._clock.now()),
            nodes=[instance.NodeRecord(node.place.name, str(node.place.directory)) for node in self._nodes],
            network=ranges.number,
        )
        instance.write(self.directory, record)
