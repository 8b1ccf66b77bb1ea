"""Defaults, refusals and allocations of single kinds, in Kubernetes' words."""

from typing import Any

import pytest

from tests.unit.server.rules.world import Objects, context
from wherry.api.apps_v1 import Deployment
from wherry.api.batch_v1 import CronJob, Job
from wherry.api.core_v1 import ConfigMap, Pod, Service
from wherry.api.registry import RESOURCES
from wherry.meta.errors import StatusError
from wherry.meta.wire import convert, deep_copy, to_builtins
from wherry.server.strategies.job import cron_fault
from wherry.server.strategies.strategy import Strategy
from wherry.server.strategies.table import strategies

META = {"name": "x", "namespace": "d"}
CONTAINER = {"name": "c", "image": "nginx"}


def strategy(group: str, plural: str, *objects: Any) -> Strategy:
    return strategies(Objects(*objects))[group, plural]


def created(group: str, plural: str, kind: type[Any], **members: Any) -> Any:
    obj = convert({"metadata": META, **members}, kind)
    rules = strategy(group, plural)
    rules.default(obj)
    rules.prepare_for_create(obj, context())
    return obj


def faults(group: str, plural: str, obj: Any) -> list[str]:
    return [str(item) for item in strategy(group, plural).validate(obj)]


def test_a_pod_gets_kubernetes_defaults() -> None:
    pod = created("", "pods", Pod, spec={"containers": [CONTAINER]})
    assert to_builtins(pod)["spec"] == {
        "containers": [
            {
                "image": "nginx",
                "imagePullPolicy": "Always",
                "name": "c",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    assert to_builtins(pod)["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert faults("", "pods", pod) == []


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda item: item.group_resource)
def test_defaulting_twice_changes_nothing_more(resource: Any) -> None:
    obj = resource.type()
    rules = strategy(resource.group, resource.plural)
    rules.default(obj)
    once = deep_copy(obj)
    rules.default(obj)
    assert obj == once


STORED = [item for item in RESOURCES if not item.storage_version]


@pytest.mark.parametrize("resource", STORED, ids=lambda item: item.group_resource)
def test_every_selectable_field_has_a_value(resource: Any) -> None:
    fields = strategy(resource.group, resource.plural).fields(resource.type())
    assert set(resource.selectable_fields) <= set(fields)


def test_a_running_pods_image_may_change_but_not_its_name() -> None:
    old = created("", "pods", Pod, spec={"containers": [CONTAINER]})
    new = deep_copy(old)
    new.spec.containers[0].image = "nginx:2"
    assert strategy("", "pods").validate_update(new, old) == []
    new.spec.containers[0].command = ["sh"]
    (error,) = strategy("", "pods").validate_update(new, old)
    assert str(error).startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers")


def test_a_template_must_carry_the_labels_its_selector_wants() -> None:
    template = {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [CONTAINER]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    obj = created("apps", "deployments", Deployment, spec=spec)
    assert faults("apps", "deployments", obj) == [
        'spec.template.metadata.labels: Invalid value: {"a":"c"}: `selector` does not match template `labels`'
    ]


def test_a_deployments_generation_counts_spec_changes_only() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
    old = created(
        "apps", "deployments", Deployment, spec={"selector": {"matchLabels": {"a": "b"}}, "template": template}
    )
    new = deep_copy(old)
    new.metadata.labels = {"x": "y"}
    rules = strategy("apps", "deployments")
    rules.prepare_for_update(new, old, context())
    assert new.metadata.generation == 1
    new.spec.replicas = 3
    rules.prepare_for_update(new, old, context())
    assert new.metadata.generation == 2


def test_a_jobs_selector_is_made_of_its_uid() -> None:
    template = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    obj = convert({"metadata": {**META, "uid": "u-1"}, "spec": {"template": template}}, Job)
    rules = strategy("batch", "jobs")
    rules.default(obj)
    rules.prepare_for_create(obj, context())
    assert obj.spec.selector is not None
    assert obj.spec.selector.matchLabels == {"batch.kubernetes.io/controller-uid": "u-1"}
    assert obj.spec.template.metadata.labels["job-name"] == "x"
    assert rules.validate(obj) == []


@pytest.mark.parametrize("text", ["* * * * *", "*/5 0-6 1,15 jan mon-fri", "@hourly", "@every 1h30m"])
def test_a_good_schedule_is_taken(text: str) -> None:
    assert cron_fault(text) == ""


@pytest.mark.parametrize("text", ["* * * *", "60 * * * *", "a * * * *", "@never", "*/0 * * * *"])
def test_a_bad_schedule_is_refused(text: str) -> None:
    assert cron_fault(text)


def test_a_cron_job_leaves_its_jobs_counts_open() -> None:
    template = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}
    obj = created("batch", "cronjobs", CronJob, spec=spec)
    assert obj.spec.jobTemplate.spec.completions is None
    assert faults("batch", "cronjobs", obj) == []


def test_an_immutable_config_map_stays_as_it_is() -> None:
    old = convert({"metadata": META, "data": {"a": "1"}, "immutable": True}, ConfigMap)
    new = convert({"metadata": META, "data": {"a": "2"}, "immutable": True}, ConfigMap)
    (error,) = strategy("", "configmaps").validate_update(new, old)
    assert str(error) == "data: Forbidden: field is immutable when `immutable` is set"


def service(**spec: Any) -> Service:
    return convert({"metadata": META, "spec": {"ports": [{"port": 80}], **spec}}, Service)


async def test_a_service_is_given_an_address_and_ports_and_gives_them_back() -> None:
    rules = strategy("", "services")
    ctx = context()
    first = service(type="NodePort")
    rules.default(first)
    rules.prepare_for_create(first, ctx)
    holding = await rules.allocate(first, None, ctx)
    assert first.spec.clusterIPs == [first.spec.clusterIP]
    port = first.spec.ports[0].nodePort
    assert port is not None
    assert 30000 <= port <= 32767
    assert rules.validate(first) == []

    second = service(clusterIP=first.spec.clusterIP)
    rules.default(second)
    rules.prepare_for_create(second, ctx)
    with pytest.raises(StatusError, match="provided IP is already allocated") as refused:
        await rules.allocate(second, None, ctx)
    assert refused.value.code == 422
    await holding.undo()
    await rules.allocate(second, None, ctx)


async def test_a_service_keeps_its_address_through_an_update_that_leaves_it_out() -> None:
    rules = strategy("", "services")
    ctx = context()
    old = service(type="NodePort")
    rules.default(old)
    rules.prepare_for_create(old, ctx)
    await rules.allocate(old, None, ctx)
    new = service(type="NodePort")
    rules.default(new)
    rules.prepare_for_update(new, old, ctx)
    await rules.allocate(new, old, ctx)
    assert new.spec.clusterIP == old.spec.clusterIP
    assert new.spec.ports[0].nodePort == old.spec.ports[0].nodePort
