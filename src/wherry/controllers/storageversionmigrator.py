"""Writes every object of a resource anew, as a StorageVersionMigration asks: in today's version, under today's key.

A write that changes nothing is a write all the same where the stored value is not as it would be stored now (an older
version of a custom resource, an older key of encryption at rest); the server knows which those are. Source of the
behaviour: kubernetes pkg/controller/storageversionmigrator.
"""

from collections.abc import Callable, Sequence

from wherry.aio.clock import Clock
from wherry.api.meta_v1 import Condition
from wherry.api.storagemigration_v1beta1 import StorageVersionMigration
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.meta.errors import StatusError
from wherry.meta.object import PartialObjectMetadata
from wherry.meta.resource import Resource
from wherry.meta.time import format_time
from wherry.meta.wire import deep_copy
from wherry.rules import conditions

PAGE_OBJECTS = 500
_REASONS = {
    "Running": "StorageVersionMigrationInProgress",
    "Succeeded": "StorageVersionMigrationSucceeded",
    "Failed": "StorageVersionMigrationFailed",
}
_TOO_MANY_REQUESTS = 429


class StorageVersionMigrator(Controller):
    """One migration at a time for each worker. `resources` lists what is served now, custom resources included."""

    name = "storage-version-migrator-controller"
    workers = 5

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, resources: Callable[[], Sequence[Resource]]
    ) -> None:
        super().__init__(client, informers, clock)
        self._resources = resources
        self._migrations = self.watch(StorageVersionMigration, self.enqueue)

    async def reconcile(self, key: Key) -> None:
        found = self._migrations.get(*key)
        if found is None or any(conditions.is_true(found.status.conditions, kind) for kind in ("Succeeded", "Failed")):
            return
        migration = deep_copy(found)
        resource = self._resource(migration)
        if resource is None:
            await self._set(migration, "Failed", "resource does not exist in discovery")
        elif not migration.status.resourceVersion:
            page = await self.client.list(PartialObjectMetadata, limit=1, resource=resource)
            migration.status.resourceVersion = page.resource_version
            await self.client.update_status(migration)  # and the change comes back here
        else:
            await self._migrate(migration, resource)

    def _resource(self, migration: StorageVersionMigration) -> Resource | None:
        wanted = migration.spec.resource
        return next(
            (
                item
                for item in self._resources()
                if (item.group, item.plural) == (wanted.group, wanted.resource) and {"list", "patch"} <= {*item.verbs}
            ),
            None,
        )

    async def _migrate(self, migration: StorageVersionMigration, resource: Resource) -> None:
        if not conditions.is_true(migration.status.conditions, "Running"):
            migration = await self._set(migration, "Running")
        after = ""
        while True:
            page = await self.client.list(PartialObjectMetadata, limit=PAGE_OBJECTS, continue_=after, resource=resource)
            for item in page.items:
                try:
                    await self._rewrite(item, resource)
                except StatusError as error:
                    if error.code == _TOO_MANY_REQUESTS:
                        raise
                    await self._set(migration, "Failed", "migration encountered unhandled error")
                    return
            after = page.continue_
            if not after:
                break
        await self._set(migration, "Succeeded")

    async def _rewrite(self, item: PartialObjectMetadata, resource: Resource) -> None:
        meta = item.metadata
        patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resourceVersion}}
        try:
            await self.client.patch(
                PartialObjectMetadata,
                meta.name or "",
                meta.namespace,
                patch,
                field_manager=self.name,
                resource=resource,
            )
        except StatusError as error:  # whoever was faster wrote it anew, or took it away
            if error.reason != "Conflict" and not is_missing(error):
                raise

    async def _set(self, migration: StorageVersionMigration, kind: str, message: str = "") -> StorageVersionMigration:
        now, listed = format_time(self.clock.now()), migration.status.conditions
        running = conditions.find(listed, "Running")
        if kind != "Running" and running is not None:
            running.status, running.lastTransitionTime = "False", now
        made = Condition(type=kind, status="True", reason=_REASONS[kind], message=message, lastTransitionTime=now)
        conditions.put(listed, made)
        return await self.client.update_status(migration)
