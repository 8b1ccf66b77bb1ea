"""NodeResourcesFit and NodeResourcesBalancedAllocation: room for the pod's requests, and where it leaves nodes best.

Fit prefers the least allocated node (the default strategy, over CPU and memory); BalancedAllocation prefers nodes
whose CPU and memory would be used alike.
"""

import numpy as np

from wherry.scheduler.framework import MAX_NODE_SCORE, Change, ClusterEvent, Refusal
from wherry.scheduler.snapshot import Column, Mask, PodInfo, Snapshot


class NodeResourcesFit:
    """Filter and score."""

    name = "NodeResourcesFit"

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        refusals: list[Refusal] = []
        allowed = nodes.resource(nodes.allocatable, "pods")
        full = nodes.pod_counts + 1 > allowed
        if full.any():
            refusals.append(Refusal(full, "Too many pods", resolvable=True))
        for name, amount in info.requests.items():
            have = nodes.resource(nodes.allocatable, name)
            short = amount > have - nodes.resource(nodes.requested, name)
            if short.any():
                never = amount > have
                refusals.append(Refusal(short & ~never, f"Insufficient {name}"))
                refusals.append(Refusal(never, f"Insufficient {name}", resolvable=False))
        return refusals

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        return False

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        total: Column = np.zeros(nodes.size, np.int64)
        present: Column = np.zeros(nodes.size, np.int64)
        for index, name in enumerate(("cpu", "memory")):
            have = nodes.resource(nodes.allocatable, name)
            free = np.maximum(have - nodes.nonzero[index] - info.nonzero[index], 0)
            total += free * MAX_NODE_SCORE // np.maximum(have, 1)
            present += have > 0
        scores: Column = total // np.maximum(present, 1)
        return scores

    def helps(self, info: PodInfo, change: Change) -> bool:
        if change.event is ClusterEvent.NODE_UPDATE and change.old_node and change.new_node:
            return change.old_node.status.allocatable != change.new_node.status.allocatable
        if change.event is ClusterEvent.ASSIGNED_POD_UPDATE and change.pod and change.old_pod:
            before, after = change.old_pod.requests, change.pod.requests
            return any(after.get(name, 0) < before.get(name, 0) for name in info.requests)
        return change.event in (ClusterEvent.NODE_ADD, ClusterEvent.ASSIGNED_POD_DELETE, ClusterEvent.POD_UPDATE)


class BalancedAllocation:
    """Score."""

    name = "NodeResourcesBalancedAllocation"

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        if not ("cpu" in info.requests or "memory" in info.requests):
            return None  # pods that ask for neither change no balance
        fractions = []
        present = nodes.valid
        for name in ("cpu", "memory"):
            have = nodes.resource(nodes.allocatable, name)
            used = nodes.resource(nodes.requested, name) + info.requests.get(name, 0)
            present = present & (have > 0)
            fractions.append(np.minimum(used / np.maximum(have, 1), 1.0))
        spread = np.where(present, np.abs(fractions[0] - fractions[1]) / 2, 0.0)
        scores: Column = ((1 - spread) * MAX_NODE_SCORE).astype(np.int64)
        return scores

    def helps(self, info: PodInfo, change: Change) -> bool:
        return False
