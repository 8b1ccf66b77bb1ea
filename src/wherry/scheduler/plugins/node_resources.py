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
        refusals = []
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

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        total: Column = np.zeros(nodes.size, np.int64)
        for index, name in enumerate(("cpu", "memory")):
            have = nodes.resource(nodes.allocatable, name)
            used = nodes.nonzero[index] + info.nonzero[index]
            free = np.maximum(have - used, 0)
            total += np.divide(free * MAX_NODE_SCORE, have, out=np.zeros(nodes.size), where=have > 0).astype(np.int64)
        scores: Column = total // 2
        return scores

    def helps(self, info: PodInfo, change: Change) -> bool:
        if change.event is ClusterEvent.NODE_UPDATE and change.old_node and change.new_node:
            return change.old_node.status.allocatable != change.new_node.status.allocatable
        return change.event in (ClusterEvent.NODE_ADD, ClusterEvent.ASSIGNED_POD_DELETE, ClusterEvent.POD_UPDATE)


class BalancedAllocation:
    """Score."""

    name = "NodeResourcesBalancedAllocation"

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        if not ("cpu" in info.requests or "memory" in info.requests):
            return None  # KEP: best-effort pods change no balance
        fractions = []
        for name in ("cpu", "memory"):
            have = nodes.resource(nodes.allocatable, name)
            used = nodes.resource(nodes.requested, name) + info.requests.get(name, 0)
            share = np.divide(used, have, out=np.ones(nodes.size), where=have > 0)
            fractions.append(np.minimum(share, 1.0))
        spread = np.abs(fractions[0] - fractions[1]) / 2
        scores: Column = ((1 - spread) * MAX_NODE_SCORE).astype(np.int64)
        return scores

    def helps(self, info: PodInfo, change: Change) -> bool:
        return False
