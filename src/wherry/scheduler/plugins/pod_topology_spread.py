"""PodTopologySpread: pods of a kind spread evenly over zones, nodes or any label (KEP-895).

Hard constraints (DoNotSchedule) refuse nodes whose domain would get too far ahead of the emptiest; soft ones rank.
A pod without constraints of its own whose Service, ReplicaSet, StatefulSet or ReplicationController selects it gets
the system's soft defaults (KEP-1258). Which of a domain's nodes count is up to the constraint (KEP-3094).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wherry.api.core_v1 import Node, Pod
from wherry.meta.labels import Selector
from wherry.scheduler.affinity_terms import readable, with_keys
from wherry.scheduler.framework import MAX_NODE_SCORE, Change, ClusterEvent, Refusal, none_of
from wherry.scheduler.plugins.node_affinity import required_nodes
from wherry.scheduler.plugins.taint_toleration import untolerated_nodes
from wherry.scheduler.snapshot import ABSENT, Column, Mask, PodInfo, Snapshot

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
SYSTEM_DEFAULTS = ((HOSTNAME, 3), (ZONE, 5))
"""(topology key, max skew), all soft."""

SKEWED = "node(s) didn't match pod topology spread constraints"
UNLABELLED = "node(s) didn't match pod topology spread constraints (missing required label)"
HARD, SOFT = "DoNotSchedule", "ScheduleAnyway"

SelectorOf = Callable[[Pod], Selector | None]


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint, compiled."""

    key: str
    max_skew: int
    selector: Selector
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


class PodTopologySpread:
    """Filter and score. `selector_of` finds what selects a pod, for the system's defaults; None: nothing does."""

    name = "PodTopologySpread"

    def __init__(self, selector_of: SelectorOf | None = None) -> None:
        self._selector_of = selector_of

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        constraints = constraints_of(info.pod, HARD)
        if not constraints:
            return []
        labelled = nodes.valid.copy()
        for constraint in constraints:
            labelled &= nodes.has_label(constraint.key)
        left = nodes.valid.copy()
        refusals = []
        for constraint in constraints:
            missing = left & ~nodes.has_label(constraint.key)
            left &= ~missing
            skewed = left & self._skewed(constraint, info, nodes, labelled)
            left &= ~skewed
            refusals += [Refusal(missing, UNLABELLED, resolvable=False), Refusal(skewed, SKEWED)]
        return refusals

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        return any(item.whenUnsatisfiable == HARD for item in info.pod.spec.topologySpreadConstraints)

    @staticmethod
    def _skewed(constraint: Constraint, info: PodInfo, nodes: Snapshot, labelled: Mask) -> Mask:
        label = nodes.label_column(constraint.key)
        if label is None:
            return none_of(nodes)
        counted = labelled & _included(constraint, info, nodes)
        matching = _matching(constraint, info, nodes) * counted
        sums = np.bincount(label.column + 1, weights=matching, minlength=len(label.numbers) + 1).astype(np.int64)
        domains = np.unique(label.column[counted])
        least = int(sums[domains + 1].min()) if len(domains) >= constraint.min_domains and len(domains) else 0
        itself = int(constraint.selector.matches(info.pod.metadata.labels))
        skewed: Mask = sums[label.column + 1] + itself - least > constraint.max_skew
        return skewed

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        own = bool(info.pod.spec.topologySpreadConstraints)
        constraints = constraints_of(info.pod, SOFT) if own else self._defaults(info.pod)
        if not constraints:
            return None
        scored = feasible.copy()
        counted = nodes.valid.copy()
        if own:
            for constraint in constraints:
                scored &= nodes.has_label(constraint.key)
                counted &= nodes.has_label(constraint.key)
        total = np.zeros(nodes.size, np.float64)
        for constraint in constraints:
            total += _crowding(constraint, info, nodes, scored, counted)
        return _normalized(np.floor(total + 0.5).astype(np.int64), scored)

    def _defaults(self, pod: Pod) -> list[Constraint]:
        selector = self._selector_of(pod) if self._selector_of is not None else None
        if selector is None or selector.empty:
            return []
        return [Constraint(key, max_skew, selector) for key, max_skew in SYSTEM_DEFAULTS]

    def helps(self, info: PodInfo, change: Change) -> bool:
        constraints = constraints_of(info.pod, HARD)
        keys = [constraint.key for constraint in constraints]
        match change.event:
            case ClusterEvent.ASSIGNED_POD_ADD | ClusterEvent.ASSIGNED_POD_UPDATE | ClusterEvent.ASSIGNED_POD_DELETE:
                pods = [pod for pod in (change.pod, change.old_pod) if pod is not None and pod.key[0] == info.key[0]]
                return any(item.selector.matches(pod.pod.metadata.labels) for pod in pods for item in constraints)
            case ClusterEvent.NODE_ADD | ClusterEvent.NODE_DELETE:
                return any(_labelled(node, keys) for node in (change.old_node, change.new_node))
            case ClusterEvent.NODE_UPDATE:
                old, new = change.old_node, change.new_node
                if old is None or new is None:
                    return True
                before, after = old.metadata.labels, new.metadata.labels
                moved = any(before.get(key) != after.get(key) for key in keys)
                return moved or (_labelled(new, keys) and old.spec.taints != new.spec.taints)
            case ClusterEvent.POD_UPDATE:
                return True
        return False


