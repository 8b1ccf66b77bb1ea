"""Deletes finished Jobs after their ttlSecondsAfterFinished.

Source of the behaviour: kubernetes pkg/controller/ttlafterfinished.
"""

from datetime import datetime

from wherry.aio.clock import Clock
from wherry.api.batch_v1 import Job
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.meta.errors import StatusError
from wherry.meta.time import parse_time


def seconds_left(job: Job, now: datetime) -> float | None:
    """How long the Job may stay; None when it has no limit or has not finished."""
    ended = next((c for c in job.status.conditions if c.type in ("Complete", "Failed") and c.status == "True"), None)
    if job.spec.ttlSecondsAfterFinished is None or ended is None or not ended.lastTransitionTime:
        return None
    if job.metadata.deletionTimestamp is not None:
        return None
    return job.spec.ttlSecondsAfterFinished - (now - parse_time(ended.lastTransitionTime)).total_seconds()


class TTLAfterFinishedController(Controller):
    """A timer per finished Job."""

    name = "ttl-after-finished-controller"
    workers = 2

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._jobs = self.watch(Job, self._changed)

    def _changed(self, old: Job | None, new: Job | None) -> None:
        if new is not None and seconds_left(new, self.clock.now()) is not None:
            self.enqueue(old, new)

    async def reconcile(self, key: Key) -> None:
        job = self._jobs.get(*key)
        left_seconds = seconds_left(job, self.clock.now()) if job else None
        if job is None or left_seconds is None:
            return
        if left_seconds > 0:
            self.queue.add_after(key, left_seconds)
            return
        try:
            metadata = job.metadata
            await self.client.delete(
                Job,
                key[1],
                key[0],
                propagation_policy="Foreground",
                uid=metadata.uid,
                resource_version=metadata.resourceVersion,
            )
        except StatusError as error:
            if not is_missing(error):
                raise
