"""test/e2e/kubectl/kubectl.go: what the real kubectl shows and changes."""

import asyncio
import json
import re
from pathlib import Path

import aiohttp

from tests.conformance.entry import conformance
from tests.conformance.world import Json, World, names, pod

IMAGE = "registry.test/httpd:2.4"
LABELS = {"app": "agnhost", "role": "primary"}


def controller(name: str = "agnhost-primary", replicas: int = 1) -> Json:
    """A ReplicationController as in the examples."""
    containers = [{"name": name, "image": IMAGE, "ports": [{"name": "server", "containerPort": 6379}]}]
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": containers}}
    return {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"replicas": replicas, "selector": LABELS, "template": template},
    }


def named(made: Json) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Pod"} | made)


async def running(served: World, count: int, selector: str = "app=agnhost") -> list[str]:
    """Names of the pods of a selector, once `count` of them run."""

    async def phases() -> list[str]:
        listed = await served.get(served.core("pods"), labelSelector=selector)
        items = [item for item in listed["items"] if "deletionTimestamp" not in item["metadata"]]
        up = [item["status"].get("phase") == "Running" for item in items]
        return names(items) if all(up) and len(up) == count else []

    found: list[str] = await served.until(phases)
    return found


@conformance(
    "[sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions [Conformance]"
)
async def test_v1_is_an_api_version(served: World) -> None:
    assert "v1" in (await served.kubectl("api-versions")).out.splitlines()


@conformance(
    "[sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in "
    "cluster-info [Conformance]"
)
async def test_cluster_info_names_the_control_plane(served: World) -> None:
    shown = (await served.kubectl("cluster-info")).out
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert f"Kubernetes control plane is running at https://127.0.0.1:{served.port}" in shown


@conformance("[sig-cli] Kubectl client Kubectl version should check is all data is printed [Conformance]")
async def test_version_prints_client_and_server(served: World) -> None:
    shown = (await served.kubectl("version")).out
    assert re.search(r"Client Version: v\d+\.\d+\.", shown) and re.search(r"Server Version: v1\.36\.", shown)
    found = json.loads((await served.kubectl("version", "-o", "json", check=False)).out)["serverVersion"]
    for field in ("major", "minor", "gitVersion", "platform"):
        assert found[field], field


@conformance(
    "[sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and "
    "pods [Conformance]"
)
async def test_describe_tells_of_controllers_pods_services_nodes_and_namespaces(served: World) -> None:
    await served.kubectl("create", "-f", "-", stdin=json.dumps(controller()))
    name = (await running(served, 1))[0]
    service = {"selector": LABELS, "ports": [{"port": 6379, "targetPort": "server"}]}
    await served.create(
        served.core("services"), {"metadata": {"name": "agnhost-primary", "labels": LABELS}, "spec": service}
    )
    await served.until_object(served.core("endpoints", "agnhost-primary"), lambda it: it.get("subsets"))
    node = (await served.get(served.core("pods", name)))["spec"]["nodeName"]
    expected = {
        f"pod {name}": [
            rf"Name:\s+{name}", rf"Namespace:\s+{served.namespace}", "Node:", "Labels:.*app=agnhost", "role=primary",
            "Annotations:", r"Status:\s+Running", "IP:", "Controlled By:.*ReplicationController/agnhost-primary",
            f"Image:.*{IMAGE}", "State:.*Running", "QoS Class:.*BestEffort",
        ],
        "rc agnhost-primary": [
            "Name:.*agnhost-primary", rf"Namespace:\s+{served.namespace}", "Selector:.*app=agnhost,role=primary",
            "Labels:.*app=agnhost", "role=primary", "Annotations:", "Replicas:.*1 current.*1 desired",
            "Pods Status:.*1 Running.*0 Waiting.*0 Succeeded.*0 Failed", "Pod Template:", f"Image:.*{IMAGE}", "Events:",
        ],
        "service agnhost-primary": [
            "Name:.*agnhost-primary", "Labels:.*app=agnhost", "Annotations:", "Selector:.*app=agnhost,role=primary",
            "Type:.*ClusterIP", "IP:", "Port:.*<unset>.*6379/TCP", "Endpoints:", "Session Affinity:.*None",
        ],
        f"node {node}": [
            f"Name:.*{node}", "Labels:", "Annotations:", "CreationTimestamp:", "Conditions:", "Type.*Status.*Reason",
            "Capacity:", "Version:", "Kernel Version:", "OS Image:", "Container Runtime Version:", "Kubelet Version:",
            "Pods:|Non-terminated Pods:",
        ],
        f"namespace {served.namespace}": [
            f"Name:.*{served.namespace}", "Labels:", "Annotations:", "Status:.*Active", "No resource quota",
            "No LimitRange resource",
        ],
    }  # fmt: skip
    for what, patterns in expected.items():
        shown = (await served.kubectl("describe", *what.split())).out
        missing = [pattern for pattern in patterns if not re.search(pattern, shown)]
        assert not missing, (what, missing, shown)


