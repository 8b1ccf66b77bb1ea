"""The queue between a cache and the workers that reconcile: it carries keys, never events.

A key is in at most one place: waiting (dirty) or being worked on (processing). Adding a key that is being worked on
marks it dirty again, and it comes back when its worker is done, so no two workers ever hold one key and no change is
missed; the queue is bounded by the number of keys. Failures come back after 5 ms, 10 ms, 20 ms … 1000 s.

Source of the behaviour: k8s.io/client-go, util/workqueue.
"""

import asyncio
import heapq
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from wherry.client.transport import TransportError
from wherry.meta.errors import StatusError

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)

_DOUBLINGS_MAX = 60  # beyond any useful delay, and far from float overflow


class ShutDown(Exception):
    """The queue is shut down and empty: workers go home."""


class WorkQueue(Generic[K]):
    """First in, first out, each key once."""

    def __init__(self, *, base_delay_seconds: float = 0.005, max_delay_seconds: float = 1000.0) -> None:
        self._base_delay_seconds = base_delay_seconds
        self._max_delay_seconds = max_delay_seconds
        self._queue: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._failures: dict[K, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._delays = _Delays(self.add)
        self._shut_down = False

    def __len__(self) -> int:
        """Keys ready to be taken (not those delayed or being worked on)."""
        return len(self._queue)

    def add(self, key: K) -> None:
        """Have `key` reconciled soon."""
        if self._shut_down or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add `key` once `seconds` have passed; of several delays for one key the earliest holds."""
        if self._shut_down:
            return
        if seconds <= 0:
            self.add(key)
        else:
            self._delays.put(key, seconds)

    def add_rate_limited(self, key: K) -> None:
        """Add `key` after a delay that doubles with each call since the last `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_seconds = self._base_delay_seconds * 2.0 ** min(failures, _DOUBLINGS_MAX)
        self.add_after(key, min(delay_seconds, self._max_delay_seconds))

    def forget(self, key: K) -> None:
        """`key` succeeded, or is given up: its next failure waits the shortest delay again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often `key` was rate limited since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, now the caller's until `done`. Raises ShutDown."""
        while not self._queue:
            if self._shut_down:
                raise ShutDown
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled() and self._queue:
                    self._wake()  # this wake-up was for a key; pass it on
                raise
        key = self._queue.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """The work that `get` handed out is over; if the key was added meanwhile it queues again."""
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    def shutdown(self) -> None:
        """Take no more keys; what is queued may still be taken."""
        self._shut_down = True
        self._delays.clear()
        while self._getters:
            self._wake()

    def _push(self, key: K) -> None:
        self._queue.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


class _Delays(Generic[K]):
    """Keys that wait, under a single loop timer for the earliest."""

    def __init__(self, ready: Callable[[K], None]) -> None:
        self._ready = ready
        self._when: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []  # entries that disagree with _when are stale
        self._sequence = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, key: K, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        if self._when.get(key, when + 1) <= when:
            return
        self._when[key] = when
        heapq.heappush(self._heap, (when, next(self._sequence), key))
        if self._timer is None or when < self._timer.when():
            self._schedule(loop)

    def clear(self) -> None:
        self._when.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._heap[0][0], self._fire, loop) if self._heap else None

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = max(loop.time(), self._heap[0][0])  # a timer may fire within the loop's resolution of its time
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._when.get(key) == when:
                del self._when[key]
                self._ready(key)
        self._schedule(loop)


async def work(queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[None]], *, workers: int = 1, name: str) -> None:
    """Run `workers` loops of get, reconcile, done until cancelled or the queue is shut down.

    A failure is logged and the key comes back rate limited; a success forgets its earlier failures.
    """
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(_worker(queue, reconcile, name), name=f"{name}-{number}")


async def _worker(queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[None]], name: str) -> None:
    while True:
        try:
            key = await queue.get()
        except ShutDown:
            return
        try:
            await reconcile(key)
        except (StatusError, TransportError) as error:
            log.info("%s: %s: %s; trying again", name, key, error)
            queue.add_rate_limited(key)
        except Exception:
            log.exception("%s: %s failed; trying again", name, key)
            queue.add_rate_limited(key)
        else:
            queue.forget(key)
        finally:
            queue.done(key)


def meta_key(obj: Any) -> tuple[str, str]:
    """(namespace or "", name) of a typed object or a plain dict."""
    if isinstance(obj, dict):
        metadata = obj["metadata"]
        return metadata.get("namespace") or "", metadata.get("name") or ""
    return obj.metadata.namespace or "", obj.metadata.name or ""
