"""A Deployment's life as a user sees it, with unmodified kubectl on real containers."""

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from tests.e2e.conftest import IMAGE, IMAGE_2, Cluster, run
from wherry.cluster.addresses import claimed
from wherry.cluster.containerd import ContainerdPaths
from wherry.cluster.network import service_table


def fetch(address: str, port: int, timeout: float = 5) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def deploy(cluster: Cluster, namespace: str, replicas: int = 3) -> None:
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [
                        {
                            "name": "box",
                            "image": IMAGE,
                            "ports": [{"containerPort": 8080}],
                            "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
                        }
                    ],
                },
            },
        },
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")


def pod_names(cluster: Cluster, namespace: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in cluster.get("pods", "-n", namespace)["items"]]


def test_create_deployment_rolls_out_and_shows_in_get_all(containerd_cluster: Cluster, namespace: str) -> None:
    kubectl = containerd_cluster.kubectl
    kubectl("-n", namespace, "create", "deployment", "web", f"--image={IMAGE}", "--replicas=3", "--port=8080")
    out = kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    assert 'deployment "web" successfully rolled out' in out
    kubectl("-n", namespace, "expose", "deployment", "web", "--port=80", "--target-port=8080")
    everything = kubectl("-n", namespace, "get", "all", "-o", "wide")
    assert everything.count("Running") == 3
    for text in ("deployment.apps/web", "replicaset.apps/web-", "service/web", "pod/web-", "NOMINATED NODE", "3/3"):
        assert text in everything


def test_cluster_ip_and_node_port_are_answered_by_every_pod(containerd_cluster: Cluster, namespace: str) -> None:
    deploy(containerd_cluster, namespace)
    containerd_cluster.kubectl(
        "-n", namespace, "expose", "deployment", "web", "--port=80", "--target-port=8080", "--type=NodePort"
    )
    service = containerd_cluster.get("service", "web", "-n", namespace)
    address, node_port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]
    wait_until(lambda: connects(address, 80))
    pods = set(pod_names(containerd_cluster, namespace))
    assert {fetch(address, 80).split()[0] for _ in range(40)} == pods
    assert {fetch("127.0.0.1", node_port).split()[0] for _ in range(40)} == pods


def test_scale_up_and_down(containerd_cluster: Cluster, namespace: str) -> None:
    deploy(containerd_cluster, namespace, replicas=1)
    containerd_cluster.kubectl("-n", namespace, "scale", "deployment/web", "--replicas=4")
    containerd_cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    assert containerd_cluster.get("deployment", "web", "-n", namespace)["status"]["readyReplicas"] == 4
    containerd_cluster.kubectl("-n", namespace, "scale", "deployment/web", "--replicas=1")
    wait_until(lambda: len(pod_names(containerd_cluster, namespace)) == 1)


