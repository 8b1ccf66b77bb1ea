"""Which runtime `--runtime auto` takes on this machine, and why."""

import os

from wherry.cluster.containerd import missing_programs
from wherry.cluster.failure import ClusterError

INSTALL = "apt-get install containerd runc containernetworking-plugins nftables"


def choose(wanted: str) -> tuple[str, str]:
    """(runtime, reason). Raises ClusterError when the runtime that was asked for cannot work here."""
    if wanted != "auto":
        if wanted == "containerd":
            if os.geteuid() != 0:
                raise ClusterError("--runtime containerd needs root: use sudo, or --runtime process")
            if missing := missing_programs():
                what = ", ".join(missing)
                raise ClusterError(f"--runtime containerd needs {what}: `{INSTALL}`, or use --runtime process")
        return wanted, "as asked"
    if os.geteuid() != 0:
        return "process", "containers need root"
    if missing := missing_programs():
        return "process", f"{', '.join(missing)} not found; for containers: {INSTALL}"
    return "containerd", "root, and containerd is installed"
