"""What may change of a pod: in the pod itself, through ephemeralcontainers and resize, and in its status.

Source: kubernetes pkg/apis/core/validation (ValidatePodUpdate and its kin).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value
from wherry.meta.quantity import Quantity
from wherry.meta.wire import deep_copy
from wherry.rules import pods
from wherry.rules.requests import qos_class
from wherry.server.strategies import addresses, checks, container_rules, pod_rules
from wherry.server.strategies.checks import Faults

_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_RESIZABLE = ("cpu", "memory")
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_SECONDS_MAX = 2**31 - 1


def annotations(new: core.Pod, old: core.Pod) -> Faults:
    """AppArmor's and mirror pods' annotations never change."""
    after, before = new.metadata.annotations, old.metadata.annotations
    if after == before:
        return
    for key in {*after, *before}:
        if after.get(key) == before.get(key):
            continue
        path = f"metadata.annotations[{key}]"
        verb = "remove or update" if key in before else "add"
        if key.startswith(pod_rules.APPARMOR):
            yield field_forbidden(path, f"may not {verb} AppArmor annotations")
        if key == pods.MIRROR_ANNOTATION:
            yield field_forbidden(path, f"may not {verb} mirror pod annotation")


def update(new: core.Pod, old: core.Pod) -> Faults:
    """A change of the pod itself."""
    yield from annotations(new, old)
    if new.spec == old.spec:
        return
    for name in ("containers", "initContainers"):
        after, before = getattr(new.spec, name), getattr(old.spec, name)
        if len(after) != len(before):
            yield field_forbidden(f"spec.{name}", "pod updates may not add or remove containers")
            return
        for index, container in enumerate(after):
            yield from container_rules.trimmed(f"spec.{name}[{index}].image", container.image)
    deadline = list(_deadline(new.spec.activeDeadlineSeconds, old.spec.activeDeadlineSeconds))
    yield from deadline
    if deadline and new.spec.activeDeadlineSeconds is not None:
        return
    yield from _tolerations(new.spec.tolerations, old.spec.tolerations)
    gates = {gate.name for gate in old.spec.schedulingGates}
    for index, gate in enumerate(new.spec.schedulingGates):
        if gate.name not in gates:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            yield field_forbidden(f"spec.schedulingGates[{index}].name", text)
    munged = deep_copy(new.spec)
    _forgive(munged, old.spec)
    if gates:
        yield from _gated(munged, old.spec)
    if munged != old.spec:
        yield field_forbidden("spec", f"{_IMMUTABLE}\n{_difference(old.spec, munged)}")


def _forgive(munged: core.PodSpec, old: core.PodSpec) -> None:
    """Undo in `munged` the changes that are allowed."""
    for mine, theirs in ((munged.containers, old.containers), (munged.initContainers, old.initContainers)):
        for container, before in zip(mine, theirs, strict=True):
            container.image = before.image
    munged.activeDeadlineSeconds = old.activeDeadlineSeconds
    munged.tolerations = old.tolerations
    munged.schedulingGates = old.schedulingGates
    if (old.terminationGracePeriodSeconds or 0) < 0 and munged.terminationGracePeriodSeconds == 1:
        munged.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds


def _gated(munged: core.PodSpec, old: core.PodSpec) -> Faults:
    """A pod that still waits may tighten where it may go, never loosen it."""
    if any(munged.nodeSelector.get(key) != value for key, value in old.nodeSelector.items()):
        text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        yield invalid_value("spec.nodeSelector", munged.nodeSelector, text)
    munged.nodeSelector = old.nodeSelector
    mine = munged.affinity.nodeAffinity if munged.affinity is not None else None
    theirs = old.affinity.nodeAffinity if old.affinity is not None else None
    if mine == theirs:
        return
    yield from _node_terms(mine, theirs)
    if munged.affinity is None or old.affinity is None:
        whole = munged.affinity or core.Affinity()
        only_nodes = whole.podAffinity is None and whole.podAntiAffinity is None
        munged.affinity = old.affinity if only_nodes else munged.affinity
    else:
        munged.affinity.nodeAffinity = theirs


def _node_terms(new: core.NodeAffinity | None, old: core.NodeAffinity | None) -> Faults:
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    wanted = new.requiredDuringSchedulingIgnoredDuringExecution if new is not None else None
    before = old.requiredDuringSchedulingIgnoredDuringExecution if old is not None else None
    after_terms = wanted.nodeSelectorTerms if wanted is not None else []
    old_terms = before.nodeSelectorTerms if before is not None else []
    if not old_terms:
        return
    if len(after_terms) != len(old_terms):
        text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield invalid_value(path, after_terms, text)
        return
    for index, (mine, theirs) in enumerate(zip(after_terms, old_terms, strict=True)):
        empty = not theirs.matchExpressions and not theirs.matchFields and mine != theirs
        if empty or not (
            mine.matchExpressions[: len(theirs.matchExpressions)] == theirs.matchExpressions
            and mine.matchFields[: len(theirs.matchFields)] == theirs.matchFields
        ):
            text = "only additions are allowed (no mutations or deletions)"
            yield invalid_value(f"{path}[{index}]", mine, text)


def _tolerations(new: Sequence[core.Toleration], old: Sequence[core.Toleration]) -> Faults:
    for toleration in old:
        if not any(_same_but_seconds(toleration, item) for item in new):
            text = "existing toleration can not be modified except its tolerationSeconds"
            yield field_forbidden("spec.tolerations", text)
            return


def _same_but_seconds(one: core.Toleration, other: core.Toleration) -> bool:
    members = ("key", "operator", "value", "effect")
    return all((getattr(one, name) or "") == (getattr(other, name) or "") for name in members)


def _deadline(new: int | None, old: int | None) -> Faults:
    path = "spec.activeDeadlineSeconds"
    if new is not None:
        if not 0 <= new <= _SECONDS_MAX:
            yield invalid_value(path, new, names.out_of_range(0, _SECONDS_MAX))
        elif old is not None and old < new:
            yield invalid_value(path, new, "must be less than or equal to previous value")
    elif old is not None:
        yield invalid_value(path, None, "must not update from a positive integer to nil value")


def _difference(old: Any, new: Any) -> str:
    """The members that differ, one a line."""
    changed = [name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name)]
    return "\n".join(f"  spec.{name}" for name in changed)


# pods/ephemeralcontainers and pods/resize


def ephemeral_containers(new: core.Pod, old: core.Pod) -> Faults:
    """They only ever come."""
    if pods.is_mirror(old):
        yield field_forbidden("", "static pods do not support ephemeral containers")
        return
    given = {container.name: container for container in new.spec.ephemeralContainers}
    for before in old.spec.ephemeralContainers:
        if before.name not in given:
            text = f'existing ephemeral containers "{before.name}" may not be removed\n'
            yield field_forbidden("spec.ephemeralContainers", text)
        elif given[before.name] != before:
            difference = _difference(before, given[before.name]).replace("spec.", "")
            text = f'existing ephemeral containers "{before.name}" may not be changed\n{difference}'
            yield field_forbidden("spec.ephemeralContainers", text)


def resize(new: core.Pod, old: core.Pod) -> Faults:
    """CPU and memory of containers that keep running, within the pod's QoS class."""
    if pods.is_mirror(old):
        yield field_forbidden("", "static pods cannot be resized")
        return
    if old.spec.os is not None and old.spec.os.name == "windows":
        yield field_forbidden("", "windows pods cannot be resized")
        return
    if (old.status.qosClass or qos_class(old)) != qos_class(new):
        yield invalid_value("spec", new.status.qosClass, "Pod QOS Class may not change as a result of resizing")
    running = [item for item in old.status.containerStatuses if item.state.running is not None]
    if running and running[0].resources is None:
        yield field_forbidden("spec", "Pod running on node without support for resize")
    faults = [*_order("containers", new, old), *_order("initContainers", new, old)]
    yield from faults
    if not faults:
        yield from _resized(new.spec, old.spec)


