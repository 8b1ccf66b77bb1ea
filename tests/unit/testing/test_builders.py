"""Builders: what they give survives the wire, and options land where they belong."""

import pytest

from wherry.api.core_v1 import Taint
from wherry.meta import wire
from wherry.meta.object import KubernetesObject
from wherry.testing import builders


@pytest.mark.parametrize(
    "obj",
    [
        builders.pod(requests={"cpu": "100m"}),
        builders.node(capacity={"cpu": 64}, taints=[Taint(key="dedicated", effect="NoSchedule")]),
        builders.deployment(replicas=3),
        builders.replica_set(),
        builders.job(completions=2),
        builders.service(),
        builders.namespace("shop"),
        builders.config_map(key="value"),
        builders.secret(password="secret"),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_every_built_object_survives_the_wire(obj: KubernetesObject) -> None:
    assert wire.decode(type(obj), wire.encode(obj)) == obj


def test_capacity_adds_to_the_ordinary_room() -> None:
    node = builders.node(capacity={"cpu": 64, "example.com/gpu": 2})
    assert node.status.allocatable == {
        "cpu": "64",
        "memory": "8Gi",
        "pods": "110",
        "ephemeral-storage": "100Gi",
        "example.com/gpu": "2",
    }


def test_a_deployment_selects_the_pods_of_its_template() -> None:
    web = builders.deployment("web", replicas=2)
    assert web.spec.selector is not None
    assert web.spec.selector.matchLabels == web.spec.template.metadata.labels == {"app": "web"}
