"""EndpointSlices: few writes, full slices."""

from wherry.api.core_v1 import Pod, PodCondition, PodIP
from wherry.controllers.endpointslice import ENDPOINTS_MAX, plan_slices
from wherry.testing import builders


def _pods(count: int) -> list[Pod]:
    pods = []
    for number in range(count):
        pod = builders.pod(f"p{number:03}", labels={"app": "web"}, node="node")
        pod.metadata.uid = f"uid-{number}"
        pod.status.podIPs = [PodIP(ip=f"10.0.{number // 250}.{number % 250}")]
        pod.status.conditions = [PodCondition(type="Ready", status="True")]
        pods.append(pod)
    return pods


def test_a_slice_holds_a_hundred_endpoints() -> None:
    plan = plan_slices(builders.service(), _pods(250), [], {})
    assert [len(item.endpoints) for item in plan.create] == [ENDPOINTS_MAX, ENDPOINTS_MAX, 50]


def test_a_service_without_pods_has_one_empty_slice() -> None:
    service = builders.service()
    plan = plan_slices(service, [], [], {})
    assert [item.endpoints for item in plan.create] == [[]]
    again = plan_slices(service, [], plan.create, {})
    assert (again.create, again.update, again.delete) == ([], [], [])


def test_one_more_pod_is_one_write() -> None:
    service, pods = builders.service(), _pods(151)
    present = plan_slices(service, pods[:150], [], {}).create
    for number, item in enumerate(present):
        item.metadata.name = f"web-{number}"
    assert not plan_slices(service, pods[:150], present, {}).update
    plan = plan_slices(service, pods, present, {})
    assert ([item.metadata.name for item in plan.update], plan.create, plan.delete) == (["web-1"], [], [])


def test_a_terminating_pod_serves_but_is_not_ready() -> None:
    pod = _pods(1)[0]
    pod.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    endpoint = plan_slices(builders.service(), [pod], [], {}).create[0].endpoints[0]
    conditions = endpoint.conditions
    assert (conditions.ready, conditions.serving, conditions.terminating) == (False, True, True)