def _order(name: str, new: core.Pod, old: core.Pod) -> Faults:
    after, before = getattr(new.spec, name), getattr(old.spec, name)
    if len(after) != len(before):
        yield field_forbidden(f"spec.{name}", f"{name} may not be added or removed on resize")
        return
    for index, (mine, theirs) in enumerate(zip(after, before, strict=True)):
        if mine.name != theirs.name:
            text = f"{name} may not be renamed or reordered on resize"
            yield field_forbidden(f"spec.{name}[{index}].name", text)


def _resized(new: core.PodSpec, old: core.PodSpec) -> Faults:
    munged = deep_copy(new)
    for name in ("initContainers", "containers"):
        for index, (mine, theirs) in enumerate(zip(getattr(munged, name), getattr(old, name), strict=True)):
            if name == "initContainers" and not pods.is_sidecar(theirs):
                if mine != theirs:
                    yield field_forbidden("spec", "resources for non-sidecar init containers are immutable")
                continue
            for side in ("requests", "limits"):
                path = f"spec.{name}[{index}].resources.{side}"
                yield from _removed(path, side, getattr(mine.resources, side), getattr(theirs.resources, side))
                setattr(mine.resources, side, _put_back(getattr(mine.resources, side), getattr(theirs.resources, side)))
            if mine != theirs:
                what = "resources for sidecar containers" if name == "initContainers" else "resources"
                yield field_forbidden("spec", f"only cpu and memory {what} are mutable")
    if munged.resources is not None and old.resources is not None:
        for side in ("requests", "limits"):
            after, before = getattr(munged.resources, side), getattr(old.resources, side)
            yield from _removed(f"spec.resources.{side}", side, after, before)
            setattr(munged.resources, side, _put_back(after, before))
    munged.containers, munged.initContainers = old.containers, old.initContainers
    if munged != old:
        yield field_forbidden("spec", "only cpu and memory resources are mutable")


