"""Watches over a real gRPC channel: ids, filters, fragments, progress, and starts that are too old."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.etcd import rpc_pb2 as pb
from wherry.etcd.identity import Identity
from wherry.etcd.server import EtcdServer
from wherry.store.local import LocalStore, memory_store

FRAGMENT_BYTES = 4096


class Stream:
    """One Watch stream of a client."""

    def __init__(self, channel: Any) -> None:
        method = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        self._call = method()

    async def create(self, key: bytes, **members: Any) -> Any:
        await self.ask(create_request=pb.WatchCreateRequest(key=key, **members))
        return await self.next()

    async def ask(self, **request: Any) -> None:
        await self._call.write(pb.WatchRequest(**request))

    async def next(self) -> Any:
        async with asyncio.timeout(10):
            return await self._call.read()


@pytest.fixture
async def store() -> AsyncIterator[LocalStore]:
    made = memory_store(SystemClock(), Entropy(1))
    yield made
    await made.close()


@pytest.fixture
async def stream(store: LocalStore) -> AsyncIterator[Stream]:
    identity = Identity("one", ("http://localhost:2380",), ("http://localhost:2379",))
    server = EtcdServer(store, identity, SystemClock(), Entropy(1), request_bytes_max=FRAGMENT_BYTES)
    port = await server.listen("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Stream(channel)
    await server.close(0)


async def test_watches_of_one_stream_have_numbers_and_end_apart(store: LocalStore, stream: Stream) -> None:
    assert (await stream.create(b"a")).watch_id == 0
    assert (await stream.create(b"b", watch_id=7)).watch_id == 7
    again = await stream.create(b"b", watch_id=7)
    assert (again.watch_id, again.created, again.canceled) == (-1, True, True)
    assert again.cancel_reason == "mvcc: duplicate watch ID provided on the WatchStream"
    await stream.ask(cancel_request=pb.WatchCancelRequest(watch_id=0))
    gone = await stream.next()
    assert (gone.watch_id, gone.canceled) == (0, True)
    await store.put(b"a", b"1")
    await store.put(b"b", b"2")
    seen = await stream.next()
    assert (seen.watch_id, seen.header.revision, seen.events[0].kv.value) == (7, 3, b"2")


async def test_filters_and_previous_values(store: LocalStore, stream: Stream) -> None:
    await stream.create(b"a", filters=[pb.WatchCreateRequest.NOPUT], prev_kv=True)
    await store.put(b"a", b"1")
    await store.delete_range(b"a")
    event = (await stream.next()).events[0]
    assert event.type == pb.Event.DELETE and event.prev_kv.value == b"1"
    assert (event.kv.key, event.kv.mod_revision, event.kv.version) == (b"a", 3, 0)


async def test_progress_is_told_when_everything_before_was(store: LocalStore, stream: Stream) -> None:
    await stream.create(b"a")
    await store.put(b"other", b"1")
    await stream.ask(progress_request=pb.WatchProgressRequest())
    told = await stream.next()
    assert (told.watch_id, told.header.revision, len(told.events)) == (-1, 2, 0)


async def test_a_long_answer_comes_in_fragments_for_who_takes_them(store: LocalStore, stream: Stream) -> None:
    for number in range(4):
        await store.put(b"k%d" % number, b"x" * 1500)
    await stream.create(b"k", range_end=b"l", start_revision=1, fragment=True)
    parts = [await stream.next(), await stream.next()]
    assert [part.fragment for part in parts] == [True, False]
    assert [event.kv.key for part in parts for event in part.events] == [b"k0", b"k1", b"k2", b"k3"]


async def test_a_start_that_is_compacted_or_no_range_is_cancelled(store: LocalStore, stream: Stream) -> None:
    for number in range(4):
        await store.put(b"a", b"%d" % number)
    await store.compact(4)
    assert (await stream.create(b"a", start_revision=2)).created
    gone = await stream.next()
    assert (gone.canceled, gone.compact_revision, len(gone.events)) == (True, 4, 0)
    empty = await stream.create(b"b", range_end=b"a")
    assert (empty.watch_id, empty.canceled, empty.cancel_reason) == (-1, True, "mvcc: watcher range is empty")
