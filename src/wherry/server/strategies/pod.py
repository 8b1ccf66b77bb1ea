"""Pods: created Pending with a QoS class, immutable but for a few fields, deleted with grace.

Defaults are in pod_defaults.py, the spec's rules in pod_rules.py, what may change in pod_changes.py.
"""

from collections.abc import Callable

from wherry.api import core_v1 as core
from wherry.api.meta_v1 import LabelSelector, LabelSelectorRequirement
from wherry.meta.errors import field_forbidden, invalid_value
from wherry.rules import pods
from wherry.rules.requests import qos_class
from wherry.server.strategies import apparmor, container_rules, pod_changes, pod_defaults, pod_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.strategy import RequestContext


class PodStrategy(KindStrategy):
    """v1 Pod."""

    generation_counts = ("spec",)

    def default(self, obj: core.Pod) -> None:
        pod_defaults.pod_spec(obj.spec)
        pod_defaults.pod_only(obj.spec)

    def prepare_for_create(self, obj: core.Pod, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        obj.status = core.PodStatus(phase=pods.PENDING, qosClass=qos_class(obj))
        if apparmor.concerns(obj):
            ctx.warnings += apparmor.settle(obj)
        if obj.spec.schedulingGates:
            obj.status.conditions = [_gated()]
        if obj.spec.affinity is not None or obj.spec.topologySpreadConstraints:
            _merge_label_keys(obj)

    def part(self, subresource: str) -> KindStrategy:
        rules = _PARTS.get(subresource)
        return self if rules is None else _PodPart(rules, namespaced=True, has_status=True)

    def rules(self, obj: core.Pod) -> Faults:
        if obj.metadata.annotations:
            yield from _annotations(obj)
        yield from pod_rules.spec("spec", obj.spec, obj.metadata.name or "")
        for name in ("containers", "initContainers"):
            for index, container in enumerate(getattr(obj.spec, name)):
                yield from container_rules.trimmed(f"spec.{name}[{index}].image", container.image)
        if not obj.spec.serviceAccountName:
            yield from _tokens(obj.spec)
        if pods.is_mirror(obj) and obj.spec.resourceClaims:
            yield field_forbidden("", "static pods do not support resource claims")

    def create_rules(self, obj: core.Pod) -> Faults:
        if obj.spec.ephemeralContainers:
            yield field_forbidden("spec.ephemeralContainers", "cannot be set on create")
        if obj.spec.nodeName and obj.spec.schedulingGates:
            yield field_forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")

    def update_rules(self, new: core.Pod, old: core.Pod) -> Faults:
        yield from pod_changes.update(new, old)

    def prepare_for_status_update(self, new: core.Pod, old: core.Pod, ctx: RequestContext) -> None:
        super().prepare_for_status_update(new, old, ctx)
        # Only deletion sets these, and the QoS class never changes.
        new.metadata.deletionTimestamp = old.metadata.deletionTimestamp
        new.status.qosClass = new.status.qosClass or old.status.qosClass

    def status_rules(self, new: core.Pod, old: core.Pod) -> Faults:
        yield from pod_changes.status(new, old)

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


def _annotations(pod: core.Pod) -> Faults:
    values, path = pod.metadata.annotations, "metadata.annotations"
    if pods.is_mirror(pod) and not pod.spec.nodeName:
        text = "must set spec.nodeName if mirror pod annotation is set"
        yield invalid_value(f"{path}[{pods.MIRROR_ANNOTATION}]", values[pods.MIRROR_ANNOTATION], text)
    yield from pod_rules.annotations(path, values, pod.spec)


def _tokens(spec: core.PodSpec) -> Faults:
    for index, volume in enumerate(spec.volumes):
        for number, source in enumerate(volume.projected.sources if volume.projected is not None else ()):
            if source.serviceAccountToken is not None:
                path = f"spec.volumes[{index}].projected.sources[{number}].serviceAccountToken"
                yield field_forbidden(path, "must not be specified when serviceAccountName is not set")


class _PodPart(PodStrategy):
    """A subresource that changes one part of a pod by rules of its own."""

    def __init__(self, change: Callable[[core.Pod, core.Pod], Faults], *, namespaced: bool, has_status: bool) -> None:
        super().__init__(namespaced=namespaced, has_status=has_status)
        self._change = change

    def update_rules(self, new: core.Pod, old: core.Pod) -> Faults:
        yield from self._change(new, old)


_PARTS = {"ephemeralcontainers": pod_changes.ephemeral_containers, "resize": pod_changes.resize}


def _merge_label_keys(pod: core.Pod) -> None:
    """matchLabelKeys become requirements on the values that the pod itself has: selectors are all a scheduler reads."""
    spec, labels = pod.spec, pod.metadata.labels
    for constraint in spec.topologySpreadConstraints:
        _require(constraint.labelSelector, constraint.matchLabelKeys, "In", labels)
    for side in (spec.affinity.podAffinity, spec.affinity.podAntiAffinity) if spec.affinity is not None else ():
        if side is None:
            continue
        terms = list(side.requiredDuringSchedulingIgnoredDuringExecution)
        terms += [item.podAffinityTerm for item in side.preferredDuringSchedulingIgnoredDuringExecution]
        for term in terms:
            _require(term.labelSelector, term.matchLabelKeys, "In", labels)
            _require(term.labelSelector, term.mismatchLabelKeys, "NotIn", labels)


def _require(selector: LabelSelector | None, keys: list[str], operator: str, labels: dict[str, str]) -> None:
    added = [
        LabelSelectorRequirement(key=key, operator=operator, values=[labels[key]]) for key in keys if key in labels
    ]
    if selector is not None and added:
        selector.matchExpressions = [*selector.matchExpressions, *added]