def test_rolling_update_drops_no_request_and_can_be_undone(containerd_cluster: Cluster, namespace: str) -> None:
    kubectl = containerd_cluster.kubectl
    deploy(containerd_cluster, namespace)
    kubectl("-n", namespace, "expose", "deployment", "web", "--port=80", "--target-port=8080")
    address = containerd_cluster.get("service", "web", "-n", namespace)["spec"]["clusterIP"]
    wait_until(lambda: connects(address, 80))
    answers: Counter[str] = Counter()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answers[fetch(address, 80).split()[1]] += 1
            except OSError as error:
                answers[f"failed: {error!r}"] += 1
            done.wait(0.01)

    client = threading.Thread(target=ask)
    client.start()
    try:
        kubectl("-n", namespace, "set", "image", "deployment/web", f"box={IMAGE_2}")
        kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
        wait_until(lambda: answers["v2"] > 5)
    finally:
        done.set()
        client.join()
    assert set(answers) == {"v1", "v2"}
    history = kubectl("-n", namespace, "rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["1", "2"]
    kubectl("-n", namespace, "rollout", "undo", "deployment/web")
    kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    wait_until(lambda: {fetch(address, 80).split()[1] for _ in range(6)} == {"v1"})


def test_logs_exec_port_forward_and_cp(containerd_cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    kubectl = containerd_cluster.kubectl
    kubectl("-n", namespace, "run", "box", f"--image={IMAGE}", "--command", "--", "sh", "-c",
            "for i in 1 2 3; do echo line $i; sleep 0.2; done; exec /serve")  # fmt: skip
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
    wait_until(lambda: "line 3" in kubectl("-n", namespace, "logs", "box"))
    assert kubectl("-n", namespace, "logs", "box", "--tail=2").split("\n")[0] == "line 2"
    follow = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(containerd_cluster.kubeconfig), "-n", namespace, "logs", "-f", "box"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follow.stdout is not None
    assert [follow.stdout.readline().strip() for _ in range(3)] == ["line 1", "line 2", "line 3"]
    follow.kill()
    follow.wait()
    follow.stdout.close()
    assert kubectl("-n", namespace, "exec", "-i", "box", "--", "cat", stdin="through\n") == "through\n"
    failed = run(["kubectl", "-n", namespace, "exec", "box", "--", "sh", "-c", "exit 7"],
                 containerd_cluster.kubeconfig, check=False)  # fmt: skip
    assert failed.returncode == 7
    source = tmp_path / "file"
    source.write_bytes(bytes(range(256)) * 1000)
    kubectl("cp", str(source), f"{namespace}/box:/tmp/copy")
    kubectl("cp", f"{namespace}/box:/tmp/copy", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    port_forward(containerd_cluster, namespace, "box", "box v1\n")


def port_forward(cluster: Cluster, namespace: str, pod: str, expected: str) -> None:
    """Two requests through `kubectl port-forward`."""
    command = [
        "kubectl",
        "--kubeconfig",
        str(cluster.kubeconfig),
        "-n",
        namespace,
        "port-forward",
        f"pod/{pod}",
        ":8080",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        port = int(line.split("127.0.0.1:")[1].split()[0])
        assert fetch("127.0.0.1", port) == expected
        assert fetch("127.0.0.1", port) == expected
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_exec_with_a_terminal(containerd_cluster: Cluster, namespace: str) -> None:
    kubectl = containerd_cluster.kubectl
    kubectl("-n", namespace, "run", "box", f"--image={IMAGE}")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
    command = f"kubectl -n {namespace} exec -it box -- sh -c 'test -t 0 && echo is a tty; stty size'"
    result = run(["script", "-qec", command, "/dev/null"], containerd_cluster.kubeconfig)
    assert "is a tty" in result.stdout


def test_describe_tells_the_story(containerd_cluster: Cluster, namespace: str) -> None:
    deploy(containerd_cluster, namespace, replicas=1)
    pod = pod_names(containerd_cluster, namespace)[0]
    described = containerd_cluster.kubectl("-n", namespace, "describe", "pod", pod)
    for text in ("Successfully assigned", "Container image", "Created", "Started", "Controlled By:  ReplicaSet/web-"):
        assert text in described
    described = containerd_cluster.kubectl("-n", namespace, "describe", "deployment", "web")
    assert "Scaled up replica set web-" in described


def test_deletion_leaves_nothing(containerd_cluster: Cluster, namespace: str) -> None:
    # Without pods there are no shims, routes and cgroups; kubernetes and kube-dns have three Service ports.
    before = (0, 0, 0, 3)
    wait_until(lambda: footprint(containerd_cluster, []) == before)
    deploy(containerd_cluster, namespace)
    containerd_cluster.kubectl("-n", namespace, "expose", "deployment", "web", "--port=80", "--type=NodePort")
    pods = containerd_cluster.get("pods", "-n", namespace)["items"]
    ids = [pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://") for pod in pods]
    wait_until(lambda: footprint(containerd_cluster, ids) == (3, 3, 3, 5))
    containerd_cluster.kubectl("-n", namespace, "delete", "deployment,service", "--all", "--timeout=60s")
    wait_until(lambda: footprint(containerd_cluster, ids) == before, seconds=30)


def footprint(cluster: Cluster, ids: list[str]) -> tuple[int, int, int, int]:
    """This cluster's shims, pod routes (one a veth), cgroups of containers `ids`, and chains of Service rules."""
    node = cluster.data_dir / cluster.name / "nodes" / f"{cluster.name}-1"
    socket_path = str(ContainerdPaths.under(node / "containerd").socket)
    shims = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        command = read(path)
        shims += "containerd-shim" in command and socket_path in command
    number = claimed(cluster.data_dir / cluster.name)
    assert number is not None
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    veths = sum(line.startswith(f"10.{244 - number}.") and "/" not in line.split()[0] for line in routes.splitlines())
    groups = {name for _, names, _ in os.walk("/sys/fs/cgroup/memory") for name in names if name in ids}
    table = ["nft", "list", "table", "ip", service_table(cluster.name, number)]
    rules = subprocess.run(table, capture_output=True, text=True, check=True).stdout
    return shims, veths, len(groups), rules.count("chain svc-") + rules.count("chain ext-")


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def wait_until(condition: object, seconds: float = 60) -> None:
    """Poll a condition of the outside world; the bound only ends a failed test."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        threading.Event().wait(0.1)
