"""test/e2e/kubectl/logs.go and the guestbook of kubectl.go: programs that run, as processes, and what they print."""

import http.client
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.entry import conformance
from tests.conformance.world import Json
from tests.e2e.conftest import Cluster, start
from tests.e2e.test_kubectl import wait_until

NOBODY = 65534
LOG = """
import datetime, threading
for number in range(20):
    print(datetime.datetime.now().isoformat(), "line", number, "x" * 30, flush=True)
    threading.Event().wait(0.1)
"""
# A backend keeps what it is told and its replica asks it; the frontend passes questions on to either by its Service.
GUESTBOOK = """
import http.server, os, urllib.request
role, kept = os.environ["ROLE"], []
def service(name):
    return f"http://{os.environ[name + '_SERVICE_HOST']}:{os.environ[name + '_SERVICE_PORT']}"
def answer(path):
    if role == "FRONTEND":
        path, name = path.removeprefix("/guestbook"), "REPLICA" if "/get" in path else "PRIMARY"
        return urllib.request.urlopen(service(name) + path).read().decode()
    if role == "REPLICA":
        return urllib.request.urlopen(service("PRIMARY") + path).read().decode()
    if path.startswith("/set/"):
        kept.append(path.removeprefix("/set/"))
    return "data: " + ",".join(kept)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = answer(self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def processes() -> Iterator[Cluster]:
    directory = Path("/tmp") / f"wherry-conformance-{os.getpid()}"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    user = NOBODY if os.geteuid() == 0 else None
    cluster = start(f"conformance-{os.getpid()}", directory, "--runtime", "process", user=user)
    try:
        cluster.kubeconfig.chmod(0o644)
        yield cluster
    finally:
        cluster.wherry("down", check=False)
        shutil.rmtree(directory)


@conformance("[sig-cli] Kubectl logs logs should be able to retrieve and filter logs [Conformance]")
def test_logs_are_read_and_cut(processes: Cluster) -> None:
    kubectl = processes.kubectl
    container = {"name": "logs-generator", "image": "python", "command": ["python3", "-c", LOG]}
    spec = {"containers": [container], "restartPolicy": "Never"}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "logs-generator"}, "spec": spec}
    kubectl("create", "-f", "-", stdin=json.dumps(made))
    wait_until(lambda: "line 1 " in kubectl("logs", "logs-generator", "logs-generator", check=False))
    one = kubectl("logs", "logs-generator", "--tail=1")
    assert one.count("\n") == 1
    assert len(kubectl("logs", "logs-generator", "--limit-bytes=1")) == 1
    stamped = kubectl("logs", "logs-generator", "--tail=1", "--timestamps")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d) ", stamped)
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/logs-generator", "--timeout=30s")
    recent = kubectl("logs", "logs-generator", "--since=1s").count("\n")
    assert recent < kubectl("logs", "logs-generator", "--since=24h").count("\n") == 20


@conformance(
    "[sig-cli] Kubectl client Guestbook application should create and stop a working application [Conformance]"
)
def test_the_guestbook_works_until_it_is_stopped(processes: Cluster) -> None:
    kubectl = processes.kubectl
    services = [guestbook_service(name) for name in ("primary", "replica", "frontend")]
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": services}))
    deployments = [guestbook_deployment("primary", 1), guestbook_deployment("replica", 2)]
    everything = [*services, *deployments, guestbook_deployment("frontend", 3)]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": everything})
    kubectl("apply", "-f", "-", stdin=manifest)
    for name in ("primary", "replica", "frontend"):
        kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    address = processes.get("service", "frontend")["spec"]["clusterIP"]

    def ask(path: str) -> str:
        try:
            connection = http.client.HTTPConnection(address, 8000, timeout=5)
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except OSError as error:
            return str(error)

    wait_until(lambda: ask("/guestbook/get") == "data: ")
    assert ask("/guestbook/set/TestEntry") == "data: TestEntry"
    assert ask("/guestbook/get") == "data: TestEntry"
    kubectl("delete", "--grace-period=0", "--force", "-f", "-", stdin=manifest)
    wait_until(lambda: processes.get("pods", "-l", "app=guestbook")["items"] == [])


def guestbook_service(name: str) -> Json:
    spec = {"selector": {"app": "guestbook", "tier": name}, "ports": [{"port": 8000, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def guestbook_deployment(name: str, replicas: int) -> Json:
    labels = {"app": "guestbook", "tier": name}
    container = {
        "name": "main",
        "image": "python",
        "command": ["python3", "-c", GUESTBOOK],
        "env": [
            {"name": "ROLE", "value": name.upper()},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
