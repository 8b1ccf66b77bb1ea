"""Finding a cluster that runs, for the verbs that need one."""

from pathlib import Path

from wherry.cluster import instance
from wherry.cluster.failure import ClusterError
from wherry.cluster.options import data_root


def running_instance(name: str, data_dir: Path | None) -> instance.Instance:
    """The running cluster called `name`. Raises ClusterError saying how to start it."""
    found = instance.find(data_root(data_dir), name, f": `wherry up --name {name}`")
    if not found.running():
        raise ClusterError(f"cluster {name!r} is not running: start it with `wherry up --name {name} --detach`")
    return found
