"""What only a disk can do: survive, refuse, fill up, and be damaged."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from tests.unit.store.conftest import TickClock
from wherry.store.engine import Batch, Done, MemoryEngine
from wherry.store.errors import (
    CorruptStoreError,
    DataDirectoryInUseError,
    StoreError,
    StoreUnavailableError,
    TooManyRequestsError,
)
from wherry.store.lmdb_engine import DATA_FILE, LmdbEngine
from wherry.store.local import LocalStore, open_store
from wherry.store.protocol import FROM_KEY, Compare, PutOp

WRITER = """
import asyncio, sys
from pathlib import Path
from wherry.aio.clock import SystemClock
from wherry.store.local import open_store

async def main():
    store = await open_store(Path(sys.argv[1]), SystemClock())
    async def work(worker):
        number = 0
        while True:
            number += 1
            key = b"%d/%d" % (worker, store.revision)
            result = await store.put_if(key, key * 40, 0)
            if result.succeeded:
                sys.stdout.write(f"{key.decode()} {result.revision}\\n")
                sys.stdout.flush()
            if number % 50 == 0 and worker == 0:
                await store.compact(store.revision)
    await asyncio.gather(*(work(worker) for worker in range(8)))

asyncio.run(main())
"""


def killed_writer(directory: Path, line_count: int) -> list[bytes]:
    """What a writer acknowledged until it was killed after about `line_count` lines."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(line_count)]
        os.kill(writer.pid, signal.SIGKILL)
        return [line for line in lines + writer.stdout.readlines() if line.endswith(b"\n")]


async def test_kill_dash_nine_loses_no_acknowledged_write(tmp_path: Path, clock: TickClock) -> None:
    acknowledged: dict[bytes, int] = {}
    for round_number in range(8):
        for line in killed_writer(tmp_path, 40 + 137 * round_number % 400):
            key, revision = line.split()
            acknowledged[key] = int(revision)
        store = await open_store(tmp_path, clock)
        found = {kv.key: kv for kv in (await store.range(b"", FROM_KEY)).kvs}
        for key, wanted in acknowledged.items():
            assert (found[key].mod_revision, found[key].value) == (wanted, key * 40)
        await store.close()


async def test_everything_comes_back_after_reopening(tmp_path: Path, clock: TickClock) -> None:
    store = await open_store(tmp_path, clock)
    lease = (await store.lease_grant(10)).id
    await store.txn([], [PutOp(b"b", b"1" * 5000), PutOp(b"a", b"", lease=lease)])
    await store.put(b"b", b"2")
    await store.delete_range(b"b")
    await store.close()
    store = await open_store(tmp_path, clock)
    assert store.revision == 4
    assert (await store.range(b"b", revision=2)).kvs[0].value == b"1" * 5000
    assert (await store.lease_time_to_live(lease, keys=True)).keys == [b"a"]
    await clock.tick(10)
    await store.put(b"c", b"")
    assert (await store.range(b"a")).count == 0
    await store.compact(store.revision)
    await store.close()
    store = await open_store(tmp_path, clock)
    assert (store.revision, store.compact_revision, await store.leases()) == (6, 6, [])
    await store.close()


async def test_a_revision_survives_the_compaction_of_all_its_records(tmp_path: Path, clock: TickClock) -> None:
    store = await open_store(tmp_path, clock)
    await store.put(b"a", b"")
    await store.delete_range(b"a")
    await store.compact(3)
    await store.close()
    store = await open_store(tmp_path, clock)
    assert store.revision == 3
    await store.put(b"a", b"")
    await store.compact(4)
    await store.delete_range(b"a")
    await store.close()
    store = await open_store(tmp_path, clock)
    assert (store.revision, (await store.range(b"a", FROM_KEY)).count) == (5, 0)
    await store.close()


async def test_an_idle_store_writes_nothing(tmp_path: Path, clock: TickClock) -> None:
    store = await open_store(tmp_path, clock)
    lease = await store.lease_grant(100)
    before = (tmp_path / DATA_FILE).read_bytes()
    for _ in range(5):
        await clock.tick(10)
        await store.lease_keepalive(lease.id)
        assert not (await store.put_if(b"a", b"", 9)).succeeded
    assert (tmp_path / DATA_FILE).read_bytes() == before
    await store.close()


