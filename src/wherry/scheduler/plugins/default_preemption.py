"""DefaultPreemption: make room for a pod by evicting pods of lower priority, as few and as unimportant as will do.

Where kube-scheduler tries node after node, here all candidate nodes are tried at once: every lower pod is taken off
all of them, one sweep of the filters says where that helps, and then the pods are put back round by round, the most
important first; one that makes its node unfit again is a victim. Only a pod whose filters look across nodes (affinity,
hard spreading) must be tried on one node at a time. The snapshot is left as it was.

Source of the rules: kube-scheduler's DefaultPreemption.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from wherry.aio.entropy import Entropy
from wherry.api.policy_v1 import PodDisruptionBudget
from wherry.scheduler.affinity_terms import readable
from wherry.scheduler.cycle import feasible_nodes, fit_error
from wherry.scheduler.framework import Change, Help, Profile
from wherry.scheduler.snapshot import Mask, PodInfo, Snapshot

NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NEVER = "not eligible due to preemptionPolicy=Never."
WAITING = "not eligible due to a terminating pod on the nominated node."

# How many nodes are considered before the best of them is taken (kube-scheduler's defaults).
CANDIDATES_MIN_PERCENT = 10
CANDIDATES_MIN = 100

_NOT_STARTED = "~"  # after every RFC 3339 time
_PRIORITY_SHIFT = 2**31  # makes every priority positive, so that fewer pods are always a smaller sum

Budgets = Callable[[], Iterable[PodDisruptionBudget]]


@dataclass(slots=True)
class Candidate:
    """A node, and who would have to go."""

    node_name: str
    victims: list[PodInfo] = field(default_factory=list)
    """The most important first."""
    violations: int = 0
    """Victims whose disruption budget does not allow it."""


class DefaultPreemption:
    """PostFilter."""

    name = "DefaultPreemption"

    def __init__(self, entropy: Entropy, budgets: Budgets) -> None:
        self._entropy = entropy
        self._budgets = budgets

    def post_filter(self, profile: Profile, info: PodInfo, nodes: Snapshot, resolvable: Mask) -> Help:
        if info.pod.spec.preemptionPolicy == "Never":
            return Help(NEVER, keep_nomination=True)
        if _still_waiting(info, nodes, resolvable):
            return Help(WAITING, keep_nomination=True)
        rows = np.flatnonzero(resolvable)
        reasons: Counter[str] = Counter({NOT_HELPFUL: nodes.count - len(rows)})
        if len(rows) and min(nodes.priorities, default=info.priority) >= info.priority:
            reasons[NO_VICTIMS] += len(rows)  # nobody to evict anywhere
        elif len(rows):
            candidates = self._candidates(profile, info, nodes, rows.tolist(), reasons)
            if candidates:
                best = min(candidates, key=_preference)
                return Help(node_name=best.node_name, victims=best.victims)
        return Help(fit_error(nodes.count, reasons))

    def helps(self, info: PodInfo, change: Change) -> bool:
        return False

    def _candidates(
        self, profile: Profile, info: PodInfo, nodes: Snapshot, rows: list[int], reasons: Counter[str]
    ) -> list[Candidate]:
        wanted = min(len(rows), max(len(rows) * CANDIDATES_MIN_PERCENT // 100, CANDIDATES_MIN))
        first = self._entropy.below(len(rows))
        rows = rows[first:] + rows[:first]
        across = any(plugin.across_nodes(info, nodes) for plugin in profile.filters)
        step = 1 if across else wanted
        budgets = list(self._budgets())
        found: list[Candidate] = []
        for start in range(0, len(rows), step):
            found += _try_nodes(profile, info, nodes, rows[start : start + step], budgets, reasons)
            if len(found) >= wanted:
                break
        return found


def _still_waiting(info: PodInfo, nodes: Snapshot, resolvable: Mask) -> bool:
    """Whether pods that it evicted earlier are still on their way out of the node that it was promised."""
    name = info.pod.status.nominatedNodeName or nodes.nominated.get(info.uid, ("", info))[0]
    row = nodes.rows.get(name)
    if row is None or not resolvable[row]:
        return False
    return any(
        other.priority < info.priority and _is_preempted(other) for other in nodes.pods_by_node.get(name, {}).values()
    )


def _is_preempted(info: PodInfo) -> bool:
    conditions = info.pod.status.conditions
    return info.pod.metadata.deletionTimestamp is not None and any(
        item.type == "DisruptionTarget" and item.status == "True" and item.reason == "PreemptionByScheduler"
        for item in conditions
    )


def _try_nodes(
    profile: Profile,
    info: PodInfo,
    nodes: Snapshot,
    rows: list[int],
    budgets: list[PodDisruptionBudget],
    reasons: Counter[str],
) -> list[Candidate]:
    """The nodes of `rows` on which evictions would help; why the others are none is added to `reasons`."""
    waiting: dict[int, list[tuple[PodInfo, bool]]] = {}
    for row in rows:
        lower = [pod for pod in nodes.pods_by_node.get(nodes.names[row], {}).values() if pod.priority < info.priority]
        if lower:
            waiting[row] = _in_order_of_return(lower, budgets)
        else:
            reasons[NO_VICTIMS] += 1
    evicted = [(nodes.names[row], pod) for row, pods in waiting.items() for pod, _ in pods]
    try:
        for _, pod in evicted:
            nodes.remove_pod(pod.uid)
        verdict = feasible_nodes(profile, info, nodes, _mask(nodes, waiting))
        reasons.update(verdict.reasons())
        candidates = {row: Candidate(nodes.names[row]) for row in waiting if verdict.feasible[row]}
        for turn in range(max((len(waiting[row]) for row in candidates), default=0)):
            back = {row: waiting[row][turn] for row in candidates if turn < len(waiting[row])}
            _bring_back(profile, info, nodes, back, candidates)
    finally:
        for name, pod in evicted:
            if pod.uid not in nodes.pods:
                nodes.add_pod(pod, name)
    for candidate in candidates.values():
        candidate.victims.sort(key=_importance)
    return [candidate for candidate in candidates.values() if candidate.victims]


def _bring_back(
    profile: Profile,
    info: PodInfo,
    nodes: Snapshot,
    back: dict[int, tuple[PodInfo, bool]],
    candidates: dict[int, Candidate],
) -> None:
    """Put one pod back on each node; where `info` no longer fits then, that pod is a victim."""
    for row, (pod, _) in back.items():
        nodes.add_pod(pod, nodes.names[row])
    fits = feasible_nodes(profile, info, nodes, _mask(nodes, back)).feasible
    for row, (pod, violates) in back.items():
        if not fits[row]:
            nodes.remove_pod(pod.uid)
            candidates[row].victims.append(pod)
            candidates[row].violations += violates


def _mask(nodes: Snapshot, rows: Iterable[int]) -> Mask:
    mask = np.zeros(nodes.size, np.bool_)
    mask[list(rows)] = True
    return mask


def _in_order_of_return(pods: list[PodInfo], budgets: list[PodDisruptionBudget]) -> list[tuple[PodInfo, bool]]:
    """(pod, whether its eviction breaks a budget): those that break one first, then by importance."""
    allowed = [budget.status.disruptionsAllowed or 0 for budget in budgets]
    selectors = [readable(budget.spec.selector) for budget in budgets]
    judged = []
    for pod in sorted(pods, key=_importance):
        violates = False
        for index, budget in enumerate(budgets):
            selector = selectors[index]
            metadata = pod.pod.metadata
            if budget.metadata.namespace != metadata.namespace or selector.empty or not metadata.labels:
                continue
            if selector.matches(metadata.labels) and metadata.name not in budget.status.disruptedPods:
                allowed[index] -= 1
                violates = violates or allowed[index] < 0
        judged.append((pod, violates))
    return sorted(judged, key=lambda item: not item[1])


def _importance(pod: PodInfo) -> tuple[int, str]:
    """Sorts the most important first: higher priority, then longer running."""
    return -pod.priority, _started(pod)


def _started(pod: PodInfo) -> str:
    return pod.pod.status.startTime or _NOT_STARTED


def _preference(candidate: Candidate) -> tuple[int, int, int, int, "_Later"]:
    """Least harm first: budgets, the highest victim, the sum of priorities, the number, the latest start."""
    highest = candidate.victims[0].priority
    earliest = min(_started(pod) for pod in candidate.victims if pod.priority == highest)
    total = sum(pod.priority + _PRIORITY_SHIFT for pod in candidate.victims)
    return candidate.violations, highest, total, len(candidate.victims), _Later(earliest)


@dataclass(frozen=True, slots=True)
class _Later:
    """Sorts later times first."""

    time: str

    def __lt__(self, other: "_Later") -> bool:
        return self.time > other.time
