"""The same cluster without containers: child processes for a user who is not root, and a thousand pretended nodes."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Cluster, run, start
from tests.e2e.test_apply import apply_twice, delete_again, watch_shows_changes
from tests.e2e.test_kubectl import fetch, port_forward, wait_until

NOBODY = 65534
SERVE = (
    "import http.server, os\n"
    "class Handler(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers()\n"
    "        self.wfile.write((os.environ['HOSTNAME'] + ' v1').encode())\n"
    "    def log_message(self, *a): print('served', flush=True)\n"
    "print('up', flush=True)\n"
    "http.server.HTTPServer((os.environ['POD_IP'], 8080), Handler).serve_forever()\n"
)


def deployment(name: str, replicas: int, container: dict[str, Any]) -> str:
    labels = {"app": name}
    spec = {"containers": [{"name": "main", "image": "python"} | container], "terminationGracePeriodSeconds": 2}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body})


@pytest.fixture(scope="module")
def process_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = Path("/tmp") / f"wherry-process-{os.getpid()}"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    user = NOBODY if os.geteuid() == 0 else None
    cluster = start(f"process-{os.getpid()}", directory, "--runtime", "process", user=user)
    try:
        cluster.kubeconfig.chmod(0o644)
        yield cluster
    finally:
        cluster.wherry("down", check=False)
        shutil.rmtree(directory)


def test_processes_without_root(process_cluster: Cluster) -> None:
    kubectl = process_cluster.kubectl
    container = {
        "command": ["python3", "-c", SERVE],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
    }
    kubectl("apply", "-f", "-", stdin=deployment("web", 3, container))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("expose", "deployment", "web", "--port=8000", "--target-port=8080", "--type=NodePort")
    spec = process_cluster.get("service", "web")["spec"]
    pods = {pod["metadata"]["name"] for pod in process_cluster.get("pods")["items"]}
    for address, port in ((spec["clusterIP"], 8000), ("127.0.0.1", spec["ports"][0]["nodePort"])):
        wait_until(lambda address=address, port=port: answers(address, port) == pods)
    pod = sorted(pods)[0]
    assert "up" in kubectl("logs", pod)
    assert kubectl("exec", "-i", pod, "--", "cat", stdin="through\n") == "through\n"
    kubectl("scale", "deployment/web", "--replicas=1")
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("delete", "deployment,service", "-l", "app=web", "--timeout=60s")
    kubectl("delete", "deployment/web", "service/web", "--ignore-not-found", "--timeout=60s")
    wait_until(lambda: process_cluster.get("pods")["items"] == [])
    left = subprocess.run(
        ["pgrep", "-u", str(NOBODY), "-f", "http.server"], capture_output=True, text=True, check=False
    )
    assert left.stdout == ""


def test_streams_and_updates_without_containers(process_cluster: Cluster, tmp_path: Path) -> None:
    kubectl = process_cluster.kubectl
    container = {
        "command": ["python3", "-c", SERVE],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    }
    kubectl("apply", "-f", "-", stdin=deployment("one", 1, container))
    kubectl("rollout", "status", "deployment/one", "--timeout=60s")
    pod = process_cluster.get("pods", "-l", "app=one")["items"][0]["metadata"]["name"]
    wait_until(lambda: "up" in kubectl("logs", pod))
    script = ["script", "-qec", f"kubectl exec -it {pod} -- sh -c 'test -t 0 && echo is a tty'", "/dev/null"]
    assert "is a tty" in run(script, process_cluster.kubeconfig).stdout
    source = tmp_path / "file"
    source.write_bytes(bytes(range(256)) * 400)
    directory = kubectl("exec", pod, "--", "pwd").strip()
    kubectl("cp", str(source), f"default/{pod}:{directory}/copy")
    kubectl("cp", f"default/{pod}:{directory}/copy", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    port_forward(process_cluster, "default", pod, f"{pod} v1")
    assert "Successfully assigned" in kubectl("describe", "pod", pod)
    kubectl("set", "image", "deployment/one", "main=other")
    kubectl("rollout", "status", "deployment/one", "--timeout=60s")
    kubectl("delete", "deployment/one", "--timeout=60s")


def test_a_directory_is_applied_without_containers(process_cluster: Cluster, tmp_path: Path) -> None:
    apply_twice(process_cluster, "applied", tmp_path, ("sleep", "1000"))
    process_cluster.kubectl("-n", "applied", "wait", "--for=condition=complete", "job/once", "--timeout=60s")
    watch_shows_changes(process_cluster, "applied")
    pod = process_cluster.get("pods", "-n", "applied", "-l", "app=web")["items"][0]["metadata"]["name"]
    assert process_cluster.kubectl("-n", "applied", "exec", pod, "--", "sh", "-c", "echo $COLOR") == "blue\n"
    delete_again(process_cluster, "applied", tmp_path)


def answers(address: str, port: int) -> set[str]:
    try:
        return {fetch(address, port).split()[0] for _ in range(30)}
    except OSError:
        return set()


@pytest.mark.timeout(600)
def test_a_thousand_nodes_and_ten_thousand_pods(tmp_path: Path) -> None:
    name = f"fake-{os.getpid()}"
    cluster = start(name, tmp_path, "--runtime", "fake", "--nodes", "1000", "--wait", "120")
    try:
        assert len(cluster.get("nodes")["items"]) == 1000
        cluster.kubectl("apply", "-f", "-", stdin=deployment("many", 10_000, {}))
        rollout = ["kubectl", "rollout", "status", "deployment/many", "--timeout=400s"]
        out = run(rollout, cluster.kubeconfig, timeout=420).stdout
        assert "successfully rolled out" in out
        pods = cluster.get("pods")["items"]
        assert len(pods) == 10_000
        assert {pod["status"]["phase"] for pod in pods} == {"Running"}
        watch_shows_changes(cluster, "default")
        (tmp_path / "manifests").mkdir()
        apply_twice(cluster, "applied", tmp_path / "manifests")
        cluster.kubectl("-n", "applied", "set", "image", "deployment/web", "box=other")
        cluster.kubectl("-n", "applied", "rollout", "status", "deployment/web", "--timeout=60s")
        cluster.kubectl("-n", "applied", "rollout", "undo", "deployment/web")
        cluster.kubectl("-n", "applied", "rollout", "status", "deployment/web", "--timeout=60s")
        delete_again(cluster, "applied", tmp_path / "manifests")
        per_node = [pod["spec"]["nodeName"] for pod in pods]
        assert len(set(per_node)) == 1000
    finally:
        cluster.wherry("down", check=False)
