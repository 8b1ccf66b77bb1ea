"""The watch caches of every kind, filled by one task that follows the store's own watch over /registry/.

Reads observe the caller's own writes: the store hands its watcher a commit before it wakes the writers, so the pump has
run by the time a write returns; `wait_for` covers stores further away (a real etcd). Whoever wrote an object leaves its
facts here (`expect`), so that the pump decodes nothing that this server itself encoded.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from wherry.aio.clock import Clock
from wherry.api import registry as api
from wherry.meta.errors import StatusError, timeout
from wherry.meta.resource import Resource
from wherry.server.objects import Codec, labels_of
from wherry.server.strategies.strategy import Strategy
from wherry.server.watchcache import NO_FACTS, Entry, Selection, WatchCache
from wherry.store.errors import CompactedError, SlowWatcherError, StoreClosedError
from wherry.store.protocol import Event, KeyValue, RangeResult, SwapResult, Watch, prefix_end

T = TypeVar("T")
_log = logging.getLogger(__name__)

ROOT = b"/registry/"
BOOKMARK_SECONDS = 60.0
FRESH_WAIT_SECONDS = 3.0
"""How long a read waits for a resourceVersion that is not there yet; kube-apiserver's own figure."""
Facts = tuple[bytes, dict[str, str], dict[str, str]]


class ObjectStore(Protocol):
    """What the server uses of a Store (wherry.store.protocol); encryption/store.py is another."""

    @property
    def revision(self) -> int: ...

    async def range(self, key: bytes, range_end: bytes = b"", *, limit: int = 0, revision: int = 0) -> RangeResult: ...

    async def put_if(self, key: bytes, value: bytes, mod_revision: int) -> SwapResult: ...

    async def delete_if(self, key: bytes, mod_revision: int) -> SwapResult: ...

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        start_revision: int = 0,
        prev_kv: bool = True,
        events_max: int = 10_000,
    ) -> Watch: ...


class Unreadable(bytes):
    """The value of a key that cannot be deciphered: nothing, and why."""

    why: str

    def __new__(cls, why: str) -> "Unreadable":
        """An empty value."""
        made = super().__new__(cls)
        made.why = why
        return made


