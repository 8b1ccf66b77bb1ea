"""The built-in plugins, one claim each."""

from typing import Any

import pytest

from tests.unit.server.rules.world import Objects, attributes
from wherry.api import core_v1 as core
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.wire import convert
from wherry.server.admission.limit_ranger import LimitRanger
from wherry.server.admission.namespace_lifecycle import NamespaceLifecycle
from wherry.server.admission.scheduling import DefaultTolerationSeconds, Priority, TaintNodesByCondition
from wherry.server.admission.service_account import ServiceAccount


def pod(**spec: Any) -> core.Pod:
    found = {"containers": [{"name": "c", "image": "i"}], **spec}
    return convert({"metadata": {"name": "p", "namespace": "d"}, "spec": found}, core.Pod)


def namespace(phase: str = "Active") -> core.Namespace:
    return core.Namespace(metadata=ObjectMeta(name="d"), status=core.NamespaceStatus(phase=phase))


async def test_nothing_is_made_in_a_namespace_that_is_missing() -> None:
    caches = Objects()
    with pytest.raises(StatusError, match='namespaces "d" not found') as refused:
        await NamespaceLifecycle(caches).admit(attributes(pod(), caches))
    assert refused.value.code == 404


async def test_nothing_is_made_in_a_namespace_on_its_way_out() -> None:
    caches = Objects(namespace("Terminating"))
    with pytest.raises(StatusError, match="because it is being terminated") as refused:
        await NamespaceLifecycle(caches).admit(attributes(pod(), caches))
    assert refused.value.code == 403
    assert refused.value.details["causes"][0]["reason"] == "NamespaceTerminating"


async def test_a_pod_mounts_the_token_of_its_service_account() -> None:
    account = core.ServiceAccount(metadata=ObjectMeta(name="default", namespace="d"))
    caches = Objects(account)
    wanted = attributes(pod(), caches)
    await ServiceAccount(caches).admit(wanted)
    spec = wanted.object.spec
    assert spec.serviceAccountName == "default"
    assert spec.volumes[0].name.startswith("kube-api-access-")
    assert spec.containers[0].volumeMounts[0].mountPath == "/var/run/secrets/kubernetes.io/serviceaccount"


async def test_a_pod_of_an_unknown_service_account_is_refused() -> None:
    caches = Objects()
    text = 'error looking up service account d/default: serviceaccount "default" not found'
    with pytest.raises(StatusError, match=text):
        await ServiceAccount(caches).admit(attributes(pod(), caches))


async def test_pods_outlive_a_failing_node_by_five_minutes() -> None:
    caches = Objects()
    wanted = attributes(pod(), caches)
    await DefaultTolerationSeconds().admit(wanted)
    assert [item.tolerationSeconds for item in wanted.object.spec.tolerations] == [300, 300]


async def test_a_system_priority_class_needs_no_object() -> None:
    caches = Objects()
    wanted = attributes(pod(priorityClassName="system-node-critical"), caches)
    await Priority(caches).admit(wanted)
    assert wanted.object.spec.priority == 2_000_001_000


async def test_a_new_node_is_tainted_until_ready() -> None:
    caches = Objects()
    wanted = attributes(core.Node(metadata=ObjectMeta(name="n")), caches)
    await TaintNodesByCondition().admit(wanted)
    assert [item.key for item in wanted.object.spec.taints] == ["node.kubernetes.io/not-ready"]


async def test_limit_ranges_fill_in_requests_and_refuse_what_is_over() -> None:
    limits = {"limits": [{"type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "2"}}]}
    caches = Objects(convert({"metadata": {"name": "l", "namespace": "d"}, "spec": limits}, core.LimitRange))
    wanted = attributes(pod(), caches)
    await LimitRanger(caches).admit(wanted)
    assert wanted.object.spec.containers[0].resources.limits == {"cpu": "1"}
    over = attributes(
        pod(containers=[{"name": "c", "resources": {"limits": {"cpu": "3"}, "requests": {"cpu": "1"}}}]), caches
    )
    with pytest.raises(StatusError, match="maximum cpu usage per Container is 2, but limit is 3"):
        await LimitRanger(caches).validate(over)
