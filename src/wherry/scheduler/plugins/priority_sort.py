"""PrioritySort: higher priority first, then who has waited longer."""

from wherry.scheduler.framework import Change
from wherry.scheduler.snapshot import PodInfo


class PrioritySort:
    """QueueSort."""

    name = "PrioritySort"

    def rank(self, info: PodInfo, since: float) -> tuple[float, ...]:
        return (-info.priority, since)

    def helps(self, info: PodInfo, change: Change) -> bool:
        return False
