"""Namespaces on their way out: everything in them is deleted, then the finalizer `kubernetes` is taken off.

Pods go first and the rest waits for them (KEP-5080), so that no pod outlives the NetworkPolicy or Secret it relies on.
What is left and why stands in five conditions of the namespace.

Source of the behaviour: kubernetes pkg/controller/namespace.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Namespace, NamespaceCondition, NamespaceStatus, Pod
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.meta.errors import StatusError
from wherry.meta.object import PartialObjectMetadata
from wherry.meta.resource import Resource
from wherry.meta.time import format_time
from wherry.meta.wire import deep_copy
from wherry.rules import conditions

FINALIZER = "kubernetes"
RETRY_MIN_SECONDS, RETRY_MAX_SECONDS = 0.1, 10.0


@dataclass(slots=True)
class Remains:
    """What one pass over a namespace left."""

    counts: dict[str, int] = field(default_factory=dict)
    """By "plural.group" (the dot also for the core group)."""
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.counts and not self.failures


def plan_conditions(status: NamespaceStatus, remains: Remains, now: datetime) -> NamespaceStatus:
    """The status that reports `remains`."""
    status = deep_copy(status)
    counts = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(remains.counts.items()))
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(remains.finalizers.items()))
    failures = ", ".join(remains.failures)
    rows = [
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            bool(failures),
            "ContentDeletionFailed" if failures else "ContentDeleted",
            f"Failed to delete all resource types, {len(remains.failures)} remaining: {failures}"
            if failures
            else "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(counts),
            "SomeResourcesRemain" if counts else "ContentRemoved",
            f"Some resources are remaining: {counts}" if counts else "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(held),
            "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {held}"
            if held
            else "All content-preserving finalizers finished",
        ),
    ]
    for kind, problem, reason, message in rows:
        item = NamespaceCondition(type=kind, status=str(problem), reason=reason, message=message)
        item.lastTransitionTime = format_time(now)
        conditions.put(status.conditions, item)
    return status


class NamespaceController(Controller):
    """Empties namespaces that are being deleted. `resources` lists what is served now, custom resources included."""

    name = "namespace-controller"

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, resources: Callable[[], Sequence[Resource]]
    ) -> None:
        super().__init__(client, informers, clock)
        self._resources = resources
        self._attempts: dict[Key, int] = {}
        self._namespaces = self.watch(Namespace, self._changed)
        self._pods = self.watch(Pod, self._pod_changed)

    def _changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is None:
            self._attempts.pop(("", (old.metadata.name if old else None) or ""), None)
        elif new.metadata.deletionTimestamp is not None and (
            old is None or old.metadata.deletionTimestamp is None or not old.spec.finalizers
        ):
            self.queue.add(("", new.metadata.name or ""))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """The rest may go once the last pod has gone."""
        if new is not None or old is None or self._pods.list(old.metadata.namespace):
            return
        namespace = self._namespaces.get(None, old.metadata.namespace or "")
        if namespace is not None and namespace.metadata.deletionTimestamp is not None:
            self.queue.add(("", old.metadata.namespace or ""))

    async def reconcile(self, key: Key) -> None:
        try:
            namespace = await self.client.get(Namespace, key[1])
        except StatusError as error:
            if is_missing(error):
                return
            raise
        if namespace.metadata.deletionTimestamp is None or FINALIZER not in namespace.spec.finalizers:
            return
        remains = await self._empty(key[1])
        status = plan_conditions(namespace.status, remains, self.clock.now())
        status.phase = "Terminating"
        if status != namespace.status:
            namespace.status = status
            namespace = await self.client.update_status(namespace)
        if remains.is_empty:
            namespace.spec.finalizers = [item for item in namespace.spec.finalizers if item != FINALIZER]
            await self.client.update(namespace, subresource="finalize")
            return
        attempts = self._attempts[key] = self._attempts.get(key, 0) + 1
        self.queue.add_after(key, min(RETRY_MAX_SECONDS, RETRY_MIN_SECONDS * 2.0 ** min(attempts - 1, 10)))

    async def _empty(self, namespace: str) -> Remains:
        remains = Remains()
        served = [item for item in self._resources() if item.namespaced and {"delete", "list"} <= set(item.verbs)]
        pods = [item for item in served if (item.group, item.plural) == ("", "pods")]
        for resource in pods:
            await self._delete_all(resource, namespace, remains)
        if remains.is_empty:
            for resource in served:
                if resource not in pods:
                    await self._delete_all(resource, namespace, remains)
        return remains

    async def _delete_all(self, resource: Resource, namespace: str, remains: Remains) -> None:
        try:
            items = await self._list(resource, namespace)
            if not items:
                return
            if "deletecollection" in resource.verbs:
                await self.client.delete_collection(PartialObjectMetadata, namespace, resource=resource)
            else:
                for item in items:
                    await self._delete(resource, item)
            items = await self._list(resource, namespace)
        except StatusError as error:
            if error.code not in (404, 405):  # no longer served
                remains.failures.append(f"{resource.group_resource}: {error}")
            return
        if items:
            remains.counts[f"{resource.plural}.{resource.group}"] = len(items)
            for item in items:
                remains.finalizers.update(item.metadata.finalizers)

    async def _list(self, resource: Resource, namespace: str) -> list[PartialObjectMetadata]:
        return (await self.client.list(PartialObjectMetadata, namespace, resource=resource)).items

    async def _delete(self, resource: Resource, item: PartialObjectMetadata) -> None:
        try:
            name, namespace = item.metadata.name or "", item.metadata.namespace
            await self.client.delete(PartialObjectMetadata, name, namespace, resource=resource)
        except StatusError as error:
            if not is_missing(error):
                raise
