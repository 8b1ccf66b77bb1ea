"""The committed types are what the generator makes, and hold what Kubernetes' clients send and expect."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.unit.api.generator import API_DIRECTORY, generator
from wherry.api import apiextensions_v1 as apiextensions
from wherry.api import apps_v1 as apps
from wherry.api import core_v1 as core
from wherry.api import networking_v1 as networking
from wherry.api import resource_v1 as dynamic
from wherry.api.registry import RESOURCES
from wherry.meta import wire
from wherry.meta.quantity import Quantity
from wherry.meta.resource import Resource

RICH_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "namespace": "default",
        "labels": {"app": "web"},
        "finalizers": ["example.com/hold"],
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": True}
        ],
    },
    "spec": {
        "containers": [
            {
                "name": "app",
                "image": "nginx",
                "command": ["nginx", "-g", "daemon off;"],
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "500m"}, "requests": {"cpu": "250m", "memory": "64Mi"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
                "readinessProbe": {"tcpSocket": {"port": 80}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
    },
    "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]},
}


@pytest.mark.parametrize("name", sorted(generator.render_all()))
def test_committed_files_are_what_the_generator_writes(name: str) -> None:
    assert (API_DIRECTORY / name).read_text() == generator.render_all()[name]


def test_a_rich_pod_survives_the_round_trip() -> None:
    pod = wire.decode(core.Pod, msgspec.json.encode(RICH_POD))
    assert wire.to_builtins(pod) == RICH_POD
    assert wire.deep_copy(pod) == pod
    assert pod.spec.containers[0].resources.limits["cpu"] == Quantity.parse("0.5")


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda item: f"{item.api_version}.{item.kind}")
def test_every_kind_decodes_from_nothing_and_copies(resource: Resource) -> None:
    assert resource.type is not None
    empty = wire.decode(resource.type, b"{}")
    assert wire.deep_copy(empty) == empty
    assert wire.to_builtins(empty)["metadata"] == {}


def test_spec_status_and_required_fields_are_always_written() -> None:
    assert wire.to_builtins(core.Pod()) == {"metadata": {}, "spec": {"containers": []}, "status": {}}
    assert wire.to_builtins(core.Service())["status"] == {"loadBalancer": {}}
    assert wire.to_builtins(core.Container(name="a")) == {"name": "a", "resources": {}}
    assert wire.to_builtins(core.PodList()) == {"metadata": {"resourceVersion": ""}, "items": []}


def test_an_absent_workload_selector_differs_from_an_empty_one() -> None:
    assert apps.DeploymentSpec().selector is None
    assert wire.decode(apps.DeploymentSpec, b'{"selector":{}}').selector is not None


def test_names_python_reserves_keep_their_wire_spelling() -> None:
    rule = wire.decode(networking.NetworkPolicyIngressRule, b'{"from":[{"podSelector":{}}]}')
    assert len(rule.from_) == 1
    assert wire.to_builtins(rule) == {"from": [{"podSelector": {}}]}
    assert wire.to_builtins(dynamic.DeviceAttribute(bool_=True)) == {"bool": True}


def test_custom_resource_schemas_are_typed_to_the_leaves() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"x-kubernetes-int-or-string": True, "$ref": "#/b"}},
        "items": {"type": "string", "not": {"enum": [1, "b"]}},
        "additionalProperties": True,
        "default": {"a": None},
    }
    decoded = wire.decode(apiextensions.JSONSchemaProps, msgspec.json.encode(schema))
    assert wire.to_builtins(decoded) == schema
    assert isinstance(decoded.items, apiextensions.JSONSchemaProps)


def test_importing_every_type_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        "import msgspec, wherry.meta.object, time; start = time.perf_counter(); import wherry.api.registry; "
        "print(f'{(time.perf_counter() - start) * 1000:.0f} ms')"
    )
    took = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path.cwd())
    with capsys.disabled():
        print(f"\nimport of wherry.api.registry: {took.stdout.strip()}")
    assert took.stdout.endswith("ms\n")