@conformance(
    "[sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments "
    "[Conformance]"
)
async def test_diff_finds_the_new_image(served: World) -> None:
    made = controller()
    made |= {"apiVersion": "apps/v1", "kind": "Deployment"}
    made["spec"]["selector"] = {"matchLabels": LABELS}
    await served.kubectl("create", "-f", "-", stdin=json.dumps(made))
    same = await served.kubectl("diff", "-f", "-", stdin=json.dumps(made), check=False)
    assert (same.code, same.out) == (0, "")
    changed = json.dumps(made).replace(IMAGE, "registry.test/busybox:1.29")
    ran = await served.kubectl("diff", "-f", "-", stdin=changed, check=False)
    assert ran.code == 1
    assert re.search(rf"^-\s+- image: {IMAGE}|^-\s+image: {IMAGE}|^-.*{IMAGE}", ran.out, re.MULTILINE)
    assert re.search(r"^\+.*registry.test/busybox:1.29", ran.out, re.MULTILINE)


@conformance(
    "[sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods [Conformance]"
)
async def test_a_server_side_dry_run_changes_nothing(served: World) -> None:
    await served.kubectl("run", "e2e-test-pod", f"--image={IMAGE}", "--labels=run=e2e-test-pod")
    await running(served, 1, "run=e2e-test-pod")
    body = json.dumps({"spec": {"containers": [{"name": "e2e-test-pod", "image": "registry.test/busybox:1.29"}]}})
    ran = await served.kubectl("patch", "pod", "e2e-test-pod", "-p", body, "--dry-run=server")
    assert "patched (server dry run)" in ran.out or "patched" in ran.out
    found = await served.get(served.core("pods", "e2e-test-pod"))
    assert found["spec"]["containers"][0]["image"] == IMAGE


@conformance("[sig-cli] Kubectl client Kubectl expose should create services for rc [Conformance]")
async def test_expose_makes_services_whose_endpoints_are_the_controllers_pods(served: World) -> None:
    await served.kubectl("create", "-f", "-", stdin=json.dumps(controller()))
    name = (await running(served, 1))[0]
    address = (await served.get(served.core("pods", name)))["status"]["podIP"]
    await served.kubectl("expose", "rc", "agnhost-primary", "--name=rm2", "--port=1234", "--target-port=6379")
    await served.kubectl("expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=6379")
    for service, port in (("rm2", 1234), ("rm3", 2345)):
        found = await served.get(served.core("services", service))
        assert [(item["port"], item["targetPort"]) for item in found["spec"]["ports"]] == [(port, 6379)]
        assert found["spec"]["selector"] == LABELS
        ready = await served.until_object(served.core("endpoints", service), lambda it: it.get("subsets"))
        assert [item["ip"] for item in ready["subsets"][0]["addresses"]] == [address]
        assert ready["subsets"][0]["ports"][0]["port"] == 6379


@conformance("[sig-cli] Kubectl client Kubectl label should update the label on a resource [Conformance]")
async def test_label_adds_and_removes_a_label(served: World) -> None:
    await served.kubectl("create", "-f", "-", stdin=named(pod("pause", {"name": "pause"})))
    await served.kubectl("label", "pods", "pause", "testing-label=testing-label-value")
    assert "testing-label-value" in (await served.kubectl("get", "pod", "pause", "-L", "testing-label")).out
    await served.kubectl("label", "pods", "pause", "testing-label-")
    assert "testing-label-value" not in (await served.kubectl("get", "pod", "pause", "-L", "testing-label")).out


