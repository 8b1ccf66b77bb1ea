"""What pods and claims take from the classes they name: PriorityClass, RuntimeClass, StorageClass."""

from typing import Any

import pytest

from tests.unit.server.rules.world import Objects, attributes
from wherry.api import core_v1 as core
from wherry.api.node_v1 import RuntimeClass as RuntimeClassObject
from wherry.api.scheduling_v1 import PriorityClass
from wherry.api.storage_v1 import StorageClass
from wherry.meta.errors import StatusError
from wherry.meta.wire import convert, deep_copy, to_builtins
from wherry.rules import taints
from wherry.server.admission.plugin import AdmissionPlugin
from wherry.server.admission.scheduling import Priority, RuntimeClass
from wherry.server.admission.storage import DefaultStorageClass, PersistentVolumeClaimResize

Json = dict[str, Any]


def pod(**spec: Any) -> core.Pod:
    found = {"containers": [{"name": "c", "image": "i"}], **spec}
    return convert({"metadata": {"name": "p", "namespace": "d"}, "spec": found}, core.Pod)


async def said(plugin: AdmissionPlugin, obj: Any, caches: Objects, old: Any = None) -> str:
    """The refusal, after the kind and name; empty when there is none."""
    asked = attributes(obj, caches, "CREATE" if old is None else "UPDATE")
    asked.old_object = old
    try:
        await plugin.admit(asked)
        await plugin.validate(asked)
    except StatusError as error:
        assert error.code == 403
        return error.message.partition(" is forbidden: ")[2]
    return ""


def priority(name: str, value: int, default: bool = False, policy: str | None = None) -> PriorityClass:
    members = {"metadata": {"name": name}, "value": value, "globalDefault": default, "preemptionPolicy": policy}
    return convert(members, PriorityClass)


