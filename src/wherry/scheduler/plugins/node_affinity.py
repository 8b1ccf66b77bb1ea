"""NodeAffinity: node selectors and required affinity narrow the nodes; preferred affinity ranks them."""

import numpy as np

from wherry.api.core_v1 import NodeSelectorRequirement, NodeSelectorTerm
from wherry.scheduler.framework import Change, ClusterEvent, Refusal, default_normalize, none_of
from wherry.scheduler.snapshot import ABSENT, Column, Mask, PodInfo, Snapshot

MISMATCH = "node(s) didn't match Pod's node affinity/selector"


class NodeAffinity:
    """Filter and score."""

    name = "NodeAffinity"

    def pre_filter(self, info: PodInfo, nodes: Snapshot) -> Mask | str | None:
        """DaemonSet pods name their node by matchFields: look at no other."""
        affinity = info.pod.spec.affinity.nodeAffinity if info.pod.spec.affinity else None
        required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
        if required is None or not required.nodeSelectorTerms:
            return None
        named: set[str] = set()
        for term in required.nodeSelectorTerms:
            fields = [item for item in term.matchFields if item.key == "metadata.name" and item.operator == "In"]
            if not fields:
                return None
            named |= set.intersection(*(set(item.values) for item in fields))
        return nodes.mask_of(named) if named else "pod affinity terms conflict"

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        fits = required_nodes(info, nodes)
        return [] if fits is None else [Refusal(~fits, MISMATCH, resolvable=False)]

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        return False

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        spec = info.pod.spec
        affinity = spec.affinity.nodeAffinity if spec.affinity else None
        preferred = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else []
        if not preferred:
            return None
        total: Column = np.zeros(nodes.size, np.int64)
        for term in preferred:
            if term.weight:
                total += term_mask(nodes, term.preference) * term.weight
        return default_normalize(total, feasible)

    def helps(self, info: PodInfo, change: Change) -> bool:
        if change.event is ClusterEvent.NODE_UPDATE and change.old_node and change.new_node:
            return change.old_node.metadata.labels != change.new_node.metadata.labels
        return change.event in (ClusterEvent.NODE_ADD, ClusterEvent.POD_UPDATE)


def required_nodes(info: PodInfo, nodes: Snapshot) -> Mask | None:
    """Nodes that satisfy the pod's node selector and required affinity; None when it has neither."""
    spec = info.pod.spec
    affinity = spec.affinity.nodeAffinity if spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    if not spec.nodeSelector and required is None:
        return None
    fits = nodes.valid.copy()
    for key, value in spec.nodeSelector.items():
        fits &= _in(nodes, key, [value])
    if required is not None:
        any_term = none_of(nodes)
        for term in required.nodeSelectorTerms:
            any_term |= term_mask(nodes, term)
        fits &= any_term
    return fits


def term_mask(nodes: Snapshot, term: NodeSelectorTerm) -> Mask:
    """The nodes that satisfy every requirement of `term`; an empty term matches none."""
    if not term.matchExpressions and not term.matchFields:
        return none_of(nodes)
    mask = nodes.valid.copy()
    for expression in term.matchExpressions:
        mask &= _expression(nodes, expression)
    for selected in term.matchFields:
        named = nodes.mask_of(selected.values) if selected.key == "metadata.name" else none_of(nodes)
        mask &= ~named if selected.operator == "NotIn" else named
    return mask


def _expression(nodes: Snapshot, expression: NodeSelectorRequirement) -> Mask:
    label = nodes.label_column(expression.key)
    match expression.operator:
        case "In":
            return _in(nodes, expression.key, expression.values)
        case "NotIn":
            return ~_in(nodes, expression.key, expression.values)
        case "Exists":
            return none_of(nodes) if label is None else label.column != ABSENT
        case "DoesNotExist":
            return ~none_of(nodes) if label is None else label.column == ABSENT
        case "Gt" | "Lt":
            return _compare(nodes, expression)
    return none_of(nodes)


def _in(nodes: Snapshot, key: str, values: list[str]) -> Mask:
    label = nodes.label_column(key)
    if label is None:
        return none_of(nodes)
    numbers = [label.numbers[value] for value in values if value in label.numbers]
    if len(numbers) == 1:
        mask: Mask = label.column == numbers[0]
        return mask
    return np.isin(label.column, numbers)


def _compare(nodes: Snapshot, expression: NodeSelectorRequirement) -> Mask:
    label = nodes.label_column(expression.key)
    if label is None or len(expression.values) != 1 or not _is_integer(expression.values[0]):
        return none_of(nodes)
    bound = int(expression.values[0])
    greater = expression.operator == "Gt"
    passing = [
        number
        for value, number in label.numbers.items()
        if _is_integer(value) and (int(value) > bound if greater else int(value) < bound)
    ]
    return np.isin(label.column, passing)


def _is_integer(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdecimal()
