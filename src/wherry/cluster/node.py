"""One node of the cluster on this machine: its containerd (if it has one), its kubelet, its pod network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Health, Supervisor
from wherry.client.client import Client
from wherry.cluster.addresses import Ranges
from wherry.cluster.containerd import Containerd
from wherry.cluster.network import write_cni_configuration
from wherry.cluster.options import CLUSTER_DOMAIN
from wherry.cluster.pki import Pki
from wherry.kubelet.options import KubeletOptions, ServerTls

if TYPE_CHECKING:
    from wherry.kubelet.runtimes.protocol import Runtime


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where a node lives."""

    name: str
    directory: Path
    address: str


class ClusterNode:
    """Starts and supervises what one node needs."""

    def __init__(self, place: NodePlace, runtime: str, ranges: Ranges, pki: Pki, clock: Clock) -> None:
        self.place = place
        self._runtime = runtime
        self._ranges = ranges
        self._pki = pki
        self._clock = clock
        self._containerd_restarts = 0
        self.containerd = Containerd(place.directory / "containerd", clock) if runtime == "containerd" else None

    async def prepare(self) -> None:
        """Start (or find) the container runtime. Raises ClusterError."""
        self.place.directory.mkdir(parents=True, exist_ok=True)
        if self.containerd is not None:
            await self.containerd.start()
            await self.containerd.prepare_pause_image()

    def start(self, supervisor: Supervisor, client: Client, entropy: Entropy) -> None:
        """Run the kubelet, and keep its containerd running, under `supervisor`."""
        from wherry.kubelet.kubelet import Kubelet

        options = self.kubelet_options()
        if self.containerd is not None:
            supervisor.start(f"containerd/{self.place.name}", self._keep_containerd, self._containerd_health)

        async def run() -> None:
            await Kubelet(options, client, self._make_runtime(), self._clock, entropy).run()

        supervisor.start(f"kubelet/{self.place.name}", run)

    def kubelet_options(self) -> KubeletOptions:
        """The kubelet's settings on this node."""
        place = self.place
        names = [place.name, place.address, "127.0.0.1", "localhost"]
        serving = self._pki.serving(f"kubelet-{place.name}", f"system:node:{place.name}", names, ["system:nodes"])
        contained = self._runtime == "containerd"
        return KubeletOptions(
            data_dir=place.directory / "kubelet",
            node_name=place.name,
            node_ip=place.address,
            port=0,
            bind_address="0.0.0.0" if contained else "127.0.0.1",
            tls=ServerTls(serving.cert, serving.key, self._pki.ca.cert),
            cluster_dns=[self._ranges.dns_address] if contained else [],
            cluster_domain=CLUSTER_DOMAIN,
            allow_oom_score=False,
            on_pod_cidr=self._pod_cidr_known if contained else None,
        )

    async def _pod_cidr_known(self, cidrs: Sequence[str]) -> None:
        assert self.containerd is not None
        write_cni_configuration(self.containerd.paths.cni_conf, cidrs[0], self.place.directory / "cni-state")

    async def _keep_containerd(self) -> None:
        assert self.containerd is not None
        while True:
            await self.containerd.start()
            await self.containerd.watch()
            self._containerd_restarts += 1

    def _containerd_health(self) -> Health:
        running = self.containerd is not None and self.containerd.running_pid() is not None
        return Health("" if running else "not running", self._containerd_restarts)

    def _make_runtime(self) -> "Runtime":
        if self.containerd is not None:
            from wherry.kubelet.runtimes.cri import CriRuntime

            return CriRuntime(str(self.containerd.paths.socket), self._clock)
        if self._runtime == "process":
            from wherry.kubelet.runtimes.process import ProcessRuntime

            return ProcessRuntime(self.place.directory / "processes", self._ranges.pod_cidr, self._clock)
        from wherry.kubelet.runtimes.fake import FakeRuntime

        return FakeRuntime(self._clock)
