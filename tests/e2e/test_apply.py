"""`kubectl apply` of a directory, its second run, and what a pod sees of the cluster."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.conftest import IMAGE, Cluster, run
from tests.e2e.test_kubectl import wait_until


def manifests(namespace: str, command: tuple[str, ...] = ("/serve",)) -> list[dict[str, Any]]:
    meta = {"namespace": namespace}
    labels = {"app": "web"}
    container = {
        "name": "box",
        "image": IMAGE,
        "command": list(command),
        "envFrom": [{"configMapRef": {"name": "settings"}}],
    }
    done = {"name": "done", "image": IMAGE, "command": ["true"]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta | {"name": "settings"}, "data": {"COLOR": "blue"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta | {"name": "key"}, "data": {"password": "eA=="}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta | {"name": "reader"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": meta | {"name": "read-pods"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": meta | {"name": "read-pods"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read-pods"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta | {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"serviceAccountName": "reader", "containers": [container]},
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta | {"name": "web"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta | {"name": "once"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [done]}}},
        },
    ]


def test_apply_of_a_directory_works_and_its_second_run_changes_nothing(
    containerd_cluster: Cluster, tmp_path: Path
) -> None:
    namespace = "applied"
    apply_twice(containerd_cluster, namespace, tmp_path)
    containerd_cluster.kubectl("-n", namespace, "wait", "--for=condition=complete", "job/once", "--timeout=60s")
    inside(containerd_cluster, namespace)
    delete_again(containerd_cluster, namespace, tmp_path)


def apply_twice(cluster: Cluster, namespace: str, directory: Path, command: tuple[str, ...] = ("/serve",)) -> None:
    """Apply the manifests; the second time, and `kubectl diff`, find nothing to do; RBAC is in force."""
    kubectl = cluster.kubectl
    for number, manifest in enumerate(manifests(namespace, command)):
        (directory / f"{number:02}.json").write_text(json.dumps(manifest))
    first = kubectl("apply", "-f", str(directory))
    assert first.count(" created") == 9
    kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    second = kubectl("apply", "-f", str(directory))
    assert second.count(" unchanged") == 9
    difference = run(["kubectl", "diff", "-f", str(directory)], cluster.kubeconfig, check=False)
    assert (difference.returncode, difference.stdout) == (0, "")
    reader = f"--as=system:serviceaccount:{namespace}:reader"
    assert kubectl("auth", "can-i", "list", "pods", "-n", namespace, reader) == "yes\n"
    assert kubectl("auth", "can-i", "delete", "pods", "-n", namespace, reader, check=False).startswith("no")


def delete_again(cluster: Cluster, namespace: str, directory: Path) -> None:
    """Delete what was applied, the namespace with it."""
    # The namespace goes first and takes the others along, so some are gone when kubectl comes to them.
    cluster.kubectl("delete", "-f", str(directory), "--ignore-not-found", "--timeout=90s")
    assert "NotFound" in cluster.kubectl("get", "namespace", namespace, check=False)


def inside(cluster: Cluster, namespace: str) -> None:
    """From a pod: DNS, and the API with the mounted token, as far as RBAC lets it."""

    def execute(script: str) -> str:
        return cluster.kubectl("-n", namespace, "exec", "deploy/web", "--", "sh", "-c", script, check=False)

    service = cluster.get("service", "web", "-n", namespace)["spec"]["clusterIP"]
    assert service in execute(f"nslookup web.{namespace}.svc.cluster.local")
    assert execute("echo $COLOR") == "blue\n"
    assert execute("wget -qO- http://web").split()[1] == "v1"
    token = execute("cat /var/run/secrets/kubernetes.io/serviceaccount/token").strip()
    assert execute("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace") == namespace
    assert execute("cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt").startswith("-----BEGIN CERTIFICATE")
    # busybox's wget cannot check certificates; the machine's curl enters the pod's network with the pod's own files.
    pid = next(iter(container_pids(cluster, namespace)))
    assert api_from_pod(pid, token, f"/api/v1/namespaces/{namespace}/pods")["kind"] == "PodList"
    refused = api_from_pod(pid, token, f"/api/v1/namespaces/{namespace}/secrets")
    assert (refused["code"], refused["reason"]) == (403, "Forbidden")


def container_pids(cluster: Cluster, namespace: str) -> list[int]:
    """Process ids, on this machine, of what runs /serve in the namespace's pods."""
    pods = {pod["metadata"]["name"] for pod in cluster.get("pods", "-n", namespace, "-l", "app=web")["items"]}
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"COLOR=blue" in environment and {f"HOSTNAME={name}".encode() for name in pods} & set(environment):
            found.append(int(path.parent.name))
    return found


def api_from_pod(pid: int, token: str, path: str) -> dict[str, Any]:
    root = f"/proc/{pid}/root"
    enter = ["nsenter", "--net", f"--target={pid}"]
    certificate = f"{root}/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    resolve = subprocess.run(
        ["nsenter", "--net", "--mount", f"--target={pid}", "/bin/nslookup", "kubernetes.default.svc.cluster.local"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    address = resolve.split("Name:")[1].split("Address")[1].split(":", 1)[1].split()[0]
    header = f"Authorization: Bearer {token}"
    pin = f"kubernetes.default:443:{address}"
    command = [
        "curl",
        "-s",
        "--cacert",
        certificate,
        "--resolve",
        pin,
        "-H",
        header,
        f"https://kubernetes.default{path}",
    ]
    answer: dict[str, Any] = json.loads(subprocess.run([*enter, *command], capture_output=True, check=True).stdout)
    return answer


def test_get_watch_shows_changes_as_they_happen(containerd_cluster: Cluster, namespace: str) -> None:
    watch_shows_changes(containerd_cluster, namespace)


def watch_shows_changes(cluster: Cluster, namespace: str) -> None:
    """`kubectl get -w` prints what is there, then what comes."""
    config = ["--kubeconfig", str(cluster.kubeconfig)]
    command = ["kubectl", *config, "-n", namespace, "get", "configmaps", "-w"]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    try:
        while not watch.stdout.readline().startswith("kube-root-ca.crt"):
            assert watch.poll() is None
        cluster.kubectl("-n", namespace, "create", "configmap", "late", "--from-literal=a=b")
        while (line := watch.stdout.readline().split())[:2] != ["late", "1"]:
            assert line
            assert watch.poll() is None
    finally:
        watch.kill()
        watch.wait()
        watch.stdout.close()


def test_node_is_ready_and_described(containerd_cluster: Cluster) -> None:
    wait_until(lambda: " Ready " in containerd_cluster.kubectl("get", "nodes"))
    described = containerd_cluster.kubectl("describe", "node")
    for text in ("KubeletReady", "containerd://", "Allocatable:", "Non-terminated Pods:", "PodCIDR:"):
        assert text in described
