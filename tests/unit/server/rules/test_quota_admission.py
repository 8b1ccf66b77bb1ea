"""What a write uses of quotas, which quotas count it, and what is said when there is no room."""

from typing import Any

import pytest

from tests.unit.server.rules.world import Objects, attributes
from wherry.aio.clock import SystemClock
from wherry.api import core_v1 as core
from wherry.api.registry import RESOURCES
from wherry.meta.errors import StatusError
from wherry.meta.object import KubernetesObject
from wherry.meta.quantity import Quantity
from wherry.meta.wire import convert, deep_copy
from wherry.rules.quota import kind_of, usage
from wherry.server.admission.resource_quota import Request, limited_of

KINDS = {item.plural: item for item in RESOURCES}
SMALL = {"requests": {"cpu": "100m", "memory": "10M"}, "limits": {"cpu": "200m"}}


def made(plural: str, **members: Any) -> Any:
    kind = KINDS[plural].type
    assert kind is not None
    return convert({"metadata": {"name": "x", "namespace": "d", "resourceVersion": "1"}, **members}, kind)


def pod(asks: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **spec: Any) -> core.Pod:
    containers = [{"name": "c", "image": "i", "resources": asks or {}}]
    found: core.Pod = made("pods", spec={"containers": containers, **spec}, status=status or {})
    return found


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> core.ResourceQuota:
    status = {"hard": hard, "used": dict.fromkeys(hard, "0") | (used or {})}
    found: core.ResourceQuota = made("resourcequotas", spec={"hard": hard, **spec}, status=status)
    return found


def charged(
    obj: KubernetesObject, *quotas: core.ResourceQuota, old: Any = None, limited: Any = (), subresource: str = ""
) -> list[dict[str, str]] | str:
    """Usage of every quota that is charged, or why it is not."""
    asked = attributes(obj, Objects(), "CREATE" if old is None else "UPDATE")
    asked.old_object, asked.subresource = old, subresource
    try:
        found = Request(asked, SystemClock().now()).charge(list(quotas), limited_of({"limitedResources": limited}))
    except StatusError as error:
        assert error.code == 403
        return error.message.removeprefix(f'{asked.resource.group_resource} "x" is forbidden: ')
    return [dict(used) for _, used in found]


