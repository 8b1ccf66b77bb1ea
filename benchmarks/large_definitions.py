"""CustomResourceDefinitions of the size and shape that large operators bring: hundreds of kilobytes, deep, with rules.

`monitor` embeds most of a pod several times, as operators of monitoring systems do; `flow` has a list of templates that
each hold containers, as workflow engines do; `certificate` has two versions, choices, immutable fields and defaults, as
certificate managers do. Pods are taken from the server's own schemas, with references written out.

    python benchmarks/large_definitions.py --kubeconfig FILE

installs each and prints how long it took until an instance was taken, and until the schema was in OpenAPI.
"""

import argparse
import json
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

from wherry.api.core_v1 import PersistentVolumeClaim, PodSpec
from wherry.server.openapi.schemas import Schemas

Json = dict[str, Any]
GROUP = "large.example.com"
INT_OR_STRING: Json = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
QUANTITY = INT_OR_STRING | {"pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE])?$"}
_DROPPED = ("properties", "items", "additionalProperties", "default", "x-kubernetes-group-version-kind", "description")
_TEXT = "says {} of this object; see the documentation of the field of that name for values, defaults and limits."


def _inline(schema: Json, made: dict[str, Json]) -> Json:
    """A schema with its references written out, every field described."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2].rpartition(".")[2]
        if name in ("Quantity", "IntOrString"):
            return QUANTITY if name == "Quantity" else INT_OR_STRING
        return _inline(made[schema["$ref"].rpartition("/")[2]], made)
    out = {key: item for key, item in schema.items() if key not in _DROPPED and "patch" not in key}
    for key in ("items", "additionalProperties"):
        if key in schema:
            out[key] = _inline(schema[key], made)
    for name, item in schema.get("properties", {}).items():
        out.setdefault("properties", {})[name] = {"description": f"{name} {_TEXT.format(name)}"} | _inline(item, made)
    items = out.get("items", {})
    for key in set(out.get("x-kubernetes-list-map-keys", ())) - set(items.get("required", ())):
        items["properties"][key]["default"] = "TCP" if key == "protocol" else ""  # what is a key must have a value
    return out


@cache
def _of(kind: type) -> Json:
    schemas = Schemas(2)
    return _inline(schemas.refer(kind), schemas.made)


def pod() -> Json:
    """A pod's spec."""
    return _of(PodSpec)


def _fields(*names: str) -> Json:
    return {name: pod()["properties"][name] for name in names}


def _definition(kind: str, versions: list[Json], **names: Any) -> Json:
    plural = f"{kind.lower()}s"
    spec = {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), **names},
        "versions": versions,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": spec,
    }


def _version(name: str, spec: Json, columns: list[tuple[str, str, str]], **more: Any) -> Json:
    condition: Json = {
        "type": "object",
        "required": ["type", "status"],
        "properties": {key: {"type": "string"} for key in ("type", "status", "reason", "message")},
    }
    conditions = {"type": "array", "items": condition, "x-kubernetes-list-type": "map"}
    status: Json = {
        "type": "object",
        "properties": {
            "conditions": conditions | {"x-kubernetes-list-map-keys": ["type"]},
            "replicas": {"type": "integer", "format": "int32"},
            "selector": {"type": "string"},
        },
    }
    return {
        "name": name,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": n, "type": t, "jsonPath": path} for n, t, path in columns],
        **more,
    }


def monitor() -> Json:
    """Half a megabyte: pod parts, a second pod's, an embedded claim, rules over numbers and times."""
    claim = _of(PersistentVolumeClaim)
    claim = claim | {"x-kubernetes-embedded-resource": True}
    claim["properties"] = {key: item for key, item in claim["properties"].items() if key != "metadata"}
    target: Json = {
        "type": "object",
        "required": ["url"],
        "properties": {
            "url": {"type": "string", "minLength": 1, "maxLength": 2048},
            "timeout": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$", "default": "30s"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
            "capacity": {"type": "integer", "minimum": 1, "default": 2500},
            "shards": INT_OR_STRING,
        },
        "x-kubernetes-validations": [
            {"rule": "self.url.startsWith('http')", "message": "url must be of http or https"},
        ],
    }
    spec: Json = {
        "type": "object",
        "description": "What is watched, by what, and where it is kept.",
        "properties": {
            "replicas": {"type": "integer", "format": "int32", "minimum": 0, "default": 1},
            "minReplicas": {"type": "integer", "format": "int32", "minimum": 0, "default": 0},
            "retention": {"type": "string", "pattern": "^[0-9]+(h|d|w)$", "default": "24h"},
            "logLevel": {"type": "string", "enum": ["debug", "info", "warn", "error"], "default": "info"},
            "resources": pod()["properties"]["containers"]["items"]["properties"]["resources"],
            "storage": claim,
            "targets": {"type": "array", "maxItems": 100, "items": target},
            "pod": pod(),
            "sidecarPod": pod(),
            **_fields("affinity", "tolerations", "volumes", "containers", "initContainers", "securityContext"),
        },
        "x-kubernetes-validations": [
            {
                "rule": "self.minReplicas <= self.replicas",
                "message": "replicas must be at least minReplicas",
            },
        ],
    }
    columns = [("Replicas", "integer", ".spec.replicas"), ("Level", "string", ".spec.logLevel")]
    columns.append(("Age", "date", ".metadata.creationTimestamp"))
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    scale = paths | {"labelSelectorPath": ".status.selector"}
    made = _version("v1", spec, columns, subresources={"status": {}, "scale": scale})
    return _definition("Monitor", [made], shortNames=["mon"], categories=["all"])


