"""What every controller is: informers that put keys on a queue, and workers that reconcile one key at a time.

A subclass asks for informers with `watch`, and implements `reconcile(key)`, which reads caches, decides with a pure
`plan_*` function and acts. It raises to be called again for that key, later each time. Between events nothing runs.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from wherry.aio.clock import Clock
from wherry.api.registry import resource_for
from wherry.client.client import Client
from wherry.client.events import EventRecorder
from wherry.client.informer import Informer, Informers
from wherry.client.workqueue import WorkQueue, meta_key, work
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.rules.owners import controller_of

T = TypeVar("T")
Key = tuple[str, str]
"""(namespace or "", name)."""

BY_CONTROLLER = "controller"
"""Index of what a controller's uid owns, and under `orphans_of(namespace)` of what nobody owns."""


class Controller:
    """Base of all controllers. `name` is also the component of their events."""

    name = ""
    workers = 10

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self.client = client
        self.informers = informers
        self.clock = clock
        self.queue: WorkQueue[Key] = WorkQueue()
        self.recorder = EventRecorder(client, self.name, clock=clock)
        self._watched: list[Informer[Any]] = []

    def watch(
        self, kind: type[T], handler: Callable[[T | None, T | None], None] | None = None, field_selector: str = ""
    ) -> Informer[T]:
        """The shared informer of `kind`; `run` waits for its first list."""
        informer = self.informers.informer(kind, field_selector=field_selector)
        self._watched.append(informer)
        if handler is not None:
            informer.add_handler(handler)
        return informer

    def enqueue(self, old: Any, new: Any) -> None:
        """The handler that reconciles the object itself."""
        self.queue.add(meta_key(old if new is None else new))

    def enqueue_controller(self, kind: type[Any], informer: Informer[Any]) -> Callable[[Any, Any], None]:
        """A handler for dependents: reconcile the controller (of this kind) before and after the change.

        An orphan wakes every possible adopter: those of its namespace whose selector might choose it.
        """
        resource = resource_for(kind)

        def changed(old: Any, new: Any) -> None:
            for obj in (old, new):
                if obj is None:
                    continue
                owner = controller_of(obj.metadata)
                namespace = obj.metadata.namespace or ""
                if owner is None:
                    if obj is new and obj.metadata.deletionTimestamp is None:
                        self.enqueue_adopters(informer, obj)
                elif (
                    owner.kind == resource.kind and owner.apiVersion.split("/")[0] == resource.api_version.split("/")[0]
                ):
                    self.queue.add((namespace, owner.name))

        return changed

    def enqueue_adopters(self, informer: Informer[Any], orphan: Any) -> None:
        """Reconcile whoever might adopt `orphan`; nobody unless a subclass adopts."""

    async def reconcile(self, key: Key) -> None:
        """Bring one object nearer to what it asks for."""
        raise NotImplementedError

    async def run(self) -> None:
        """Work until cancelled."""
        for informer in list(self._watched):
            await informer.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.recorder.run(), name=f"{self.name} events")
            await work(self.queue, self.reconcile, workers=self.workers, name=self.name)


def orphans_of(namespace: str) -> str:
    """The value under which BY_CONTROLLER holds what nobody owns."""
    return f"orphans of {namespace}"


def index_by_controller(informer: Informer[Any]) -> None:
    """Add the BY_CONTROLLER index."""
    informer.add_index(BY_CONTROLLER, _controllers)


def _controllers(obj: Any) -> list[str]:
    owner = controller_of(obj.metadata)
    return [owner.uid if owner else orphans_of(obj.metadata.namespace or "")]


def adoption_patch(obj: ObjectMeta, owner: Any) -> dict[str, Any]:
    """The strategic patch by which `owner` (an OwnerReference) takes over an object."""
    return {"metadata": {"uid": obj.uid, "ownerReferences": [owner]}}


def release_patch(obj: ObjectMeta, owner: ObjectMeta) -> dict[str, Any]:
    """The strategic patch by which `owner` lets go of an object."""
    return {"metadata": {"uid": obj.uid, "ownerReferences": [{"$patch": "delete", "uid": owner.uid}]}}


def is_missing(error: StatusError) -> bool:
    """404: the object is gone, or was never there."""
    return error.code == 404


def is_namespace_ending(error: StatusError) -> bool:
    """403 because the namespace is being deleted: nothing to report, nothing to repeat."""
    causes = error.details.get("causes") or []
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
