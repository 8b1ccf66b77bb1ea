"""User errors of the command line: one clear line, exit code 1, nothing half-made left behind."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import run, start
from wherry.cluster.addresses import CONTAINED_CLAIMS, LOOPBACK_CLAIMS

NAME = f"bad-setup-{os.getpid()}"


def up(directory: Path, *arguments: str, kubeconfig: Path | None = None, path: str | None = None) -> str:
    """A `wherry up` that must fail; the one line that says why."""
    command = [sys.executable, "-m", "wherry", "up", "--name", NAME, "--data-dir", str(directory / "data")]
    command += ["--kubeconfig", str(kubeconfig or directory / "kubeconfig"), *arguments]
    environment = os.environ | {"HOME": str(directory)} | ({"PATH": path} if path is not None else {})
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    *progress, line = result.stderr.splitlines()
    assert all(said.startswith(("runtime: ", "API server: ")) for said in progress), result.stderr
    assert line.startswith("wherry: ")
    return line.removeprefix("wherry: ")


def leftovers(directory: Path) -> list[str]:
    """Files, processes, address claims and packet filter tables of this test's cluster."""
    home = directory / "data" / NAME
    files = [path.name for path in home.iterdir()] if home.is_dir() else []
    found = [name for name in files if name not in ("lock", "wherry.log")]
    for claim in (*CONTAINED_CLAIMS.glob("*"), *LOOPBACK_CLAIMS.glob("*")):
        try:
            found += [str(claim)] if claim.read_text() == str(home) else []
        except OSError:
            continue  # another cluster's, released meanwhile
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [str(process)] if os.fsencode(directory) in process.read_bytes() else []
        except OSError:
            continue
    if os.geteuid() == 0 and shutil.which("nft"):
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        found += [line for line in tables.splitlines() if NAME in line]
    return found


@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["attached", "detached"])
def test_a_port_in_use(tmp_path: Path, detach: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = up(tmp_path, "--runtime", "fake", "--port", str(port), *detach)
    assert line == f"port {port} on 127.0.0.1 is in use by another program; choose another port with --port"
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "kubeconfig").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="without root the runtime itself is refused first")
def test_a_missing_containerd(tmp_path: Path) -> None:
    line = up(tmp_path, "--runtime", "containerd", "--port", "0", "--detach", path=str(tmp_path))
    assert line.startswith("--runtime containerd needs containerd, runc, ctr")
    assert "apt-get install containerd runc" in line
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["attached", "detached"])
@pytest.mark.parametrize("fault", ["directory", "below a file", "no YAML", "unwritable place"])
def test_a_kubeconfig_that_cannot_be_written(tmp_path: Path, fault: str, detach: list[str]) -> None:
    kubeconfig = tmp_path / "config"
    if fault == "directory":
        kubeconfig.mkdir()
    elif fault == "below a file":
        kubeconfig.touch()
        kubeconfig /= "config"
    elif fault == "no YAML":
        kubeconfig.write_text("{[")
    else:
        kubeconfig = Path("/proc/wherry/config")
    before = sorted(path.name for path in tmp_path.iterdir())
    line = up(tmp_path, "--runtime", "fake", "--port", "0", *detach, kubeconfig=kubeconfig)
    assert str(kubeconfig) in line
    assert line.endswith("with --kubeconfig")
    assert leftovers(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "data") == before


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    for detach in ([], ["--detach"]):
        line = up(tmp_path, "--runtime", "fake", "--port", "0", *detach)
        assert line == (
            f"cannot use {tmp_path}/data/{NAME}: Not a directory; choose another place with --data-dir or $WHERRY_HOME"
        )
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("damaged", ["store/data.mdb", "cluster.json", "pki/ca.crt", "pki/ca.key", "pki/sa.key"])
def test_a_corrupt_data_directory_is_named_and_not_touched(tmp_path: Path, damaged: str) -> None:
    cluster = start(NAME, tmp_path, "--runtime", "fake")
    home = cluster.data_dir / NAME
    try:
        cluster.wherry("down", "--keep-data")
        file = home / damaged
        whole = file.read_bytes()
        file.write_bytes(b"\xff" * 8192)
        line = up(tmp_path, "--runtime", "fake", "--port", "0", "--detach")
        assert str(file.parent) in line
        assert file.read_bytes() == b"\xff" * 8192
        contexts = yaml.safe_load(cluster.kubeconfig.read_text())["contexts"]
        assert contexts == []
        file.write_bytes(whole)
    finally:
        cluster.wherry("down", check=False)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["up", "--runtime-config", "v2=true"], "--runtime-config: runtime-config invalid key v2"),
        (["up", "--feature-gates", "Sails=true"], "--feature-gates: unrecognized feature gate: Sails"),
        (["up", "--nodes", "0"], "--nodes must be at least 1"),
        (["up", "--port", "65536"], "--port 65536 is not a TCP port: choose 0 to 65535"),
        (["down"], "there is no cluster 'NAME' under DATA (known: none)"),
        (["status"], "there is no cluster 'NAME' under DATA (known: none): `wherry up --name NAME`"),
        (["image", "load", "x.tar"], "there is no cluster 'NAME' under DATA (known: none): `wherry up --name NAME`"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments(tmp_path: Path, arguments: list[str], line: str) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "wherry", *arguments, "--name", NAME, "--data-dir", str(data)]
    result = run(command, tmp_path / "kubeconfig", check=False)
    wanted = line.replace("NAME", NAME).replace("DATA", str(data))
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"wherry: {wanted}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_second_start_and_what_status_tells(tmp_path: Path) -> None:
    cluster = start(NAME, tmp_path, "--runtime", "fake")
    try:
        line = up(tmp_path, "--runtime", "fake", "--port", "0", "--detach")
        assert line.startswith(f"cluster {NAME!r} is already running")
        status = json.loads(cluster.wherry("status", "-o", "json").stdout)
        assert (status["state"], status["ready"], status["nodesReady"]) == ("running", True, 1)
        assert [(one["name"], one["ready"], one["restarts"]) for one in status["components"]] == [
            (name, True, 0) for name in ("store", "apiserver", "controller-manager", "scheduler", "fake nodes")
        ]
        assert all(one["pid"] == status["pid"] and one["memoryBytes"] > 2**20 for one in status["components"])
        cluster.wherry("down", "--keep-data")
        stopped = cluster.wherry("status", "-o", "json", check=False)
        assert (stopped.returncode, json.loads(stopped.stdout)["state"]) == (1, "stopped")
    finally:
        cluster.wherry("down", check=False)
    assert leftovers(tmp_path) == []
