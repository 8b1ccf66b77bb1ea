"""The whole process is killed during a burst of creates and started again: nothing acknowledged is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE, Cluster, start
from tests.e2e.test_kubectl import wait_until

LIMIT = 3000
CREATE = f"""
import sys
from kubernetes import client, config
config.load_kube_config()
api = client.CoreV1Api()
for number in range({LIMIT}):
    try:
        made = api.create_namespaced_config_map("default", {{"metadata": {{"name": f"burst-{{number}}"}}}})
    except Exception:
        break
    print(made.metadata.name, made.metadata.resource_version, flush=True)
"""


@pytest.mark.timeout(240)
def test_kill_9_loses_nothing_and_containers_go_on(tmp_path: Path, images: list[Path]) -> None:
    cluster = start(f"crash-{os.getpid()}", tmp_path, "--runtime", "containerd")
    try:
        cluster.wherry("image", "load", str(images[0]))
        cluster.kubectl("run", "box", f"--image={IMAGE}")
        cluster.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
        before = cluster.get("pod", "box")
        acknowledged = burst_until_killed(cluster)
        assert 50 <= len(acknowledged) < LIMIT
        cluster.wherry(
            "up", "--detach", "--port", "0", "--kubeconfig", str(cluster.kubeconfig), "--runtime", "containerd"
        )
        found = {
            item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in cluster.get("configmaps")["items"]
        }
        assert {name: version for name, version in acknowledged.items() if found.get(name) != version} == {}
        cluster.kubectl("create", "configmap", "after")
        newest = int(cluster.get("configmap", "after")["metadata"]["resourceVersion"])
        assert newest > max(map(int, acknowledged.values()))
        wait_until(lambda: " Ready " in cluster.kubectl("get", "nodes"))
        after = cluster.get("pod", "box")
        assert (
            after["status"]["containerStatuses"][0]["containerID"]
            == before["status"]["containerStatuses"][0]["containerID"]
        )
        assert after["status"]["containerStatuses"][0]["restartCount"] == 0
        assert cluster.kubectl("exec", "box", "--", "echo", "alive") == "alive\n"
    finally:
        cluster.wherry("down", check=False)


def burst_until_killed(cluster: Cluster) -> dict[str, str]:
    """Names and resourceVersions that were acknowledged before the process was killed."""
    pid = json.loads((cluster.data_dir / cluster.name / "cluster.json").read_text())["pid"]
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    writer = subprocess.Popen([sys.executable, "-c", CREATE], env=environment, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged: dict[str, str] = {}
    for line in writer.stdout:
        name, version = line.split()
        acknowledged[name] = version
        if len(acknowledged) == 200:
            os.kill(pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    return acknowledged
