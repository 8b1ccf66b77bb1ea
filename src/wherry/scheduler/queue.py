"""Pods that wait for a node: those to try now, those backing off, and those that nothing could help yet.

An unschedulable pod goes back to work when an event happens that a plugin which refused it says may help (queueing
hints, KEP-4247), or after five minutes in any case. Repeated attempts back off from 1 s to 10 s; when there is nothing
else to do, those that wait only for their backoff are taken early (KEP-5142), but not those that failed by an error.

Source of the behaviour: kube-scheduler's PriorityQueue.
"""

import asyncio
import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from wherry.aio.clock import Clock
from wherry.scheduler.framework import Change, ClusterEvent, Plugin, QueueSort
from wherry.scheduler.snapshot import PodInfo

INITIAL_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 10.0
FLUSH_SECONDS = 300.0

Key = tuple[str, str]


@dataclass(slots=True)
class QueuedPod:
    """A pod in the queue, and its history of attempts."""

    info: PodInfo
    since: float
    """When it entered the queue, for order among equals."""
    attempts: int = 0
    failed_at: float = 0.0
    refused_by: frozenset[str] = frozenset()
    by_error: bool = False
    """Failed to be bound rather than to be placed."""
    state: str = "active"
    serial: int = field(default=0)
    """Distinguishes the live heap entry from outdated ones."""

    def backoff_until(self) -> float:
        """When it may be tried again."""
        delay = INITIAL_BACKOFF_SECONDS * 2.0 ** min(max(self.attempts - 1, 0), 10)
        return self.failed_at + min(delay, MAX_BACKOFF_SECONDS)


