"""A cluster put together by hand: every component a process of its own, each with its own credentials."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import run
from tests.e2e.test_kubectl import wait_until
from wherry.aio.clock import SystemClock
from wherry.client import kubeconfig
from wherry.cluster.pki import Pki

LOOPBACK = "127.0.0.1"
NODE = "worker"
MASTERS = ["system:masters"]


@contextmanager
def component(directory: Path, verb: str, **flags: object) -> Iterator[Path]:
    """Run `wherry VERB` and end it by SIGTERM; its log."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    path = directory / f"{verb}.log"
    with path.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "wherry", verb, *arguments], stderr=log, stdout=log)
    try:
        yield path
        assert process.poll() is None, f"{verb} ended by itself:\n{path.read_text()}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, path.read_text()
    finally:
        process.kill()
        process.wait()


def test_components_as_processes_make_a_cluster(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki", SystemClock())

    def identity(name: str, user: str, groups: list[str], server: str) -> Path:
        pair = pki.client(name, user, groups)
        path = tmp_path / f"{name}.kubeconfig"
        credentials = kubeconfig.Credentials(
            server, pki.ca.cert.read_bytes(), pair.cert.read_bytes(), pair.key.read_bytes()
        )
        kubeconfig.write(path, kubeconfig.single_context(name, credentials))
        return path

    with ExitStack() as stack:
        server = start_api_server(stack, pki, tmp_path)
        admin = identity("admin", "kubernetes-admin", MASTERS, server)
        # As with kube-controller-manager, one identity for all controllers must be allowed all that they do.
        controllers = identity("controllers", "system:kube-controller-manager", MASTERS, server)
        scheduler = identity("scheduler", "system:kube-scheduler", [], server)
        kubelet = identity("kubelet", f"system:node:{NODE}", ["system:nodes"], server)

        def start(verb: str, **flags: object) -> None:
            stack.enter_context(component(tmp_path, verb, **flags))

        start("controller-manager", kubeconfig=controllers, root_ca_file=pki.ca.cert, cluster_cidr="10.244.0.0/16")
        start("scheduler", kubeconfig=scheduler)
        start(
            "kubelet", kubeconfig=kubelet, runtime="fake", hostname_override=NODE, node_ip=LOOPBACK, address=LOOPBACK,
            port=0, root_dir=tmp_path / "kubelet", client_ca_file=pki.ca.cert,
        )  # fmt: skip

        def kubectl(*arguments: str) -> str:
            return run(["kubectl", *arguments], admin).stdout

        kubectl("create", "deployment", "web", "--image=any", "--replicas=3")
        kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        placed = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName} {.items[*].status.phase}").split()
        assert placed == [NODE] * 3 + ["Running"] * 3
        leases = kubectl("get", "leases", "-n", "kube-system", "-o", "name").split()
        assert leases == [f"lease.coordination.k8s.io/kube-{name}" for name in ("controller-manager", "scheduler")]


def test_what_is_asked_of_a_server_is_recorded_and_it_stops_in_order(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki", SystemClock())
    policy, recorded = tmp_path / "policy.yaml", tmp_path / "audit.log"
    policy.write_text(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Request}]"
    )
    with ExitStack() as stack:  # leaving it sends SIGTERM and wants exit code 0
        server = start_api_server(stack, pki, tmp_path, audit_policy_file=policy, audit_log_path=recorded)
        pair = pki.client("admin", "somebody", MASTERS)
        admin = ["kubectl", "--server", server, f"--certificate-authority={pki.ca.cert}"]
        admin += [f"--client-certificate={pair.cert}", f"--client-key={pair.key}"]
        subprocess.run([*admin, "create", "configmap", "seen", "--from-literal=a=b"], check=True)
        ready = subprocess.run([*admin, "get", "--raw", "/readyz?verbose"], check=True, capture_output=True, text=True)
        assert "[+]shutdown ok" in ready.stdout
    events = [json.loads(line) for line in recorded.read_text().splitlines()]
    (made,) = (event for event in events if event["verb"] == "create" and event["user"]["username"] == "somebody")
    assert made["requestObject"]["data"] == {"a": "b"}
    assert made["responseStatus"]["code"] == 201


def start_api_server(stack: ExitStack, pki: Pki, directory: Path, **flags: object) -> str:
    """The URL of an API server with its own keys, on any free port."""
    serving = pki.serving("apiserver", "kube-apiserver", [LOOPBACK])
    to_kubelets = pki.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", MASTERS)
    log = stack.enter_context(
        component(
            directory, "apiserver", data_dir=directory / "server", secure_port=0, bind_address=LOOPBACK,
            tls_cert_file=serving.cert, tls_private_key_file=serving.key, client_ca_file=pki.ca.cert,
            service_account_signing_key_file=pki.service_account_key, service_cluster_ip_range="10.96.0.0/16",
            authorization_mode="Node,RBAC", kubelet_client_certificate=to_kubelets.cert,
            kubelet_client_key=to_kubelets.key, **flags,
        )
    )  # fmt: skip

    found: list[str] = []

    def serving_now() -> bool:
        found[:] = re.findall(r"^API server: (\S+)$", log.read_text(), re.MULTILINE)
        return bool(found)

    wait_until(serving_now, 30)
    return found[0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["scheduler", "--kubeconfig", "nowhere"], "wherry: nowhere: No such file or directory"),
        (["apiserver", "--data-dir", "d", "--authorization-mode", "Webhook"], "--authorization-mode Webhook is not"),
        (["apiserver", "--data-dir", "d", "--token-auth-file", "absent"], "wherry: absent: No such file"),
        (["apiserver", "--data-dir", "d", "--runtime-config", "no/v1"], "--runtime-config: unknown api groups no/v1"),
        (["apiserver", "--data-dir", "d", "--feature-gates", "A=true"], "unrecognized feature gate: A"),
        (
            ["apiserver", "--data-dir", "d", "--emulated-version", "1.35"],
            "this server speaks 1.36 and no other version",
        ),
        (["apiserver", "--data-dir", "d", "--vmodule", "a=4"], "No such option '--vmodule'"),
        (["kubelet", "--kubeconfig", "c", "--feature-gates", "A=true"], "No such option '--feature-gates'"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "wherry", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert complaint in result.stderr.splitlines()[-1]
