"""NodeUnschedulable: cordoned nodes take only pods that tolerate node.kubernetes.io/unschedulable."""

from wherry.api.core_v1 import Taint
from wherry.rules.taints import UNSCHEDULABLE, is_tolerated
from wherry.scheduler.framework import Change, ClusterEvent, Refusal
from wherry.scheduler.snapshot import PodInfo, Snapshot

CORDONED = Taint(key=UNSCHEDULABLE, effect="NoSchedule")


class NodeUnschedulable:
    """Filter."""

    name = "NodeUnschedulable"

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        if not nodes.unschedulable.any() or is_tolerated(CORDONED, info.tolerations):
            return []
        return [Refusal(nodes.unschedulable, "node(s) were unschedulable", resolvable=False)]

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        return False

    def helps(self, info: PodInfo, change: Change) -> bool:
        if change.event is ClusterEvent.NODE_UPDATE and change.old_node and change.new_node:
            return bool(change.old_node.spec.unschedulable) and not change.new_node.spec.unschedulable
        return change.event in (ClusterEvent.NODE_ADD, ClusterEvent.POD_UPDATE)
