"""Images onto every node of a running cluster, from docker-archive and OCI archives."""

import tarfile
from pathlib import Path

from wherry.aio.clock import Clock
from wherry.cluster.containerd import Containerd
from wherry.cluster.failure import ClusterError
from wherry.cluster.instance import Instance


async def load(instance: Instance, archive: Path, clock: Clock) -> list[str]:
    """Import one archive on every node; the names it brought. Raises ClusterError."""
    if instance.runtime != "containerd":
        raise ClusterError(
            f"cluster {instance.name!r} runs --runtime {instance.runtime}, which has no images: nothing to load"
        )
    _check(archive)
    names: list[str] = []
    for node in instance.nodes:
        containerd = Containerd(Path(node.directory) / "containerd", clock)
        if containerd.running_pid() is None:
            raise ClusterError(f"node {node.name} has no running containerd: start it with `wherry up`")
        output = await containerd.ctr("images", "import", str(archive.absolute()))
        names = [line.split()[1] for line in output.splitlines() if line.startswith("unpacking ")] or names
    return names


def _check(archive: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            members = set(tar.getnames())
    except FileNotFoundError as error:
        raise ClusterError(f"{archive}: no such file") from error
    except (tarfile.TarError, OSError) as error:
        raise ClusterError(f"{archive} is not a tar archive: make one with `docker save` or `skopeo copy`") from error
    if not {"manifest.json", "index.json"} & {name.removeprefix("./") for name in members}:
        raise ClusterError(
            f"{archive} holds no image: it has neither manifest.json (docker-archive) nor index.json (OCI layout)"
        )
