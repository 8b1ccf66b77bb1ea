"""SchedulingGates: a pod with gates is not queued until they are removed (KEP-3521)."""

from wherry.scheduler.framework import Change, ClusterEvent
from wherry.scheduler.snapshot import PodInfo


class SchedulingGates:
    """PreEnqueue."""

    name = "SchedulingGates"

    def pre_enqueue(self, info: PodInfo) -> str | None:
        gates = [gate.name for gate in info.pod.spec.schedulingGates]
        return f"waiting for scheduling gates: [{' '.join(gates)}]" if gates else None

    def helps(self, info: PodInfo, change: Change) -> bool:
        return change.event is ClusterEvent.POD_UPDATE
