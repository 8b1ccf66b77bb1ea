"""A cache together with what we wrote and the cache has not yet shown: why no controller acts twice on stale news.

A controller that has just created ten pods and reads its cache before their events arrive would create ten more.
Kubernetes waits for its expectations to be met; here the answers of our own writes are laid over the cache until the
informer has read past their revision, so a reconcile always sees its own writes and never has to wait.
"""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from wherry.client.informer import Informer
from wherry.client.workqueue import meta_key

T = TypeVar("T")
Key = tuple[str, str]
_UNSEEN_DELETION = "9999-12-31T23:59:59Z"
"""Stands for the deletionTimestamp the cache has yet to show."""


class Overlay(Generic[T]):
    """Own writes by the group (the reconciled key) on whose behalf they were made."""

    def __init__(self, informer: Informer[T]) -> None:
        self._informer = informer
        self._written: dict[Key, dict[Key, T]] = {}
        self._deleted: dict[Key, set[str]] = {}

    def wrote(self, group: Key, obj: T) -> None:
        """`obj` is the answer to a create, update or patch."""
        if self._informer.resource_version < _version(obj):
            self._written.setdefault(group, {})[meta_key(obj)] = obj

    def deleted(self, group: Key, obj: Any) -> None:
        """A delete of `obj` was accepted."""
        self._deleted.setdefault(group, set()).add(obj.metadata.uid or "")

    def forget(self, group: Key) -> None:
        """The group is gone."""
        self._written.pop(group, None)
        self._deleted.pop(group, None)

    def view(self, group: Key, cached: Iterable[T]) -> list[T]:
        """The group's objects with our writes over them; what we deleted shows as terminating."""
        objects = {meta_key(obj): obj for obj in cached}
        for key, obj in list(self._written.get(group, {}).items()):
            if self._informer.resource_version >= _version(obj):
                del self._written[group][key]
            elif key not in objects or _version(objects[key]) < _version(obj):
                objects[key] = obj
        self._mark_deleted(group, objects)
        return list(objects.values())

    def latest(self, cached: T) -> T:
        """One object that is its own group: as cached, or as we wrote it since."""
        key = meta_key(cached)
        written = self._written.get(key, {}).get(key)
        if written is None:
            return cached
        if self._informer.resource_version < _version(written) and _version(cached) < _version(written):
            return written
        del self._written[key]
        return cached

    def _mark_deleted(self, group: Key, objects: dict[Key, T]) -> None:
        pending = self._deleted.get(group)
        if not pending:
            return
        unseen = set()
        for key, obj in objects.items():
            metadata = obj.metadata  # type: ignore[attr-defined]
            if metadata.uid in pending and metadata.deletionTimestamp is None:
                unseen.add(metadata.uid)
                metadata = msgspec.structs.replace(metadata, deletionTimestamp=_UNSEEN_DELETION)
                objects[key] = msgspec.structs.replace(obj, metadata=metadata)  # type: ignore[type-var]
        self._deleted[group] = unseen


def _version(obj: Any) -> int:
    return int(obj.metadata.resourceVersion or 0)
