"""Watch: many watches on one stream, each a watch of the store whose batches are sent as they come.

One task for each watch puts answers on the stream's queue, which is short, so that a client that does not read holds
its watches back and nobody else. Source: etcd, server/etcdserver/api/v3rpc/watch.go.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.etcd import rpc_pb2 as pb
from wherry.etcd.kv import Header, key_value
from wherry.store.errors import CompactedError, StoreError
from wherry.store.protocol import FROM_KEY, Event, Store, Watch

PROGRESS_SECONDS = 600.0
"""Between two progress notifications of a watch that has nothing else to say, and up to a tenth more."""
NO_WATCH = -1
_QUEUE_MAX = 16
_NOPUT, _NODELETE = 0, 1


class WatchService:
    """etcdserverpb.Watch."""

    def __init__(
        self,
        store: Store,
        header: Header,
        clock: Clock,
        entropy: Entropy,
        message_bytes: int,
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> None:
        """Answers of more than `message_bytes` are cut up for those who can take fragments."""
        self.store, self.header = store, header
        self.clock, self.entropy = clock, entropy
        self.message_bytes, self.progress_seconds = message_bytes, progress_seconds

    async def watch(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The answers of one stream, until the client ends it."""
        stream = _Stream(self)
        reading = asyncio.create_task(stream.read(requests))
        try:
            while (answer := await stream.answers.get()) is not None:
                yield answer
            await reading
        finally:
            reading.cancel()
            await stream.close()


class _Stream:
    def __init__(self, service: WatchService) -> None:
        self._service = service
        self.answers: asyncio.Queue[Any] = asyncio.Queue(_QUEUE_MAX)
        self._watches: dict[int, tuple[Watch, asyncio.Task[None]]] = {}
        self._next = 0
        self._progress_wanted = False

    async def read(self, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                kind = request.WhichOneof("request_union")
                if kind == "create_request":
                    await self._create(request.create_request)
                elif kind == "cancel_request":
                    await self._cancel(request.cancel_request.watch_id)
                elif kind == "progress_request":
                    await self._progress()
        finally:
            await self.answers.put(None)

    async def close(self) -> None:
        for watch, task in self._watches.values():
            watch.close()
            task.cancel()
        await asyncio.gather(*(task for _, task in self._watches.values()), return_exceptions=True)

    def _answer(self, watch_id: int, **members: Any) -> Any:
        service = self._service
        return pb.WatchResponse(header=service.header(service.store.revision), watch_id=watch_id, **members)

    async def _create(self, request: Any) -> None:
        why = ""
        end = request.range_end
        if request.start_revision < 0:
            why = "etcdserver: mvcc: required revision has been compacted"
        elif end and end != FROM_KEY and request.key >= end:
            why = "mvcc: watcher range is empty"
        elif request.watch_id and request.watch_id in self._watches:
            why = "mvcc: duplicate watch ID provided on the WatchStream"
        if why:
            await self.answers.put(self._answer(NO_WATCH, created=True, canceled=True, cancel_reason=why))
            return
        number = request.watch_id
        if not number:
            while self._next in self._watches:
                self._next += 1
            number, self._next = self._next, self._next + 1
        watch = self._service.store.watch(
            request.key or FROM_KEY, end, start_revision=request.start_revision, prev_kv=request.prev_kv
        )
        await self.answers.put(self._answer(number, created=True))
        self._watches[number] = watch, asyncio.create_task(self._send(number, watch, request))

    async def _cancel(self, number: int) -> None:
        found = self._watches.pop(number, None)
        if found is None:
            return
        watch, task = found
        watch.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.answers.put(self._answer(number, canceled=True))

    async def _progress(self) -> None:
        """For all watches at once, as soon as what happened before has been sent to all of them."""
        self._progress_wanted = True
        await self._progress_if_due()

    async def _progress_if_due(self) -> None:
        """Asked again after each batch that was sent."""
        now = self._service.store.revision
        if self._progress_wanted and all(watch.revision >= now for watch, _ in self._watches.values()):
            self._progress_wanted = False
            await self.answers.put(self._answer(NO_WATCH))

    async def _send(self, number: int, watch: Watch, request: Any) -> None:
        try:
            async with watch:
                batches = aiter(watch)
                while True:
                    events = await self._batch(batches, request.progress_notify)
                    if events is None:
                        await self.answers.put(self._answer(number))
                        continue
                    shown = [_event(event) for event in events if not _filtered(event, request.filters)]
                    if shown:
                        await self._put(self._answer(number, events=shown), request.fragment)
                    await self._progress_if_due()
        except StopAsyncIteration:
            return
        except CompactedError as error:
            self._watches.pop(number, None)
            await self.answers.put(self._answer(number, canceled=True, compact_revision=error.compact_revision))
        except StoreError as error:
            self._watches.pop(number, None)
            await self.answers.put(self._answer(number, canceled=True, cancel_reason=str(error)))

    async def _batch(self, batches: AsyncIterator[Sequence[Event]], notify: bool) -> Sequence[Event] | None:
        """The next events; None when it is time to say that there were none."""
        if not notify:
            return await anext(batches)
        service = self._service
        seconds = service.progress_seconds
        timer = asyncio.ensure_future(service.clock.sleep(seconds + service.entropy.uniform(0, seconds / 10)))
        coming = asyncio.ensure_future(_next_of(batches))
        try:
            await asyncio.wait((timer, coming), return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            timer.cancel()
            if not coming.done():
                coming.cancel()

    async def _put(self, answer: Any, fragments: bool) -> None:
        if not fragments or answer.ByteSize() < self._service.message_bytes:
            await self.answers.put(answer)
            return
        part = pb.WatchResponse(header=answer.header, watch_id=answer.watch_id, fragment=True)
        for event in answer.events:
            if part.events and part.ByteSize() + event.ByteSize() >= self._service.message_bytes:
                await self.answers.put(part)
                part = pb.WatchResponse(header=answer.header, watch_id=answer.watch_id, fragment=True)
            part.events.append(event)
        part.fragment = False
        await self.answers.put(part)


async def _next_of(batches: AsyncIterator[Sequence[Event]]) -> Sequence[Event]:
    return await anext(batches)


def _filtered(event: Event, filters: Sequence[int]) -> bool:
    return (_NOPUT if event.kind == "put" else _NODELETE) in filters


def _event(event: Event) -> Any:
    kind = pb.Event.PUT if event.kind == "put" else pb.Event.DELETE
    if event.kind == "put":
        shown = key_value(event.kv)
    else:
        shown = pb.KeyValue(key=event.kv.key, mod_revision=event.kv.mod_revision)
    return pb.Event(type=kind, kv=shown, prev_kv=None if event.prev_kv is None else key_value(event.prev_kv))