USES = {
    "a pod": (
        pod(SMALL),
        "count/pods=1 cpu=100m limits.cpu=200m memory=10M pods=1 requests.cpu=100m requests.memory=10M",
    ),
    "a pod that is done": (pod(SMALL, {"phase": "Failed"}), "count/pods=1"),
    "a pod with overhead": (pod(overhead={"cpu": "1"}), "count/pods=1 cpu=1 pods=1 requests.cpu=1"),
    "a pod level": (
        pod(SMALL, resources={"requests": {"cpu": "1"}}),
        "count/pods=1 cpu=1 limits.cpu=200m memory=10M pods=1 requests.cpu=1 requests.memory=10M",
    ),
    "devices and huge pages": (
        pod({"limits": {"x.test/gpu": "2"}, "requests": {"x.test/gpu": "2", "hugepages-2Mi": "4Mi"}}),
        "count/pods=1 hugepages-2Mi=4Mi pods=1 requests.hugepages-2Mi=4Mi requests.x.test/gpu=2",
    ),
    "a balancer": (
        made("services", spec={"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}),
        "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2",
    ),
    "a balancer without node ports": (
        made(
            "services",
            spec={
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"port": 1, "nodePort": 30000}, {"port": 2}],
            },
        ),
        "count/services=1 services=1 services.loadbalancers=1 services.nodeports=1",
    ),
    "a claim that grows": (
        made(
            "persistentvolumeclaims",
            spec={"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}},
            status={"allocatedResources": {"storage": "2Gi"}},
        ),
        "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 "
        "gold.storageclass.storage.k8s.io/requests.storage=2Gi persistentvolumeclaims=1 requests.storage=2Gi",
    ),
    "a claim of devices": (
        made(
            "resourceclaims",
            spec={
                "devices": {
                    "requests": [
                        {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
                        {"exactly": {"deviceClassName": "nic", "allocationMode": "All"}},
                        {
                            "firstAvailable": [
                                {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count}
                                for count in (3, 1)
                            ]
                        },
                    ]
                }
            },
        ),
        "count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=5 "
        "nic.deviceclass.resource.k8s.io/devices=32",
    ),
    "a secret": (made("secrets"), "count/secrets=1 secrets=1"),
    "a deployment": (made("deployments"), "count/deployments.apps=1"),
}


@pytest.mark.parametrize("name", USES)
def test_objects_use(name: str) -> None:
    obj, expected = USES[name]
    kind = next((item.group, item.plural) for item in RESOURCES if item.type is type(obj))
    used = usage(obj, kind, SystemClock().now())
    assert " ".join(f"{name}={amount}" for name, amount in sorted(used.items())) == expected


def test_every_resource_counts_one_kind() -> None:
    assert kind_of("count/widgets.example.com") == ("example.com", "widgets")
    assert kind_of("requests.example.com/dongle") == ("", "pods")
    assert kind_of("example.com/dongle") is None


def test_a_quota_says_what_is_missing() -> None:
    refused = charged(pod(SMALL), quota({"cpu": "1", "pods": "3"}, {"cpu": "950m", "pods": "3"}))
    assert refused == ("exceeded quota: x, requested: cpu=100m,pods=1, used: cpu=950m,pods=3, limited: cpu=1,pods=3")


def test_containers_say_what_they_need_where_that_is_counted() -> None:
    room = quota({"limits.memory": "1Gi", "requests.cpu": "1"})
    both: dict[str, Any] = {"initContainers": [{"name": "a", "image": "i"}]}
    assert (
        charged(pod(SMALL, **both), room) == "failed quota: x: must specify limits.memory for: a,c; requests.cpu for: a"
    )
    assert charged(pod(**both, resources={"limits": {"memory": "1Mi"}}), room) == [
        {"limits.memory": "1Mi", "requests.cpu": "0"}
    ]


def test_a_quota_that_is_not_counted_yet_lets_nothing_through() -> None:
    fresh = quota({"pods": "1", "cpu": "1", "secrets": "1"})
    fresh.status.used = {"secrets": Quantity("0")}
    assert charged(pod(SMALL), fresh) == "status unknown for quota: x, resources: cpu,pods"
    fresh.status.hard = {}
    assert charged(pod(SMALL), fresh) == []


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
SCOPES = {
    "Terminating": (pod(activeDeadlineSeconds=1), pod()),
    "NotTerminating": (pod(), pod(activeDeadlineSeconds=1)),
    "BestEffort": (pod(), pod(SMALL)),
    "NotBestEffort": (pod(SMALL), pod()),
    "PriorityClass": (pod(priorityClassName="high"), pod()),
    "CrossNamespacePodAffinity": (
        pod(affinity={"podAntiAffinity": {REQUIRED: [{"namespaceSelector": {}}]}}),
        pod(affinity={"podAffinity": {REQUIRED: [{"topologyKey": "z"}]}}),
    ),
}


@pytest.mark.parametrize("scope", SCOPES)
def test_scopes_choose_pods(scope: str) -> None:
    inside, outside = SCOPES[scope]
    assert charged(inside, quota({"pods": "1"}, scopes=[scope])) == [{"pods": "1"}]
    assert charged(outside, quota({"pods": "1"}, scopes=[scope])) == []


@pytest.mark.parametrize(
    "operator, values, chosen",
    [
        ("In", ["high"], "high"),
        ("NotIn", ["high"], " low"),
        ("Exists", [], "high low"),
        ("DoesNotExist", [], ""),
    ],
)
def test_selectors_choose_priority_classes(operator: str, values: list[str], chosen: str) -> None:
    selector = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}
    for name in ("high", "low", ""):
        room = quota({"pods": "1"}, scopeSelector=selector)
        assert bool(charged(pod(priorityClassName=name), room)) == (name in chosen.split(" ")), name


def test_a_claim_is_counted_where_its_attributes_class_is_or_was() -> None:
    selector = {"matchExpressions": [{"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]}]}
    room = quota({"persistentvolumeclaims": "1"}, scopeSelector=selector)
    assert charged(made("persistentvolumeclaims", spec={"volumeAttributesClassName": "slow"}), room) == []
    leaving = made(
        "persistentvolumeclaims",
        spec={"volumeAttributesClassName": "slow"},
        status={"currentVolumeAttributesClassName": "fast"},
    )
    assert charged(leaving, room) == [{"persistentvolumeclaims": "1"}]
    assert charged(leaving, room, old=leaving) == []
    moved = deep_copy(leaving)
    moved.status.currentVolumeAttributesClassName = None
    assert charged(leaving, room, old=moved) == [{"persistentvolumeclaims": "1"}]


def test_a_change_is_charged_what_it_adds() -> None:
    claims = [
        made("persistentvolumeclaims", spec={"resources": {"requests": {"storage": size}}}) for size in ("1Gi", "3Gi")
    ]
    assert charged(claims[1], quota({"requests.storage": "4Gi"}, {"requests.storage": "1Gi"}), old=claims[0]) == [
        {"requests.storage": "3Gi"}
    ]
    assert charged(claims[0], quota({"requests.storage": "4Gi"}, {"requests.storage": "3Gi"}), old=claims[1]) == []
    said = charged(claims[1], quota({"requests.storage": "2Gi"}, {"requests.storage": "1Gi"}), old=claims[0])
    assert said == (
        "exceeded quota: x, requested: requests.storage=2Gi, used: requests.storage=1Gi, limited: requests.storage=2Gi"
    )


def test_a_resize_is_charged() -> None:
    grown = pod({"requests": {"cpu": "3"}})
    small = pod({"requests": {"cpu": "1"}})
    assert "requested: cpu=2, used: cpu=1, limited: cpu=2" in charged(
        grown, quota({"cpu": "2"}, {"cpu": "1"}), old=small, subresource="resize"
    )


LIMITED = [
    {"resource": "services", "matchContains": ["loadbalancers"]},
    {"resource": "pods", "matchScopes": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]},
]


def test_what_is_limited_needs_a_quota_that_covers_it() -> None:
    balancer = made("services", spec={"type": "LoadBalancer"})
    assert charged(balancer, limited=LIMITED) == "insufficient quota to consume: services.loadbalancers"
    room = quota({"services.loadbalancers": "1"})
    assert charged(balancer, room, limited=LIMITED) == [{"services.loadbalancers": "1"}]
    high = pod(priorityClassName="high")
    refused = "insufficient quota to match these scopes: [{PriorityClass In [high]}]"
    assert charged(high, limited=LIMITED) == refused
    assert charged(high, quota({"pods": "1"}), limited=LIMITED) == refused
    assert charged(high, quota({"pods": "1"}, scopes=["PriorityClass"]), limited=LIMITED) == [{"pods": "1"}]
    assert charged(pod(), limited=LIMITED) == []
