"""Follows CustomResourceDefinitions: names and conditions, serving, and the end of a definition with all its objects.

One worker reconciles definitions by name. A definition whose names are free is established at once and served in every
version; when it is deleted its objects are deleted first, while they are still served, so that their finalizers can be
worked off. `start` serves what was established before the server started.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wherry.api.apiextensions_v1 import (
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
)
from wherry.api.meta_v1 import DeleteOptions
from wherry.api.registry import resource_for
from wherry.client.workqueue import WorkQueue
from wherry.meta import wire
from wherry.meta.errors import StatusError
from wherry.meta.resource import Resource, Subresource
from wherry.server.caches import Caches
from wherry.server.callouts.client import Callouts
from wherry.server.customresources.naming import condition_true, plan_status, set_condition
from wherry.server.customresources.storing import CustomCodec, conversion, renew
from wherry.server.customresources.strategy import CustomStrategy
from wherry.server.customresources.version import Json, Version
from wherry.server.customresources.webhook import WebhookConversion, bring_up
from wherry.server.deletion import Deleter
from wherry.server.http import UserInfo
from wherry.server.registry import Registry, Served
from wherry.server.strategies.customresourcedefinition import CLEANUP
from wherry.server.watchcache import Entry, WatchCache
from wherry.server.writer import Write, Writer
from wherry.store.protocol import prefix_end

_log = logging.getLogger(__name__)
_SELF = UserInfo("system:apiserver", groups=["system:masters"])
_MANAGER = "kube-apiserver"
RETRY_SECONDS_MAX = 30.0


@dataclass(slots=True)
class Live:
    """A definition as it is served now."""

    made_from: tuple[bytes, bool]
    """Spec and accepted names, and whether the definition is terminating: while these stay, so does this."""
    stored: Resource
    cache: WatchCache
    versions: dict[str, Version]
    resources: list[Resource]


@dataclass(frozen=True, slots=True)
class _Named:
    """What other definitions have to know of one."""

    group: str
    accepted: CustomResourceDefinitionNames
    has_names: bool


class CustomResources:
    """All custom kinds of one server."""

    def __init__(self, registry: Registry, caches: Caches, writer: Writer, deleter: Deleter) -> None:
        self.callouts: Callouts | None = None
        """For conversion webhooks; the composition root sets it."""
        self._registry = registry
        self._caches = caches
        self._writer = writer
        self._deleter = deleter
        self._queue: WorkQueue[str] = WorkQueue(max_delay_seconds=RETRY_SECONDS_MAX)
        self._live: dict[str, Live] = {}
        self._named: dict[str, _Named] = {}
        self._worker: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._settled.set()

    async def start(self) -> None:
        """Serve what is established, then follow definitions until `close`. The caches must have started."""
        for definition in self._caches.peek_all(CustomResourceDefinition):
            if condition_true(definition, "Established"):
                await self._serve(definition)
        self._caches.on_change(CustomResourceDefinition, self._changed, shared=True)
        self._worker = asyncio.get_running_loop().create_task(self._work(), name="custom resources")

    async def close(self) -> None:
        """Stop following."""
        self._queue.shutdown()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def settled(self) -> None:
        """Return once every definition is served as it is now, those that failed and wait apart."""
        await self._settled.wait()

    def openapi_schema(self, resource: Resource) -> Json | None:
        """The schema of a served custom kind, for the OpenAPI documents."""
        live = self._live.get(resource.group_resource)
        version = live.versions.get(resource.version) if live is not None else None
        return None if version is None else version.schema

    def _changed(self, old: CustomResourceDefinition | None, new: CustomResourceDefinition | None) -> None:
        either = new or old
        assert either is not None
        name = str(either.metadata.name)
        if new is None:
            self._named.pop(name, None)
        else:
            has_names = condition_true(new, "NamesAccepted")
            self._named[name] = _Named(new.spec.group, new.status.acceptedNames, has_names)
        self._settled.clear()
        self._queue.add(name)
        if new is None or (old is not None and old.status.acceptedNames != new.status.acceptedNames):
            for other, it in self._named.items():  # a name may have become free
                if it.group == either.spec.group and not it.has_names:
                    self._queue.add(other)

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                await self.reconcile(name)
                self._queue.forget(name)
            except StatusError as error:
                if error.code not in (404, 409):
                    _log.warning("custom resource definition %s: %s", name, error)
                self._queue.add_rate_limited(name)
            except Exception:  # noqa: BLE001 - one broken definition must not stop the others
                _log.exception("custom resource definition %s failed", name)
                self._queue.add_rate_limited(name)
            finally:
                self._queue.done(name)
                if not self._queue:
                    self._settled.set()
                    self._caches.forget_shared(CustomResourceDefinition)  # schemas weigh more decoded than as bytes

    async def reconcile(self, name: str) -> None:
        """Bring what is served, and the definition's status, in line with the definition."""
        definition = self._caches.peek(CustomResourceDefinition, None, name)
        if definition is None:
            self._stop(name)
            return
        if definition.metadata.deletionTimestamp is None:
            group = definition.spec.group
            taken = [it.accepted for other, it in self._named.items() if other != name and it.group == group]
            status = plan_status(definition, taken, self._writer.now())
            if status != definition.status:
                definition = await self._write(definition, lambda found: setattr(found, "status", status))
        if condition_true(definition, "Established"):
            await self._serve(definition)
        if definition.metadata.deletionTimestamp is not None and CLEANUP in definition.metadata.finalizers:
            await self._end(definition)

    async def _write(
        self, definition: CustomResourceDefinition, change: Callable[[CustomResourceDefinition], Any]
    ) -> CustomResourceDefinition:
        served = self._registry.of(resource_for(CustomResourceDefinition))

        def changed(found: CustomResourceDefinition, _: Entry) -> CustomResourceDefinition:
            found.metadata.resourceVersion = definition.metadata.resourceVersion  # only what this was decided on
            change(found)
            return found

        context = self._writer.context(_SELF, field_manager=_MANAGER)
        write = Write(context, "", str(definition.metadata.name), "status", {"fieldManager": _MANAGER})
        written = await self._writer.update(served, changed, write)
        entry = served.cache.get(None, write.name)
        if entry is not None and entry.data == written.data:
            return self._caches.peek(CustomResourceDefinition, None, write.name) or definition
        return wire.decode(CustomResourceDefinition, written.data)

    # Serving

    async def _serve(self, definition: CustomResourceDefinition) -> None:
        name = str(definition.metadata.name)
        terminating = definition.metadata.deletionTimestamp is not None
        made_from = (wire.encode([definition.spec, definition.status.acceptedNames]), terminating)
        before = self._live.get(name)
        if (before is not None and before.made_from == made_from) or self._is_built_in(definition):
            return
        versions = {item.name: Version(definition, item) for item in definition.spec.versions}
        records = {item.name: resource_of(definition, versions[item.name]) for item in definition.spec.versions}
        stored_name = next(item.name for item in definition.spec.versions if item.storage)
        stored = records[stored_name]
        strategies = {
            item: CustomStrategy(version, stored.namespaced, stored.group_resource, terminating)
            for item, version in versions.items()
        }
        webhook = None
        if definition.spec.conversion is not None and definition.spec.conversion.strategy == "Webhook":
            assert self.callouts is not None, "set before anything is served"
            webhook = WebhookConversion(definition, versions, self.callouts)
        cache = await self._cache(before, stored, strategies[stored_name], webhook)
        items = []
        for item in definition.spec.versions:
            if item.served:
                served = Served(records[item.name], stored, cache, strategies[item.name])
                served.custom = versions[item.name]
                if item.name != stored_name and webhook is not None:
                    served.strategy = strategies[stored_name]
                    served.convert = webhook.between(records[item.name], stored)
                elif item.name != stored_name:
                    served.convert = conversion(records[item.name], versions[item.name], stored, versions[stored_name])
                items.append(served)
        resources = [item.resource for item in items]
        gone = [item for item in before.resources if item.version not in versions] if before is not None else []
        gone += [records[item.name] for item in definition.spec.versions if not item.served]
        self._live[name] = Live(made_from, stored, cache, versions, resources)
        self._registry.put(items, gone)

    def _is_built_in(self, definition: CustomResourceDefinition) -> bool:
        """Built-in kinds cannot be replaced: their objects are stored under the same keys."""
        wanted = (definition.spec.group, definition.status.acceptedNames.plural)
        return any(
            (item.resource.group, item.resource.plural) == wanted
            for item in self._registry.served()
            if item.custom is None
        )

    async def _cache(
        self, before: Live | None, stored: Resource, strategy: CustomStrategy, webhook: WebhookConversion | None
    ) -> WatchCache:
        """The objects of a kind, loaded when it is new or stored in another version from now on."""
        if before is not None and before.stored.api_version == stored.api_version and before.stored.kind == stored.kind:
            cache = before.cache
            cache.codec = CustomCodec(stored)
            self._caches.follow(stored, strategy)
        else:
            if before is not None:
                self._caches.remove(before.stored)
            cache = self._caches.add(stored, strategy)
            cache.codec = CustomCodec(stored)
            await self._caches.fill(cache)
            if webhook is not None:
                await self._bring_up(cache, webhook)
        renew(cache, strategy)
        return cache

    async def _bring_up(self, cache: WatchCache, webhook: WebhookConversion) -> None:
        prefix = cache.codec.resource.storage_prefix.encode()
        found = await self._writer.store.range(prefix, prefix_end(prefix))
        try:
            await bring_up(cache, [(kv.key[len(prefix) :].decode(), kv.value) for kv in found.kvs], webhook)
        except StatusError as error:  # objects of older versions are shown as they are until they are written
            _log.warning("%s: %s", cache.codec.resource.group_resource, error)

    def _stop(self, name: str) -> None:
        live = self._live.pop(name, None)
        if live is not None:
            self._caches.remove(live.stored)
            self._registry.put([], live.resources)

    # The end of a definition

    async def _end(self, definition: CustomResourceDefinition) -> None:
        live = self._live.get(str(definition.metadata.name))
        if live is None and condition_true(definition, "Established"):
            reason, text = "OverlappingBuiltInResource", "instances overlap with built-in resources in storage"
            await self._finish(definition, reason, text)
            return
        if live is None:
            await self._finish(definition, "NeverEstablished", "resource was never established")
            return
        condition = _terminating("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        current = next((item for item in definition.status.conditions if item.type == "Terminating"), None)
        if current is None or current.reason != condition.reason:
            now = self._writer.now()
            definition = await self._write(definition, lambda found: set_condition(found.status, condition, now))
            name = str(definition.metadata.name)
            live.cache.listeners.append(lambda old, new: self._queue.add(name) if new is None else None)
        await self._delete_instances(live)
        if not live.cache.entries:
            await self._finish(definition, "InstanceDeletionCompleted", "removed all instances")

    async def _delete_instances(self, live: Live) -> None:
        cache, stored = live.cache, live.stored
        served = Served(stored, stored, cache, CustomStrategy(live.versions[stored.version], stored.namespaced, ""))
        for entry in list(cache.entries.values()):
            write = Write(self._writer.context(_SELF), entry.namespace, entry.name)
            try:
                await self._deleter.delete(served, DeleteOptions(), write)
            except StatusError as error:
                if error.code != 404:  # somebody else was faster
                    raise

    async def _finish(self, definition: CustomResourceDefinition, reason: str, message: str) -> None:
        now = self._writer.now()

        def finish(found: CustomResourceDefinition) -> None:
            set_condition(found.status, _terminating("False", reason, message), now)
            found.metadata.finalizers = [item for item in found.metadata.finalizers if item != CLEANUP]

        await self._write(definition, finish)


def _terminating(status: str, reason: str, message: str) -> CustomResourceDefinitionCondition:
    return CustomResourceDefinitionCondition(type="Terminating", status=status, reason=reason, message=message)


def resource_of(definition: CustomResourceDefinition, version: Version) -> Resource:
    """The record of one version."""
    names, spec = definition.status.acceptedNames, definition.spec
    subresources = [Subresource("status", names.kind)] if version.has_status else []
    if version.has_scale:
        subresources.append(Subresource("scale", "Scale", group="autoscaling", version="v1"))
    return Resource(
        group=spec.group,
        version=version.name,
        kind=names.kind,
        plural=names.plural,
        namespaced=spec.scope == "Namespaced",
        type=None,
        singular=names.singular or names.kind.lower(),
        short_names=tuple(names.shortNames),
        categories=tuple(names.categories),
        subresources=tuple(subresources),
        selectable_fields=version.indexed_fields,
        deprecated=version.warning,
    )
