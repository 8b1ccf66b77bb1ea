"""Every verb of kubectl that changes or asks the API alone, on a cluster of pretended nodes."""

import base64
import http.client
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.conftest import Cluster, run, start
from tests.e2e.test_kubectl import wait_until

Json = dict[str, Any]
LABELS = {"app": "web"}
DEPLOYMENT: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": LABELS},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "main", "image": "app:1"}], "terminationGracePeriodSeconds": 1},
        },
    },
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    on = "storagemigration.k8s.io/v1beta1=true"
    directory = tmp_path_factory.mktemp("verbs")
    made = start(f"verbs-{os.getpid()}", directory, "--runtime", "fake", "--nodes", "3", "--runtime-config", on)
    try:
        yield made
    finally:
        made.wherry("down", check=False)


class Space:
    """kubectl in a namespace of the test's own."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def __call__(self, *arguments: str, check: bool = True, stdin: str | None = None, **variables: str) -> str:
        command = ["env", *(f"{name}={value}" for name, value in variables.items()), "kubectl", "-n", self.name]
        result = run([*command, *arguments], self.cluster.kubeconfig, check=check, stdin=stdin)
        return result.stdout if check else result.stdout + result.stderr

    def code(self, *arguments: str, stdin: str | None = None) -> int:
        """The exit code of what may fail."""
        command = ["kubectl", "-n", self.name, *arguments]
        return run(command, self.cluster.kubeconfig, check=False, stdin=stdin).returncode

    def get(self, *arguments: str) -> Json:
        found: Json = json.loads(self("get", *arguments, "-o", "json"))
        return found

    def deploy(self) -> None:
        """A Deployment, rolled out."""
        self("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
        self("rollout", "status", "deployment/web", "--timeout=60s")


@pytest.fixture
def kubectl(cluster: Cluster, request: pytest.FixtureRequest) -> Space:
    """Namespaces are left to the cluster's end."""
    name = "-".join(re.findall("[a-z0-9]+", request.node.name))[:60].strip("-")
    cluster.kubectl("create", "namespace", name)
    return Space(cluster, name)


def changed(**spec: Any) -> str:
    return json.dumps(DEPLOYMENT | {"spec": DEPLOYMENT["spec"] | spec})


def test_apply_makes_changes_leaves_alone_and_prunes(kubectl: Space) -> None:
    manifest = json.dumps(DEPLOYMENT)
    assert kubectl("apply", "-f", "-", stdin=manifest) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", stdin=manifest) == "deployment.apps/web unchanged\n"
    kubectl("scale", "deployment/web", "--replicas=5")
    kubectl("label", "deployment/web", "added=elsewhere")
    assert kubectl("apply", "-f", "-", stdin=changed(replicas=3, paused=True)) == "deployment.apps/web configured\n"
    found = kubectl.get("deployment", "web")
    assert found["spec"]["replicas"] == 3 and found["spec"]["paused"] is True
    assert found["metadata"]["labels"] == LABELS | {"added": "elsewhere"}
    kubectl("apply", "-f", "-", stdin=manifest)
    assert "paused" not in kubectl.get("deployment", "web")["spec"]
    assert json.loads(kubectl("apply", "view-last-applied", "deployment/web", "-o", "json"))["spec"]["replicas"] == 2
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra", "labels": LABELS}, "data": {}}
    both = json.dumps({"apiVersion": "v1", "kind": "List", "items": [DEPLOYMENT, config]})
    assert "configmap/extra created" in kubectl("apply", "-f", "-", stdin=both)
    prune = ("apply", "--prune", "-l", "app=web", "--prune-allowlist=core/v1/ConfigMap", "-f", "-")
    assert "configmap/extra pruned" in kubectl(*prune, stdin=manifest)


def test_apply_on_the_server_takes_over_conflicts_only_by_force(kubectl: Space) -> None:
    apply = ("apply", "--server-side", "--field-manager=one", "-f", "-")
    assert kubectl(*apply, stdin=json.dumps(DEPLOYMENT)) == "deployment.apps/web serverside-applied\n"
    other = ("apply", "--server-side", "--field-manager=two", "-f", "-")
    refused = kubectl(*other, stdin=changed(replicas=4), check=False)
    assert 'Apply failed with 1 conflict: conflict with "one": .spec.replicas' in refused
    kubectl(*other, "--force-conflicts", stdin=changed(replicas=4))
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 4