def flow() -> Json:
    """More than half a megabyte: templates of containers in a list by name, and arguments of any form."""
    container = pod()["properties"]["containers"]["items"]
    parameter: Json = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "value": {"x-kubernetes-preserve-unknown-fields": True}},
    }
    arguments: Json = {"type": "object", "properties": {"parameters": {"type": "array", "items": parameter}}}
    template: Json = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 63},
            "inputs": arguments,
            "outputs": arguments,
            "container": container,
            "script": container,
            "initContainers": {"type": "array", "items": container},
            "sidecars": {"type": "array", "items": container},
            "steps": {"type": "array", "items": {"type": "array", "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "template": {"type": "string"}, "arguments": arguments}}}},
            "podSpec": pod(),
            **_fields("affinity", "tolerations", "volumes", "securityContext"),
        },
        "x-kubernetes-validations": [
            {"rule": "!(has(self.container) && has(self.script))", "message": "container and script exclude each other"}
        ],
    }  # fmt: skip
    spec: Json = {
        "type": "object",
        "required": ["entrypoint", "templates"],
        "properties": {
            "entrypoint": {"type": "string"},
            "arguments": arguments,
            "parallelism": {"type": "integer", "format": "int64"},
            "templates": {
                "type": "array",
                "maxItems": 50,
                "items": template,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            "templateDefaults": template,
            **_fields("volumes", "affinity", "tolerations"),
        },
        "x-kubernetes-validations": [
            {
                "rule": "self.templates.exists(t, t.name == self.entrypoint)",
                "message": "entrypoint must be one of the templates",
            }
        ],
    }
    return _definition("Flow", [_version("v1alpha1", spec, [("Entry", "string", ".spec.entrypoint")])])


def certificate() -> Json:
    """Two versions of the same form, with choices, immutable fields and solvers that run pods."""
    template: Json = {"type": "object", "properties": {"spec": pod()}}
    solver: Json = {
        "type": "object",
        "properties": {
            "http": {"type": "object", "properties": {"podTemplate": template}},
            "dns": {"type": "object", "properties": {"zone": {"type": "string"}, "webhook": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": True}}},
        },
        "oneOf": [{"required": ["http"]}, {"required": ["dns"]}],
    }  # fmt: skip
    spec: Json = {
        "type": "object",
        "required": ["secretName", "issuerRef"],
        "properties": {
            "secretName": {
                "type": "string",
                "maxLength": 253,
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "secretName is immutable"}],
            },
            "dnsNames": {
                "type": "array",
                "maxItems": 100,
                "items": {"type": "string", "maxLength": 253},
                "x-kubernetes-list-type": "set",
            },
            "duration": {"type": "string", "format": "duration", "default": "2160h"},
            "usages": {"type": "array", "items": {"type": "string", "enum": ["server auth", "client auth", "signing"]}},
            "issuerRef": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "kind": {"type": "string", "default": "Issuer"}},
                "x-kubernetes-map-type": "atomic",
            },
            "privateKey": {
                "type": "object",
                "default": {"algorithm": "RSA", "size": 2048},
                "properties": {
                    "algorithm": {"type": "string", "enum": ["RSA", "ECDSA", "Ed25519"]},
                    "size": {"type": "integer", "minimum": 256, "maximum": 8192},
                },
            },
            "solvers": {"type": "array", "items": solver},
        },
    }
    columns = [("Secret", "string", ".spec.secretName"), ("Issuer", "string", ".spec.issuerRef.name")]
    return _definition(
        "Certificate", [_version("v1", spec, columns), _version("v1beta1", spec, columns, storage=False)]
    )


DEFINITIONS = {"monitor": monitor, "flow": flow, "certificate": certificate}
INSTANCES: dict[str, Json] = {
    "monitor": {"replicas": 2, "targets": [{"url": "http://a"}]},
    "flow": {"entrypoint": "main", "templates": [{"name": "main", "container": {"name": "c", "image": "i"}}]},
    "certificate": {"secretName": "s", "issuerRef": {"name": "i"}, "solvers": [{"dns": {"zone": "z"}}]},
}


def instance(which: str, name: str, **spec: Any) -> Json:
    """An object that the definition takes."""
    described = DEFINITIONS[which]()["spec"]
    version = described["versions"][0]["name"]
    meta = {"name": name, "namespace": "default"}
    content = INSTANCES[which] | spec
    return {"apiVersion": f"{GROUP}/{version}", "kind": described["names"]["kind"], "metadata": meta, "spec": content}


def measure(kubeconfig: Path) -> None:
    """Install, use, and look each up; then remove it."""

    def kubectl(*arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "--kubeconfig", str(kubeconfig), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=check)

    for which, make in DEFINITIONS.items():
        body = json.dumps(make())
        spec = make()["spec"]
        plural, version = spec["names"]["plural"], spec["versions"][0]["name"]
        started = time.perf_counter()
        kubectl("create", "-f", "-", stdin=body)
        created = time.perf_counter()
        path = f"/apis/{GROUP}/{version}/namespaces/default/{plural}"
        while kubectl(
            "create", "--raw", path, "-f", "-", stdin=json.dumps(instance(which, "one")), check=False
        ).returncode:
            pass
        taken = time.perf_counter()
        while f"{spec['names']['kind']}" not in kubectl("get", "--raw", f"/openapi/v3/apis/{GROUP}/{version}").stdout:
            pass
        shown = time.perf_counter()
        print(
            f"{which}: {len(body) // 1000} kB, kubectl create {created - started:.2f} s, instance taken after "
            f"{taken - started:.2f} s, in OpenAPI v3 after {shown - started:.2f} s (each with the start of kubectl)"
        )
        kubectl("delete", "crd", f"{plural}.{GROUP}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True, type=Path)
    measure(parser.parse_args().kubeconfig)
