"""Two clusters of one name on one machine, in different directories: neither notices the other."""

from pathlib import Path

from tests.e2e.conftest import Cluster, start
from tests.e2e.test_kubectl import connects, deploy, fetch, wait_until


def test_a_neighbour_of_the_same_name_changes_nothing(
    containerd_cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    deploy(containerd_cluster, namespace, replicas=1)
    first = expose(containerd_cluster, namespace, "first")
    wait_until(lambda: connects(first, 8080))
    neighbour = start(containerd_cluster.name, tmp_path, "--runtime", "containerd")
    try:
        assert fetch(first, 8080).startswith("web-")
        second = expose(containerd_cluster, namespace, "second")
        wait_until(lambda: connects(second, 8080))
        assert fetch(first, 8080).startswith("web-")
        own = address(neighbour, "default", "kubernetes")
        assert connects(own, 443)
        assert own != address(containerd_cluster, "default", "kubernetes")
    finally:
        neighbour.wherry("down")
    assert fetch(first, 8080).startswith("web-")
    assert fetch(second, 8080).startswith("web-")


def expose(cluster: Cluster, namespace: str, name: str) -> str:
    cluster.kubectl("-n", namespace, "expose", "deployment/web", f"--name={name}", "--port=8080")
    return address(cluster, namespace, name)


def address(cluster: Cluster, namespace: str, name: str) -> str:
    return str(cluster.get("service", "-n", namespace, name)["spec"]["clusterIP"])
