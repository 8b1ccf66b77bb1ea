"""Admission policies for tests: the smallest one, and how long it takes until it counts (no time at all)."""

from typing import Any

from tests.conformance.world import Json

GROUP = "/apis/admissionregistration.k8s.io/v1"
DEPLOYMENTS = {
    "apiGroups": ["apps"],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE"],
    "resources": ["deployments"],
}


def policy(kind: str, name: str, **spec: Any) -> Json:
    """A policy of `kind` about Deployments."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [DEPLOYMENTS]}} | spec,
    }


def binding(kind: str, name: str, policy_name: str, **spec: Any) -> Json:
    """Puts a policy to use everywhere."""
    return policy(f"{kind}Binding", name) | {"spec": {"policyName": policy_name} | spec}


def deployment(name: str, replicas: int = 1, **metadata: Any) -> Json:
    """A Deployment of one container."""
    labels = {"app": name}
    container = {"name": "c", "image": "registry.example/nothing:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
