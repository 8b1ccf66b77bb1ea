"""What a decision does to the API: conditions and nominations of pods that wait, evictions of those that give way."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Pod, PodCondition
from wherry.client.client import Client
from wherry.client.events import EventRecorder
from wherry.client.transport import TransportError
from wherry.meta.errors import StatusError
from wherry.meta.time import format_time
from wherry.meta.wire import to_builtins
from wherry.rules import conditions
from wherry.scheduler.snapshot import PodInfo

log = logging.getLogger(__name__)

UNSCHEDULABLE, SCHEDULER_ERROR = "Unschedulable", "SchedulerError"


class Effects:
    """Writes to the server; a pod that is gone meanwhile is no error."""

    def __init__(self, client: Client, clock: Clock, recorder: EventRecorder, scheduler_name: str) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._scheduler_name = scheduler_name

    async def not_scheduled(self, pod: Pod, reason: str, message: str, nominated: str | None) -> None:
        """Set PodScheduled=False; `nominated` becomes the nominated node, "" clears it, None leaves it."""
        condition = self._condition(pod, "PodScheduled", "False", reason, message)
        status: dict[str, Any] = {} if condition is None else {"conditions": [to_builtins(condition)]}
        if nominated is not None and nominated != (pod.status.nominatedNodeName or ""):
            status["nominatedNodeName"] = nominated or None
        if status:
            await self._patch(pod, status)

    async def drop_nomination(self, pod: Pod) -> None:
        """A more important pod took the room that `pod` was promised."""
        await self._patch(pod, {"nominatedNodeName": None})

    async def evict(self, preemptor: PodInfo, node_name: str, victims: Sequence[PodInfo]) -> bool:
        """Delete the victims, saying why; False when any could not be."""
        alive = [victim.pod for victim in victims if victim.pod.metadata.deletionTimestamp is None]
        results = await asyncio.gather(
            *(self._evict_one(preemptor, node_name, victim) for victim in alive), return_exceptions=True
        )
        done = True
        for victim, result in zip(alive, results, strict=True):
            if isinstance(result, StatusError | TransportError):
                log.warning("pod %s/%s was not preempted: %s", victim.metadata.namespace, victim.metadata.name, result)
                done = False
            elif isinstance(result, BaseException):
                raise result
        return done

    async def _evict_one(self, preemptor: PodInfo, node_name: str, victim: Pod) -> None:
        message = f"{self._scheduler_name}: preempting to accommodate a higher priority pod"
        condition = self._condition(victim, "DisruptionTarget", "True", "PreemptionByScheduler", message)
        if condition is not None:
            await self._patch(victim, {"conditions": [to_builtins(condition)]})
        try:
            await self._client.delete(Pod, victim.metadata.name or "", victim.metadata.namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            return
        told = f"Preempted by pod {preemptor.uid} on node {node_name}"
        self._recorder.event(victim, "Normal", "Preempted", told)

    def _condition(self, pod: Pod, kind: str, status: str, reason: str, message: str) -> PodCondition | None:
        """The condition to write, or None when the pod has it already."""
        old = conditions.find(pod.status.conditions, kind)
        if old is not None and (old.status, old.reason, old.message) == (status, reason, message):
            return None
        unchanged = old is not None and old.status == status
        return PodCondition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            lastTransitionTime=old.lastTransitionTime if old and unchanged else format_time(self._clock.now()),
            observedGeneration=pod.metadata.generation,
        )

    async def _patch(self, pod: Pod, status: dict[str, Any]) -> None:
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": status}
        name, namespace = pod.metadata.name or "", pod.metadata.namespace
        try:
            await self._client.patch(Pod, name, namespace, patch, patch_type="strategic", subresource="status")
        except StatusError as error:
            if error.code not in (404, 409):  # gone, or another pod of that name: its uid differs
                raise
