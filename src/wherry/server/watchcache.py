"""All objects of one kind as bytes, in key order, with the few facts that selection needs; and who watches them.

GET, LIST and WATCH answer from here by joining bytes. An `Entry` is what GET replies and what an event carries; an
`Event` is framed for the wire once and the frame is shared by every watcher. The cache is filled by one task that
follows the store (caches.py), so all that is here is durable. A watcher that does not read is cut off (410).
"""

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from sys import intern
from typing import Any

from wherry.meta import fields, labels
from wherry.meta.errors import StatusError, expired
from wherry.meta.wire import encode
from wherry.server.objects import Codec

HISTORY_EVENTS_MAX = 10_000
HISTORY_BYTES_MAX = 16 << 20
"""What a watch may resume from. Frames and superseded objects are the only memory it costs."""
WATCHER_EVENTS_MAX = 10_000
"""How far a watcher may fall behind. Its buffer holds references to shared frames."""
INDEXED_FIELDS = ("metadata.name", "spec.nodeName")
"""Watchers of exactly one value of these are found by it: a thousand kubelets watch their own pods each."""

NO_FACTS: dict[str, str] = {}
Bucket = tuple[str, str]
_ALL: Bucket = ("", "")


class Entry:
    """One object: its bytes with the resourceVersion in them, and what selectors ask for."""

    __slots__ = ("data", "decoded", "fields", "key", "labels", "namespace", "revision")

    def __init__(
        self,
        key: str,
        data: bytes,
        revision: int,
        object_labels: Mapping[str, str],
        object_fields: Mapping[str, str],
    ) -> None:
        self.key = key
        """namespace/name, or name."""
        self.namespace = intern(key[: key.rfind("/") + 1][:-1])
        self.data = data
        self.revision = revision
        self.labels = object_labels
        self.fields = object_fields
        self.decoded: Any = None
        """The object, once somebody peeked (caches.py)."""

    @property
    def name(self) -> str:
        """Cut out of the key when asked for, for there are many entries."""
        return self.key[self.key.rfind("/") + 1 :]

    def facts(self) -> dict[str, str]:
        """All selectable fields."""
        return {**self.fields, "metadata.name": self.name, "metadata.namespace": self.namespace}

    def field(self, name: str) -> str | None:
        """One selectable field."""
        return self.name if name == "metadata.name" else self.fields.get(name)


class Selection:
    """What a LIST or WATCH is restricted to."""

    __slots__ = ("everything", "field_selector", "label_selector", "namespace")

    def __init__(
        self,
        namespace: str = "",
        label_selector: labels.Selector = labels.EVERYTHING,
        field_selector: fields.FieldSelector = fields.EVERYTHING,
    ) -> None:
        self.namespace = namespace
        self.label_selector = label_selector
        self.field_selector = field_selector
        self.everything = label_selector.empty and field_selector.empty
        """Nothing but the namespace restricts."""

    def matches(self, entry: Entry) -> bool:
        """Whether labels and fields are as wanted; the namespace is not looked at."""
        return self.label_selector.matches(entry.labels) and (
            self.field_selector.empty or self.field_selector.matches(entry.facts())
        )

    def bucket(self) -> Bucket:
        """Where a watcher of this is filed."""
        for name in INDEXED_FIELDS:
            value = self.field_selector.exact(name)
            if value is not None:
                return name, value
        return ("namespace", self.namespace) if self.namespace else _ALL


