"""InterPodAffinity: near some pods, away from others, within one value of a node label.

Both sides count: what the newcomer asks of the pods that are there, and what those asked of newcomers. Pods are not
looked at one by one: podindex.py knows how many pods of which labels, and with which terms, are on every node.
"""

import numpy as np

from wherry.scheduler.affinity_terms import Term
from wherry.scheduler.framework import MAX_NODE_SCORE, Change, ClusterEvent, Refusal, none_of
from wherry.scheduler.podindex import PodClass, add_rows
from wherry.scheduler.snapshot import Column, Mask, PodInfo, Snapshot

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"


class InterPodAffinity:
    """Filter and score."""

    name = "InterPodAffinity"

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        terms, others = info.terms, nodes.index.terms["required_anti"]
        if not (terms.required or terms.required_anti or others):
            return []
        far = ~_near(info, nodes) if terms.required else none_of(nodes)
        close = none_of(nodes)
        for term in terms.required_anti:
            counts = _counts(nodes, (term,))
            if counts is not None:
                close |= nodes.over(term.topology_key, counts) > 0
        unwanted = none_of(nodes)
        for term, rows in others.items():
            if _selects(term, info, nodes):
                unwanted |= nodes.over(term.topology_key, _column(nodes, rows)) > 0
        close &= ~far
        unwanted &= ~(far | close)
        return [Refusal(far, AFFINITY, resolvable=False), Refusal(close, ANTI_AFFINITY), Refusal(unwanted, EXISTING)]

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        return bool(info.terms.required or info.terms.required_anti or nodes.index.terms["required_anti"])

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        total: Column = np.zeros(nodes.size, np.int64)
        touched = False
        for own, sign in ((info.terms.preferred, 1), (info.terms.preferred_anti, -1)):
            for term in own:
                counts = _counts(nodes, (term,))
                if counts is not None:
                    total += sign * term.weight * nodes.over(term.topology_key, counts)
                    touched = True
        for kind, sign in (("required", 1), ("preferred", 1), ("preferred_anti", -1)):
            for term, rows in nodes.index.terms[kind].items():
                if _selects(term, info, nodes):
                    total += sign * term.weight * nodes.over(term.topology_key, _column(nodes, rows))
                    touched = True
        return _normalized(total, feasible) if touched else None

    def helps(self, info: PodInfo, change: Change) -> bool:
        terms = info.terms
        match change.event:
            case ClusterEvent.POD_UPDATE | ClusterEvent.NODE_ADD:
                return True
            case ClusterEvent.NODE_UPDATE:
                keys = {term.topology_key for _, own in terms.items() for term in own}
                before, after = change.old_node, change.new_node
                if before is None or after is None or not keys:
                    return True
                old, new = before.metadata.labels, after.metadata.labels
                return any(old.get(key) != new.get(key) for key in keys)
            case ClusterEvent.ASSIGNED_POD_ADD:
                return bool(terms.required)
            case ClusterEvent.ASSIGNED_POD_UPDATE:
                return bool(terms.required or terms.required_anti)
            case ClusterEvent.ASSIGNED_POD_DELETE:
                return bool(terms.required_anti) or (change.pod is None or bool(change.pod.terms.required_anti))
        return False


def _near(info: PodInfo, nodes: Snapshot) -> Mask:
    """Nodes where every required term finds a pod; the first of a group that wants its own kind may go anywhere."""
    terms = info.terms.required
    counts = _counts(nodes, terms)
    here = [nodes.over(term.topology_key, counts) if counts is not None else None for term in terms]
    near = nodes.valid.copy()
    if any(column is not None and column.any() for column in here):
        for column in here:
            near &= column > 0 if column is not None else False
        return near
    if not all(_selects(term, info, nodes) for term in terms):
        return none_of(nodes)
    for term in terms:
        near &= nodes.has_label(term.topology_key)
    return near


def _counts(nodes: Snapshot, terms: tuple[Term, ...]) -> Column | None:
    """Per row, the pods that all of `terms` mean."""

    def meant(group: PodClass) -> bool:
        labels = nodes.labels_of(group.namespace)
        return all(term.matches(group.namespace, group.labels, labels) for term in terms)

    return nodes.index.matching(meant, nodes.size)


def _selects(term: Term, info: PodInfo, nodes: Snapshot) -> bool:
    namespace = info.key[0]
    return term.matches(namespace, info.pod.metadata.labels, nodes.labels_of(namespace))


def _column(nodes: Snapshot, rows: dict[int, int]) -> Column:
    counts: Column = np.zeros(nodes.size, np.int64)
    add_rows(counts, rows)
    return counts


def _normalized(total: Column, feasible: Mask) -> Column:
    """0 for the least liked feasible node, MAX_NODE_SCORE for the most liked."""
    least, most = int(total[feasible].min()), int(total[feasible].max())
    if most == least:
        return np.zeros(len(total), np.int64)
    share = (total - least) / float(most - least)
    scores: Column = (float(MAX_NODE_SCORE) * share).astype(np.int64)
    return scores
