"""The kubelet's settings, typed and explained in one place; defaults are Kubernetes' where it has one."""

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM files of the kubelet's own server: its certificate and key, and the CA of the clients it trusts."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None


@dataclass(slots=True)
class KubeletOptions:
    """One node."""

    data_dir: Path
    """Pods' volumes, logs and termination messages live below; upstream's /var/lib/kubelet and /var/log/pods."""
    node_name: str = field(default_factory=lambda: socket.gethostname().lower())
    node_ip: str = "127.0.0.1"
    hostname: str = ""
    """The kubernetes.io/hostname label and Hostname address; the node's name when empty."""
    node_labels: dict[str, str] = field(default_factory=dict)
    register_taints: Sequence[tuple[str, str, str]] = ()
    """(key, value, effect) of taints that the node has from its first moment."""
    port: int = 10250
    """0: any free port, reported to the server."""
    bind_address: str = "0.0.0.0"
    serve: bool = True
    """Whether to serve logs, exec and the rest; needs `tls`."""
    tls: ServerTls | None = None
    cluster_dns: Sequence[str] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    max_pods: int = 110
    capacity: dict[str, str] = field(default_factory=dict)
    """Overrides what the machine has, e.g. {"cpu": "4"}."""
    system_reserved: dict[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    allow_oom_score: bool = True
    """False where the machine refuses negative OOM scores."""
    status_check_seconds: float = 10.0
    status_report_seconds: float = 300.0
    lease_duration_seconds: int = 40
    lease_renew_seconds: float = 10.0
    image_pull_progress_deadline_seconds: float = 600.0
    container_log_max_bytes: int = 10 * 1024 * 1024
    container_log_max_files: int = 5
    on_pod_cidr: Callable[[Sequence[str]], Awaitable[None]] | None = None
    """Called once the node has a podCIDR, to configure the pod network."""
    provider_id: str = ""

    @property
    def logs_dir(self) -> Path:
        """Upstream's /var/log/pods."""
        return self.data_dir / "logs"

    @property
    def pods_dir(self) -> Path:
        """Upstream's /var/lib/kubelet/pods."""
        return self.data_dir / "pods"


def cpu_count() -> int:
    """Processors of this machine that may be used."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
