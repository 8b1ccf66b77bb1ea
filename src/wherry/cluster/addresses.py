"""Which addresses a cluster uses, so that several clusters of one machine do not collide.

Cluster number 0 gets Kubernetes' customary ranges (10.96/16 for Services, 10.244/16 for pods), number 1 the next ones,
and so on. A number is claimed by a small file that names the owner's directory, and is free again once that directory
holds no cluster any more. A cluster keeps its number over restarts: its Services and running pods have addresses of it.

The number is also what the cluster's packet filter tables are called by: two clusters may well have the same name, in
different directories.
"""

import contextlib
import fcntl
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wherry.cluster.failure import ClusterError
from wherry.cluster.instance import RECORD

CLUSTERS_LIMIT = 48
# Who may run containers is root, in one place; 127/8 belongs to every user of the machine.
CONTAINED_CLAIMS = Path("/run/wherry/networks")
LOOPBACK_CLAIMS = Path("/tmp/wherry-networks")


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


def claim(directory: Path, *, loopback: bool, before: int | None = None) -> Ranges:
    """The ranges of the cluster in `directory`; `loopback` puts them into 127/8, where no root is needed.

    `before` is the number of its earlier life, which nothing else will do for. Raises ClusterError.
    """
    claims = LOOPBACK_CLAIMS if loopback else CONTAINED_CLAIMS
    with _alone(claims):
        for number in range(CLUSTERS_LIMIT):
            if _owner(claims / str(number)) == directory:
                return _ranges(number, loopback)
        for number in range(CLUSTERS_LIMIT) if before is None else [before]:
            if _take(claims / str(number), directory):
                return _ranges(number, loopback)
    if before is not None:
        owner = _owner(claims / str(before))
        raise ClusterError(
            f"the addresses of this cluster are in use by the one in {owner}: stop that with wherry down"
        )
    raise ClusterError(f"this machine has {CLUSTERS_LIMIT} clusters already: remove one with `wherry down`")


def claimed(directory: Path) -> int | None:
    """The number that the cluster in `directory` holds for its containers, if any."""
    return next((n for n in range(CLUSTERS_LIMIT) if _owner(CONTAINED_CLAIMS / str(n)) == directory), None)


def release(directory: Path) -> None:
    """Give the number of the cluster in `directory` back."""
    for claims in (CONTAINED_CLAIMS, LOOPBACK_CLAIMS):
        for number in range(CLUSTERS_LIMIT):
            if _owner(claims / str(number)) == directory:
                (claims / str(number)).unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(claims: Path) -> Iterator[None]:
    """Only one process of a user looks for a number at a time; other users' claims can only be respected."""
    if not claims.is_dir():
        claims.mkdir(parents=True, exist_ok=True)
        if claims == LOOPBACK_CLAIMS:
            claims.chmod(0o1777)
    with (claims / f"lock-{os.geteuid()}").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _take(path: Path, directory: Path) -> bool:
    """Claim a number that is free, or whose owner is gone."""
    with contextlib.suppress(PermissionError, FileNotFoundError):  # another user's: not ours to judge
        owner = _owner(path)
        mine = path.stat().st_uid == os.geteuid()
        if mine and (owner is None or not ((owner / RECORD).exists() or (owner / "lock").exists())):
            path.unlink(missing_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(str(directory))
    return True


def _ranges(number: int, loopback: bool) -> Ranges:
    first = 127 if loopback else 10
    return Ranges(number, f"{first}.{96 + number}.0.0/16", f"{first}.{244 - number}.0.0/16")


def _owner(path: Path) -> Path | None:
    try:
        text = path.read_text()
    except OSError:
        return None
    return Path(text) if text else None  # empty: about to be written