def _removed(path: str, side: str, new: Mapping[str, Quantity], old: Mapping[str, Quantity]) -> Faults:
    if any(name not in new for name in old):
        yield field_forbidden(path, f"resource {side} cannot be removed")


def _put_back(new: Mapping[str, Quantity], old: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """`new` with CPU and memory as they were; without any before, all of it is new."""
    if not old:
        return {name: value for name, value in new.items() if name not in _RESIZABLE}
    kept = {name: value for name, value in new.items() if name not in _RESIZABLE}
    return kept | {name: old[name] for name in _RESIZABLE if name in old}


# pods/status


def status(new: core.Pod, old: core.Pod) -> Faults:
    """What even a kubelet may not report."""
    yield from annotations(new, old)
    after, before = new.status, old.status
    for index, condition in enumerate(after.conditions):
        yield from _generation(f"status.conditions[{index}].observedGeneration", condition.observedGeneration)
        if condition.type not in _SYSTEM_CONDITIONS:
            yield from checks.named(f"status.conditions[{index}].Type", condition.type, names.qualified_name)
    if after.nominatedNodeName and after.nominatedNodeName != before.nominatedNodeName:
        path = "status.nominatedNodeName"
        yield from checks.named(path, after.nominatedNodeName, names.dns1123_subdomain)
        if old.spec.nodeName:
            yield field_forbidden(path, "may not be set on pods that are already bound to a node")
    yield from _generation("status.observedGeneration", after.observedGeneration)
    yield from checks.immutable("status.qosClass", after.qosClass, before.qosClass)
    for name in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        yield from _states(f"status.{name}", getattr(after, name), getattr(before, name), old.spec)
    claims = {item.name for item in new.spec.resourceClaims}
    for index, item in enumerate(after.resourceClaimStatuses):
        path = f"status.resourceClaimStatuses[{index}].name"
        if item.name not in claims:
            yield invalid_value(path, item.name, "must match the name of an entry in `spec.resourceClaims`")
        if item.name in {other.name for other in after.resourceClaimStatuses[:index]}:
            yield duplicate(path, item.name)
        if item.resourceClaimName is not None:
            yield from checks.named(path, item.resourceClaimName, names.dns1123_subdomain)
    if after.hostIPs and after.hostIP != after.hostIPs[0].ip:
        yield invalid_value("status.hostIPs[0].ip", after.hostIPs[0].ip, "must be equal to `hostIP`")
    yield from _addresses("status.podIPs", [item.ip for item in after.podIPs], [item.ip for item in before.podIPs])
    yield from _addresses("status.hostIPs", [item.ip for item in after.hostIPs], [item.ip for item in before.hostIPs])


def _generation(path: str, value: int | None) -> Faults:
    if value is not None and value < 0:
        yield invalid_value(path, value, "must be a non-negative integer")


def _addresses(path: str, new: Sequence[str], old: Sequence[str]) -> Faults:
    for index, address in enumerate(new):
        yield from addresses.ip_address(f"{path}[{index}]", address, old)
    families = [parsed.version for item in new if (parsed := addresses.parse(item)) is not None]
    if len(new) > 1 and (len(new) > 2 or len(set(families)) < 2):
        text = "may specify no more than one IP for each IP family"
        yield invalid_value(path, [{"ip": item} for item in new], text)


def _states(
    path: str, new: Sequence[core.ContainerStatus], old: Sequence[core.ContainerStatus], spec: core.PodSpec
) -> Faults:
    """A container that ended stays so, unless it may restart."""
    now = {item.name: item for item in new}
    for index, before in enumerate(old):
        ended = before.state.terminated
        after = now.get(before.name)
        if ended is None or after is None or after.state.terminated is not None:
            continue
        if not _restarts(path, before.name, ended.exitCode, spec):
            text = "may not be transitioned to non-terminated state"
            yield field_forbidden(f"{path}[{index}].state", text)


def _restarts(path: str, name: str, exit_code: int, spec: core.PodSpec) -> bool:
    if path.endswith("ephemeralContainerStatuses"):
        return False
    items = spec.initContainers if path.endswith("initContainerStatuses") else spec.containers
    container = next((item for item in items if item.name == name), None)
    if container is not None:
        for rule in container.restartPolicyRules:
            codes = rule.exitCodes
            if codes is not None and (exit_code in codes.values) == (codes.operator == "In"):
                return True
        if container.restartPolicy is not None:
            return container.restartPolicy == "Always" or (container.restartPolicy == "OnFailure" and exit_code != 0)
    return spec.restartPolicy == "Always" or (spec.restartPolicy == "OnFailure" and exit_code != 0)
