"""What happens to an object on its way into the store: admission, the kind's strategy, one transaction.

The order is Kubernetes': mutating admission, system fields, the strategy's preparation, allocation, validation,
validating admission, then the write, which depends on the revision that all this was decided on. Encoding happens once;
the bytes written are the bytes replied. Deletion is in deletion.py, ownership of fields in ownership.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.meta.errors import (
    OBJECT_MODIFIED,
    FieldError,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    generate_name_conflict,
    internal_error,
    invalid,
    invalid_value,
    not_found,
    service_unavailable,
)
from wherry.meta.time import format_time
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.caches import Caches, ObjectStore
from wherry.server.http import UserInfo
from wherry.server.ownership import Ownership
from wherry.server.registry import Served
from wherry.server.strategies.metadata import AFTER_ADMISSION, drop_repeated_owners
from wherry.server.strategies.strategy import NOTHING, RequestContext
from wherry.server.watchcache import NO_FACTS, Entry
from wherry.store.errors import StoreUnavailableError
from wherry.store.protocol import SwapResult

GENERATED_SUFFIX_LENGTH = 5
GENERATED_BASE_MAX = 63 - GENERATED_SUFFIX_LENGTH
GENERATE_ATTEMPTS = 8
WRITE_ATTEMPTS = 200
"""How often a change is tried against newer and newer objects. Only a change that names a resourceVersion may conflict:
kube-apiserver tries others until its time is over, and of many writers of one object one gets through each time."""

Concerned = dict[tuple[Operation, str, str], list[AdmissionPlugin]]
"""Plugins by operation, group and plural."""

Kind = tuple[str, str, str] | None

_STATUS = frozenset({"status", "approval"})

Change = Callable[[Any, Entry], Any]
"""Makes the new object (stored version) from a decoded copy of the current one and its entry."""


@dataclass(slots=True)
class Write:
    """One write request, apart from the object."""

    ctx: RequestContext
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    admitted: bool = False
    """Admission has seen this write already, as what came through a subresource (a Binding, an Eviction)."""
    operation: str = "Update"
    """Apply or Update, for managedFields."""


@dataclass(slots=True)
class Written:
    """What became of it: bytes of the stored version with resourceVersion; `created` answers 201."""

    data: bytes
    created: bool = False
    deleted: bool = False


class Writer:
    """Creates and updates objects of every kind. One per server."""

    def __init__(
        self, store: ObjectStore, caches: Caches, clock: Clock, entropy: Entropy, ownership: Ownership
    ) -> None:
        self.store = store
        self.caches = caches
        self.clock = clock
        self.entropy = entropy
        self.ownership = ownership
        self._plugins: Sequence[AdmissionPlugin] = ()
        self._mutating: Concerned = {}
        self._validating: Concerned = {}

    def use_plugins(self, plugins: Sequence[AdmissionPlugin]) -> None:
        """The admission chain, in order."""
        self._plugins = tuple(plugins)
        self.plugins_changed()

    def plugins_changed(self) -> None:
        """What plugins are concerned with has changed."""
        self._mutating.clear()
        self._validating.clear()

    def _concerned(self, table: Concerned, attributes: Attributes, method: str) -> list[AdmissionPlugin]:
        """The plugins that do something in `method` for this operation on this kind; worked out once for each."""
        resource = attributes.resource
        key = (attributes.operation, resource.group, resource.plural)
        found = table.get(key)
        if found is None:
            found = table[key] = [
                plugin
                for plugin in self._plugins
                if plugin.concerns(attributes.operation, resource)
                and getattr(type(plugin), method) is not getattr(AdmissionPlugin, method)
            ]
        return found

    def context(self, user: UserInfo, dry_run: bool = False, field_manager: str = "") -> RequestContext:
        """The means that strategies and plugins are given."""
        return RequestContext(user, self.clock, self.entropy, self.caches, dry_run, field_manager)

    def now(self) -> str:
        """The wall clock on the wire."""
        return format_time(self.clock.now())

    # Create

    async def create(self, served: Served, obj: Any, write: Write) -> Written:
        """Store a new object (stored version, defaults filled in). Raises StatusError."""
        meta = obj.metadata
        if meta.resourceVersion:
            raise bad_request("resourceVersion should not be set on objects to be created")
        attributes = await self.admit("CREATE", served, write, meta.name or "", obj, None)
        obj = attributes.object
        meta = obj.metadata
        if len(meta.ownerReferences) > 1:
            drop_repeated_owners(meta, write.ctx.warnings, AFTER_ADMISSION)
        self._stamp(served, meta, write)
        generate = meta.generateName if meta.generateName and not meta.name else None
        for _ in range(GENERATE_ATTEMPTS if generate else 1):
            if generate:
                meta.name = generate[:GENERATED_BASE_MAX] + self.entropy.suffix(GENERATED_SUFFIX_LENGTH)
            written = await self._create_once(served, obj, write, attributes)
            if written is not None:
                return written
        error = generate_name_conflict if generate else already_exists
        raise error(served.resource.group_resource, meta.name)

    def _stamp(self, served: Served, meta: Any, write: Write) -> None:
        meta.uid = self.entropy.uid()
        meta.creationTimestamp = self.now()
        meta.deletionTimestamp = meta.deletionGracePeriodSeconds = meta.selfLink = None
        meta.generation = None
        if served.resource.namespaced:
            meta.namespace = meta.namespace or write.namespace

    async def _create_once(self, served: Served, obj: Any, write: Write, attributes: Attributes) -> Written | None:
        strategy, ctx, meta = served.strategy, write.ctx, obj.metadata
        strategy.prepare_for_create(obj, ctx)
        allocation = await strategy.allocate(obj, None, ctx) if served.allocates else NOTHING
        try:
            check(served, meta.name, strategy.validate(obj))
            ctx.warnings += strategy.warnings(obj, None)
            await self.validate(attributes)
            key = served.key(meta.namespace, meta.name)
            if ctx.dry_run:
                if served.cache.get(meta.namespace, meta.name) is not None:
                    raise already_exists(served.resource.group_resource, meta.name)
                await allocation.undo()
                return Written(served.stored_codec.encode(obj), created=True)
            if served.allocates and served.cache.get(meta.namespace, meta.name) is None:
                await allocation.claim()
            self.ownership.created(served, obj, write)
            data = served.stored_codec.encode(obj)
            swap = await self._put(served, key, data, obj, 0)
        except Exception:  # not when cancelled: the write may be on its way, and its addresses with it
            await allocation.undo()
            raise
        if not swap.succeeded:
            await allocation.undo()
            return None
        return Written(await self._stored(served, obj, data, swap.revision), created=True)

    # Update

    async def update(self, served: Served, change: Change, write: Write) -> Written:
        """Change the object that `write` names, again if it changed meanwhile. Raises StatusError, 404 included."""
        for _ in range(WRITE_ATTEMPTS):
            entry = served.cache.get(write.namespace, write.name)
            if entry is None:
                raise missing(served, write.name, write.namespace)
            old = served.stored_codec.decode(entry.data)
            new = change(served.stored_codec.decode(entry.data), entry)
            written = await self._update_once(served, entry, old, new, write)
            if written is not None:
                return written
        raise conflict(served.resource.group_resource, write.name, OBJECT_MODIFIED)

    async def _update_once(self, served: Served, entry: Entry, old: Any, new: Any, write: Write) -> Written | None:
        strategy, ctx = served.strategy, write.ctx
        if write.subresource:
            strategy = strategy.part(write.subresource)
        self._carry_over(served, new, old, entry, write)
        attributes = None
        if not write.admitted:
            attributes = await self.admit("UPDATE", served, write, write.name, new, old)
            new = attributes.object
            if len(new.metadata.ownerReferences) > 1:
                drop_repeated_owners(new.metadata, ctx.warnings, AFTER_ADMISSION)
        allocation = NOTHING
        only_status = write.subresource in _STATUS
        if only_status:
            strategy.prepare_for_status_update(new, old, ctx)
        elif write.subresource not in ("binding", "finalize"):
            strategy.prepare_for_update(new, old, ctx)
            if served.allocates:
                allocation = await strategy.allocate(new, old, ctx)
        try:
            if only_status:
                check(served, write.name, strategy.validate_status_update(new, old))
            elif write.subresource not in ("binding", "finalize"):
                check(served, write.name, strategy.validate_update(new, old))
                ctx.warnings += strategy.warnings(new, old)
            if attributes is not None:
                await self.validate(attributes)
            if served.allocates and not ctx.dry_run:
                await allocation.claim()
            self.ownership.updated(served, new, old, entry, write)
            data = served.stored_codec.encode(new)
            key = served.key(write.namespace, write.name)
            if served.stored_codec.same(entry.data, entry.revision, data) and key not in self.caches.stale:
                await allocation.undo()
                return Written(entry.data)
            if ctx.dry_run:
                await allocation.undo()
                return Written(served.stored_codec.splice(data, entry.revision))
            if deletable(new, old):
                await allocation.undo()
                return await self._finish_deletion(served, entry, new, write)
            swap = await self._put(served, key, data, new, entry.revision)
        except Exception:  # not when cancelled: the write may be on its way, and its addresses with it
            await allocation.undo()
            raise
        if not swap.succeeded:
            await allocation.undo()
            await self.catch_up(swap)
            return None
        if served.allocates:
            await allocation.done()
        return Written(await self._stored(served, new, data, swap.revision))

    def _carry_over(self, served: Served, new: Any, old: Any, entry: Entry, write: Write) -> None:
        """What no update changes, and the preconditions that it may name."""
        meta, before = new.metadata, old.metadata
        if meta.uid and meta.uid != before.uid:
            why = f"Precondition failed: UID in precondition: {meta.uid}, UID in object meta: {before.uid}"
            raise conflict(served.resource.group_resource, write.name, why)
        if not meta.resourceVersion and not served.strategy.allow_unconditional_update and write.operation == "Update":
            fault = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(served.group_kind, write.name, [fault])
        if meta.resourceVersion and meta.resourceVersion not in ("0", str(entry.revision)):
            raise conflict(served.resource.group_resource, write.name, OBJECT_MODIFIED)
        meta.name, meta.uid = before.name, before.uid
        meta.namespace = before.namespace
        meta.creationTimestamp, meta.selfLink = before.creationTimestamp, before.selfLink
        meta.deletionTimestamp = before.deletionTimestamp
        meta.deletionGracePeriodSeconds = before.deletionGracePeriodSeconds
        meta.generation = before.generation

    async def _finish_deletion(self, served: Served, entry: Entry, new: Any, write: Write) -> Written | None:
        """The last finalizer went: the object goes with it."""
        swap = await self.remove(served, entry)
        if not swap.succeeded:
            await self.catch_up(swap)
            return None
        data = served.stored_codec.encode(new)
        return Written(served.stored_codec.splice(data, swap.revision), deleted=True)

    # The store

    async def remove(self, served: Served, entry: Entry) -> SwapResult:
        """Delete an object as it is now; on success it is gone from the caches, too."""
        try:
            swap = await self.store.delete_if(served.key(entry.namespace, entry.name), entry.revision)
        except StoreUnavailableError as error:
            raise service_unavailable(str(error)) from error
        if swap.succeeded:
            await self.caches.wait_for(swap.revision)
            if served.allocates:
                await served.strategy.released(served.stored_codec.decode(entry.data))
        return swap

    async def replace(self, served: Served, entry: Entry, obj: Any) -> tuple[SwapResult, bytes]:
        """Write an object over what `entry` holds, with no more ado (deletion marks)."""
        data = served.stored_codec.encode(obj)
        swap = await self._put(served, served.key(entry.namespace, entry.name), data, obj, entry.revision)
        if swap.succeeded:
            data = await self._stored(served, obj, data, swap.revision)
        return swap, data

    async def catch_up(self, swap: SwapResult) -> None:
        """The write was refused because the object is newer: see it in the cache before trying again."""
        await self.caches.wait_for(swap.current.mod_revision if swap.current is not None else swap.revision)

    async def _put(self, served: Served, key: bytes, data: bytes, obj: Any, revision: int) -> SwapResult:
        facts = served.strategy.fields(obj) if served.stored.selectable_fields else NO_FACTS
        self.caches.expect(key, data, obj.metadata.labels, facts)
        try:
            swap = await self.store.put_if(key, data, revision)
        except StoreUnavailableError as error:
            self.caches.forget_expected(key)
            raise service_unavailable(str(error)) from error
        if not swap.succeeded:
            self.caches.forget_expected(key)
        elif self.caches.stale:
            self.caches.stale.discard(key)
        return swap

    async def _stored(self, served: Served, obj: Any, data: bytes, revision: int) -> bytes:
        await self.caches.wait_for(revision)
        entry = served.cache.get(obj.metadata.namespace, obj.metadata.name)
        if entry is not None and entry.revision == revision:
            return entry.data
        return served.stored_codec.splice(data, revision)

    # Admission

    async def admit(
        self, operation: Operation, served: Served, write: Write, name: str, obj: Any, old: Any, kind: Kind = None
    ) -> Attributes:
        """Ask the mutating plugins; their answer is in the attributes' object. `kind`: see Attributes."""
        attributes = Attributes(
            operation=operation,
            resource=served.stored,
            requested=served.resource,
            subresource=write.subresource,
            namespace=write.namespace,
            name=name,
            object=obj,
            old_object=old,
            user=write.ctx.user,
            dry_run=write.ctx.dry_run,
            options=write.options,
            ctx=write.ctx,
            warnings=write.ctx.warnings,
            kind=kind,
        )
        plugins = self._concerned(self._mutating, attributes, "admit")
        for plugin in plugins:
            await plugin.admit(attributes)
        if attributes.again:
            attributes.round = 1
            for plugin in plugins:
                await plugin.admit(attributes)
        return attributes

    async def validate(self, attributes: Attributes) -> None:
        """Ask the validating plugins."""
        for plugin in self._concerned(self._validating, attributes, "validate"):
            await plugin.validate(attributes)


def check(served: Served, name: str, errors: list[FieldError]) -> None:
    """Raise 422 when there are faults."""
    if errors:
        raise invalid(served.group_kind, name or "", errors)


def deletable(new: Any, old: Any) -> bool:
    """Whether nothing holds a terminating object back any more."""
    if new.metadata.finalizers or not old.metadata.deletionTimestamp or old.metadata.deletionGracePeriodSeconds:
        return False
    return new.kind != "Namespace" or not new.spec.finalizers


def missing(served: Served, name: str, namespace: str = "") -> StatusError:
    """404 of an object; 500 when it is there and cannot be read."""
    unreadable = served.cache.unreadable
    if unreadable:
        why = unreadable.get(f"{namespace}/{name}" if served.resource.namespaced else name)
        if why is not None:
            return internal_error(why)
    return not_found(served.resource.group_resource, name)
