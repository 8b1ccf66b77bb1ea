"""One producer, many readers: each has its own bounded buffer, and a reader that falls behind is cut off.

`publish` never waits and makes no task: it appends to each buffer and wakes a reader only when that one sleeps, so an
event costs one append per reader. A reader that wakes takes all that has gathered meanwhile (`batch`), which turns a
burst of events into one write. A reader whose buffer is full loses it and gets `Overflow`: it must list again, as a
watcher answers 410 Gone.
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Overflow(Exception):
    """The reader was too slow and has been cut off."""


class Subscription(Generic[T]):
    """One reader's end: an async iterator over items, or `batch` for many at once. Close it when done."""

    __slots__ = ("_closed", "_fanout", "_items", "_limit", "_overflowed", "_waiter")

    def __init__(self, fanout: "Fanout[T]", limit: int) -> None:
        self._fanout = fanout
        self._limit = limit
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._overflowed = False

    def __aiter__(self) -> "Subscription[T]":
        return self

    async def __anext__(self) -> T:
        """The next item. Raises Overflow when cut off; stops when closed and read to the end."""
        if not self._items and not await self._wait():
            raise StopAsyncIteration
        return self._items.popleft()

    async def batch(self) -> list[T]:
        """All items that are there, at least one; empty once closed and read to the end. Raises Overflow."""
        if not self._items:
            await self._wait()
        items = list(self._items)
        self._items.clear()
        return items

    def close(self) -> None:
        """Take no more items; those in the buffer can still be read."""
        self._fanout._subscriptions.pop(self, None)
        self._closed = True
        self._wake()

    def __len__(self) -> int:
        return len(self._items)

    async def _wait(self) -> bool:
        while not self._items:
            if self._overflowed:
                raise Overflow(f"more than {self._limit} items behind")
            if self._closed:
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def _put(self, item: T) -> bool:
        """Whether there was room."""
        if len(self._items) >= self._limit:
            self._overflowed = True
            self._items.clear()  # nobody may act on a history with a hole
            self._wake()
            return False
        self._items.append(item)
        if self._waiter is not None:
            self._wake()
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Fanout(Generic[T]):
    """The producer's end."""

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        # A dict for its order: readers are served in the order they came, whatever their addresses.
        self._subscriptions: dict[Subscription[T], None] = {}
        self._closed = False

    def subscribe(self, limit: int | None = None) -> Subscription[T]:
        """A reader of all that is published from now on, at most `limit` items behind."""
        subscription = Subscription(self, self._limit if limit is None else limit)
        if self._closed:
            subscription.close()
        else:
            self._subscriptions[subscription] = None
        return subscription

    def publish(self, item: T) -> None:
        """Give `item` to every reader; readers without room are cut off."""
        slow = [subscription for subscription in self._subscriptions if not subscription._put(item)]
        for subscription in slow:
            del self._subscriptions[subscription]

    def close(self) -> None:
        """End every reader once it has read what it has."""
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.close()

    def __len__(self) -> int:
        return len(self._subscriptions)
