"""Events: what a component tells the user about an object, without ever slowing the component down.

`event` only queues; `run` writes. What repeats is counted instead of repeated: the same words again become a patch of
`count`; ten different messages of one reason within ten minutes become one "(combined from similar events)"; and an
object that causes more than 25 events in a burst gets one more each five minutes. A full queue drops and counts.

Source of the behaviour: k8s.io/client-go, tools/record (EventCorrelator).
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from wherry.aio.clock import Clock
from wherry.api import registry
from wherry.api.core_v1 import Event, EventSource, ObjectReference
from wherry.client.client import Client
from wherry.client.transport import TransportError
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.time import format_time

V = TypeVar("V")

log = logging.getLogger(__name__)

QUEUE_MAX = 1000
REMEMBERED_MAX = 4096
SPAM_BURST = 25
SPAM_REFILL_SECONDS = 300.0
SIMILAR_MAX = 10
SIMILAR_WINDOW_SECONDS = 600.0
COMBINED_PREFIX = "(combined from similar events): "
ATTEMPTS_MAX = 12
ATTEMPT_WAIT_SECONDS = 10.0


class EventRecorder:
    """The voice of one component on one host."""

    def __init__(self, client: Client, component: str, host: str = "", clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or client.clock
        self._source = EventSource(component=component, host=host or None)
        self._correlator = Correlator()
        self._queue: deque[tuple[Event, datetime]] = deque()
        self._queued = asyncio.Event()
        self._writing = asyncio.Lock()
        self._last_stamp = 0
        self.dropped = 0
        """Events lost because the queue was full or the server refused them."""

    def event(self, about: Any, type: str, reason: str, message: str) -> None:
        """Tell `type` ("Normal" or "Warning") about an object or an ObjectReference."""
        if len(self._queue) >= QUEUE_MAX:
            self.dropped += 1
            return
        now = self._clock.now()
        reference = reference_to(about)
        event = Event(
            apiVersion="v1",
            kind="Event",
            metadata=ObjectMeta(name=self._name(reference, now), namespace=reference.namespace or "default"),
            involvedObject=reference,
            reason=reason,
            message=message,
            source=self._source,
            type=type,
            count=1,
            firstTimestamp=format_time(now),
            lastTimestamp=format_time(now),
            reportingComponent=self._source.component,
            reportingInstance=self._source.host,
        )
        self._queue.append((event, now))
        self._queued.set()

    async def run(self) -> None:
        """Write what is queued, until cancelled."""
        while True:
            await self._queued.wait()
            await self.flush()

    async def flush(self) -> None:
        """Return once everything queued so far is written or dropped."""
        async with self._writing:
            while self._queue:
                event, now = self._queue.popleft()
                observed = self._correlator.observe(event, now.timestamp())
                if observed is not None:
                    await self._write(observed)
            self._queued.clear()

    async def _write(self, observed: "Observed") -> None:
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await self._clock.sleep(ATTEMPT_WAIT_SECONDS)
            try:
                await self._patch_or_create(observed)
                return
            except StatusError as error:
                log.warning("event refused: %s: %s", observed.event.metadata.name, error)
                break
            except TransportError as error:
                log.info("event not written yet: %s", error)
        self.dropped += 1

    async def _patch_or_create(self, observed: "Observed") -> None:
        event = observed.event
        metadata = event.metadata
        if (event.count or 1) > 1:
            patch = {"count": event.count, "lastTimestamp": event.lastTimestamp, "message": event.message}
            try:
                await self._client.patch(Event, metadata.name or "", metadata.namespace, patch, patch_type="strategic")
                return
            except StatusError as error:
                if error.code != 404:
                    raise
        try:
            await self._client.create(event)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            metadata.name = self._name(event.involvedObject, self._clock.now())  # two components in one instant
            observed.remembered.name = metadata.name
            await self._client.create(event)

    def _name(self, reference: ObjectReference, now: datetime) -> str:
        nanoseconds = int(now.timestamp() * 1_000_000) * 1000 + self._client.entropy.below(1000)
        self._last_stamp = max(self._last_stamp + 1, nanoseconds)
        return f"{reference.name}.{self._last_stamp:x}"


def reference_to(about: Any) -> ObjectReference:
    """The reference by which events (and others) point at an object."""
    if isinstance(about, ObjectReference):
        return about
    if isinstance(about, dict):
        metadata = {key: about["metadata"].get(key) for key in ("name", "namespace", "uid", "resourceVersion")}
        return ObjectReference(apiVersion=about.get("apiVersion"), kind=about.get("kind"), **metadata)
    resource = None if about.kind else registry.resource_for(type(about))
    return ObjectReference(
        apiVersion=resource.api_version if resource else about.apiVersion,
        kind=resource.kind if resource else about.kind,
        name=about.metadata.name,
        namespace=about.metadata.namespace,
        uid=about.metadata.uid,
        resourceVersion=about.metadata.resourceVersion,
    )


# What becomes of an event: pure --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Remembered:
    """An event as it was written."""

    name: str
    first: str
    count: int = 0


@dataclass(slots=True)
class Observed:
    """An event to write: created when its count is 1, patched otherwise."""

    event: Event
    remembered: _Remembered


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last_seconds: float = float("-inf")


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_seconds: float


class Correlator:
    """Counts, combines and refuses. Holds at most REMEMBERED_MAX entries of each kind."""

    def __init__(self) -> None:
        self._seen: _Recent[_Remembered] = _Recent()
        self._similar: _Recent[_Similar] = _Recent()
        self._buckets: _Recent[_Bucket] = _Recent()

    def observe(self, event: Event, now_seconds: float) -> Observed | None:
        """The event as it is to be written, changed in place; None when its object causes too many."""
        source = (event.source.component, event.source.host)
        about = event.involvedObject
        subject = (about.kind, about.namespace, about.name, about.uid, about.apiVersion)
        group = (source, subject, event.type, event.reason)
        exact: Hashable = (group, about.fieldPath, event.message)
        if self._too_many_similar(group, event.message or "", now_seconds):
            event.message, exact = COMBINED_PREFIX + (event.message or ""), group
        seen = self._seen.get(exact)
        if seen is None:
            seen = _Remembered(event.metadata.name or "", event.firstTimestamp or "")
            self._seen.put(exact, seen)
        seen.count += 1
        event.metadata.name, event.firstTimestamp, event.count = seen.name, seen.first, seen.count
        return Observed(event, seen) if self._take_token((source, subject), now_seconds) else None

    def _too_many_similar(self, group: Hashable, message: str, now_seconds: float) -> bool:
        similar = self._similar.get(group)
        if similar is None or now_seconds - similar.last_seconds > SIMILAR_WINDOW_SECONDS:
            similar = _Similar()
            self._similar.put(group, similar)
        similar.last_seconds = now_seconds
        if message in similar.messages:
            return False
        if len(similar.messages) < SIMILAR_MAX - 1:
            similar.messages.add(message)
            return False
        return True

    def _take_token(self, key: Hashable, now_seconds: float) -> bool:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = _Bucket(SPAM_BURST, now_seconds)
            self._buckets.put(key, bucket)
        gained = (now_seconds - bucket.filled_at_seconds) / SPAM_REFILL_SECONDS
        bucket.tokens = min(SPAM_BURST, bucket.tokens + gained)
        bucket.filled_at_seconds = now_seconds
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


class _Recent(Generic[V]):
    """The most recently used entries."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: Hashable, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED_MAX:
            self._entries.popitem(last=False)