def test_what_kubectl_applied_itself_moves_to_the_server(kubectl: Space) -> None:
    kubectl("apply", "-f", "-", stdin=changed(minReadySeconds=1))
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    found = kubectl.get("deployment", "web", "--show-managed-fields")
    assert "minReadySeconds" not in found["spec"]
    managers = {(item["manager"], item["operation"]) for item in found["metadata"]["managedFields"]}
    assert ("kubectl", "Apply") in managers
    assert not any(name.startswith("kubectl-client-side-apply") for name, _ in managers)


def test_diff_shows_what_apply_would_change(kubectl: Space) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    assert kubectl.code("diff", "-f", "-", stdin=json.dumps(DEPLOYMENT)) == 0
    for how in ((), ("--server-side", "--force-conflicts")):
        shown = kubectl("diff", *how, "-f", "-", stdin=changed(replicas=7), check=False)
        assert "-  replicas: 2" in shown and "+  replicas: 7" in shown
        assert kubectl.code("diff", *how, "-f", "-", stdin=changed(replicas=7)) == 1
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 2


def test_edit_writes_what_the_editor_left_and_says_what_is_wrong(kubectl: Space) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    edited = kubectl("edit", "deployment/web", EDITOR="sed -i s/replicas:.2/replicas:\\ 6/")
    assert "deployment.apps/web edited" in edited
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 6
    assert "Edit cancelled, no changes made." in kubectl("edit", "deployment/web", EDITOR="true", check=False)
    bad = kubectl("edit", "deployment/web", EDITOR="sed -i s/replicas:.6/replicas:\\ -1/", check=False)
    assert 'deployments.apps "web" is invalid' in bad and "no valid changes were saved" in bad


def test_patch_of_every_type(kubectl: Space) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "side:1"}]}}}}
    kubectl("patch", "deployment/web", "-p", json.dumps(sidecar))
    containers = kubectl.get("deployment", "web")["spec"]["template"]["spec"]["containers"]
    assert sorted(item["name"] for item in containers) == ["main", "sidecar"]
    kubectl("patch", "deployment/web", "--type=merge", "-p", '{"spec":{"replicas":3}}')
    kubectl("patch", "deployment/web", "--type=json", "-p", '[{"op":"add","path":"/spec/paused","value":true}]')
    kubectl("patch", "deployment/web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":4}}')
    spec = kubectl.get("deployment", "web")["spec"]
    assert spec["replicas"] == 4 and spec["paused"] is True
    kubectl("create", "configmap", "patched", "--from-literal=a=1")  # nobody else writes to it meanwhile
    assert "no change" in kubectl("patch", "configmap/patched", "--type=merge", "-p", '{"data":{"a":"1"}}')


def test_label_and_annotate(kubectl: Space) -> None:
    kubectl("create", "configmap", "one")
    for verb, kind in (("label", "labels"), ("annotate", "annotations")):
        kubectl(verb, "configmap/one", "a=1", "b=2")
        assert "--overwrite is false" in kubectl(verb, "configmap/one", "a=3", check=False)
        kubectl(verb, "--overwrite", "configmap/one", "a=3", "b-")
        assert kubectl.get("configmap", "one")["metadata"][kind] == {"a": "3"}
    assert "one" in kubectl("get", "configmaps", "-l", "a in (3),!b", "-o", "name")
    assert "a=3" in kubectl("label", "configmap/one", "--list")


def test_replace_needs_what_is_there_or_makes_it_anew(kubectl: Space) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}}
    assert "not found" in kubectl("replace", "-f", "-", stdin=json.dumps(config), check=False)
    kubectl("create", "-f", "-", stdin=json.dumps(config))
    found = kubectl.get("configmap", "one")
    kubectl("replace", "-f", "-", stdin=json.dumps(config | {"data": {"b": "2"}}))
    assert kubectl.get("configmap", "one")["data"] == {"b": "2"}
    stale = kubectl("replace", "-f", "-", stdin=json.dumps(found), check=False)
    assert "the object has been modified; please apply your changes to the latest version" in stale
    kubectl("replace", "--force", "-f", "-", stdin=json.dumps(config))
    again = kubectl.get("configmap", "one")
    assert again["data"] == {"a": "1"} and again["metadata"]["uid"] != found["metadata"]["uid"]


