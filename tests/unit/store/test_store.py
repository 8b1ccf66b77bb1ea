"""etcd's semantics, one claim per test: https://etcd.io/docs/v3.6/learning/api/."""

import asyncio

import pytest

from tests.unit.store.conftest import TickClock
from wherry.store.errors import (
    CompactedError,
    FutureRevisionError,
    InvalidRequestError,
    LeaseExistsError,
    LeaseNotFoundError,
    SlowWatcherError,
    StoreClosedError,
)
from wherry.store.local import LocalStore
from wherry.store.protocol import (
    FROM_KEY,
    Compare,
    DeleteRangeOp,
    Event,
    KeyValue,
    Op,
    PutOp,
    PutResult,
    RangeOp,
    RangeResult,
    TxnOp,
    TxnResult,
    Watch,
    prefix_end,
)


async def take(watch: Watch, count: int) -> list[Event]:
    """The next `count` events, however they are batched."""
    found: list[Event] = []
    while len(found) < count:
        found += await asyncio.wait_for(watch.__anext__(), 5)
    return found


def names(events: list[Event]) -> list[tuple[str, bytes, int]]:
    return [(event.kind, event.kv.key, event.kv.mod_revision) for event in events]


# Keys and revisions


def test_prefix_end_covers_exactly_the_prefix() -> None:
    assert prefix_end(b"/a/") == b"/a0"
    assert prefix_end(b"a\xff\xff") == b"b"
    assert prefix_end(b"\xff") == prefix_end(b"") == FROM_KEY


async def test_an_empty_store_is_at_revision_one(store: LocalStore) -> None:
    assert (store.revision, store.compact_revision) == (1, 0)
    assert await store.range(b"", FROM_KEY) == RangeResult([], 0, False, 1)


async def test_versions_count_writes_and_start_over_after_deletion(store: LocalStore) -> None:
    await store.put(b"k", b"1")
    await store.put(b"k", b"2")
    assert (await store.range(b"k")).kvs == [KeyValue(b"k", b"2", 2, 3, 2)]
    await store.delete_range(b"k")
    assert (await store.range(b"k")).count == 0
    await store.put(b"k", b"3")
    assert (await store.range(b"k")).kvs == [KeyValue(b"k", b"3", 5, 5, 1)]


async def test_ranges_select_and_limit(store: LocalStore) -> None:
    for name in (b"b", b"a", b"c", b"d"):
        await store.put(name, name.upper())
    await store.delete_range(b"d")
    found = await store.range(b"a", b"c", limit=1)
    assert ([kv.key for kv in found.kvs], found.count, found.more, found.revision) == ([b"a"], 2, True, 6)
    assert [kv.key for kv in (await store.range(b"b", FROM_KEY)).kvs] == [b"b", b"c"]
    assert [kv.value for kv in (await store.range(b"a", b"b", keys_only=True)).kvs] == [b""]
    assert await store.range(b"a", FROM_KEY, count_only=True) == RangeResult([], 3, False, 6)


async def test_an_old_revision_reads_as_it_was(store: LocalStore) -> None:
    await store.put(b"a", b"1")
    await store.put(b"b", b"1")
    await store.put(b"a", b"2")
    await store.delete_range(b"b")
    assert [kv.value for kv in (await store.range(b"a", FROM_KEY, revision=3)).kvs] == [b"1", b"1"]
    assert [kv.value for kv in (await store.range(b"a", FROM_KEY, revision=4)).kvs] == [b"2", b"1"]
    with pytest.raises(FutureRevisionError):
        await store.range(b"a", revision=6)


async def test_deleting_nothing_makes_no_revision(store: LocalStore) -> None:
    result = await store.delete_range(b"a", b"z", prev_kv=True)
    assert (result.deleted, result.prev_kvs, result.revision, store.revision) == (0, [], 1, 1)


# Transactions


