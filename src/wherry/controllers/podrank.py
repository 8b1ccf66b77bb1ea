"""Which pods go first when there are too many: Kubernetes' order for scaling down. Pure.

Unassigned before assigned, pending before running, not ready before ready, cheap (pod-deletion-cost) before dear,
crowded nodes first, then the more recently ready (in steps of doubling age, so that it does not always hit the same),
the often restarted, the young.
"""

import math
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from wherry.api.core_v1 import Pod
from wherry.meta.time import parse_time
from wherry.rules import conditions
from wherry.rules.pods import is_ready, phase_of

DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def first_to_go(pods: Iterable[Pod], related: Iterable[Pod], now: datetime) -> list[Pod]:
    """`pods` in the order to delete them; `related` are the active pods of all ReplicaSets of the same owner."""
    crowd = Counter(pod.spec.nodeName for pod in related)
    return sorted(pods, key=lambda pod: _rank(pod, crowd, now))


def _rank(pod: Pod, crowd: Counter[str | None], now: datetime) -> tuple[Any, ...]:
    ready = is_ready(pod)
    restarts = max((status.restartCount for status in pod.status.containerStatuses), default=0)
    return (
        bool(pod.spec.nodeName),
        _PHASES.get(phase_of(pod), 3),
        ready,
        _deletion_cost(pod),
        -crowd[pod.spec.nodeName] if pod.spec.nodeName else 0,
        _doublings(_ready_since(pod) if ready else None, now),
        -restarts,
        _doublings(pod.metadata.creationTimestamp, now),
        pod.metadata.uid,
    )


def _deletion_cost(pod: Pod) -> int:
    text = pod.metadata.annotations.get(DELETION_COST_ANNOTATION, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _ready_since(pod: Pod) -> str | None:
    condition = conditions.find(pod.status.conditions, "Ready")
    return condition.lastTransitionTime if condition else None


def _doublings(since: str | None, now: datetime) -> int:
    """The age on a logarithmic scale; what has no time yet is the youngest."""
    if not since:
        return -1
    return int(math.log2(max(1.0, (now - parse_time(since)).total_seconds())))
