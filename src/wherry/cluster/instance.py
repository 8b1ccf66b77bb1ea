"""What is known of a cluster from outside its process: a small record in its directory.

`up` writes it, `down`, `status` and `list` read it. A record whose process is gone is a cluster that stopped or
crashed; its data is still there and `up` takes it over.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from wherry.cluster.failure import ClusterError

RECORD = "cluster.json"


class NodeRecord(msgspec.Struct):
    """One node of a cluster."""

    name: str
    directory: str


class Instance(msgspec.Struct):
    """One cluster on this machine."""

    name: str
    pid: int
    server: str
    port: int
    runtime: str
    version: str
    kubeconfig: str
    context: str
    started: str
    nodes: list[NodeRecord] = []
    network: int | None = None
    """Which of the machine's address ranges it uses (addresses.py)."""

    def running(self) -> bool:
        """Whether its process is alive (and is ours: the pid may have been reused)."""
        try:
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return _alive_without_proc(self.pid)
        return b"wherry" in command


def write(directory: Path, instance: Instance) -> None:
    """Replace the record atomically."""
    temporary = directory / f"{RECORD}.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(instance)))
    temporary.replace(directory / RECORD)


def read(directory: Path) -> Instance | None:
    """The record, or None when there is no cluster here. Raises ClusterError when it is damaged."""
    try:
        return msgspec.json.decode((directory / RECORD).read_bytes(), type=Instance)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ClusterError(f"{directory / RECORD} is damaged ({error}): remove it, then run wherry up again") from error


def find(root: Path, name: str, hint: str = "") -> Instance:
    """The record of cluster `name`. Raises ClusterError when there is none, with what there is and `hint`."""
    found = read(root / name)
    if found is None:
        known = ", ".join(one.name for one in all_instances(root)) or "none"
        raise ClusterError(f"there is no cluster {name!r} under {root} (known: {known}){hint}")
    return found


def all_instances(root: Path) -> list[Instance]:
    """Every cluster recorded under `root`, by name."""
    if not root.is_dir():
        return []
    found = (read(directory) for directory in sorted(root.iterdir()) if directory.is_dir())
    return [instance for instance in found if instance is not None]


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the cluster's directory alone. Raises ClusterError when another process holds it or it cannot be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("a")
    except OSError as error:
        raise ClusterError(
            f"cannot use {directory}: {error.strerror}; choose another place with --data-dir or $WHERRY_HOME"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            name = directory.name
            raise ClusterError(
                f"cluster {name!r} is already running: use it, stop it with `wherry down --name {name}`, "
                "or choose another --name"
            ) from error
        yield


def _alive_without_proc(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