async def test_values_leave_memory_and_are_read_back(tmp_path: Path, clock: TickClock) -> None:
    store = LocalStore(LmdbEngine(tmp_path), clock, resident_values_bytes=100)
    for number in range(50):
        await store.put(b"k%d" % (number % 10), b"%d" % number * 10)
    assert sum(len(record.value or b"") for record in store._mvcc.log) <= 100
    assert [kv.value for kv in (await store.range(b"k0", b"l")).kvs] == [b"%d" % n * 10 for n in range(40, 50)]
    async with store.watch(b"k0", start_revision=1) as watch:
        events = await watch.__anext__()
    assert [event.prev_kv and event.prev_kv.value[:2] for event in events] == [None, b"00", b"10", b"20", b"30"]
    await store.close()


async def test_the_map_grows_by_itself(tmp_path: Path, clock: TickClock) -> None:
    store = LocalStore(LmdbEngine(tmp_path, map_bytes=1 << 16), clock)
    for number in range(40):
        await asyncio.gather(*(store.put(b"%d/%d" % (number, n), bytes(3000)) for n in range(10)))
    await store.compact(store.revision)
    assert (await store.range(b"", FROM_KEY)).count == 400
    await store.close()


async def test_a_directory_in_use_is_refused_by_name_and_free_again_after_close(
    tmp_path: Path, clock: TickClock
) -> None:
    store = await open_store(tmp_path, clock)
    with pytest.raises(DataDirectoryInUseError, match=f"{tmp_path} is in use by process {os.getpid()}"):
        await open_store(tmp_path, clock)
    await store.close()
    await (await open_store(tmp_path, clock)).close()


async def filled(directory: Path, clock: TickClock) -> bytes:
    store = await open_store(directory, clock)
    for number in range(300):
        await store.put(b"key-%d" % number, b"value-%d;" % number * 20)
    await store.close()
    return (directory / DATA_FILE).read_bytes()


@pytest.mark.parametrize("left", [0.99, 0.5, 0.1])
async def test_a_file_cut_short_is_refused(tmp_path: Path, clock: TickClock, left: float) -> None:
    data = await filled(tmp_path, clock)
    (tmp_path / DATA_FILE).write_bytes(data[: int(len(data) * left)])
    with pytest.raises(CorruptStoreError, match="cut short"):
        await open_store(tmp_path, clock)
    (tmp_path / DATA_FILE).write_bytes(data)  # and the refusal let go of the directory
    await (await open_store(tmp_path, clock)).close()


@pytest.mark.parametrize("content", [b"not a database", b"x" * 20_000])
async def test_a_file_of_something_else_is_refused(tmp_path: Path, clock: TickClock, content: bytes) -> None:
    (tmp_path / DATA_FILE).write_bytes(content)
    with pytest.raises(CorruptStoreError, match=DATA_FILE):
        await open_store(tmp_path, clock)
    assert (tmp_path / DATA_FILE).read_bytes() == content


async def test_a_foreign_lmdb_file_is_refused(tmp_path: Path, clock: TickClock) -> None:
    with lmdb.open(str(tmp_path), lock=False) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"other", b"thing")
    with pytest.raises(CorruptStoreError, match="no header"):
        await open_store(tmp_path, clock)


async def test_a_flipped_bit_is_found_on_opening(tmp_path: Path, clock: TickClock) -> None:
    data = await filled(tmp_path, clock)
    (tmp_path / DATA_FILE).write_bytes(data.replace(b"value-77;", b"valve-77;"))  # in stale pages too
    with pytest.raises(CorruptStoreError, match="damaged"):
        await open_store(tmp_path, clock)


async def test_a_lost_page_never_ends_the_process(tmp_path: Path, clock: TickClock) -> None:
    data = await filled(tmp_path, clock)
    refused = 0
    for start in range(2 * 4096, len(data), 4096):
        (tmp_path / DATA_FILE).write_bytes(data[:start] + bytes(4096) + data[start + 4096 :])
        try:
            await (await open_store(tmp_path, clock)).close()
        except CorruptStoreError:
            refused += 1
    assert refused > 10  # the others were free


async def test_a_full_disk_fails_writes_and_recovers(tmp_path: Path, clock: TickClock) -> None:
    store = await open_store(tmp_path, clock)
    await store.put(b"before", b"1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    watch = store.watch(b"", FROM_KEY)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / DATA_FILE).stat().st_size, hard))
    try:
        for _ in range(2):
            results = await asyncio.gather(
                *(store.put_if(b"lost-%d" % n, bytes(9000), 0) for n in range(20)), return_exceptions=True
            )
            assert {type(result) for result in results} == {StoreUnavailableError}
            assert store.revision == 2
            assert [kv.key for kv in (await store.range(b"", FROM_KEY)).kvs] == [b"before"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (await store.put_if(b"lost-0", b"2", 0)).revision == 3
    assert [event.kv.key for event in await watch.__anext__()] == [b"lost-0"]
    await store.close()
    store = await open_store(tmp_path, clock)
    assert [kv.mod_revision for kv in (await store.range(b"", FROM_KEY)).kvs] == [2, 3]
    await store.close()


class FaultyEngine(MemoryEngine):
    """Holds every batch until told; `error` then decides. `reached` says whether a failed batch is there after all."""

    group_commit = True

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Batch, Done]] = []

    def append(self, batch: Batch, done: Done) -> None:
        self.held.append((batch, done))

    def release(self, error: Exception | None = None, reached: bool = False) -> None:
        batch, done = self.held.pop()
        if error is None or reached:
            super().append(batch, lambda _: None)
        done(error)