class SchedulingQueue:
    """Active, backoff and unschedulable pods; every pod is in exactly one of them."""

    def __init__(self, clock: Clock, plugins: Mapping[str, Plugin], sort: QueueSort) -> None:
        self._clock = clock
        self._sort = sort
        self._plugins = plugins
        self._pods: dict[Key, QueuedPod] = {}
        self._unschedulable: dict[Key, QueuedPod] = {}
        """Those of `_pods` in that state, for events to look at."""
        self._active: list[tuple[tuple[float, ...], int, Key]] = []
        self._backoff: list[tuple[float, int, Key]] = []
        self._serials = itertools.count(1)
        self._ready = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._pods)

    def counts(self) -> dict[str, int]:
        """How many pods are in each part, by its name."""
        totals = {"active": 0, "backoff": 0, "unschedulable": 0, "gated": 0}
        for queued in self._pods.values():
            totals[queued.state] += 1
        return totals

    def put(self, info: PodInfo, *, gated: bool) -> None:
        """Add a pod, or take over its new version. A gated pod waits until a version without gates comes."""
        queued = self._pods.get(info.key)
        if queued is None or queued.info.pod.metadata.uid != info.pod.metadata.uid:
            queued = self._pods[info.key] = QueuedPod(info, self._clock.monotonic())
            self._unschedulable.pop(info.key, None)
        elif queued.state in ("active", "backoff") and not gated:
            queued.info = info
            return
        old, queued.info = queued.info, info
        if gated:
            self._unschedulable.pop(info.key, None)
            queued.state, queued.serial = "gated", next(self._serials)
        elif queued.state != "unschedulable":
            self._activate(queued)
        elif not _same_wishes(old, info):
            self._hint(queued, Change(ClusterEvent.POD_UPDATE, pod=info, old_pod=old))

    def remove(self, key: Key) -> None:
        """Forget a pod."""
        self._pods.pop(key, None)
        self._unschedulable.pop(key, None)

    def take(self) -> QueuedPod | None:
        """The next pod to schedule, taken out; None when there is none now."""
        self._wake_backoff()
        while self._active:
            _, serial, key = heapq.heappop(self._active)
            queued = self._pods.get(key)
            if queued is not None and queued.serial == serial and queued.state == "active":
                del self._pods[key]
                return queued
        if (queued := self._early()) is None:
            self._ready.clear()
        return queued

    def _early(self) -> QueuedPod | None:
        """The pod that is nearest to the end of its backoff, of those that no error held up."""
        held_up = []
        found = None
        while self._backoff and found is None:
            entry = heapq.heappop(self._backoff)
            queued = self._pods.get(entry[2])
            if queued is None or queued.serial != entry[1] or queued.state != "backoff":
                continue
            if queued.by_error:
                held_up.append(entry)
            else:
                found = self._pods.pop(entry[2])
        for entry in held_up:
            heapq.heappush(self._backoff, entry)
        return found

    async def wait(self) -> None:
        """Until `take` may have something."""
        await self._ready.wait()

    def give_back(self, queued: QueuedPod, *, refused_by: frozenset[str]) -> None:
        """A pod could not be placed: it waits for an event that helps; without refusals (an error) it backs off."""
        if queued.info.key in self._pods:
            return
        self._pods[queued.info.key] = queued
        queued.attempts += 1
        queued.failed_at = queued.since = self._clock.monotonic()
        queued.refused_by = refused_by
        queued.by_error = not refused_by
        queued.serial = next(self._serials)
        if refused_by:
            queued.state = "unschedulable"
            self._unschedulable[queued.info.key] = queued
            self._arm(queued.failed_at + FLUSH_SECONDS)
        else:
            self._back_off(queued)

    def happened(self, change: Change) -> None:
        """Something changed: pods it may help go back to work."""
        for queued in list(self._unschedulable.values()):
            self._hint(queued, change)

    def activate(self, key: Key) -> None:
        """Try a pod now, whatever it waits for."""
        queued = self._pods.get(key)
        if queued is not None and queued.state in ("unschedulable", "backoff"):
            self._activate(queued)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _hint(self, queued: QueuedPod, change: Change) -> None:
        refusers = (self._plugins.get(name) for name in queued.refused_by)
        if any(plugin is None or plugin.helps(queued.info, change) for plugin in refusers):
            self._retry(queued)

    def _retry(self, queued: QueuedPod) -> None:
        if queued.backoff_until() > self._clock.monotonic():
            self._back_off(queued)
        else:
            self._activate(queued)

    def _activate(self, queued: QueuedPod) -> None:
        self._unschedulable.pop(queued.info.key, None)
        queued.state, queued.serial = "active", next(self._serials)
        rank = self._sort.rank(queued.info, queued.since)
        heapq.heappush(self._active, (rank, queued.serial, queued.info.key))
        self._ready.set()

    def _back_off(self, queued: QueuedPod) -> None:
        self._unschedulable.pop(queued.info.key, None)
        queued.state, queued.serial = "backoff", next(self._serials)
        if not queued.by_error:
            self._ready.set()  # it may be taken early
        heapq.heappush(self._backoff, (queued.backoff_until(), queued.serial, queued.info.key))
        self._arm(queued.backoff_until())

    def _wake_backoff(self) -> None:
        now = self._clock.monotonic()
        while self._backoff and self._backoff[0][0] <= now:
            _, serial, key = heapq.heappop(self._backoff)
            queued = self._pods.get(key)
            if queued is not None and queued.serial == serial and queued.state == "backoff":
                self._activate(queued)

    def _arm(self, at: float) -> None:
        """Look again at `at` (monotonic), unless an earlier look is planned."""
        loop = asyncio.get_running_loop()
        delay = max(0.0, at - self._clock.monotonic())
        if self._timer is None or self._timer.cancelled() or self._timer.when() > loop.time() + delay:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        self._wake_backoff()
        waiting = list(self._unschedulable.values())
        for queued in waiting:
            if now - queued.failed_at >= FLUSH_SECONDS:
                self._retry(queued)
        times = [queued.failed_at + FLUSH_SECONDS for queued in waiting if queued.state == "unschedulable"]
        times += [self._backoff[0][0]] if self._backoff else []
        if times:
            self._arm(min(times))


def _same_wishes(old: PodInfo, new: PodInfo) -> bool:
    """Whether only its status changed, which is mostly our own writing."""
    return old.pod.spec == new.pod.spec and old.pod.metadata.labels == new.pod.metadata.labels
