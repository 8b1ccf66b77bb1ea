"""Whole clusters, started as a user starts them, driven by the real kubectl."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wherry.testing.images import busybox_archive

IMAGE = "wherry.test/box:1"
IMAGE_2 = "wherry.test/box:2"
# Another user's life, but for files that only root may read: the interpreter may well be in root's home.
DROP_ROOT = ["setpriv", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
# An HTTP server that names its pod; `v1`/`v2` tells the images apart.
SERVE = b"""#!/bin/sh
mkdir -p /tmp/www && echo "$(hostname) $(cat /version)" > /tmp/www/index.html
trap 'sleep 3; kill $!; exit 0' TERM
busybox httpd -f -p 8080 -h /tmp/www &
wait $!
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster and how to reach it."""

    name: str
    data_dir: Path
    kubeconfig: Path
    user: int | None = None

    def wherry(self, *arguments: str, check: bool = True, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Run a wherry verb for this cluster."""
        command = [sys.executable, "-m", "wherry", *arguments, "--name", self.name, "--data-dir", str(self.data_dir)]
        return run(command, self.kubeconfig, check=check, timeout=timeout, user=self.user)

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None, timeout: float = 90) -> str:
        """Run kubectl; its standard output."""
        result = run(["kubectl", *arguments], self.kubeconfig, check=check, stdin=stdin, timeout=timeout)
        return result.stdout if check else result.stdout + result.stderr

    def get(self, *arguments: str) -> Any:
        """`kubectl get ... -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))


def run(
    command: list[str],
    kubeconfig: Path,
    *,
    check: bool = True,
    stdin: str | None = None,
    timeout: float = 90,
    user: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command against a cluster, failing with all it said."""
    if user is not None:
        command = [*DROP_ROOT, f"--reuid={user}", f"--regid={user}", *command]
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}
    result = subprocess.run(
        command,
        env=environment,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and result.returncode:
        raise AssertionError(f"{' '.join(command)} exited {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def start(name: str, directory: Path, *arguments: str, user: int | None = None) -> Cluster:
    """`wherry up --detach` with everything under `directory`."""
    cluster = Cluster(name, directory / "data", directory / "kubeconfig", user)
    cluster.wherry("up", "--detach", "--port", "0", "--kubeconfig", str(cluster.kubeconfig), *arguments)
    return cluster


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of a small image."""
    directory = tmp_path_factory.mktemp("images")
    paths = []
    for number, name in enumerate((IMAGE, IMAGE_2), 1):
        path = directory / f"{number}.tar"
        files = {"serve": SERVE, "version": f"v{number}\n".encode()}
        path.write_bytes(busybox_archive(name, files, command=["/serve"]))
        paths.append(path)
    return paths


@pytest.fixture(scope="session")
def containerd_cluster(tmp_path_factory: pytest.TempPathFactory, images: list[Path]) -> Iterator[Cluster]:
    """One cluster on real containers for the whole run; every test uses a namespace of its own."""
    assert os.geteuid() == 0, "containers need root: run the tests as root, or deselect tests/e2e by name"
    assert shutil.which("kubectl"), "kubectl is missing: scripts/setup installs it"
    cluster = start(f"e2e-{os.getpid()}", tmp_path_factory.mktemp("cluster"), "--runtime", "containerd")
    try:
        cluster.wherry("image", "load", *map(str, images))
        yield cluster
    finally:
        cluster.wherry("down", check=False)


@pytest.fixture
def namespace(containerd_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace that goes away with the test."""
    words = re.findall("[a-z0-9]+", request.node.name)
    name = "-".join(["t", *words[1:]])[:50].rstrip("-")
    containerd_cluster.kubectl("create", "namespace", name)
    yield name
    containerd_cluster.kubectl("delete", "namespace", name, "--wait=false")
