"""What `wherry up` can be told, in one place: unit, default and reason of each setting."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from wherry.cluster.failure import ClusterError

DEFAULT_PORT = 6443
SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR = "10.244.0.0/16"
# Without root nothing can own 10.96/16, but the whole of 127/8 belongs to everyone on Linux: the process runtime's
# Services listen there, and a ClusterIP is an ordinary loopback address.
PROCESS_SERVICE_CIDR = "127.96.0.0/16"
PROCESS_POD_CIDR = "127.244.0.0/16"
CLUSTER_DOMAIN = "cluster.local"
RUNTIMES = ("auto", "containerd", "process", "fake")
# A name becomes part of host names, context names and nftables tables.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?\Z")


@dataclass(slots=True)
class UpOptions:
    """Settings of one cluster."""

    name: str = "default"
    nodes: int = 1
    runtime: str = "auto"
    data_dir: Path | None = None
    """Root of all clusters' state; None: $WHERRY_HOME, else by user (see `data_root`)."""
    port: int = DEFAULT_PORT
    """TCP port of the API server; 0 lets the system choose."""
    kubeconfig: Path | None = None
    """File that gets the context; None: $KUBECONFIG, else ~/.kube/config."""
    wait_seconds: float = 60.0
    """How long to wait for readiness before giving up."""
    runtime_config: tuple[str, ...] = ()
    """Which built-in API versions and kinds are on or off, as `wherry apiserver --runtime-config`."""
    feature_gates: tuple[str, ...] = ()
    """Of the API server."""

    def check(self) -> None:
        """Raise ClusterError for settings that cannot work."""
        if not _NAME.match(self.name):
            raise ClusterError(
                f"invalid cluster name {self.name!r}: use at most 32 lower-case letters, digits and '-', "
                "starting and ending with a letter or digit"
            )
        if self.runtime not in RUNTIMES:
            raise ClusterError(f"unknown runtime {self.runtime!r}: choose one of {', '.join(RUNTIMES)}")
        if self.nodes < 1:
            raise ClusterError("--nodes must be at least 1")
        if not 0 <= self.port < 65536:
            raise ClusterError(f"--port {self.port} is not a TCP port: choose 0 to 65535")
        if self.runtime_config or self.feature_gates:
            from wherry.cluster import surface

            surface.runtime_config(self.runtime_config)
            surface.features(self.feature_gates)

    def directory(self) -> Path:
        """Where this cluster keeps its state."""
        return data_root(self.data_dir) / self.name


def data_root(given: Path | None) -> Path:
    """--data-dir, else $WHERRY_HOME, else /var/lib/wherry for root and ~/.local/share/wherry for others."""
    if given is not None:
        return given.absolute()
    if home := os.environ.get("WHERRY_HOME"):
        return Path(home).absolute()
    return Path("/var/lib/wherry") if os.geteuid() == 0 else Path.home() / ".local/share/wherry"
