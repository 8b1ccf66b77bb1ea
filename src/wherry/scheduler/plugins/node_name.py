"""NodeName: a pod that names its node runs there or nowhere."""

from wherry.scheduler.framework import Change, ClusterEvent, Refusal
from wherry.scheduler.snapshot import PodInfo, Snapshot


class NodeName:
    """Filter."""

    name = "NodeName"

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        wanted = info.pod.spec.nodeName
        if not wanted:
            return []
        refused = ~nodes.mask_of([wanted])
        return [Refusal(refused, "node(s) didn't match the requested node name", resolvable=False)]

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        return False

    def helps(self, info: PodInfo, change: Change) -> bool:
        return change.event in (ClusterEvent.NODE_ADD, ClusterEvent.NODE_UPDATE)
