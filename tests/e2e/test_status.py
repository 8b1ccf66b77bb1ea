"""What `wherry status` shows of a cluster with containers, and what it shows of a component that died."""

import json
import os
import signal
from typing import Any

from tests.e2e.conftest import Cluster
from tests.e2e.test_kubectl import wait_until


def test_every_component_is_shown_and_one_that_dies_is_counted(containerd_cluster: Cluster) -> None:
    node = f"{containerd_cluster.name}-1"
    names = ["store", "apiserver", "controller-manager", "scheduler", "proxy", "dns"]
    names += [f"containerd/{node}", f"kubelet/{node}"]
    before = status(containerd_cluster)
    assert list(parts(before)) == names
    containerd = parts(before)[f"containerd/{node}"]
    assert containerd["memoryBytes"] > 2**20
    assert containerd["pid"] != before["pid"]
    os.kill(containerd["pid"], signal.SIGKILL)
    wait_until(lambda: parts(status(containerd_cluster))[f"containerd/{node}"]["restarts"] == 1)
    wait_until(lambda: status(containerd_cluster)["ready"])
    assert parts(status(containerd_cluster))[f"containerd/{node}"]["pid"] not in (None, containerd["pid"])
    lines = containerd_cluster.wherry("status").stdout.splitlines()
    assert lines[8].split() == ["COMPONENT", "RESTARTS", "MEMORY", "STATE"]
    assert lines[0] == f"cluster:  {containerd_cluster.name} (ready)"
    assert [line.split()[0] for line in lines[9 : 9 + len(names)]] == names


def status(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.wherry("status", "-o", "json", check=False).stdout)
    return found


def parts(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in found["components"]}