def test_auth_asks_who_may_what_and_who_is_asking(kubectl: Space) -> None:
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    robot = f"--as=system:serviceaccount:{kubectl.name}:robot"
    kubectl("create", "serviceaccount", "robot")
    assert kubectl("auth", "can-i", "list", "pods", robot, check=False).strip() == "no"
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,deployments.apps")
    kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={kubectl.name}:robot")
    assert kubectl("auth", "can-i", "list", "pods", robot).strip() == "yes"
    assert kubectl("auth", "can-i", "list", "deployments.apps", robot).strip() == "yes"
    assert kubectl("auth", "can-i", "delete", "pods", robot, check=False).strip() == "no"
    listed = kubectl("auth", "can-i", "--list", robot)
    assert re.search(r"^deployments\.apps\s+\[\]\s+\[\]\s+\[get list\]$", listed, re.MULTILINE), listed
    assert re.search(r"Username\s+kubernetes-admin", kubectl("auth", "whoami"))
    assert f"system:serviceaccounts:{kubectl.name}" in kubectl("auth", "whoami", robot, check=False)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "reader", "namespace": kubectl.name},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["watch"]}],
    }  # fmt: skip
    assert "reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    assert kubectl("auth", "can-i", "watch", "configmaps", robot).strip() == "yes"
    assert kubectl("auth", "can-i", "list", "pods", robot).strip() == "yes"


def test_events_of_everything_and_of_one_object(kubectl: Space) -> None:
    kubectl.deploy()
    wait_until(lambda: "Scaled up replica set" in kubectl("events"))
    assert re.search(r"Normal\s+ScalingReplicaSet\s+Deployment/web", kubectl("events", "--for=deployment/web"))
    assert "ScalingReplicaSet" not in kubectl("events", "--for=configmap/none", check=False)
    assert "Scheduled" in kubectl("events", "--types=Normal", "-o", "yaml")


def test_api_resources_and_api_versions_name_all_kinds(kubectl: Space) -> None:
    names = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "customresourcedefinitions.apiextensions.k8s.io"} <= set(names)
    wide = kubectl("api-resources", "-o", "wide", "--sort-by=name")
    assert re.search(
        r"^pods\s+po\s+v1\s+true\s+Pod\s+create,delete,deletecollection,get,list,patch,update,watch\s+all$",
        wide,
        re.MULTILINE,
    )
    assert set(kubectl("api-resources", "--namespaced=false", "--api-group=", "-o", "name").split()) == {
        "componentstatuses", "namespaces", "nodes", "persistentvolumes",
    }  # fmt: skip
    assert {"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1"} <= set(kubectl("api-versions").split())


def test_wait_for_conditions_values_creation_and_deletion(kubectl: Space) -> None:
    kubectl.deploy()
    assert "condition met" in kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    assert (
        kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pods", "-l", "app=web").count("condition met") == 2
    )
    command = ["kubectl", "--kubeconfig", str(kubectl.cluster.kubeconfig), "-n", kubectl.name, "wait"]
    waiting = [
        subprocess.Popen([*command, "--for=create", "configmap/late", "--timeout=30s"]),
        subprocess.Popen([*command, "--for=delete", "deployment/web", "--timeout=30s"]),
    ]
    kubectl("create", "configmap", "late")
    kubectl("delete", "deployment/web", "--wait=false")
    assert [process.wait(40) for process in waiting] == [0, 0]
    assert "timed out" in kubectl("wait", "--for=delete", "configmap/late", "--timeout=1s", check=False)


