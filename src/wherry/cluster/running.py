"""Finding a cluster that runs, for the verbs that need one."""

from pathlib import Path

from wherry.cluster import instance
from wherry.cluster.failure import ClusterError
from wherry.cluster.options import data_root


def running_instance(name: str, data_dir: Path | None) -> instance.Instance:
    """The running cluster called `name`. Raises ClusterError saying how to start it."""
    root = data_root(data_dir)
    found = instance.read(root / name)
    if found is None:
        known = ", ".join(one.name for one in instance.all_instances(root)) or "none"
        raise ClusterError(f"there is no cluster {name!r} under {root} (known: {known}): `wherry up --name {name}`")
    if not found.running():
        raise ClusterError(f"cluster {name!r} is not running: start it with `wherry up --name {name} --detach`")
    return found
