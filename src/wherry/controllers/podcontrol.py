"""Making and removing pods for whoever owns them, in parallel, with the events Kubernetes writes.

Creation starts slowly: one pod, then two, four, … so that a quota or an admission fault costs one refused request and
not five hundred (kube-controller-manager's slowStartBatch). ReplicaSets and Jobs use this.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from wherry.api.core_v1 import Pod, PodTemplateSpec
from wherry.client.client import Client
from wherry.client.events import EventRecorder
from wherry.client.transport import TransportError
from wherry.controllers.controller import is_missing, is_namespace_ending
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta, OwnerReference
from wherry.meta.wire import deep_copy

BURST_MAX = 500
"""Pods one reconcile creates or deletes at most."""
PARALLEL_MAX = 64

T = TypeVar("T")
Failure = StatusError | TransportError


class PodControl:
    """Pod writes of one controller."""

    def __init__(self, client: Client, recorder: EventRecorder) -> None:
        self._client = client
        self._recorder = recorder
        self._slots = asyncio.Semaphore(PARALLEL_MAX)

    async def create(self, pod: Pod, owner: Any) -> Pod | None:
        """The pod as stored; None when its namespace is ending. Raises StatusError, TransportError."""
        try:
            async with self._slots:
                created = await self._client.create(pod)
        except (StatusError, TransportError) as error:
            if isinstance(error, StatusError) and is_namespace_ending(error):
                return None
            self._recorder.event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self._recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {created.metadata.name}")
        return created

    async def delete(self, pod: Pod, owner: Any) -> None:
        """Ask for the pod's end; one that is gone already is no error."""
        try:
            async with self._slots:
                await self._client.delete(Pod, pod.metadata.name or "", pod.metadata.namespace, uid=pod.metadata.uid)
        except (StatusError, TransportError) as error:
            if isinstance(error, StatusError) and is_missing(error):
                return
            self._recorder.event(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        self._recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")


def pod_from_template(
    template: PodTemplateSpec, namespace: str, owner_name: str, reference: OwnerReference | None
) -> Pod:
    """A new pod of the template, its name still to be generated from the owner's."""
    copied = deep_copy(template)
    return Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=ObjectMeta(
            generateName=f"{owner_name}-",
            namespace=namespace,
            labels=copied.metadata.labels,
            annotations=copied.metadata.annotations,
            finalizers=copied.metadata.finalizers,
            ownerReferences=[reference] if reference else [],
        ),
        spec=copied.spec,
    )


async def in_slow_batches(count: int, one: Callable[[int], Awaitable[None]]) -> Failure | None:
    """Do `one(number)` for each number in batches of 1, 2, 4, …; the first failure ends it and is returned."""
    done, size = 0, 1
    while done < count:
        size = min(size, count - done)
        failure = await all_of([one(number) for number in range(done, done + size)])
        if failure is not None:
            return failure
        done += size
        size *= 2
    return None


async def all_of(jobs: Sequence[Awaitable[None]]) -> Failure | None:
    """Do all at once, waiting for every one; the first refusal is returned, anything else raised."""
    failure: Failure | None = None
    for result in await asyncio.gather(*jobs, return_exceptions=True):
        if isinstance(result, (StatusError, TransportError)):
            failure = failure or result
        elif isinstance(result, BaseException):
            raise result
    return failure