async def test_put_if_creates_updates_and_refuses(store: LocalStore) -> None:
    created = await store.put_if(b"k", b"1", 0)
    assert (created.succeeded, created.revision) == (True, 2)
    refused = await store.put_if(b"k", b"x", 0)
    assert (refused.succeeded, refused.current) == (False, KeyValue(b"k", b"1", 2, 2, 1))
    assert (await store.put_if(b"k", b"2", 2)).revision == 3
    assert not (await store.put_if(b"k", b"x", 2)).succeeded
    assert not (await store.delete_if(b"k", 2)).succeeded
    assert (await store.delete_if(b"k", 3)).revision == 4
    assert await store.delete_if(b"k", 3) == await store.put_if(b"k", b"", 3)
    assert (await store.put_if(b"k", b"3", 0)).succeeded


async def test_concurrent_creates_of_one_key_have_one_winner(store: LocalStore) -> None:
    results = await asyncio.gather(*(store.put_if(b"k", b"%d" % n, 0) for n in range(20)))
    assert [result.succeeded for result in results] == [True] + [False] * 19
    assert all(result.current == KeyValue(b"k", b"0", 2, 2, 1) for result in results[1:])


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare(b"k", "value", "=", b"b"), True),
        (Compare(b"k", "value", "<", b"a"), False),
        (Compare(b"k", "version", "=", 2), True),
        (Compare(b"k", "version", ">", 2), False),
        (Compare(b"k", "create", "!=", 2), False),
        (Compare(b"k", "mod", "<", 4), True),
        (Compare(b"k", "lease", "=", 0), True),
        (Compare(b"none", "version", "=", 0), True),
        (Compare(b"none", "mod", ">", 0), False),
        (Compare(b"none", "value", "!=", b"x"), False),
        (Compare(b"a", "version", ">", 0, range_end=b"z"), True),
        (Compare(b"a", "version", ">", 1, range_end=b"z"), False),
        (Compare(b"x", "create", "=", 0, range_end=b"y"), True),
    ],
)
async def test_compares(store: LocalStore, compare: Compare, holds: bool) -> None:
    await store.put(b"k", b"a")
    await store.put(b"k", b"b")
    await store.put(b"j", b"c")
    assert (await store.txn([compare], [])).succeeded is holds


async def test_a_transaction_is_one_revision_and_sees_its_own_writes(store: LocalStore) -> None:
    await store.put(b"c", b"0")
    result = await store.txn(
        [],
        [
            PutOp(b"a", b"1"),
            RangeOp(b"a", FROM_KEY),
            DeleteRangeOp(b"c", prev_kv=True),
            PutOp(b"b", b"2", prev_kv=True),
        ],
    )
    put, seen, deleted, second = result.responses
    assert result.revision == store.revision == 3
    assert isinstance(put, PutResult) and isinstance(seen, RangeResult)
    assert [kv.key for kv in seen.kvs] == [b"a", b"c"]
    assert deleted.prev_kvs == [KeyValue(b"c", b"0", 2, 2, 1)]  # type: ignore[union-attr]
    assert second == PutResult(3, None)
    assert {kv.mod_revision for kv in (await store.range(b"a", FROM_KEY)).kvs} == {3}


async def test_nested_transactions_compare_the_state_before(store: LocalStore) -> None:
    inner = TxnOp([Compare(b"a", "version", "=", 0)], [PutOp(b"b", b"absent")], [PutOp(b"b", b"there")])
    result = await store.txn([], [PutOp(b"a", b"1"), inner])
    assert isinstance(result.responses[1], TxnResult) and result.responses[1].succeeded
    assert (await store.range(b"b")).kvs[0].value == b"absent"


