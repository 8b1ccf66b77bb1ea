"""Small real programs on the client libraries people use: kubernetes, kr8s, lightkube, kopf."""

import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE, Cluster, run

OFFICIAL = """
from kubernetes import client, config, watch
config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
labels = {"app": "web"}
container = client.V1Container(name="box", image=IMAGE)
pod_spec = client.V1PodSpec(containers=[container])
template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod_spec)
spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels=labels), template=template)
apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec))
for event in watch.Watch().stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=60):
    if (event["object"].status.ready_replicas or 0) == 2:
        break
pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items
assert len(pods) == 2 and all(p.status.phase == "Running" for p in pods)
apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 1}})
assert apps.read_namespaced_deployment("web", NAMESPACE).spec.replicas == 1
try:
    core.read_namespaced_pod("nope", NAMESPACE)
except client.ApiException as error:
    assert error.status == 404
from kubernetes.stream import stream
name = pods[0].metadata.name
print(core.read_namespaced_pod_log(name, NAMESPACE))
print("done")
"""

KR8S = """
import kr8s
from kr8s.objects import ConfigMap, Pod
made = ConfigMap({"metadata": {"name": "settings", "namespace": NAMESPACE}, "data": {"a": "1"}})
made.create()
made.patch({"data": {"a": "2"}})
assert ConfigMap.get("settings", namespace=NAMESPACE).data["a"] == "2"
containers = [{"name": "box", "image": IMAGE}]
pod = Pod({"metadata": {"name": "box", "namespace": NAMESPACE}, "spec": {"containers": containers}})
pod.create()
pod.wait("condition=Ready", timeout=60)
assert [p.name for p in kr8s.get("pods", namespace=NAMESPACE)] == ["box"]
assert pod.exec(["echo", "hello"]).stdout == b"hello\\n"
pod.delete()
pod.wait("delete", timeout=60)
made.delete()
print("done")
"""

LIGHTKUBE = """
from lightkube import ApiError, Client
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Service
client = Client(namespace=NAMESPACE, field_manager="test")
client.create(ConfigMap(metadata=ObjectMeta(name="one"), data={"a": "1"}))
client.patch(ConfigMap, "one", {"data": {"a": "2"}})
assert client.get(ConfigMap, "one").data == {"a": "2"}
client.apply(ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="two"), data={"b": "1"}))
assert {c.metadata.name for c in client.list(ConfigMap)} >= {"one", "two"}
client.create(Service(metadata=ObjectMeta(name="web"), spec=ServiceSpec(ports=[ServicePort(port=80)])))
assert client.get(Service, "web").spec.clusterIP
client.delete(ConfigMap, "one")
try:
    client.get(ConfigMap, "one")
except ApiError as error:
    assert error.status.code == 404
print("done")
"""

KOPF = """
import asyncio, kopf, threading, logging
from kubernetes import client, config
config.load_kube_config()
group, version, plural = "wherry.test", "v1", "boats"
crd = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.wherry.test"},
    "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": "boat", "kind": "Boat"},
             "versions": [{"name": version, "served": True, "storage": True, "subresources": {"status": {}},
                           "schema": {"openAPIV3Schema": {
                               "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]},
}
client.ApiextensionsV1Api().create_custom_resource_definition(crd)
seen = threading.Event()

@kopf.on.create("wherry.test", "v1", "boats")
def created(spec, **_):
    return {"crew": spec["crew"] + 1}

@kopf.on.field("wherry.test", "v1", "boats", field="status.created")
def stored(new, **_):
    if new and new.get("crew") == 3:
        seen.set()

@kopf.on.startup()
def configure(settings, **_):
    settings.posting.level = logging.WARNING

stop, ready = threading.Event(), threading.Event()
operator = threading.Thread(target=lambda: asyncio.run(kopf.operator(
    namespaces=[NAMESPACE], standalone=True, stop_flag=stop, ready_flag=ready)))
operator.start()
try:
    assert ready.wait(30)
    boats = client.CustomObjectsApi()
    boats.create_namespaced_custom_object(group, version, NAMESPACE, plural,
        {"apiVersion": "wherry.test/v1", "kind": "Boat", "metadata": {"name": "one"}, "spec": {"crew": 2}})
    assert seen.wait(30)
    boats.delete_namespaced_custom_object(group, version, NAMESPACE, plural, "one")
finally:
    stop.set()
    operator.join()
    client.ApiextensionsV1Api().delete_custom_resource_definition("boats.wherry.test")
print("done")
"""

PROGRAMS = [("kubernetes", OFFICIAL), ("kr8s", KR8S), ("lightkube", LIGHTKUBE), ("kopf", KOPF)]


@pytest.mark.parametrize(("library", "program"), PROGRAMS, ids=[name for name, _ in PROGRAMS])
def test_a_program_runs_unchanged(
    containerd_cluster: Cluster, namespace: str, tmp_path: Path, library: str, program: str
) -> None:
    script = tmp_path / f"{library}_program.py"
    script.write_text(f"NAMESPACE, IMAGE = {namespace!r}, {IMAGE!r}\n{program}")
    result = run([sys.executable, str(script)], containerd_cluster.kubeconfig)
    assert result.stdout.splitlines()[-1] == "done"
