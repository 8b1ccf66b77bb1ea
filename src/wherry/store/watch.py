"""Watching: one list of events per commit, handed to everyone whose range it touches.

A watcher first reads history from the log at its own pace (`Watcher._history`), then is live: commits are pushed into
its bounded buffer, and one that does not keep up is cut off. A watcher of everything that changed is given the very
list all others share, so a single wide watch costs one append per commit.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from wherry.store.errors import CompactedError, SlowWatcherError, StoreClosedError
from wherry.store.mvcc import Mvcc, Record
from wherry.store.protocol import Event
from wherry.store.txn import inside

HISTORY_BATCH_RECORDS = 1000
"""How much history is read at a time: about a millisecond of the event loop."""


class WatchHub:
    """All watchers of a store. `revision` is the newest durable revision: what watchers may know of."""

    def __init__(self, mvcc: Mvcc, revision: int) -> None:
        self._mvcc = mvcc
        self.revision = revision
        self._watchers: dict[Watcher, None] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._watchers)

    def watch(self, key: bytes, range_end: bytes, start_revision: int, prev_kv: bool, events_max: int) -> "Watcher":
        if self._closed:
            raise StoreClosedError
        start = start_revision or self.revision + 1
        watcher = Watcher(self._mvcc, self, key, range_end, start, prev_kv, events_max)
        self._watchers[watcher] = None
        return watcher

    def forget(self, watcher: "Watcher") -> None:
        self._watchers.pop(watcher, None)

    def publish(self, records: list[Record], revision: int) -> None:
        """`records` became durable, and with them everything up to `revision`."""
        self.revision = revision
        live = [watcher for watcher in self._watchers if watcher.live]
        if not live or not records:
            return
        keys = [record.key for record in records]
        low, high = min(keys), max(keys)
        shared: dict[bool, list[Event]] = {}
        for watcher in live:
            if not watcher.touches(low, high):
                continue
            events = shared.get(watcher.prev_kv)
            if events is None:
                events = shared[watcher.prev_kv] = self._mvcc.events(records, watcher.prev_kv)
            watcher.push(events, low, high)

    def close(self) -> None:
        self._closed = True
        for watcher in list(self._watchers):
            watcher.fail(StoreClosedError)


class Watcher:
    """One watch; implements `wherry.store.protocol.Watch`."""

    def __init__(
        self, mvcc: Mvcc, hub: WatchHub, key: bytes, range_end: bytes, start: int, prev_kv: bool, events_max: int
    ) -> None:
        self._mvcc = mvcc
        self._hub = hub
        self._span = (key, range_end)
        self._next = start
        self.prev_kv = prev_kv
        self._events_max = events_max
        self.live = start > hub.revision
        self._buffer: deque[Sequence[Event]] = deque()
        self._buffered = 0
        self._error: Callable[[], Exception] | None = None
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def revision(self) -> int:
        if self._buffer:
            return self._buffer[0][0].kv.mod_revision - 1
        return max(self._next - 1, self._hub.revision) if self.live else self._next - 1

    # The hub's side

    def touches(self, low: bytes, high: bytes) -> bool:
        """Whether the range may hold keys of [low, high]."""
        start, end = self._span
        if not end:
            return low <= start <= high
        return start <= high and (end == b"\0" or low < end)

    def push(self, events: Sequence[Event], low: bytes, high: bytes) -> None:
        span = self._span
        if not (inside(low, span) and inside(high, span)) or events[0].kv.mod_revision < self._next:
            start = self._next
            events = [event for event in events if inside(event.kv.key, span) and event.kv.mod_revision >= start]
            if not events:
                return
        self._buffered += len(events)
        if self._buffered > self._events_max:
            waiting = self._buffered
            self.fail(lambda: SlowWatcherError(f"the watcher was cut off: {waiting} events were waiting to be read"))
            return
        self._buffer.append(events)
        self._wake()

    def fail(self, error: Callable[[], Exception]) -> None:
        self._error = error
        self._buffer.clear()
        self._buffered = 0
        self._hub.forget(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The reader's side

    def close(self) -> None:
        self._closed = True
        self._hub.forget(self)
        self._buffer.clear()
        self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[Event]:
        while True:
            if self._closed:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error()
            if self._buffer:
                events = self._buffer.popleft()
                self._buffered -= len(events)
                return events
            if self.live:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
                self._waiter = None
            elif history := self._history():
                return history
            else:
                await asyncio.sleep(0)  # a long stretch of history without a match must not hold the loop

    def _history(self) -> Sequence[Event]:
        """The next piece of history that matches, or nothing; `live` afterwards if that was all of it."""
        if self._next < self._mvcc.compact_revision:
            raise CompactedError(self._next, self._mvcc.compact_revision)
        records = self._mvcc.history(self._next, self._hub.revision, HISTORY_BATCH_RECORDS)
        self._next = (records[-1].mod_revision if records else self._hub.revision) + 1
        self.live = self._next > self._hub.revision
        return self._mvcc.events([record for record in records if inside(record.key, self._span)], self.prev_kv)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
