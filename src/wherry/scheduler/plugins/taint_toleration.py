"""TaintToleration: taints keep away pods that do not tolerate them; PreferNoSchedule only asks them to stay away."""

import numpy as np

from wherry.rules.taints import is_tolerated
from wherry.scheduler.framework import MAX_NODE_SCORE, Change, ClusterEvent, Refusal, default_normalize
from wherry.scheduler.snapshot import Column, Mask, PodInfo, Snapshot, taint_of


class TaintToleration:
    """Filter and score."""

    name = "TaintToleration"

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        refused = untolerated_nodes(info, nodes)
        return [] if refused is None else [Refusal(refused, "node(s) had untolerated taint(s)", resolvable=False)]

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        return False

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        counts: Column = np.zeros(nodes.size, np.int64)
        for key, mask in nodes.taints.items():
            if key[2] == "PreferNoSchedule" and not is_tolerated(taint_of(key), info.tolerations):
                counts += mask
        normalized = default_normalize(counts, feasible, reverse=True)
        return normalized if normalized is not None else np.full(nodes.size, MAX_NODE_SCORE, np.int64)

    def helps(self, info: PodInfo, change: Change) -> bool:
        if change.event is ClusterEvent.NODE_UPDATE and change.old_node and change.new_node:
            return change.old_node.spec.taints != change.new_node.spec.taints
        return change.event in (ClusterEvent.NODE_ADD, ClusterEvent.POD_UPDATE)


def untolerated_nodes(info: PodInfo, nodes: Snapshot) -> Mask | None:
    """Nodes with a NoSchedule or NoExecute taint that the pod does not tolerate; None when there is no such taint."""
    refused: Mask | None = None
    for key, mask in nodes.taints.items():
        if key[2] != "PreferNoSchedule" and not is_tolerated(taint_of(key), info.tolerations):
            refused = mask if refused is None else refused | mask
    return refused