def constraints_of(pod: Pod, when: str) -> list[Constraint]:
    """The pod's constraints that are hard, or soft."""
    return [
        Constraint(
            key=item.topologyKey,
            max_skew=item.maxSkew,
            selector=with_keys(readable(item.labelSelector), pod.metadata.labels, item.matchLabelKeys),
            min_domains=item.minDomains or 1,
            honor_affinity=item.nodeAffinityPolicy != "Ignore",
            honor_taints=item.nodeTaintsPolicy == "Honor",
        )
        for item in pod.spec.topologySpreadConstraints
        if item.whenUnsatisfiable == when
    ]


def _labelled(node: Node | None, keys: list[str]) -> bool:
    return node is not None and all(key in node.metadata.labels for key in keys)


def _included(constraint: Constraint, info: PodInfo, nodes: Snapshot) -> Mask:
    """Nodes whose pods count, by the constraint's inclusion policies."""
    included = nodes.valid
    if constraint.honor_affinity and (required := required_nodes(info, nodes)) is not None:
        included = included & required
    if constraint.honor_taints and (untolerated := untolerated_nodes(info, nodes)) is not None:
        included = included & ~untolerated
    return included


def _matching(constraint: Constraint, info: PodInfo, nodes: Snapshot) -> Column:
    """Per row, the pods that the constraint is about; those on their way out do not count."""
    counts = nodes.index.matching(
        lambda group: not group.terminating and constraint.selector.matches(group.labels), nodes.size, info.key[0]
    )
    return counts if counts is not None else np.zeros(nodes.size, np.int64)


def _crowding(
    constraint: Constraint, info: PodInfo, nodes: Snapshot, scored: Mask, counted: Mask
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """How crowded each row's domain is; domains count for more the more there are of them."""
    label = nodes.label_column(constraint.key)
    matching = _matching(constraint, info, nodes)
    if label is None:
        return np.zeros(nodes.size, np.float64)
    if constraint.key == HOSTNAME:
        domains = int(np.count_nonzero(scored))
        here = matching
    else:
        domains = len(np.unique(label.column[scored]))
        here = nodes.over(constraint.key, matching * (counted & _included(constraint, info, nodes)))
    crowding = here * float(np.log(domains + 2)) + (constraint.max_skew - 1)
    return np.where(label.column != ABSENT, crowding, 0.0)


def _normalized(total: Column, scored: Mask) -> Column:
    """MAX_NODE_SCORE for the least crowded; rows that were not scored get 0."""
    least, most = int(total[scored].min(initial=2**62)), int(total[scored].max(initial=0))
    if most == 0:
        return np.where(scored, MAX_NODE_SCORE, 0)
    scores: Column = np.where(scored, MAX_NODE_SCORE * (most + least - total) // most, 0)
    return scores
