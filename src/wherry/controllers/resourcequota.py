"""Counts what a namespace uses of each ResourceQuota, and writes it into the quota's status.

Admission charges a quota before every write, so the count only has to follow what makes usage smaller: deletions, pods
that end, changes of a quota itself. A count that is lower than the status may only be early, made between a charge and
its write: it is written when nobody has charged the quota for a moment. A kind is watched once a quota counts it.

Source of the behaviour: kubernetes pkg/controller/resourcequota.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.apiextensions_v1 import CustomResourceDefinition
from wherry.api.core_v1 import Pod, ResourceQuota
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.client.workqueue import meta_key
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta, PartialObjectMetadata
from wherry.meta.resource import Resource
from wherry.meta.wire import deep_copy
from wherry.rules import quota as rules
from wherry.rules.pods import all_statuses, is_terminal
from wherry.rules.quota import Kind, Usage

RESYNC_SECONDS = 300.0
SETTLE_SECONDS = 0.1
"""How long a quota must be left alone before a lower count is believed: a write follows its charge in less."""
SETTLE_TRIES = 10
RECOUNT_SECONDS = 5.0
"""After this a charge is held against what is there: the write may have failed, or a count was written over it."""


class ResourceQuotaController(Controller):
    """`resources` lists what is served now."""

    name = "resourcequota-controller"
    workers = 5

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, resources: Callable[[], Sequence[Resource]]
    ) -> None:
        super().__init__(client, informers, clock)
        self._resources = resources
        self._quotas = self.watch(ResourceQuota, self._quota_changed)
        self.watch(CustomResourceDefinition, self._definition_changed)
        self._sources: dict[Kind, tuple[Informer[Any], asyncio.Task[None] | None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        self._sources.clear()
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._resync(), name=f"{self.name} resync")
            await super().run()

    async def _resync(self) -> None:
        while True:
            await self.clock.sleep(RESYNC_SECONDS)
            self._recount_all()

    def _recount_all(self) -> None:
        for quota in self._quotas.list():
            self.queue.add(meta_key(quota))

    # What makes a count out of date

    def _quota_changed(self, old: ResourceQuota | None, new: ResourceQuota | None) -> None:
        if new is not None and (
            old is None
            or new.spec != old.spec
            or new.status.hard != new.spec.hard
            or any(name not in new.status.used and rules.kind_of(name) in self._sources for name in new.spec.hard)
        ):
            self.enqueue(old, new)
        elif old is not None and new is not None and new.status.used != old.status.used:
            self.queue.add_after(meta_key(new), RECOUNT_SECONDS)

    def _definition_changed(self, old: Any, new: Any) -> None:
        served = {(resource.group, resource.plural) for resource in self._resources()}
        for kind in self._sources.keys() - served:
            _, task = self._sources.pop(kind)
            if task is not None:
                task.cancel()
        self._recount_all()

    def _counted_changed(self, kind: Kind) -> Callable[[Any, Any], None]:
        def changed(old: Any, new: Any) -> None:
            namespace = (old if new is None else new).metadata.namespace
            for quota in self._quotas.list(namespace):
                if not rules.concerning(quota.spec.hard, kind):
                    continue
                if old is None:
                    self.queue.add_after(meta_key(quota), RECOUNT_SECONDS)
                elif new is None or _uses_otherwise(old, new):
                    self.queue.add(meta_key(quota))

        return changed

    # Counting

    async def reconcile(self, key: Key) -> None:
        quota = self._quotas.get(*key)
        for attempt in range(SETTLE_TRIES):
            if quota is None:
                return
            used = await self._count(quota)
            if attempt == SETTLE_TRIES - 1 or not _is_lower(used, quota.status.used):
                break
            await self.clock.sleep(SETTLE_SECONDS)
            counted_version = quota.metadata.resourceVersion
            quota = self._quotas.get(*key)
            if quota is not None and quota.metadata.resourceVersion == counted_version:
                used = await self._count(quota)
                break
        if quota is None or (quota.status.hard == quota.spec.hard and _same(quota.status.used, used)):
            return
        written = deep_copy(quota)
        written.status.hard, written.status.used = quota.spec.hard, used
        try:
            await self.client.update_status(written)
        except StatusError as error:
            if not is_missing(error):
                raise

    async def _count(self, quota: ResourceQuota) -> Usage:
        """What is used of each of the quota's resources that can be counted; of others, what was known."""
        hard, now = quota.spec.hard, self.clock.now()
        used: Usage = {name: amount for name, amount in quota.status.used.items() if name in hard}
        for kind in sorted({kind for name in hard if (kind := rules.kind_of(name)) is not None}):
            source = await self._source(kind)
            if source is None:
                continue
            names = rules.concerning(hard, kind)
            total: Usage = dict.fromkeys(names, rules.ZERO)
            for obj in source.list(quota.metadata.namespace):
                if rules.in_scopes(quota, obj):
                    uses = rules.usage(obj, kind, now)
                    total = rules.add(total, {name: uses[name] for name in names if name in uses})
            used |= total
        return used

    async def _source(self, kind: Kind) -> Informer[Any] | None:
        """The objects of a kind; None when it is not served."""
        if kind not in self._sources:
            resource = next((item for item in self._resources() if (item.group, item.plural) == kind), None)
            if resource is None or not resource.namespaced or not {"list", "watch"} <= set(resource.verbs):
                return None
            self._sources[kind] = self._watched_kind(kind, resource)
        informer, _ = self._sources[kind]
        await informer.wait_synced()
        return informer

    def _watched_kind(self, kind: Kind, resource: Resource) -> tuple[Informer[Any], asyncio.Task[None] | None]:
        measured = rules.MEASURED.get(kind)
        if measured is not None:
            informer: Informer[Any] = self.informers.informer(measured)
            informer.add_handler(self._counted_changed(kind))
            return informer, None
        informer = Informer(self.client, PartialObjectMetadata, resource=resource, keep=_name_only)
        informer.add_handler(self._counted_changed(kind))
        assert self._group is not None
        return informer, self._group.create_task(informer.run(), name=f"{self.name} {resource.group_resource}")


def _uses_otherwise(old: Any, new: Any) -> bool:
    """Whether a change may make an object use less, or come into a scope."""
    if isinstance(new, Pod):
        if is_terminal(new) != is_terminal(old) or new.metadata.generation != old.metadata.generation:
            return True
        before, after = ([(it.resources, it.allocatedResources) for it in all_statuses(pod)] for pod in (old, new))
        return before != after
    return not isinstance(new, PartialObjectMetadata) and (new.spec, new.status) != (old.spec, old.status)


def _is_lower(used: Usage, known: Usage) -> bool:
    return any(name in known and amount.compare(known[name]) < 0 for name, amount in used.items())


def _same(one: Usage, other: Usage) -> bool:
    return one.keys() == other.keys() and all(not amount.compare(other[name]) for name, amount in one.items())


def _name_only(obj: PartialObjectMetadata) -> PartialObjectMetadata:
    meta = obj.metadata
    obj.metadata = ObjectMeta(
        name=meta.name, namespace=meta.namespace, uid=meta.uid, resourceVersion=meta.resourceVersion
    )
    return obj