async def test_refused_transactions_change_nothing(store: LocalStore) -> None:
    plans: list[list[Op]] = [
        [PutOp(b"a", b"1"), PutOp(b"a", b"2")],
        [PutOp(b"a", b"1"), DeleteRangeOp(b"", b"b")],
        [DeleteRangeOp(b"a", FROM_KEY), PutOp(b"b", b"1")],
        [PutOp(b"a", b"1"), PutOp(b"", b"2")],
        [PutOp(b"a", b"1"), PutOp(b"b", b"", ignore_value=True)],
    ]
    for ops in plans:
        with pytest.raises(InvalidRequestError):
            await store.txn([], ops)
    with pytest.raises(LeaseNotFoundError):
        await store.txn([], [PutOp(b"a", b"1"), PutOp(b"b", b"2", lease=7)])
    with pytest.raises(FutureRevisionError):
        await store.txn([], [PutOp(b"a", b"1"), RangeOp(b"a", revision=9)])
    assert (store.revision, (await store.range(b"a", FROM_KEY)).count) == (1, 0)


async def test_ignore_value_and_lease_keep_what_is_there(store: LocalStore) -> None:
    lease = (await store.lease_grant(10)).id
    await store.put(b"k", b"1", lease=lease)
    await store.txn([], [PutOp(b"k", b"2", ignore_lease=True)])
    await store.txn([], [PutOp(b"k", b"", ignore_value=True)])
    assert (await store.range(b"k")).kvs == [KeyValue(b"k", b"2", 2, 4, 3, 0)]
    assert (await store.lease_time_to_live(lease, keys=True)).keys == []


# Watches


async def test_a_watch_replays_history_and_goes_on_live(store: LocalStore) -> None:
    await store.put(b"/a", b"1")
    await store.put(b"x", b"1")
    await store.put(b"/a", b"2")
    async with store.watch(b"/", prefix_end(b"/"), start_revision=2) as watch:
        assert names(await take(watch, 2)) == [("put", b"/a", 2), ("put", b"/a", 4)]
        await store.put(b"x", b"2")
        await store.delete_range(b"/a")
        (event,) = await take(watch, 1)
        assert event == Event("delete", KeyValue(b"/a", b"", 0, 6, 0), KeyValue(b"/a", b"2", 2, 4, 2))
        await store.put(b"/a", b"3")
        (event,) = await take(watch, 1)
        assert (event.kv.create_revision, event.prev_kv, watch.revision) == (7, None, 7)


async def test_a_batch_never_splits_a_revision(store: LocalStore) -> None:
    for _ in range(3):
        await store.txn([], [PutOp(b"%04d" % n, b"") for n in range(700)])
    sizes: list[int] = []
    async with store.watch(b"", FROM_KEY, start_revision=1, prev_kv=False) as watch:
        while sum(sizes) < 2100:
            sizes.append(len(await watch.__anext__()))
    assert all(size % 700 == 0 for size in sizes)


async def test_a_watch_from_the_future_waits_for_it(store: LocalStore) -> None:
    async with store.watch(b"k", start_revision=4) as watch:
        for value in (b"1", b"2", b"3"):
            await store.put(b"k", value)
        assert names(await take(watch, 1)) == [("put", b"k", 4)]


async def test_watchers_share_a_batch_and_may_do_without_previous_values(store: LocalStore) -> None:
    await store.put(b"k", b"1")
    async with store.watch(b"k") as one, store.watch(b"a", b"z") as two, store.watch(b"k", prev_kv=False) as three:
        await store.put(b"k", b"2")
        first, second = await one.__anext__(), await two.__anext__()
        assert first is second
        assert (await take(three, 1))[0].prev_kv is None


async def test_a_slow_watcher_is_cut_off(store: LocalStore) -> None:
    async with store.watch(b"k", events_max=2) as slow, store.watch(b"k") as quick:
        for value in (b"1", b"2", b"3"):
            await store.put(b"k", value)
        with pytest.raises(SlowWatcherError):
            await slow.__anext__()
        assert len(await take(quick, 3)) == 3