async def start(*calls: object) -> list["asyncio.Task[object]"]:
    tasks = [asyncio.ensure_future(call) for call in calls]  # type: ignore[call-overload]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_nothing_is_seen_before_it_is_durable(clock: TickClock) -> None:
    engine = FaultyEngine()
    store = LocalStore(engine, clock)
    watch = store.watch(b"k")
    (put,) = await start(store.put_if(b"k", b"1", 0))
    (refused,) = await start(store.put_if(b"k", b"2", 0))
    assert (store.revision, (await store.range(b"k")).count) == (1, 0)
    engine.release()
    await put
    assert store.revision == 2 and not refused.done()
    assert [event.kv.value for event in await watch.__anext__()] == [b"1"]
    engine.release()
    assert not (await refused).succeeded  # type: ignore[attr-defined]
    await store.close()


async def test_a_failed_commit_takes_back_what_was_built_on_it(clock: TickClock) -> None:
    engine = FaultyEngine()
    store = LocalStore(engine, clock)
    first = await start(store.lease_grant(10, 7), store.put(b"a", b"0", lease=7))
    engine.release()
    await asyncio.gather(*first)
    doomed = await start(store.put(b"a", b"1"), store.lease_grant(10, 8), store.put(b"b", b"1", lease=8))
    doomed += await start(store.delete_range(b"a"), store.lease_revoke(7), store.put_if(b"b", b"2", 4))
    assert len(engine.held) == 1
    engine.release(OSError("no space left on device"))
    results = await asyncio.gather(*doomed, return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailableError}
    assert [kv.value for kv in (await store.range(b"", FROM_KEY)).kvs] == [b"0"]
    assert await store.leases() == [7]
    assert (await store.lease_time_to_live(7, keys=True)).keys == [b"a"]
    (again,) = await start(store.put_if(b"a", b"1", 2))
    engine.release()
    assert (await again).revision == 3  # type: ignore[attr-defined]
    await store.close()


async def test_a_failed_sync_that_reached_the_disk_is_kept(clock: TickClock) -> None:
    engine = FaultyEngine()
    store = LocalStore(engine, clock)
    watch = store.watch(b"k")
    (put,) = await start(store.put(b"k", b"1"))
    engine.release(OSError("input/output error"), reached=True)
    with pytest.raises(StoreUnavailableError):
        await put
    assert (store.revision, (await store.range(b"k")).count, len(await watch.__anext__())) == (2, 1, 1)
    await store.close()


async def test_a_cancelled_writer_disturbs_nobody(clock: TickClock) -> None:
    engine = FaultyEngine()
    store = LocalStore(engine, clock)
    one, two = await start(store.put(b"a", b""), store.put(b"b", b""))
    one.cancel()
    await asyncio.sleep(0)
    engine.release()
    await two
    assert one.cancelled() and store.revision == 3
    await store.close()


async def test_waiting_writes_are_bounded(clock: TickClock) -> None:
    engine = FaultyEngine()
    store = LocalStore(engine, clock)
    waiting = await start(*(store.put(b"%d" % n, bytes(16 << 20)) for n in range(5)))
    waiting += await start(*(store.put(b"more-%d" % n, bytes(16 << 20)) for n in range(5)))
    assert isinstance(waiting[-1].exception(), TooManyRequestsError)
    while engine.held:
        engine.release()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(not isinstance(result, Exception) or isinstance(result, StoreError) for result in done)
    await store.close()


async def test_refused_writes_leave_no_trace_in_the_bound(clock: TickClock) -> None:
    store = LocalStore(MemoryEngine(), clock)
    value = bytes(16 << 20)
    for _ in range(8):
        assert not (await store.txn([Compare(b"k", "version", ">", 0)], [PutOp(b"k", value)])).succeeded
    assert (await store.put_if(b"k", value, 0)).succeeded
    await store.close()