@conformance("[sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc [Conformance]")
async def test_patch_annotates_every_pod(served: World) -> None:
    await served.kubectl("create", "-f", "-", stdin=json.dumps(controller(replicas=2)))
    for name in await running(served, 2):
        await served.kubectl("patch", "pod", name, "-p", '{"metadata":{"annotations":{"x":"y"}}}')
    listed = await served.get(served.core("pods"), labelSelector="app=agnhost")
    assert [item["metadata"]["annotations"]["x"] for item in listed["items"]] == ["y", "y"]


@conformance("[sig-cli] Kubectl client Kubectl replace should update a single-container pod's image [Conformance]")
async def test_replace_updates_the_image(served: World) -> None:
    await served.kubectl("run", "e2e-test-pod", f"--image={IMAGE}", "--labels=run=e2e-test-pod")
    await running(served, 1, "run=e2e-test-pod")
    shown = (await served.kubectl("get", "pod", "e2e-test-pod", "-o", "json")).out
    await served.kubectl("replace", "-f", "-", stdin=shown.replace(IMAGE, "registry.test/busybox:1.29"))
    found = await served.get(served.core("pods", "e2e-test-pod"))
    assert found["spec"]["containers"][0]["image"] == "registry.test/busybox:1.29"


@conformance(
    "[sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never [Conformance]"
)
async def test_run_makes_a_pod_that_is_never_restarted(served: World) -> None:
    await served.kubectl("run", "e2e-test-pod", "--restart=Never", f"--image={IMAGE}")
    found = await served.get(served.core("pods", "e2e-test-pod"))
    assert [item["image"] for item in found["spec"]["containers"]] == [IMAGE]
    assert found["spec"]["restartPolicy"] == "Never"


@conformance("[sig-cli] Kubectl client Update Demo should create and stop a replication controller [Conformance]")
async def test_a_controller_is_created_and_stopped(served: World) -> None:
    await served.kubectl("create", "-f", "-", stdin=json.dumps(controller(replicas=2)))
    await running(served, 2)
    await served.kubectl("delete", "--grace-period=0", "--force", "-f", "-", stdin=json.dumps(controller()))
    await served.gone(served.core("replicationcontrollers", "agnhost-primary"))
    await served.until_object(served.core("pods"), lambda it: not it["items"])


@conformance("[sig-cli] Kubectl client Update Demo should scale a replication controller [Conformance]")
async def test_a_controller_is_scaled_down_and_up(served: World) -> None:
    await served.kubectl("create", "-f", "-", stdin=json.dumps(controller(replicas=2)))
    await running(served, 2)
    for replicas in (1, 2):
        await served.kubectl("scale", "rc", "agnhost-primary", f"--replicas={replicas}", "--timeout=1m")
        await running(served, replicas)


async def proxied(served: World, *arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    """`kubectl proxy` and the line that says where it listens."""
    process = await asyncio.create_subprocess_exec(
        "kubectl", f"--kubeconfig={served.kubeconfig}", "proxy", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode()


async def stop(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.communicate()


@conformance("[sig-cli] Kubectl client Proxy server should support proxy with --port 0 [Conformance]")
async def test_proxy_takes_any_port(served: World) -> None:
    process, line = await proxied(served, "-p", "0", "--disable-filter")
    try:
        port = int(line.rpartition(":")[2])
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/api/") as answer:
            assert (await answer.json())["versions"] == ["v1"]
    finally:
        await stop(process)


@conformance("[sig-cli] Kubectl client Proxy server should support --unix-socket=/path [Conformance]")
async def test_proxy_listens_on_a_socket(served: World, tmp_path: Path) -> None:
    process, line = await proxied(served, f"--unix-socket={tmp_path}/test")
    try:
        assert line.startswith("Starting to serve on")
        connector = aiohttp.UnixConnector(f"{tmp_path}/test")
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://localhost/api/") as answer,
        ):
            assert (await answer.json())["versions"] == ["v1"]
    finally:
        await stop(process)