HIGH, NEVER = priority("high", 1000), priority("never", 5, policy="Never")
PRIORITIES: dict[str, tuple[list[PriorityClass], Json, str | tuple[str | None, int, str]]] = {
    "named": ([HIGH], {"priorityClassName": "high"}, ("high", 1000, "PreemptLowerPriority")),
    "named with a policy": ([NEVER], {"priorityClassName": "never"}, ("never", 5, "Never")),
    "no default": ([HIGH], {}, (None, 0, "PreemptLowerPriority")),
    "the lower of two defaults": (
        [priority("b", 7, True), priority("a", 3, True)], {}, ("a", 3, "PreemptLowerPriority"),
    ),
    "unknown": ([], {"priorityClassName": "high"}, "no PriorityClass with name high was found"),
    "another number": (
        [HIGH], {"priorityClassName": "high", "priority": 1},
        "the integer value of priority (1) must not be provided in pod spec; priority admission controller computed "
        "1000 from the given PriorityClass name",
    ),
    "another policy": (
        [NEVER], {"priorityClassName": "never", "preemptionPolicy": "PreemptLowerPriority"},
        "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority "
        "admission controller computed Never from the given PriorityClass name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRIORITIES)
async def test_a_pod_has_the_priority_of_its_class(name: str) -> None:
    classes, spec, expected = PRIORITIES[name]
    made, caches = pod(**spec), Objects(*classes)
    refusal = await said(Priority(caches), made, caches)
    assert expected == (refusal or (made.spec.priorityClassName, made.spec.priority, made.spec.preemptionPolicy))


async def test_an_update_keeps_the_priority() -> None:
    old, caches = pod(priority=7, preemptionPolicy="Never"), Objects(HIGH)
    new = pod()
    assert await said(Priority(caches), new, caches, old) == ""
    assert (new.spec.priority, new.spec.preemptionPolicy) == (7, "Never")


async def test_there_is_one_default_priority() -> None:
    caches = Objects(priority("a", 1, True))
    refusal = "PriorityClass a is already marked as default. Only one default can exist"
    assert await said(Priority(caches), priority("b", 2, True), caches) == refusal
    assert await said(Priority(caches), priority("b", 2, True), caches, priority("b", 2)) == refusal
    assert await said(Priority(caches), priority("a", 1, True), caches, priority("a", 1, True)) == ""


def runtime(**members: Any) -> RuntimeClassObject:
    return convert({"metadata": {"name": "kata"}, "handler": "kata", **members}, RuntimeClassObject)


RUNTIMES: dict[str, tuple[RuntimeClassObject, Json, str]] = {
    "unknown": (runtime(), {"runtimeClassName": "other"}, 'pod rejected: RuntimeClass "other" not found'),
    "overhead of its own": (
        runtime(overhead={"podFixed": {"cpu": "1"}}), {"runtimeClassName": "kata", "overhead": {"cpu": "2"}},
        "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    ),
    "the same overhead": (
        runtime(overhead={"podFixed": {"cpu": "1"}}), {"runtimeClassName": "kata", "overhead": {"cpu": "1000m"}}, "",
    ),
    "overhead without a class's": (
        runtime(), {"runtimeClassName": "kata", "overhead": {"cpu": "2"}},
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    ),
    "overhead without a class": (
        runtime(), {"overhead": {"cpu": "2"}},
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    ),
    "another node": (
        runtime(scheduling={"nodeSelector": {"a": "1"}}), {"runtimeClassName": "kata", "nodeSelector": {"a": "2"}},
        "conflict: runtimeClass.scheduling.nodeSelector[a] = 1; pod.spec.nodeSelector[a] = 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNTIMES)
async def test_what_a_runtime_class_refuses(name: str) -> None:
    made, spec, expected = RUNTIMES[name]
    caches = Objects(made)
    assert await said(RuntimeClass(caches), pod(**spec), caches) == expected


async def test_a_pod_takes_what_its_runtime_class_has() -> None:
    everything = {"key": "a", "operator": "Exists"}
    narrow = {"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"}
    scheduling = {"nodeSelector": {"a": "1"}, "tolerations": [everything]}
    caches = Objects(runtime(overhead={"podFixed": {"memory": "1Mi"}}, scheduling=scheduling))
    made = pod(runtimeClassName="kata", nodeSelector={"b": "2"}, tolerations=[narrow])
    assert await said(RuntimeClass(caches), made, caches) == ""
    assert made.spec.overhead == {"memory": "1Mi"} and made.spec.nodeSelector == {"a": "1", "b": "2"}
    assert to_builtins(made.spec.tolerations) == [everything]


def toleration(text: str) -> core.Toleration:
    """ "key operator value effect seconds", - for none."""
    parts = [None if part == "-" else part for part in text.split()]
    names = ("key", "operator", "value", "effect", "tolerationSeconds")
    members: Json = dict(zip(names, parts, strict=False))
    if members.get("tolerationSeconds"):
        members["tolerationSeconds"] = int(members["tolerationSeconds"])
    return convert(members, core.Toleration)


@pytest.mark.parametrize(
    "first, second, expected",
    [
        (["a Equal 1 NoSchedule"], ["a Equal 1 NoSchedule"], ["a Equal 1 NoSchedule"]),
        (["a Equal 1 NoSchedule"], ["a Exists - -"], ["a Exists - -"]),
        (["- Exists - -"], ["a Equal 1 NoSchedule", "b Exists - -"], ["- Exists - -"]),
        (["a Exists - NoSchedule"], ["a Exists - NoExecute"], ["a Exists - NoSchedule", "a Exists - NoExecute"]),
        (["a Exists - NoExecute 5"], ["a Exists - NoExecute 9"], ["a Exists - NoExecute 9"]),
        (["a Exists - NoExecute 5"], ["a Exists - NoExecute"], ["a Exists - NoExecute"]),
        (["a Equal 1 -"], ["a Equal 2 -"], ["a Equal 1 -", "a Equal 2 -"]),
    ],
)
def test_of_two_tolerations_the_wider_one_stays(first: list[str], second: list[str], expected: list[str]) -> None:
    merged = taints.merged([toleration(it) for it in first], [toleration(it) for it in second])
    assert merged == [toleration(it) for it in expected]


def storage(
    name: str, made: str = "2026-01-01T00:00:00Z", expands: bool | None = None, default: bool = False
) -> StorageClass:
    notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    meta = {"name": name, "creationTimestamp": made, "annotations": notes}
    return convert({"metadata": meta, "provisioner": "p", "allowVolumeExpansion": expands}, StorageClass)


def claim(size: str = "1Gi", phase: str = "Bound", annotated: str | None = None, **spec: Any) -> Any:
    notes = {"volume.beta.kubernetes.io/storage-class": annotated} if annotated is not None else {}
    members = {"resources": {"requests": {"storage": size}}, **spec}
    meta = {"name": "c", "namespace": "d", "annotations": notes}
    return convert({"metadata": meta, "spec": members, "status": {"phase": phase}}, core.PersistentVolumeClaim)


async def test_a_claim_gets_the_newest_default_class() -> None:
    old = storage("old", "2025-01-01T00:00:00Z", default=True)
    caches = Objects(storage("b", default=True), storage("a", default=True), old, storage("other"))
    for made, expected in (
        (claim(), "a"),
        (claim(storageClassName=""), ""),
        (claim(storageClassName="other"), "other"),
        (claim(annotated=""), None),
    ):
        assert await said(DefaultStorageClass(caches), made, caches) == ""
        assert made.spec.storageClassName == expected


async def test_only_bound_claims_of_a_class_that_allows_it_grow() -> None:
    caches = Objects(storage("grows", expands=True), storage("stays"), storage("not", expands=False))
    never = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
    never += "support resize"
    grows: Json = {"storageClassName": "grows"}
    for old, expected in (
        (claim(**grows), ""),
        (claim(annotated="grows"), ""),
        (claim(annotated="stays", **grows), never),
        (claim(phase="Pending", **grows), "Only bound persistent volume claims can be expanded"),
        (claim(), never),
        (claim(storageClassName="stays"), never),
        (claim(storageClassName="not"), never),
        (claim(storageClassName="none"), never),
        (claim("2Gi", phase="Pending"), ""),
    ):
        new = deep_copy(old)
        new.spec.resources.requests = claim("2Gi").spec.resources.requests
        assert await said(PersistentVolumeClaimResize(caches), new, caches, old) == expected
    moved = claim("2Gi", storageClassName="grows")
    assert await said(PersistentVolumeClaimResize(caches), moved, caches, claim(storageClassName="stays")) == never