class Caches:
    """One WatchCache per stored kind. Implements the `Caches` that strategies and admission read."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._by_prefix: dict[bytes, WatchCache] = {}
        self._strategies: dict[bytes, Strategy] = {}
        self._by_kind: dict[type[Any], WatchCache] = {}
        self._expected: dict[bytes, Facts] = {}
        self.stale: set[bytes] = set()
        """Keys whose values are not as they would be written now (an older version, an older cipher): a write that
        changes nothing writes them all the same."""
        self.revision = 0
        """Everything up to here is in the caches."""
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # Which kinds there are

    def add(self, resource: Resource, strategy: Strategy) -> WatchCache:
        """Keep a kind, from what `load` (or `fill`) finds."""
        prefix = resource.storage_prefix.encode()
        cache = self._by_prefix[prefix] = WatchCache(Codec(resource), self.revision)
        self._strategies[prefix] = strategy
        if resource.type is not None:
            self._by_kind[resource.type] = cache
        return cache

    async def fill(self, cache: WatchCache) -> None:
        """Load the objects of a kind that was added while running."""
        prefix = cache.codec.resource.storage_prefix.encode()
        found = await self._store.range(prefix, prefix_end(prefix))
        await self.wait_for(found.revision)
        missing = [kv for kv in found.kvs if _text(kv.key[len(prefix) :]) not in cache.entries]
        entries = [entry for kv in missing if (entry := self._readable(cache, prefix, kv)) is not None]
        cache.load([*cache.entries.values(), *entries], self.revision)

    def follow(self, resource: Resource, strategy: Strategy) -> None:
        """The rules of a kind that is kept have changed."""
        self._strategies[resource.storage_prefix.encode()] = strategy

    def remove(self, resource: Resource) -> None:
        """Forget a kind and end its watches."""
        prefix = resource.storage_prefix.encode()
        cache = self._by_prefix.pop(prefix, None)
        if cache is not None:
            cache.close_watchers()

    # Running

    async def start(self) -> None:
        """Load everything, then follow the store until `close`."""
        watch = await self._load()
        self._pump = asyncio.get_running_loop().create_task(self._follow(watch), name="watch cache")
        self._arm_bookmarks()

    async def close(self) -> None:
        """Stop following, end every watch."""
        if self._timer is not None:
            self._timer.cancel()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        for cache in self._by_prefix.values():
            cache.close_watchers()

    async def _load(self) -> Any:
        found = await self._store.range(ROOT, prefix_end(ROOT))
        watch = self._store.watch(
            ROOT, prefix_end(ROOT), start_revision=found.revision + 1, prev_kv=False, events_max=100_000
        )
        entries: dict[bytes, list[Entry]] = {prefix: [] for prefix in self._by_prefix}
        for cache in self._by_prefix.values():
            cache.unreadable.clear()
        for kv in found.kvs:
            prefix = self._prefix_of(kv.key)
            kept = self._by_prefix.get(prefix)
            if kept is not None and (entry := self._readable(kept, prefix, kv)) is not None:
                entries[prefix].append(entry)
        for prefix, cache in self._by_prefix.items():
            cache.load(entries[prefix], found.revision)
        self._advance(found.revision)
        return watch

    async def _follow(self, watch: Any) -> None:
        while True:
            try:
                async with watch:
                    async for events in watch:
                        self._apply(events)
                return
            except StoreClosedError:
                return
            except (SlowWatcherError, CompactedError) as error:  # begin again; watchers list again
                _log.warning("the watch cache fell behind the store and loads again: %s", error)
                for cache in self._by_prefix.values():
                    cache.close_watchers()
                watch = await self._load()

    def _apply(self, events: Sequence[Event]) -> None:
        for event in events:
            kv = event.kv
            prefix = self._prefix_of(kv.key)
            cache = self._by_prefix.get(prefix)
            if cache is not None:
                key = _text(kv.key[len(prefix) :])
                if event.kind != "put":
                    cache.unreadable.pop(key, None)
                    cache.remove(key, kv.mod_revision)
                elif (entry := self._readable(cache, prefix, kv)) is not None:
                    cache.put(entry)
                else:
                    cache.remove(key, kv.mod_revision)
        self._advance(events[-1].kv.mod_revision)

    def _advance(self, revision: int) -> None:
        self.revision = revision
        if self._waiters:
            for wanted, future in self._waiters:
                if wanted <= revision and not future.done():
                    future.set_result(None)
            self._waiters = [item for item in self._waiters if not item[1].done()]

    def _prefix_of(self, key: bytes) -> bytes:
        end = key.find(b"/", len(ROOT)) + 1
        prefix = key[:end]
        if prefix in self._by_prefix:
            return prefix
        return key[: key.find(b"/", end) + 1]

    def _readable(self, cache: WatchCache, prefix: bytes, kv: KeyValue) -> Entry | None:
        """The entry of a key; None, and a note in the cache, for a value that is no object."""
        try:
            entry = self._entry(prefix, kv)
        except (msgspec.DecodeError, ValueError) as error:
            why = kv.value.why if isinstance(kv.value, Unreadable) else f"{_text(kv.key)} holds no object: {error}"
            cache.unreadable[_text(kv.key[len(prefix) :])] = why
            _log.error("%s", why)
            return None
        if cache.unreadable:
            cache.unreadable.pop(entry.key, None)
        return entry

    def _entry(self, prefix: bytes, kv: KeyValue) -> Entry:
        codec = self._by_prefix[prefix].codec
        expected = self._expected.pop(kv.key, None) if self._expected else None
        if expected is not None and expected[0] is kv.value:
            _, found_labels, found_fields = expected
        else:
            found_labels = labels_of(kv.value)
            found_fields = (
                self._strategies[prefix].fields(codec.decode(kv.value))
                if codec.resource.selectable_fields
                else NO_FACTS
            )
        key = kv.key[len(prefix) :].decode()
        value = kv.value
        if not value.startswith(codec.prefix):  # a custom resource that was stored in another version
            value = codec.encode(codec.decode(value))
            self.stale.add(kv.key)
        data = codec.splice(value, kv.mod_revision)
        return Entry(key, data, kv.mod_revision, found_labels or NO_FACTS, found_fields or NO_FACTS)

    def _arm_bookmarks(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._bookmarks)

    def _bookmarks(self) -> None:
        for cache in self._by_prefix.values():
            for watcher in cache.watchers():
                watcher.bookmark(self.revision)
        self._arm_bookmarks()

    # Used by writers

    def expect(self, key: bytes, data: bytes, labels: dict[str, str], fields: dict[str, str]) -> None:
        """`data` is about to be written; these are its facts."""
        self._expected[key] = (data, labels, fields)

    def forget_expected(self, key: bytes) -> None:
        """The write did not happen."""
        self._expected.pop(key, None)

    async def wait_for(self, revision: int) -> None:
        """Return once the caches are at `revision`. Raises 504 when that does not come soon."""
        if self.revision >= revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, future))
        try:
            async with asyncio.timeout(FRESH_WAIT_SECONDS):
                await future
        except TimeoutError as error:
            raise too_large(revision, self.revision) from error

    async def fresh(self) -> None:
        """Return once the caches are as new as the store is now."""
        await self.wait_for(self._store.revision)

    # Read by rules

    def cache(self, kind: type[Any]) -> WatchCache:
        """The cache of a built-in kind."""
        return self._by_kind[kind]

    def get(self, kind: type[T], namespace: str | None, name: str) -> T | None:
        """A fresh decoded copy, or None."""
        cache = self._by_kind[kind]
        entry = cache.get(namespace, name)
        found: T | None = self._decoded(cache, entry)
        return found

    def peek(self, kind: type[T], namespace: str | None, name: str) -> T | None:
        """Like `get`, but the one copy of all who peek: nobody may change it."""
        cache = self._by_kind[kind]
        found: T | None = self._shared(cache, cache.get(namespace, name))
        return found

    def peek_all(self, kind: type[T]) -> list[T]:
        """What `peek` gives, of every object."""
        cache = self._by_kind[kind]
        found = [self._shared(cache, entry) for entry in cache.entries.values()]
        return [item for item in found if item is not None]

    def forget_shared(self, kind: type[Any]) -> None:
        """Let go of the copies of those who peeked; the next one makes another."""
        for entry in self._by_kind[kind].entries.values():
            entry.decoded = None

    def _shared(self, cache: WatchCache, entry: Entry | None) -> Any:
        if entry is None:
            return None
        if entry.decoded is None:
            entry.decoded = self._decoded(cache, entry)
        return entry.decoded

    def list(self, kind: type[T], namespace: str | None = None) -> list[T]:
        """Fresh decoded copies of one namespace, or of all."""
        cache = self._by_kind[kind]
        if not cache.entries:  # of most kinds that admission asks for there is nothing
            return []
        found = [self._decoded(cache, entry) for entry in self._of(cache, namespace)]
        return [item for item in found if item is not None] if cache.unreadable else found

    def _decoded(self, cache: WatchCache, entry: Entry | None) -> Any:
        """The object; None, and a note, for one that somebody else wrote and that is none after all."""
        if entry is None:
            return None
        try:
            return cache.codec.decode(entry.data)
        except msgspec.DecodeError as error:
            key = f"{cache.codec.resource.storage_prefix}{entry.key}"
            cache.unreadable[entry.key] = why = f"{key} holds no object: {error}"
            _log.error("%s", why)
            return None

    def _of(self, cache: WatchCache, namespace: str | None) -> Iterator[Entry]:
        return cache.select(Selection(namespace or ""))

    def on_change(self, kind: type[T], listener: Callable[[T | None, T | None], None], *, shared: bool = False) -> None:
        """Call `listener(old, new)` for each object there is (old None), then on each change, as it becomes visible.

        `shared`: with the copies that `peek` gives, for kinds of few and large objects.
        """
        cache = self._by_kind[kind]
        decode = self._shared if shared else self._decoded

        def changed(old: Entry | None, new: Entry | None) -> None:
            listener(decode(cache, old), decode(cache, new))

        for entry in list(cache.entries.values()):
            changed(None, entry)
        cache.listeners.append(changed)


def _text(key: bytes) -> str:
    """A key that may be anybody's."""
    return key.decode(errors="backslashreplace")


def too_large(revision: int, current: int) -> StatusError:
    """504 for a resourceVersion that this server has not seen."""
    error = timeout(f"Too large resource version: {revision}, current: {current}", 1)
    error.details["causes"] = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return error


def stored_resource(resource: Resource) -> Resource:
    """The record under which a kind is stored: its own, or that of its storage version."""
    return api.resource(resource.storage_version, resource.kind) if resource.storage_version else resource
