"""Which addresses a cluster uses, so that several clusters of one machine do not collide.

Cluster number 0 gets Kubernetes' customary ranges (10.96/16 for Services, 10.244/16 for pods), number 1 the next ones,
and so on. A number is claimed by a small file that names the owner's directory, and is free again once that directory
holds no cluster any more. A cluster keeps its number over restarts: running pods have addresses of it.
"""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from wherry.cluster.failure import ClusterError
from wherry.cluster.instance import RECORD

CLUSTERS_LIMIT = 48


@dataclass(frozen=True, slots=True)
class Ranges:
    """The address ranges of one cluster."""

    number: int
    service_cidr: str
    pod_cidr: str

    @property
    def api_address(self) -> str:
        """Cluster IP of the `kubernetes` Service: the first of the range."""
        return str(ipaddress.ip_network(self.service_cidr)[1])

    @property
    def dns_address(self) -> str:
        """Cluster IP of `kube-dns`: the tenth, as by kubeadm."""
        return str(ipaddress.ip_network(self.service_cidr)[10])


def claim(directory: Path, *, loopback: bool) -> Ranges:
    """The ranges of the cluster in `directory`; `loopback` puts them into 127/8, where no root is needed."""
    claims = _claims_directory()
    claims.mkdir(parents=True, exist_ok=True, mode=0o700)
    owned = {number: owner for number in range(CLUSTERS_LIMIT) if (owner := _owner(claims / str(number)))}
    for number, owner in owned.items():
        if owner == directory:
            return _ranges(number, loopback)
    for number in range(CLUSTERS_LIMIT):
        path = claims / str(number)
        if number in owned and not (owned[number] / RECORD).exists() and not (owned[number] / "lock").exists():
            path.unlink(missing_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "w") as file:
            file.write(str(directory))
        return _ranges(number, loopback)
    raise ClusterError(f"this machine has {CLUSTERS_LIMIT} clusters already: remove one with `wherry down`")


def release(directory: Path) -> None:
    """Give the number of the cluster in `directory` back."""
    claims = _claims_directory()
    for number in range(CLUSTERS_LIMIT):
        if _owner(claims / str(number)) == directory:
            (claims / str(number)).unlink(missing_ok=True)


def _ranges(number: int, loopback: bool) -> Ranges:
    first = 127 if loopback else 10
    return Ranges(number, f"{first}.{96 + number}.0.0/16", f"{first}.{244 - number}.0.0/16")


def _claims_directory() -> Path:
    return Path("/run/wherry/networks") if os.geteuid() == 0 else Path(f"/tmp/wherry-{os.geteuid()}-networks")


def _owner(path: Path) -> Path | None:
    try:
        return Path(path.read_text())
    except OSError:
        return None
