"""The store in this process: the thin shell that gives mvcc, transactions, watches and leases time and durability.

A write is decided and applied in memory at once, on the event loop, in order; then it waits for the group commit
(wherry/store/commit.py). Readers and watchers are shown durable revisions only: a range reads at the newest durable
revision, which the index can do like at any other retained one. A refused write too is answered only when the state it
was decided on is durable. If a commit fails, everything after the newest durable revision is taken back, and its
writers get StoreUnavailableError; nobody else ever saw it. See docs/decisions/0002-store.md.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.store.commit import Committer
from wherry.store.engine import Batch, Engine, MemoryEngine
from wherry.store.errors import (
    CompactedError,
    FutureRevisionError,
    InvalidRequestError,
    LeaseNotFoundError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from wherry.store.lease import LeaseTable
from wherry.store.mvcc import Mvcc, Record
from wherry.store.protocol import (
    Compare,
    DeleteRangeOp,
    DeleteResult,
    LeaseStatus,
    Op,
    PutOp,
    PutResult,
    RangeResult,
    SwapResult,
    TxnOp,
    TxnResult,
)
from wherry.store.txn import Transaction, check_revision, range_result
from wherry.store.watch import Watcher, WatchHub

_log = logging.getLogger(__name__)

HISTORY_REVISIONS_MAX = 50_000
"""Retained history when nobody compacts: some 10 MB of index. The API server compacts every five minutes."""

RESIDENT_VALUES_BYTES = 4 << 20
"""Newest values kept in memory beside an engine that can read them back: previous values and resumed watches are
nearly always about those."""

COMPACTION_SLICE = 1000
"""Records deleted in one commit: a millisecond or two, so that writers do not notice."""

EXPIRY_WAIT_SECONDS_MAX = 3600.0
EXPIRY_RETRY_SECONDS = 1.0


class LocalStore:
    """Implements `wherry.store.protocol.Store`. Construct it through `open_store` or `memory_store`."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        entropy: Entropy | None = None,
        *,
        history_revisions_max: int | None = HISTORY_REVISIONS_MAX,
        resident_values_bytes: int = RESIDENT_VALUES_BYTES,
    ) -> None:
        """Loads what the engine holds; may take a while. `history_revisions_max` None: compact only when asked."""
        self._engine = engine
        self._clock = clock
        self._entropy = entropy or Entropy()
        self._history_revisions_max = history_revisions_max
        self._resident_values_bytes = resident_values_bytes
        self._resident: deque[Record] = deque()
        self._resident_bytes = 0
        self._mvcc = Mvcc(engine.read)
        loaded = engine.load()
        self._dead = self._mvcc.load(loaded.records, loaded.compact_revision)
        self._leases = LeaseTable()
        self._loaded_leases = loaded.leases
        self._hub = WatchHub(self._mvcc, self._mvcc.revision)
        self._committer = Committer(engine, self._committed, self._failed)
        self._compaction = asyncio.Lock()
        self._housekeeping: asyncio.Task[None] | None = None
        self._expiry: asyncio.Task[None] | None = None
        self._expiry_deadline = 0.0
        self._closed = False

    def start(self) -> None:
        """Let loaded leases run, from their full time. On the event loop, before anything else."""
        now = self._clock.monotonic()
        for lease, ttl_seconds in self._loaded_leases:
            self._leases.grant(lease, ttl_seconds, now)
        for record in self._mvcc.heads.values() if self._loaded_leases else ():
            if record.lease:
                self._leases.attach(record.lease, record.key)
        self._loaded_leases = []
        self._arm_expiry()

    # Reading

    @property
    def trouble(self) -> str:
        return self._committer.trouble

    @property
    def revision(self) -> int:
        return self._hub.revision

    def size_bytes(self) -> int:
        """What the engine takes on disk."""
        return self._engine.size_bytes()

    @property
    def compact_revision(self) -> int:
        return self._mvcc.compact_revision

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
    ) -> RangeResult:
        if self._closed:
            raise StoreClosedError
        durable = self._hub.revision
        if revision > 0:
            check_revision(self._mvcc, revision, durable)
        return range_result(self._mvcc, key, range_end, limit, revision or durable, durable, keys_only, count_only)

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        start_revision: int = 0,
        prev_kv: bool = True,
        events_max: int = 10_000,
    ) -> Watcher:
        return self._hub.watch(key, range_end, start_revision, prev_kv, events_max)

    # Writing

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> SwapResult:
        head = self._mvcc.heads.get(key)
        if (head.mod_revision if head is not None and head.version else 0) != mod_revision:
            return await self._refused(key)
        self._admit(key, len(value))
        if lease or (head is not None and head.lease):
            self._move_lease(head, lease, key)
        revision = self._mvcc.revision + 1
        self._committer.pending.records.append(self._mvcc.put(key, value, lease, revision, 0))
        self._mvcc.revision = revision
        await self._committer.durable()
        return SwapResult(True, revision)

    async def delete_if(self, key: bytes, mod_revision: int) -> SwapResult:
        head = self._mvcc.live(key)
        if head is None or head.mod_revision != mod_revision:
            return await self._refused(key)
        self._admit(key, 0)
        self._move_lease(head, 0, key)
        revision = self._mvcc.revision + 1
        self._committer.pending.records.append(self._mvcc.delete(head, revision, 0))
        self._mvcc.revision = revision
        await self._committer.durable()
        return SwapResult(True, revision)

    async def _refused(self, key: bytes) -> SwapResult:
        if self._closed:
            raise StoreClosedError
        head = self._mvcc.live(key)
        result = SwapResult(False, self._mvcc.revision, None if head is None else self._mvcc.kv(head))
        await self._settled()
        return result

    async def put(self, key: bytes, value: bytes, *, lease: int = 0, prev_kv: bool = False) -> PutResult:
        result = (await self.txn((), (PutOp(key, value, lease, prev_kv),))).responses[0]
        assert isinstance(result, PutResult)
        return result

    async def delete_range(self, key: bytes, range_end: bytes = b"", *, prev_kv: bool = False) -> DeleteResult:
        result = (await self.txn((), (DeleteRangeOp(key, range_end, prev_kv),))).responses[0]
        assert isinstance(result, DeleteResult)
        return result

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        if self._closed:
            raise StoreClosedError
        self._committer.admit(sum([len(op.value) for op in success if isinstance(op, PutOp)]))
        transaction = Transaction(self._mvcc, self._leases)
        result = transaction.run(TxnOp(compares, success, failure))
        if transaction.records:
            self._committer.pending.records.extend(transaction.records)
            await self._committer.durable()
        else:
            await self._settled()
        return result

    def _admit(self, key: bytes, byte_count: int) -> None:
        if self._closed:
            raise StoreClosedError
        if not key:
            raise InvalidRequestError("etcdserver: key is not provided")
        self._committer.admit(byte_count)

    def _move_lease(self, head: Record | None, lease: int, key: bytes) -> None:
        if lease and lease not in self._leases:
            raise LeaseNotFoundError(lease)
        if head is not None and head.lease:
            self._leases.detach(head.lease, key)
        if lease:
            self._leases.attach(lease, key)

    async def _settled(self) -> None:
        """Wait until the applied state, which an answer was read from, is durable."""
        if not self._committer.idle:
            await self._committer.durable()

    # What the committer reports

    def _committed(self, batch: Batch) -> None:
        if batch.compact_revision:
            self._mvcc.compact_revision = batch.compact_revision
        records = batch.records
        if not records:
            return
        self._hub.publish(records, records[-1].mod_revision)
        if self._engine.keeps_values:
            self._evict(records)
        limit = self._history_revisions_max
        if limit is not None and len(self._mvcc.log) > limit * 5 // 4 and self._housekeeping is None:
            self._housekeeping = asyncio.get_running_loop().create_task(self._compact_to(limit))

    def _evict(self, records: list[Record]) -> None:
        """Let go of the oldest values: the engine can read them back now."""
        resident = self._resident
        resident.extend(records)
        self._resident_bytes += sum(len(record.value or b"") for record in records)
        while self._resident_bytes > self._resident_values_bytes:
            record = resident.popleft()
            self._resident_bytes -= len(record.value or b"")
            if record.version:
                record.value = None

    def _failed(self, batches: list[Batch]) -> None:
        """Take back what is not durable. A batch that reached the disk although its sync failed is kept."""
        revision = self._hub.revision
        try:
            durable = max(revision, self._engine.durable_revision())
        except StoreUnavailableError as error:
            _log.warning("the engine cannot tell what is durable: %s", error)
            durable = revision
        first = batches[0]
        if durable > revision:
            batches = batches[1:]
        for granted, lease in reversed([change for batch in batches for change in batch.leases]):
            if granted:
                self._leases.remove(lease.id)
            else:
                self._leases.restore(lease)
        for record, before in self._mvcc.undo(durable):
            if record.lease:
                self._leases.detach(record.lease, record.key)
            if before is not None and before.lease:
                self._leases.attach(before.lease, before.key)
        if durable > revision:
            self._committed(first)
        self._arm_expiry()

    # Compaction

    async def compact(self, revision: int) -> None:
        if self._closed:
            raise StoreClosedError
        if revision <= self._mvcc.compact_revision:
            raise CompactedError(revision, self._mvcc.compact_revision)
        if revision > self._hub.revision:
            raise FutureRevisionError(revision, self._hub.revision)
        self._committer.pending.compact_revision = max(revision, self._committer.pending.compact_revision)
        await self._committer.durable()
        async with self._compaction:
            await self._sweep()

    async def _sweep(self) -> None:
        """Drop what is dead from memory and disk, a slice per commit. What a failure leaves is taken up next time."""
        more = True
        while more or self._dead:
            if self._closed:
                raise StoreClosedError
            if not self._dead:
                self._dead, more = self._mvcc.forget(COMPACTION_SLICE)
            piece = self._dead[-COMPACTION_SLICE:]
            if piece:
                self._committer.pending.dead.extend(piece)
                await self._committer.durable()
                del self._dead[-len(piece) :]
            await asyncio.sleep(0)

    async def _compact_to(self, records_kept: int) -> None:
        try:
            await self.compact(self._mvcc.log[-records_kept].mod_revision)
        except StoreError as error:  # tried again at one of the next writes
            _log.warning("history could not be compacted: %s", error)
        finally:
            self._housekeeping = None

    # Leases

    async def lease_grant(self, ttl_seconds: int, lease: int = 0) -> LeaseStatus:
        if self._closed:
            raise StoreClosedError
        self._committer.admit(0)
        while not lease or (lease < 0):
            lease = self._entropy.below(2**63 - 1)
            lease = 0 if lease in self._leases else lease
        granted = self._leases.grant(lease, ttl_seconds, self._clock.monotonic())
        self._committer.pending.leases.append((True, granted))
        self._arm_expiry()
        await self._committer.durable()
        return granted.status(self._clock.monotonic())

    async def lease_revoke(self, lease: int) -> int:
        if self._closed:
            raise StoreClosedError
        ended = self._leases.get(lease)
        self._committer.admit(0)
        transaction = Transaction(self._mvcc, self._leases)
        transaction.delete_keys(sorted(ended.keys))
        self._leases.remove(lease)
        self._committer.pending.records.extend(transaction.records)
        self._committer.pending.leases.append((False, ended))
        revision = self._mvcc.revision
        await self._committer.durable()
        return revision

    async def lease_keepalive(self, lease: int) -> LeaseStatus:
        now = self._clock.monotonic()
        status = self._leases.keepalive(lease, now).status(now)
        await self._settled()
        return status

    async def lease_time_to_live(self, lease: int, *, keys: bool = False) -> LeaseStatus:
        status = self._leases.get(lease).status(self._clock.monotonic(), keys)
        await self._settled()
        return status

    async def leases(self) -> list[int]:
        ids = self._leases.ids()
        await self._settled()
        return ids

    def _arm_expiry(self) -> None:
        """See to it that somebody wakes up for the earliest deadline. Without leases nobody does."""
        deadline = self._leases.next_deadline()
        if deadline is None or self._closed:
            return
        if self._expiry is not None and not self._expiry.done():
            if self._expiry_deadline <= deadline:
                return
            self._expiry.cancel()
        self._expiry_deadline = deadline
        self._expiry = asyncio.get_running_loop().create_task(self._expire())

    async def _expire(self) -> None:
        while (deadline := self._leases.next_deadline()) is not None:
            self._expiry_deadline = deadline
            wait_seconds = deadline - self._clock.monotonic()
            if wait_seconds > 0:
                await self._clock.sleep(min(wait_seconds, EXPIRY_WAIT_SECONDS_MAX))
                continue
            for lease in self._leases.expired(self._clock.monotonic()):
                try:
                    await self.lease_revoke(lease)
                except LeaseNotFoundError:
                    continue
                except StoreUnavailableError as error:
                    _log.warning("lease %016x could not be ended: %s", lease, error)
                    await self._clock.sleep(EXPIRY_RETRY_SECONDS)

    # Ending

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for task in (self._expiry, self._housekeeping):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        while not self._committer.idle:
            await asyncio.gather(self._committer.durable(), return_exceptions=True)
        self._hub.close()
        self._engine.close()


def memory_store(clock: Clock, entropy: Entropy | None = None) -> LocalStore:
    """A store that lives and dies with this object; writes return at once."""
    return LocalStore(MemoryEngine(), clock, entropy)


async def open_store(
    directory: Path,
    clock: Clock,
    entropy: Entropy | None = None,
    history_revisions_max: int | None = HISTORY_REVISIONS_MAX,
) -> LocalStore:
    """The store in `directory`, created if there is none. `history_revisions_max`: see LocalStore.

    Raises DataDirectoryInUseError, CorruptStoreError, StoreUnavailableError.
    """
    from wherry.store.lmdb_engine import LmdbEngine  # a memory store needs no lmdb

    engine = await asyncio.to_thread(LmdbEngine, directory)
    try:
        store = await asyncio.to_thread(LocalStore, engine, clock, entropy, history_revisions_max=history_revisions_max)
        store.start()
    except BaseException:
        engine.close()
        raise
    return store
