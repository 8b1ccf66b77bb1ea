"""Pods: created Pending with a QoS class, immutable but for a few fields, deleted with grace.

Defaults are in pod_defaults.py, the spec's rules in pod_rules.py.
"""

from typing import Any

from wherry.api import core_v1 as core
from wherry.meta.errors import FieldError, field_forbidden, invalid_value
from wherry.meta.wire import deep_copy
from wherry.rules import pods
from wherry.rules.requests import qos_class
from wherry.server.strategies import container_rules, metadata, pod_defaults, pod_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.strategy import RequestContext

_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class PodStrategy(KindStrategy):
    """v1 Pod."""

    generation_counts = ("spec",)

    def default(self, obj: core.Pod) -> None:
        pod_defaults.pod_spec(obj.spec)
        pod_defaults.pod_only(obj.spec)

    def prepare_for_create(self, obj: core.Pod, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        obj.status = core.PodStatus(phase=pods.PENDING, qosClass=qos_class(obj))
        if obj.spec.schedulingGates:
            obj.status.conditions = [_gated()]
        obj.spec.ephemeralContainers = []

    def rules(self, obj: core.Pod) -> Faults:
        yield from pod_rules.spec("spec", obj.spec)
        volumes = {volume.name: volume for volume in obj.spec.volumes}
        for index, container in enumerate(obj.spec.ephemeralContainers):
            yield from container_rules.common(f"spec.ephemeralContainers[{index}]", container, volumes)

    def validate(self, obj: core.Pod) -> list[FieldError]:
        errors = super().validate(obj)
        if obj.spec.nodeName and obj.spec.schedulingGates:
            text = "cannot be set until all schedulingGates have been cleared"
            errors.append(field_forbidden("spec.nodeName", text))
        return errors

    def update_rules(self, new: core.Pod, old: core.Pod) -> Faults:
        yield from _tolerations(new, old)
        yield from _deadline(new, old)
        old_gates = {gate.name for gate in old.spec.schedulingGates}
        if any(gate.name not in old_gates for gate in new.spec.schedulingGates):
            text = "only deletion is allowed, but found new scheduling gate"
            added = next(gate.name for gate in new.spec.schedulingGates if gate.name not in old_gates)
            yield field_forbidden("spec.schedulingGates", f"{text} '{added}'")
        munged = deep_copy(new.spec)
        _forgive(munged, old.spec)
        if munged != old.spec:
            yield field_forbidden("spec", f"{_IMMUTABLE}\n{_difference(old.spec, munged)}")

    def prepare_for_status_update(self, new: core.Pod, old: core.Pod, ctx: RequestContext) -> None:
        super().prepare_for_status_update(new, old, ctx)
        # Only deletion sets these, and the QoS class never changes.
        new.metadata.deletionTimestamp = old.metadata.deletionTimestamp
        new.status.qosClass = old.status.qosClass or new.status.qosClass

    def validate_status_update(self, new: core.Pod, old: core.Pod) -> list[FieldError]:
        errors = list(metadata.validate_update(new.metadata, old.metadata))
        if (
            old.status.nominatedNodeName != new.status.nominatedNodeName
            and len(new.status.nominatedNodeName or "") > 253
        ):
            errors.append(invalid_value("status.nominatedNodeName", new.status.nominatedNodeName, "is too long"))
        return errors

    def fields(self, obj: core.Pod) -> dict[str, str]:
        spec, status = obj.spec, obj.status
        return {
            "spec.nodeName": spec.nodeName or "",
            "spec.restartPolicy": spec.restartPolicy or "",
            "spec.schedulerName": spec.schedulerName or "",
            "spec.serviceAccountName": spec.serviceAccountName or "",
            "spec.hostNetwork": "true" if spec.hostNetwork else "false",
            "status.phase": status.phase or "",
            "status.podIP": status.podIP or "",
            "status.podIPs": ",".join(pods.pod_ips(obj)),
            "status.nominatedNodeName": status.nominatedNodeName or "",
        }

    def grace_period_seconds(self, obj: core.Pod, requested: int | None) -> int:
        seconds = requested if requested is not None else obj.spec.terminationGracePeriodSeconds
        if seconds is None:
            seconds = 30
        if not obj.spec.nodeName or pods.is_terminal(obj):
            return 0
        return max(1, seconds) if seconds < 0 else seconds


def _gated() -> core.PodCondition:
    return core.PodCondition(
        type="PodScheduled",
        status="False",
        reason="SchedulingGated",
        message="Scheduling is blocked due to non-empty scheduling gates",
    )


def _forgive(munged: core.PodSpec, old: core.PodSpec) -> None:
    """Undo in `munged` the changes that are allowed."""
    for mine, theirs in ((munged.containers, old.containers), (munged.initContainers, old.initContainers)):
        if len(mine) == len(theirs):
            for container, before in zip(mine, theirs, strict=True):
                container.image = before.image
    munged.activeDeadlineSeconds = old.activeDeadlineSeconds
    munged.tolerations = old.tolerations
    munged.schedulingGates = old.schedulingGates
    if (old.terminationGracePeriodSeconds or 0) < 0 and munged.terminationGracePeriodSeconds == 1:
        munged.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds
    if old.schedulingGates:
        # A pod that still waits may tighten where it may go.
        munged.nodeSelector = old.nodeSelector
        munged.affinity = old.affinity


def _tolerations(new: core.Pod, old: core.Pod) -> Faults:
    for toleration in old.spec.tolerations:
        if not any(_same_but_seconds(toleration, item) for item in new.spec.tolerations):
            text = "existing toleration can not be modified except its tolerationSeconds"
            yield field_forbidden("spec.tolerations", text)
            return


def _same_but_seconds(one: core.Toleration, other: core.Toleration) -> bool:
    names = ("key", "operator", "value", "effect")
    return all((getattr(one, name) or "") == (getattr(other, name) or "") for name in names)


def _deadline(new: core.Pod, old: core.Pod) -> Faults:
    before, after = old.spec.activeDeadlineSeconds, new.spec.activeDeadlineSeconds
    if before is None:
        return
    path = "spec.activeDeadlineSeconds"
    if after is None:
        yield invalid_value(path, None, "must not update from a positive integer to nil value")
    elif after > before:
        yield invalid_value(path, after, f"must be less than or equal to previous value {before}")


def _difference(old: Any, new: Any) -> str:
    """The members that differ, one a line."""
    changed = [name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name)]
    return "\n".join(f"  spec.{name}" for name in changed)