async def test_closing_ends_watches(store: LocalStore) -> None:
    mine = store.watch(b"k")
    theirs = store.watch(b"k")
    waiting = asyncio.ensure_future(take(theirs, 1))
    await asyncio.sleep(0)
    mine.close()
    assert [events async for events in mine] == []
    await store.close()
    with pytest.raises(StoreClosedError):
        await waiting
    with pytest.raises(StoreClosedError):
        await store.put(b"k", b"1")


# Compaction


async def test_compaction_forgets_what_was_superseded(store: LocalStore) -> None:
    for value in (b"1", b"2", b"3"):
        await store.put(b"k", value)
    await store.put(b"gone", b"1")
    await store.delete_range(b"gone")
    await store.compact(3)
    assert store.compact_revision == 3
    assert (await store.range(b"k", revision=3)).kvs[0].value == b"2"
    assert (await store.range(b"gone", revision=5)).count == 1
    with pytest.raises(CompactedError):
        await store.range(b"k", revision=2)
    with pytest.raises(CompactedError):
        await store.compact(3)
    with pytest.raises(FutureRevisionError):
        await store.compact(7)
    with pytest.raises(CompactedError):
        await store.watch(b"k", start_revision=2).__anext__()
    async with store.watch(b"k", start_revision=3) as watch:
        assert [event.prev_kv and event.prev_kv.value for event in await take(watch, 2)] == [None, b"2"]
    await store.put(b"z", b"")
    await store.compact(7)
    assert [kv.key for kv in (await store.range(b"", FROM_KEY)).kvs] == [b"k", b"z"]


async def test_a_watch_overtaken_by_compaction_says_so(store: LocalStore) -> None:
    for value in (b"1", b"2", b"3"):
        await store.put(b"k", value)
    watch = store.watch(b"k", start_revision=2)
    await store.compact(4)
    with pytest.raises(CompactedError):
        await watch.__anext__()


async def test_history_is_bounded_without_being_asked(clock: TickClock) -> None:
    from wherry.store.engine import MemoryEngine

    store = LocalStore(MemoryEngine(), clock, history_revisions_max=100)
    for number in range(1000):
        await store.put(b"k", b"%d" % number)
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert 1001 - 130 < store.compact_revision <= 1001 - 99
    await store.close()


# Leases


async def test_a_lease_takes_its_keys_along_when_it_expires(store: LocalStore, clock: TickClock) -> None:
    lease = (await store.lease_grant(10)).id
    await store.lease_grant(5)
    await store.put_if(b"a", b"1", 0, lease=lease)
    await store.put(b"b", b"1", lease=lease)
    await store.put(b"c", b"1", lease=lease)
    await store.put(b"c", b"2")
    async with store.watch(b"a", FROM_KEY) as watch:
        await clock.tick(6)
        await store.put(b"d", b"")  # whatever was applied before this is durable after it
        assert await store.leases() == [lease]
        assert (await store.lease_keepalive(lease)).remaining_seconds == 10
        await clock.tick(5)
        assert (await store.lease_time_to_live(lease, keys=True)).keys == [b"a", b"b"]
        assert (await store.lease_time_to_live(lease)).remaining_seconds == 5
        await clock.tick(5)
        assert names(await take(watch, 3))[1:] == [("delete", b"a", 7), ("delete", b"b", 7)]
    assert await store.leases() == []
    with pytest.raises(LeaseNotFoundError):
        await store.lease_keepalive(lease)


async def test_revoking_deletes_at_one_revision_and_ids_are_unique(store: LocalStore) -> None:
    assert (await store.lease_grant(10, lease=7)).id == 7
    with pytest.raises(LeaseExistsError):
        await store.lease_grant(10, lease=7)
    with pytest.raises(InvalidRequestError):
        await store.lease_grant(0)
    await store.put(b"a", b"", lease=7)
    await store.delete_if(b"a", 2)
    await store.put(b"b", b"", lease=7)
    assert await store.lease_revoke(7) == 5
    assert (await store.range(b"a", FROM_KEY)).count == 0
    with pytest.raises(LeaseNotFoundError):
        await store.lease_revoke(7)
