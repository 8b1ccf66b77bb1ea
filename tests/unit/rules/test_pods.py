"""Readiness, tolerations, effective requests and QoS (KEP-753, KEP-2837)."""

import pytest

from wherry.api.core_v1 import ContainerStatus, Pod, PodCondition, ResourceRequirements, Taint, Toleration
from wherry.meta.quantity import Quantity
from wherry.meta.wire import convert
from wherry.rules import pods, requests, taints


def pod(**spec: object) -> Pod:
    return convert({"metadata": {"name": "p"}, "spec": spec}, Pod)


def container(name: str, cpu: str = "", limit: str = "", **more: object) -> dict[str, object]:
    resources = {"requests": {"cpu": cpu} if cpu else {}, "limits": {"cpu": limit} if limit else {}}
    return {"name": name, "resources": resources, **more}


def test_an_init_container_counts_only_where_it_is_greater() -> None:
    small = pod(containers=[container("a", "500m")], initContainers=[container("i", "100m")])
    large = pod(containers=[container("a", "500m")], initContainers=[container("i", "2")])
    assert requests.pod_requests(small) == {"cpu": 500}
    assert requests.pod_requests(large) == {"cpu": 2000}


def test_a_sidecar_counts_beside_the_containers_and_later_init_containers() -> None:
    sidecar = container("s", "200m", restartPolicy="Always")
    assert requests.pod_requests(pod(containers=[container("a", "500m")], initContainers=[sidecar])) == {"cpu": 700}
    after = pod(containers=[container("a", "100m")], initContainers=[sidecar, container("i", "1")])
    assert requests.pod_requests(after) == {"cpu": 1200}


def test_overhead_and_pod_level_resources_are_added_and_preferred() -> None:
    one = pod(containers=[container("a", "500m")], overhead={"cpu": "50m"}, resources={"requests": {"cpu": "3"}})
    assert requests.pod_requests(one) == {"cpu": 3050}


@pytest.mark.parametrize("reason, expected", [(None, 1500), ("Deferred", 1500), ("Infeasible", 700)])
def test_while_a_resize_is_on_its_way_a_container_counts_for_what_it_has(reason: str | None, expected: int) -> None:
    grown = pod(containers=[container("a", "1"), container("b", "500m")])
    has = ResourceRequirements(requests={"cpu": Quantity("200m")})
    statuses = [ContainerStatus(name=name, resources=has) for name in ("a", "b")]
    statuses[1].allocatedResources = {"cpu": Quantity("500m")}
    grown.status.containerStatuses = statuses
    if reason:
        grown.status.conditions = [PodCondition(type="PodResizePending", status="True", reason=reason)]
    assert requests.pod_requests(grown) == {"cpu": expected}
    grown.spec.containers[0].resources.requests["cpu"] = Quantity("100m")
    assert requests.pod_requests(grown) == {"cpu": 700}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}, "Burstable"),
    ],
)
def test_qos_class_follows_requests_and_limits(resources: dict[str, object], expected: str) -> None:
    assert requests.qos_class(pod(containers=[{"name": "a", "resources": resources}])) == expected


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration(operator="Exists"), True),
        (Toleration(key="k", value="v"), True),
        (Toleration(key="k", value="other"), False),
        (Toleration(key="k", operator="Exists", effect="NoExecute"), False),
        (Toleration(key="k", operator="Exists", effect="NoSchedule"), True),
    ],
)
def test_a_toleration_covers_its_taint(toleration: Toleration, expected: bool) -> None:
    assert taints.tolerates(toleration, Taint(key="k", value="v", effect="NoSchedule")) is expected


def test_the_shortest_toleration_decides_when_a_pod_is_evicted() -> None:
    taint = Taint(key="k", effect="NoExecute")
    assert taints.eviction_delay_seconds([taint], []) == 0
    assert taints.eviction_delay_seconds([taint], [Toleration(key="k", operator="Exists")]) is None
    timed = [Toleration(key="k", operator="Exists", tolerationSeconds=seconds) for seconds in (300, 20)]
    assert taints.eviction_delay_seconds([taint], timed) == 20


def test_a_named_target_port_is_found_by_protocol() -> None:
    spec = pod(containers=[{"name": "a", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]).spec
    assert pods.find_port(spec, "dns", "UDP") == 53
    assert pods.find_port(spec, "dns", "TCP") is None
    assert pods.find_port(spec, 80) == 80