def test_taint_cordon_and_drain_move_pods_off_a_node(kubectl: Space) -> None:
    kubectl.deploy()
    node = kubectl.get("pods")["items"][0]["spec"]["nodeName"]
    kubectl("cordon", node)
    assert "SchedulingDisabled" in kubectl("get", "node", node)
    drained = kubectl("drain", node, "--ignore-daemonsets", "--pod-selector=app=web", "--timeout=60s", check=False)
    assert f"node/{node} drained" in drained
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    where = {item["spec"]["nodeName"] for item in kubectl.get("pods")["items"]}
    assert node not in where
    kubectl("uncordon", node)
    kubectl("taint", "nodes", node, "key=value:NoSchedule", "key=value:NoExecute")
    assert "already has key taint(s)" in kubectl("taint", "nodes", node, "key=other:NoSchedule", check=False)
    found = kubectl.get("node", node)["spec"]["taints"]
    assert {(item["key"], item["effect"]) for item in found} == {("key", "NoSchedule"), ("key", "NoExecute")}
    kubectl("taint", "nodes", node, "key-")
    assert "taints" not in kubectl.get("node", node)["spec"]


def test_a_drain_respects_a_disruption_budget(kubectl: Space) -> None:
    kubectl.deploy()
    kubectl("create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=2")
    status = {"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2}
    status["observedGeneration"] = kubectl.get("pdb", "web")["metadata"]["generation"]
    kubectl("patch", "pdb", "web", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    pod = kubectl.get("pods")["items"][0]
    node = pod["spec"]["nodeName"]
    refused = kubectl("drain", node, "--ignore-daemonsets", "--pod-selector=app=web", "--timeout=2s", check=False)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused
    assert "deletionTimestamp" not in kubectl.get("pod", pod["metadata"]["name"])["metadata"]
    kubectl("uncordon", node)


def test_set_changes_images_variables_resources_selectors_subjects_and_accounts(kubectl: Space) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    kubectl("set", "image", "deployment/web", "main=app:2")
    kubectl("set", "env", "deployment/web", "COLOR=blue")
    kubectl("set", "resources", "deployment/web", "--limits=cpu=200m,memory=64Mi", "--requests=cpu=100m")
    kubectl("create", "serviceaccount", "robot")
    kubectl("set", "serviceaccount", "deployment/web", "robot")
    spec = kubectl.get("deployment", "web")["spec"]["template"]["spec"]
    main = spec["containers"][0]
    assert (main["image"], main["env"]) == ("app:2", [{"name": "COLOR", "value": "blue"}])
    assert main["resources"] == {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}
    assert spec["serviceAccountName"] == "robot"
    kubectl("expose", "deployment/web", "--port=80")
    kubectl("set", "selector", "service/web", "app=other")
    assert kubectl.get("service", "web")["spec"]["selector"] == {"app": "other"}
    kubectl("create", "rolebinding", "view", "--clusterrole=view", "--user=jane")
    kubectl("set", "subject", "rolebinding/view", "--group=team")
    assert [item["name"] for item in kubectl.get("rolebinding", "view")["subjects"]] == ["jane", "team"]


def test_autoscale_makes_an_autoscaler(kubectl: Space) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    kubectl("autoscale", "deployment/web", "--min=2", "--max=5", "--cpu-percent=80")
    spec = kubectl.get("hpa", "web")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)
    assert spec["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]
    assert re.search(r"web\s+Deployment/web\s+cpu: <unknown>/80%\s+2\s+5\s+0", kubectl("get", "hpa", "web"))


def test_proxy_passes_requests_and_guards_the_rest(kubectl: Space) -> None:
    command = [
        "kubectl",
        "--kubeconfig",
        str(kubectl.cluster.kubeconfig),
        "proxy",
        "--port=0",
        "--reject-paths=^/api/v1/nodes",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline().rpartition(":")[2])
        for path, code in (("/version", 200), (f"/api/v1/namespaces/{kubectl.name}/pods", 200), ("/api/v1/nodes", 403)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().status == code, path
            connection.close()
    finally:
        process.kill()
        process.communicate()


def test_explain_follows_a_path_and_names_what_is_missing(kubectl: Space) -> None:
    shown = kubectl("explain", "deployment.spec.template.spec.containers.ports")
    assert "FIELD: ports <[]ContainerPort>" in shown and "containerPort\t<integer> -required-" in shown
    assert "strategy\t<DeploymentStrategy>" in kubectl("explain", "deployments.spec")
    assert "minReplicas" in kubectl("explain", "hpa.spec", "--recursive")
    assert 'field "nope" does not exist' in kubectl("explain", "pod.spec.nope", check=False)


def test_every_kind_can_be_explained(kubectl: Space) -> None:
    kinds = [line.split() for line in kubectl("api-resources", "--no-headers").splitlines()]
    assert len(kinds) > 60
    for plural, *_, api_version, _, kind in kinds:
        shown = kubectl("explain", plural, "--api-version", api_version)
        group, _, version = api_version.rpartition("/")
        head = [f"KIND:       {kind}", f"VERSION:    {version}"]
        assert ([f"GROUP:      {group}"] if group else []) + head == [line for line in shown.splitlines()[:3] if line]
        assert "FIELDS:" in shown and "APIVersion defines" in shown, plural
    for plural in ("pods", "deployments", "customresourcedefinitions", "resourceclaims", "nodes"):
        assert len(kubectl("explain", plural, "--recursive").splitlines()) > 40


def test_output_forms(kubectl: Space, tmp_path: Path) -> None:
    kubectl.deploy()
    assert yaml.safe_load(kubectl("get", "deployment", "web", "-o", "yaml"))["spec"]["replicas"] == 2
    columns = kubectl("get", "deployments", "-o", "custom-columns=NAME:.metadata.name,N:.spec.replicas")
    assert columns.split() == ["NAME", "N", "web", "2"]
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].status.phase}") == "Running Running"
    assert kubectl("get", "deployment/web", "-o", "go-template={{.spec.replicas}}") == "2"
    assert kubectl("get", "pods", "--field-selector=status.phase=Running", "--no-headers").count("Running") == 2
    assert kubectl("get", "pods", "--sort-by=.metadata.creationTimestamp", "--show-labels").count("app=web") == 2
    everywhere = kubectl("get", "deployments", "-A", "--chunk-size=1")
    assert kubectl.name in everywhere
    assert "pods" in kubectl("get", "--raw", "/api/v1")
    kubectl("create", "token", "default")
    template = tmp_path / "k"
    template.mkdir()
    (template / "kustomization.yaml").write_text("configMapGenerator:\n- name: made\n  literals: [a=b]\n")
    assert re.search(r"configmap/made-\w+ created", kubectl("apply", "-k", str(template)))


def test_certificate_approves_and_denies(kubectl: Space) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    pem = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    request = base64.b64encode(pem.public_bytes(serialization.Encoding.PEM)).decode()
    for name, verb, condition in (("jane", "approve", "Approved"), ("joe", "deny", "Denied")):
        name = f"{kubectl.name}-{name}"
        made = {
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {
                "request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
            },
        }  # fmt: skip
        kubectl("create", "-f", "-", stdin=json.dumps(made))
        assert re.search(r"kubernetes-admin\s+<none>\s+Pending", kubectl("get", "csr", name))
        kubectl("certificate", verb, name)
        assert condition in kubectl("get", "csr", name)
        assert [item["type"] for item in kubectl.get("csr", name)["status"]["conditions"]] == [condition]


def test_warnings_are_shown(kubectl: Space) -> None:
    shown = kubectl("get", "endpoints", check=False)
    assert "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" in shown
    pod = DEPLOYMENT["spec"]["template"]["spec"] | {"nodeSelector": {"beta.kubernetes.io/os": "linux"}}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "old"}, "spec": pod}
    shown = kubectl("apply", "-f", "-", check=False, stdin=json.dumps(body))
    text = 'deprecated since v1.14; use "kubernetes.io/os" instead'
    assert f"Warning: spec.nodeSelector[beta.kubernetes.io/os]: {text}" in shown and "pod/old created" in shown


def test_a_version_that_is_switched_on_is_served_and_acted_on(kubectl: Space) -> None:
    assert "storagemigration.k8s.io/v1beta1" in kubectl("api-versions").split()
    spec = {"resource": {"group": "", "resource": "configmaps"}}
    migration = {"apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration", "spec": spec}
    kubectl("apply", "-f", "-", stdin=json.dumps(migration | {"metadata": {"name": "maps"}}))
    kubectl("wait", "--for=condition=Succeeded", "storageversionmigration/maps", "--timeout=30s")
