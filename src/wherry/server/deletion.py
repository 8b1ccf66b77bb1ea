"""Deleting: at once, gracefully, or marked until finalizers are done.

A deletion is one of: a write that starts (or shortens) a grace period, a write that marks the object because finalizers
hold it, or the removal itself. Propagation policies are finalizers that the garbage collector acts on. `plan_deletion`
decides, `Deleter` performs.

Source: k8s.io/apiserver, registry/rest/delete.go and registry/generic/registry/store.go.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from wherry.api.meta_v1 import DeleteOptions
from wherry.meta.errors import OBJECT_MODIFIED, StatusError, conflict
from wherry.meta.time import format_time, parse_time
from wherry.server.registry import Served
from wherry.server.strategies.strategy import Strategy
from wherry.server.watchcache import Entry
from wherry.server.writer import WRITE_ATTEMPTS, Write, Writer, missing

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
Step = Literal["remove", "mark", "wait"]


@dataclass(slots=True)
class Deleted:
    """What became of it: the object's bytes (stored version), and whether it is gone."""

    data: bytes
    obj: Any
    gone: bool


class Deleter:
    """Deletes objects of every kind. One per server."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def delete(self, served: Served, options: DeleteOptions, write: Write) -> Deleted:
        """Delete the object that `write` names. Raises StatusError, 404 included."""
        writer = self._writer
        for _ in range(WRITE_ATTEMPTS):
            entry = served.cache.get(write.namespace, write.name)
            if entry is None:
                raise missing(served, write.name, write.namespace)
            obj = served.stored_codec.decode(entry.data)
            check_preconditions(served, obj, options)
            if not write.admitted:
                await writer.validate(await writer.admit("DELETE", served, write, write.name, None, obj))
            step = plan_deletion(obj, options, served.strategy, writer.clock.now())
            done = await self._perform(step, served, entry, obj, write)
            if done is not None:
                return done
        raise conflict(served.resource.group_resource, write.name, OBJECT_MODIFIED)

    async def _perform(self, step: Step, served: Served, entry: Entry, obj: Any, write: Write) -> Deleted | None:
        if step == "wait":
            return Deleted(entry.data, obj, gone=False)
        if write.ctx.dry_run:
            data = served.stored_codec.encode(obj)
            return Deleted(served.stored_codec.splice(data, entry.revision), obj, gone=step == "remove")
        if step == "mark":
            swap, data = await self._writer.replace(served, entry, obj)
        else:
            swap = await self._writer.remove(served, entry)
            data = entry.data
        if swap.succeeded:
            return Deleted(data, obj, gone=step == "remove")
        await self._writer.catch_up(swap)
        return None


def plan_deletion(obj: Any, options: DeleteOptions, strategy: Strategy, now: datetime) -> Step:
    """What a delete request does; changes `obj` where the answer is "mark"."""
    meta = obj.metadata
    if obj.kind == "Namespace" and obj.apiVersion == "v1" and (obj.spec.finalizers or not meta.deletionTimestamp):
        return _plan_namespace(obj, options, now)
    graceful = False
    if meta.deletionTimestamp:
        current = meta.deletionGracePeriodSeconds
        if current is not None and (meta.finalizers or current):
            requested = options.gracePeriodSeconds
            if requested is None or requested >= current:
                return "wait" if current or not _changes_finalizers(meta, options) else _mark_finalizers(obj, options)
            start = parse_time(meta.deletionTimestamp) - timedelta(seconds=current)
            _mark(meta, start, max(0, requested), bump=False)
            graceful = requested > 0
    else:
        seconds = strategy.grace_period_seconds(obj, options.gracePeriodSeconds)
        if seconds > 0:
            _mark(meta, now, seconds)
            graceful = True
    _set_finalizers(meta, options)
    if meta.finalizers and not meta.deletionTimestamp:
        _mark(meta, now, 0)
    return "mark" if graceful or meta.finalizers else "remove"


def _plan_namespace(obj: Any, options: DeleteOptions, now: datetime) -> Step:
    """A namespace ends when its content has: the namespace controller empties it, then its finalizers."""
    if obj.metadata.deletionTimestamp:
        return "wait"
    _mark(obj.metadata, now, None)
    _set_finalizers(obj.metadata, options)
    obj.status.phase = "Terminating"
    return "mark"


def _mark(meta: Any, start: datetime, seconds: int | None, *, bump: bool = True) -> None:
    meta.deletionTimestamp = format_time(start + timedelta(seconds=seconds or 0))
    meta.deletionGracePeriodSeconds = seconds
    if bump and meta.generation:
        meta.generation += 1


def _mark_finalizers(obj: Any, options: DeleteOptions) -> Step:
    _set_finalizers(obj.metadata, options)
    return "mark"


def _wanted_finalizers(meta: Any, options: DeleteOptions) -> list[str]:
    orphan, foreground = ORPHAN in meta.finalizers, FOREGROUND in meta.finalizers
    if options.propagationPolicy:
        orphan, foreground = options.propagationPolicy == "Orphan", options.propagationPolicy == "Foreground"
    elif options.orphanDependents is not None:
        orphan, foreground = options.orphanDependents, False
    kept = [item for item in meta.finalizers if item not in (ORPHAN, FOREGROUND)]
    return kept + ([ORPHAN] if orphan else []) + ([FOREGROUND] if foreground else [])


def _changes_finalizers(meta: Any, options: DeleteOptions) -> bool:
    return set(_wanted_finalizers(meta, options)) != set(meta.finalizers)


def _set_finalizers(meta: Any, options: DeleteOptions) -> None:
    if _changes_finalizers(meta, options):
        meta.finalizers = _wanted_finalizers(meta, options)


def check_preconditions(served: Served, obj: Any, options: DeleteOptions) -> None:
    """Raise 409 when the object is not the one that the client means."""
    wanted = options.preconditions
    if wanted is None:
        return
    meta = obj.metadata
    if wanted.uid and wanted.uid != meta.uid:
        raise _stale(
            served,
            meta.name,
            f"the UID in the precondition ({wanted.uid}) does not match the UID in record ({meta.uid}). "
            "The object might have been deleted and then recreated",
        )
    if wanted.resourceVersion and wanted.resourceVersion != meta.resourceVersion:
        raise _stale(
            served,
            meta.name,
            f"the ResourceVersion in the precondition ({wanted.resourceVersion}) does not match the ResourceVersion in "
            f"record ({meta.resourceVersion}). The object might have been modified",
        )


def _stale(served: Served, name: str, why: str) -> StatusError:
    return conflict(served.group_kind, name, why)
