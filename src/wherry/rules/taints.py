"""Taints and tolerations: which of a node's taints a pod puts up with, and for how long.

Source: k8s.io/component-helpers/scheduling/corev1.
"""

from collections.abc import Iterable, Sequence

from wherry.api.core_v1 import Taint, Toleration

NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "PreferNoSchedule", "NoExecute"

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
DISK_PRESSURE = "node.kubernetes.io/disk-pressure"
PID_PRESSURE = "node.kubernetes.io/pid-pressure"
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether this toleration covers this taint. An empty key with Exists covers all, an empty effect every effect."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    match toleration.operator or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.key) and (toleration.value or "") == (taint.value or "")
        case "Lt" | "Gt" as operator:
            return _compares(operator, toleration.value, taint.value)
    return False


def _compares(operator: str, bound: str | None, value: str | None) -> bool:
    """Numeric tolerations: the taint's value is below (Lt) or above (Gt) the toleration's."""
    try:
        wanted, given = int(bound or ""), int(value or "")
    except ValueError:
        return False
    return given < wanted if operator == "Lt" else given > wanted


def is_tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    """Whether any toleration covers the taint."""
    return any(tolerates(toleration, taint) for toleration in tolerations)


def first_untolerated(
    taints: Iterable[Taint], tolerations: Sequence[Toleration], effects: Sequence[str] = (NO_SCHEDULE, NO_EXECUTE)
) -> Taint | None:
    """The first taint of these effects that nothing covers."""
    wanted = (taint for taint in taints if taint.effect in effects)
    return next((taint for taint in wanted if not is_tolerated(taint, tolerations)), None)


def eviction_delay_seconds(taints: Iterable[Taint], tolerations: Sequence[Toleration]) -> float | None:
    """How long a pod may stay under these NoExecute taints: 0 when one is not tolerated, None for ever."""
    delay: float | None = None
    for taint in taints:
        if taint.effect != NO_EXECUTE:
            continue
        covering = [item for item in tolerations if tolerates(item, taint)]
        if not covering:
            return 0
        limits = [max(0, item.tolerationSeconds) for item in covering if item.tolerationSeconds is not None]
        if limits:
            delay = min(limits) if delay is None else min(delay, *limits)
    return delay


def same_taint(one: Taint, other: Taint) -> bool:
    """Taints are told apart by key and effect; the value is theirs to change."""
    return one.key == other.key and one.effect == other.effect


def merged(first: Sequence[Toleration], second: Sequence[Toleration]) -> list[Toleration]:
    """Both, but for what another one covers; of equal ones the first."""
    every = [*first, *second]
    kept: list[Toleration] = []
    for index, item in enumerate(every):
        later = (other for other in every[index + 1 :] if other != item)
        if not any(_covers(other, item) for other in (*kept, *later)):
            kept.append(item)
    return kept


def _covers(wide: Toleration, narrow: Toleration) -> bool:
    """Whether `wide` tolerates all that `narrow` does."""
    if wide == narrow:
        return True
    if (narrow.key or "") != (wide.key or "") and (wide.key or wide.operator != "Exists"):
        return False
    if wide.effect and wide.effect != narrow.effect:
        return False
    if wide.effect == NO_EXECUTE and wide.tolerationSeconds is not None:
        seconds = narrow.tolerationSeconds
        if seconds is None or seconds > wide.tolerationSeconds:
            return False
    if wide.operator in (None, "", "Equal"):
        return narrow.operator == "Equal" and (narrow.value or "") == (wide.value or "")
    return wide.operator == "Exists"