class Event:
    """One change. `entry` is the new state, for deletions the last one with the deletion's resourceVersion."""

    __slots__ = ("_frame", "entry", "previous", "revision", "type")

    def __init__(self, kind: str, entry: Entry, previous: Entry | None, revision: int) -> None:
        self.type = kind
        self.entry = entry
        self.previous = previous
        self.revision = revision
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The event as every watcher without transitions is sent it."""
        if self._frame is None:
            self._frame = frame(self.type, self.entry.data)
        return self._frame


def frame(kind: str, data: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), data)


def error_frame(error: StatusError) -> bytes:
    """The last line of a watch that failed."""
    return frame("ERROR", encode(error.status()))


def too_old(revision: int, oldest: int) -> StatusError:
    """410 of a watch or list from before what is kept."""
    return expired(f"too old resource version: {revision} ({oldest})")


class Watcher:
    """One watch: a bounded buffer of (type, entry, event) that the stream empties; see handlers/watch.py."""

    __slots__ = (
        "_cache",
        "_waiter",
        "bucket",
        "closed",
        "items",
        "overflowed",
        "selection",
        "since",
        "wants_bookmarks",
    )

    def __init__(self, cache: "WatchCache", selection: Selection, since: int, wants_bookmarks: bool) -> None:
        self._cache = cache
        self.selection = selection
        self.bucket = selection.bucket()
        self.since = since
        """Events up to this revision are not sent."""
        self.wants_bookmarks = wants_bookmarks
        self.items: deque[tuple[str, Entry, Event | None]] = deque()
        self.overflowed = False
        self.closed = False
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, event: Event) -> None:
        """Take an event if it concerns this watch, as what it is to somebody who sees only the selection."""
        if event.revision <= self.since:
            return
        entry, selection = event.entry, self.selection
        if selection.namespace and entry.namespace != selection.namespace:
            return
        if selection.everything:
            self._put((event.type, entry, event))
            return
        matched = event.previous is not None and selection.matches(event.previous)
        matches = event.type != "DELETED" and selection.matches(entry)
        if matches:
            kind = "MODIFIED" if matched else "ADDED"
            self._put((kind, entry, event if kind == event.type else None))
        elif matched and event.previous is not None:
            gone = event.entry if event.type == "DELETED" else self._cache.at_revision(event.previous, event.revision)
            self._put(("DELETED", gone, event if event.type == "DELETED" else None))

    def bookmark(self, revision: int) -> None:
        """Tell the stream that everything up to `revision` has been offered."""
        if self.wants_bookmarks and revision > self.since and not self.items:
            self.since = revision
            self._put(("BOOKMARK", self._cache.bookmark(revision), None))

    def _put(self, item: tuple[str, Entry, Event | None]) -> None:
        if len(self.items) >= WATCHER_EVENTS_MAX:
            self.items.clear()  # nobody may act on a history with a hole
            self.overflowed = True
            self._cache.forget(self)
        else:
            self.items.append(item)
        self._wake()

    async def wait(self) -> bool:
        """Whether there is something to send; False once closed or cut off and read to the end."""
        while not self.items:
            if self.closed or self.overflowed:
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def close(self) -> None:
        """Take no more."""
        self.closed = True
        self._cache.forget(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class WatchCache:
    """Every object of one stored kind."""

    def __init__(self, codec: Codec, revision: int = 0) -> None:
        self.codec = codec
        self.entries: dict[str, Entry] = {}
        self._order: list[str] = []
        self._history: deque[Event] = deque()
        self._history_bytes = 0
        self.horizon = revision
        """A watch can start from here or later."""
        self.changed_revision = revision
        """Nothing here has changed since."""
        self._watchers: dict[Bucket, dict[Watcher, None]] = {}
        self.unreadable: dict[str, str] = {}
        """Keys whose values are no objects, and why; requests for them fail."""
        self.listeners: list[Any] = []
        """Called with (old entry or None, new entry or None) on each change, at once: what is here must not wait."""

    # Filled by caches.py

    def load(self, entries: Iterable[Entry], revision: int) -> None:
        """The state to begin with, in key order."""
        self.entries = {entry.key: entry for entry in entries}
        self._order = sorted(self.entries)
        self.horizon = self.changed_revision = revision

    def put(self, entry: Entry) -> None:
        """An object was created or changed."""
        previous = self.entries.get(entry.key)
        self.entries[entry.key] = entry
        if previous is None:
            if self._order and entry.key > self._order[-1]:
                self._order.append(entry.key)
            else:
                insort(self._order, entry.key)
        self._publish(Event("MODIFIED" if previous else "ADDED", entry, previous, entry.revision), previous, entry)

    def remove(self, key: str, revision: int) -> None:
        """An object was deleted."""
        previous = self.entries.pop(key, None)
        if previous is None:
            return
        del self._order[bisect_left(self._order, key)]
        self._publish(Event("DELETED", self.at_revision(previous, revision), previous, revision), previous, None)

    def _publish(self, event: Event, previous: Entry | None, entry: Entry | None) -> None:
        self.changed_revision = event.revision
        self._history.append(event)
        self._history_bytes += len(event.entry.data)
        while len(self._history) > HISTORY_EVENTS_MAX or self._history_bytes > HISTORY_BYTES_MAX:
            dropped = self._history.popleft()
            self._history_bytes -= len(dropped.entry.data)
            self.horizon = dropped.revision
        for listener in self.listeners:
            listener(previous, entry)
        if self._watchers:
            for watcher in self._concerned(event):
                watcher.offer(event)

    def _concerned(self, event: Event) -> list[Watcher]:
        buckets = self._watchers
        found = list(buckets.get(_ALL, ()))
        if event.entry.namespace:
            found += buckets.get(("namespace", event.entry.namespace), ())
        for name in INDEXED_FIELDS:
            value = event.entry.field(name)
            before = event.previous.field(name) if event.previous is not None else value
            if value is not None:
                found += buckets.get((name, value), ())
            if before is not None and before != value:
                found += buckets.get((name, before), ())
        return found

    def at_revision(self, entry: Entry, revision: int) -> Entry:
        """The same object under another resourceVersion."""
        data = self.codec.splice(self.codec.at_rest(entry.data, entry.revision), revision)
        return Entry(entry.key, data, revision, entry.labels, entry.fields)

    def bookmark(self, revision: int) -> Entry:
        """What a BOOKMARK carries."""
        return Entry(
            "", self.codec.splice(self.codec.prefix + b"}}", revision).replace(b",}}", b"}}"), revision, {}, {}
        )

    # Read by the handlers

    def get(self, namespace: str | None, name: str) -> Entry | None:
        """One object. A cluster-scoped kind has no use for `namespace` (set also for a request about a Namespace)."""
        return self.entries.get(f"{namespace}/{name}" if namespace and self.codec.resource.namespaced else name)

    def select(self, selection: Selection, after: str = "") -> Iterator[Entry]:
        """Entries in key order from the key `after` on."""
        entries = self.entries
        for key in self._keys(selection, after):
            entry = entries[key]
            if selection.everything or selection.matches(entry):
                yield entry

    def page(self, selection: Selection, after: str, limit: int) -> tuple[list[Entry], int]:
        """At most `limit` (0: all) entries from the key `after` on, and how many keys remain after them."""
        keys = self._keys(selection, after)
        entries = self.entries
        if selection.everything:
            taken = [entries[key] for key in (keys[:limit] if limit else keys)]
            return taken, len(keys) - len(taken)
        found: list[Entry] = []
        for index, key in enumerate(keys):
            entry = entries[key]
            if selection.matches(entry):
                if limit and len(found) == limit:
                    return found, len(keys) - index
                found.append(entry)
        return found, 0

    def _keys(self, selection: Selection, after: str) -> list[str]:
        order, namespace = self._order, selection.namespace
        name = selection.field_selector.exact("metadata.name")
        if name is not None and (namespace or not self.codec.resource.namespaced):
            key = f"{namespace}/{name}" if namespace else name
            return [key] if key in self.entries and key >= after else []
        if not namespace and not after:
            return order
        low = bisect_left(order, max(after, f"{namespace}/" if namespace else ""))
        high = bisect_left(order, f"{namespace}0") if namespace else len(order)
        return order[low:high]

    # Watched

    def watch(self, selection: Selection, since: int, wants_bookmarks: bool) -> Watcher:
        """A watcher of all events after `since`, history first. Raises 410 when that is no longer known."""
        if since < self.horizon:
            raise too_old(since, self.horizon)
        watcher = Watcher(self, selection, since, wants_bookmarks)
        if since < self.changed_revision:
            missed = []
            for event in reversed(self._history):
                if event.revision <= since:
                    break
                missed.append(event)
            for event in reversed(missed):
                watcher.offer(event)
        self._watchers.setdefault(watcher.bucket, {})[watcher] = None
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """Offer it nothing more."""
        bucket = self._watchers.get(watcher.bucket)
        if bucket is not None:
            bucket.pop(watcher, None)
            if not bucket:
                del self._watchers[watcher.bucket]

    def watchers(self) -> list[Watcher]:
        """All of them."""
        return [watcher for bucket in self._watchers.values() for watcher in bucket]

    def close_watchers(self) -> None:
        """End every watch: the kind is no longer served, or the server stops."""
        for watcher in self.watchers():
            watcher.close()
