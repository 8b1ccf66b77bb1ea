"""NodePorts: a host port can be held by one pod per address of a node."""

from wherry.scheduler.framework import Change, ClusterEvent, Refusal, none_of
from wherry.scheduler.snapshot import PodInfo, Snapshot

ANY_ADDRESS = "0.0.0.0"
"""As in kube-scheduler, the one wildcard; "::" is an address like others."""


class NodePorts:
    """Filter."""

    name = "NodePorts"

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        taken = None
        for ip, protocol, port in info.ports:
            for row, held_ip in nodes.ports.get((protocol, port), ()):
                if ip == held_ip or ANY_ADDRESS in (ip, held_ip):
                    taken = none_of(nodes) if taken is None else taken
                    taken[row] = True
        if taken is None:
            return []
        return [Refusal(taken, "node(s) didn't have free ports for the requested pod ports")]

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        return False

    def helps(self, info: PodInfo, change: Change) -> bool:
        if change.event is ClusterEvent.ASSIGNED_POD_DELETE:
            wanted = {(protocol, port) for _, protocol, port in info.ports}
            return change.pod is None or any((protocol, port) in wanted for _, protocol, port in change.pod.ports)
        return change.event is ClusterEvent.NODE_ADD
