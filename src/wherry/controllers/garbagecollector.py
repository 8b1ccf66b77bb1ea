"""Deletes what nobody owns any more, and sees foreground and orphaning deletions through.

Metadata of every deletable kind is watched into a graph (ownergraph.py). Nothing is deleted on the word of a cache:
before an object goes, the server is asked for it and for each of its owners, and uids must agree. Custom resources
join and leave as their definitions do.

Source of the behaviour: kubernetes pkg/controller/garbagecollector.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from sys import intern
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.apiextensions_v1 import CustomResourceDefinition
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.client.workqueue import WorkQueue, work
from wherry.controllers.controller import is_missing
from wherry.controllers.ownergraph import FOREGROUND, ORPHAN, Node, OwnerGraph, Work
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta, OwnerReference, PartialObjectMetadata
from wherry.meta.resource import Resource

log = logging.getLogger(__name__)

WORKERS = 20
IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})
_RESYNC_KEY = "resources"
ResourceKey = tuple[str, str]


class GarbageCollector:
    """`resources` lists what is served now; it is asked again whenever a CustomResourceDefinition changes."""

    name = "garbage-collector-controller"

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, resources: Callable[[], Sequence[Resource]]
    ) -> None:
        self._client = client
        self._clock = clock
        self._resources = resources
        self._graph = OwnerGraph()
        self._deletions: WorkQueue[str] = WorkQueue()
        self._orphanings: WorkQueue[str] = WorkQueue()
        self._resyncs: WorkQueue[str] = WorkQueue()
        self._monitors: dict[ResourceKey, tuple[Informer[PartialObjectMetadata], asyncio.Task[None]]] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._definitions = informers.informer(CustomResourceDefinition)
        self._definitions.add_handler(lambda old, new: self._resyncs.add(_RESYNC_KEY))

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            try:
                self._watch_resources(group)
                for informer, _ in list(self._monitors.values()):
                    await informer.wait_synced()
                queues = ((self._deletions, self._delete_if_unowned), (self._orphanings, self._orphan))
                for queue, reconcile in queues:
                    running = work(queue, reconcile, workers=WORKERS, name=self.name)
                    group.create_task(running, name=f"{self.name} {reconcile.__name__}")

                async def resync(_: str) -> None:
                    self._watch_resources(group)

                await work(self._resyncs, resync, name=f"{self.name} {_RESYNC_KEY}")
            finally:
                self._monitors.clear()

    # The graph --------------------------------------------------------------------------------------------------------

    def _watch_resources(self, group: asyncio.TaskGroup) -> None:
        """Watch what is newly served, and stop watching what is no longer."""
        wanted: dict[ResourceKey, Resource] = {}
        for resource in self._resources():
            key = (resource.group, resource.plural)
            self._by_kind[resource.api_version, resource.kind] = resource
            if {"delete", "list", "watch"} <= set(resource.verbs) and key not in IGNORED:
                wanted.setdefault(key, resource)
        for key in self._monitors.keys() - wanted.keys():
            informer, task = self._monitors.pop(key)
            task.cancel()
            for item in informer.list():
                self._removed(item.metadata.uid or "")
        for key, resource in wanted.items():
            if key not in self._monitors:
                informer = Informer(self._client, PartialObjectMetadata, resource=resource, keep=_ownership)
                informer.add_handler(self._handler(resource))
                task = group.create_task(informer.run(), name=f"{self.name} {resource.group_resource}")
                self._monitors[key] = (informer, task)

    def _handler(self, resource: Resource) -> Callable[[Any, Any], None]:
        def changed(old: PartialObjectMetadata | None, new: PartialObjectMetadata | None) -> None:
            if new is not None:
                self._enqueue(self._graph.observed(resource, new.metadata))
            elif old is not None:
                self._removed(old.metadata.uid or "")

        return changed

    def _removed(self, uid: str) -> None:
        self._enqueue(self._graph.removed(uid))

    def _enqueue(self, todo: Work) -> None:
        for uid in todo.delete:
            self._deletions.add(uid)
        for uid in todo.orphan:
            self._orphanings.add(uid)

    # Deleting ---------------------------------------------------------------------------------------------------------

    async def _delete_if_unowned(self, uid: str) -> None:
        node = self._graph.nodes.get(uid)
        if node is None or node.is_virtual:
            return
        live = await self._get(node.api_version, node.kind, node.namespace, node.name)
        if live is None or live.uid != uid:
            self._removed(uid)
            return
        if live.deletionTimestamp is not None:
            if FOREGROUND in live.finalizers:
                await self._finish_foreground(node, live)
            return
        if not live.ownerReferences:
            return
        solid, dangling, waiting = await self._classify(live)
        if solid:
            if dangling or waiting:
                await self._drop_owners(node, live, {item.uid for item in [*dangling, *waiting]})
            return
        if waiting and node.dependents:
            if any(item.waits_for_dependents for item in node.dependents.values()):
                # A circle, perhaps: nobody may wait for this one, or nobody would ever go.
                live = await self._unblock(node, live)
            policy = "Foreground"
        elif ORPHAN in live.finalizers:
            policy = "Orphan"
        else:
            policy = "Foreground" if FOREGROUND in live.finalizers else "Background"
        await self._delete(node, live, policy)

    async def _classify(
        self, live: ObjectMeta
    ) -> tuple[list[OwnerReference], list[OwnerReference], list[OwnerReference]]:
        """Owners that stay, that are gone, and that wait for their dependents to go."""
        solid: list[OwnerReference] = []
        dangling: list[OwnerReference] = []
        waiting: list[OwnerReference] = []
        for reference in live.ownerReferences:
            if not live.namespace and self._resource(reference.apiVersion, reference.kind).namespaced:
                solid.append(reference)  # a name without a namespace proves nothing: leave the object alone
                continue
            owner = await self._get(reference.apiVersion, reference.kind, live.namespace, reference.name)
            if owner is None or owner.uid != reference.uid:
                dangling.append(reference)
            elif owner.deletionTimestamp is not None and FOREGROUND in owner.finalizers:
                waiting.append(reference)
            else:
                solid.append(reference)
        return solid, dangling, waiting

    async def _finish_foreground(self, node: Node, live: ObjectMeta) -> None:
        blocking = node.blocking_dependents()
        if not blocking:
            await self._drop_finalizer(node, live, FOREGROUND)
            return
        for dependent in blocking:
            if not dependent.waits_for_dependents:
                self._deletions.add(dependent.uid)

    async def _orphan(self, uid: str) -> None:
        node = self._graph.nodes.get(uid)
        if node is None:
            return
        live = await self._get(node.api_version, node.kind, node.namespace, node.name)
        if live is None or live.uid != uid or ORPHAN not in live.finalizers:
            return
        for dependent in list(node.dependents.values()):
            metadata = await self._get(dependent.api_version, dependent.kind, dependent.namespace, dependent.name)
            if metadata is not None and metadata.uid == dependent.uid:
                await self._drop_owners(dependent, metadata, {uid})
        await self._drop_finalizer(node, live, ORPHAN)

    # Requests ---------------------------------------------------------------------------------------------------------

    def _resource(self, api_version: str, kind: str) -> Resource:
        found = self._by_kind.get((api_version, kind))
        if found is None:
            raise StatusError(404, "NoKindMatch", f'no matches for kind "{kind}" in version "{api_version}"')
        return found

    async def _get(self, api_version: str, kind: str, namespace: str | None, name: str) -> ObjectMeta | None:
        resource = self._resource(api_version, kind)
        try:
            return (await self._client.get(PartialObjectMetadata, name, namespace, resource=resource)).metadata
        except StatusError as error:
            if is_missing(error):
                return None
            raise

    async def _patch(self, node: Node, live: ObjectMeta, change: dict[str, Any]) -> ObjectMeta:
        resource = self._resource(node.api_version, node.kind)
        patch = {"metadata": {"uid": live.uid, "resourceVersion": live.resourceVersion, **change}}
        try:
            name, namespace = node.name, node.namespace
            patched = await self._client.patch(PartialObjectMetadata, name, namespace, patch, resource=resource)
        except StatusError as error:
            if is_missing(error):
                return live
            raise
        return patched.metadata

    async def _drop_owners(self, node: Node, live: ObjectMeta, uids: set[str]) -> None:
        staying = [item for item in live.ownerReferences if item.uid not in uids]
        if len(staying) != len(live.ownerReferences):
            await self._patch(node, live, {"ownerReferences": staying or None})

    async def _unblock(self, node: Node, live: ObjectMeta) -> ObjectMeta:
        references = [
            OwnerReference(
                apiVersion=item.apiVersion,
                kind=item.kind,
                name=item.name,
                uid=item.uid,
                controller=item.controller,
                blockOwnerDeletion=False,
            )
            for item in live.ownerReferences
        ]
        return await self._patch(node, live, {"ownerReferences": references})

    async def _drop_finalizer(self, node: Node, live: ObjectMeta, finalizer: str) -> None:
        staying = [item for item in live.finalizers if item != finalizer]
        if len(staying) != len(live.finalizers):
            await self._patch(node, live, {"finalizers": staying or None})

    async def _delete(self, node: Node, live: ObjectMeta, policy: str) -> None:
        try:
            await self._client.delete(
                PartialObjectMetadata,
                node.name,
                node.namespace,
                propagation_policy=policy,
                uid=live.uid,
                resource_version=live.resourceVersion,
                resource=self._resource(node.api_version, node.kind),
            )
        except StatusError as error:
            if not is_missing(error):
                raise


def _ownership(obj: PartialObjectMetadata) -> PartialObjectMetadata:
    """What the graph needs of an object: of every object of the cluster, so nothing else is kept."""
    meta = obj.metadata
    obj.apiVersion = obj.kind = ""
    obj.metadata = ObjectMeta(
        name=meta.name,
        namespace=intern(meta.namespace) if meta.namespace else None,
        uid=meta.uid,
        resourceVersion=meta.resourceVersion,
        ownerReferences=meta.ownerReferences or _NONE,
        finalizers=meta.finalizers or _NONE,
        deletionTimestamp=meta.deletionTimestamp,
        labels=_NOTHING,
        annotations=_NOTHING,
        managedFields=_NONE,
    )
    return obj


_NONE: list[Any] = []
_NOTHING: dict[str, str] = {}
"""Of all objects, which would else keep five empty ones each: a quarter of what the graph weighs. Never changed."""
