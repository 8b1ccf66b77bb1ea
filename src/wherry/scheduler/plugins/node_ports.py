"""NodePorts: a host port can be held by one pod per address of a node."""

from wherry.scheduler.framework import Change, ClusterEvent, Refusal, none_of
from wherry.scheduler.snapshot import PodInfo, Snapshot

ANY_ADDRESS = ("", "0.0.0.0", "::")


class NodePorts:
    """Filter."""

    name = "NodePorts"

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        taken = None
        for ip, protocol, port in info.ports:
            for row, held_ip in nodes.ports.get((protocol, port), ()):
                if ip == held_ip or ip in ANY_ADDRESS or held_ip in ANY_ADDRESS:
                    taken = none_of(nodes) if taken is None else taken
                    taken[row] = True
        if taken is None:
            return []
        return [Refusal(taken, "node(s) didn't have free ports for the requested pod ports")]

    def helps(self, info: PodInfo, change: Change) -> bool:
        return change.event in (ClusterEvent.NODE_ADD, ClusterEvent.ASSIGNED_POD_DELETE)
