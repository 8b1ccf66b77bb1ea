"""What a store is: etcd's data model as Python records and one Protocol.

The API server is written against `Store` and nothing else in this package. Behind it stand the in-process store
(`wherry.store.local.LocalStore`, on LMDB or in memory) and, later, etcd's own wire and real etcd clusters, so the
semantics here are etcd's v3 API: https://etcd.io/docs/v3.6/learning/api/.

- One revision counter for the whole key space. Each transaction that changes something adds exactly one to it; all
  its changes carry that revision. An empty store is at revision 1.
- `create_revision` is the revision that created the key, `mod_revision` the one that last wrote it, `version` counts
  writes since creation. A deleted key that is created again starts over.
- A key range is `key` alone (`range_end` empty), `[key, range_end)`, or every key from `key` on (`range_end` is
  `FROM_KEY`). `prefix_end(prefix)` gives the end of a prefix.
- What any reader or watcher sees is durable; a write returns when it is durable.

Read next: wherry/store/mvcc.py.
"""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

FROM_KEY = b"\0"
"""As `range_end`: every key that is not less than `key`."""


def prefix_end(prefix: bytes) -> bytes:
    """The `range_end` under which exactly the keys that begin with `prefix` fall."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else FROM_KEY


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key at one revision. In delete events only `key` and `mod_revision` (of the deletion) are set."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change. `prev_kv` is what the key held before: None if it did not exist, was compacted, or was not asked for.

    A creation is a put whose `kv.create_revision == kv.mod_revision`.
    """

    kind: Literal["put", "delete"]
    kv: KeyValue
    prev_kv: KeyValue | None = None


class Compare(msgspec.Struct, frozen=True):
    """A condition on `key` (or on each key of a range). An absent key has version, create, mod and lease 0.

    An absent key never satisfies a comparison of its value.
    """

    key: bytes
    target: Literal["value", "version", "create", "mod", "lease"]
    operator: Literal["=", "!=", "<", ">"]
    operand: int | bytes
    range_end: bytes = b""


class RangeOp(msgspec.Struct, frozen=True):
    """Read a range. See `Store.range`."""

    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    keys_only: bool = False
    count_only: bool = False


class PutOp(msgspec.Struct, frozen=True):
    """Write a key. `ignore_value` and `ignore_lease` keep what the key has; the key must then exist."""

    key: bytes
    value: bytes
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class DeleteRangeOp(msgspec.Struct, frozen=True):
    """Delete every key of a range."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False


class TxnOp(msgspec.Struct, frozen=True):
    """If every compare holds do `success`, else `failure`, at one revision. Compares see the state before all of it."""

    compares: "Sequence[Compare]" = ()
    success: "Sequence[Op]" = ()
    failure: "Sequence[Op]" = ()


Op = RangeOp | PutOp | DeleteRangeOp | TxnOp


class RangeResult(msgspec.Struct, frozen=True):
    """`kvs` in key order; `count` is of the whole range whatever the limit; `more` says the limit cut it short.

    `revision` is the store's revision at the time of the read, also when an older one was read: list with it, then
    watch from `revision + 1`.
    """

    kvs: list[KeyValue]
    count: int
    more: bool
    revision: int


class PutResult(msgspec.Struct, frozen=True):
    revision: int
    prev_kv: KeyValue | None = None


class DeleteResult(msgspec.Struct, frozen=True):
    revision: int
    deleted: int
    prev_kvs: list[KeyValue] = []


class TxnResult(msgspec.Struct, frozen=True):
    """One response per operation of the branch taken, in order."""

    succeeded: bool
    responses: "list[Result]"
    revision: int


Result = RangeResult | PutResult | DeleteResult | TxnResult


class SwapResult(msgspec.Struct, frozen=True):
    """What `put_if` and `delete_if` did. When refused, `current` is what the key holds (None: it is absent).

    `revision` is the new `mod_revision` on success, else the store's revision at which the refusal was decided.
    """

    succeeded: bool
    revision: int
    current: KeyValue | None = None


class LeaseStatus(msgspec.Struct, frozen=True):
    id: int
    granted_seconds: int
    remaining_seconds: float
    keys: list[bytes] = []


class Watch(Protocol):
    """A stream of batches of events: `async with store.watch(...) as watch: async for events in watch: ...`.

    Each batch is non-empty, in revision order, never splits a revision, and is shared between watchers: do not change
    it. Iteration raises CompactedError when `start_revision` is (or, while catching up, becomes) older than the
    retained history, SlowWatcherError when more than the agreed number of events wait to be read, StoreClosedError
    when the store closes. After `close()` iteration ends.
    """

    @property
    def revision(self) -> int:
        """Every matching event up to this revision has been handed out (what a progress notification reports)."""

    def close(self) -> None:
        """Stop; idempotent."""

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]: ...

    async def __anext__(self) -> Sequence[Event]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """A key-value store with etcd's semantics. Writes raise StoreUnavailableError when they cannot be made durable."""

    @property
    def revision(self) -> int:
        """The newest durable revision."""

    @property
    def trouble(self) -> str:
        """Why the last write could not be made durable; empty when it could."""

    @property
    def compact_revision(self) -> int:
        """Reads at, and watches from, revisions below this one raise CompactedError. 0 when never compacted."""

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
        """Read a range, now (`revision` 0: linearizable) or as it was. `limit` 0 is no limit.

        Raises CompactedError, FutureRevisionError.
        """

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Decide and apply a transaction; returns once the outcome is durable.

        Raises InvalidRequestError (also for a key written twice), LeaseNotFoundError, StoreUnavailableError.
        """

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> SwapResult:
        """Write `key` if its mod_revision is exactly this; 0 means create: the key must be absent. The fast path."""

    async def delete_if(self, key: bytes, mod_revision: int) -> SwapResult:
        """Delete `key` if its mod_revision is exactly this. The fast path."""

    async def put(self, key: bytes, value: bytes, *, lease: int = 0, prev_kv: bool = False) -> PutResult:
        """Write `key` unconditionally."""

    async def delete_range(self, key: bytes, range_end: bytes = b"", *, prev_kv: bool = False) -> DeleteResult:
        """Delete every key of a range at one revision."""

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        start_revision: int = 0,
        prev_kv: bool = True,
        events_max: int = 10_000,
    ) -> Watch:
        """Events of a range from `start_revision` on (0: from now), history first, then as they become durable.

        The watch is in place when this returns. `events_max` bounds what may wait for a reader that has caught up.
        """

    async def compact(self, revision: int) -> None:
        """Forget what was superseded before `revision`. Raises CompactedError if done already, FutureRevisionError."""

    async def lease_grant(self, ttl_seconds: int, lease: int = 0) -> LeaseStatus:
        """Grant a lease (`lease` 0: an id is chosen). Keys put with it are deleted when it ends.

        Raises LeaseExistsError.
        """

    async def lease_revoke(self, lease: int) -> int:
        """End a lease and delete its keys at one revision; returns the revision. Raises LeaseNotFoundError."""

    async def lease_keepalive(self, lease: int) -> LeaseStatus:
        """Give a lease its full time again; writes nothing. Raises LeaseNotFoundError."""

    async def lease_time_to_live(self, lease: int, *, keys: bool = False) -> LeaseStatus:
        """What is left of a lease, and its keys in order if asked. Raises LeaseNotFoundError."""

    async def leases(self) -> list[int]:
        """The ids of all leases, in order."""

    async def close(self) -> None:
        """Finish what was accepted, end the watches, release the engine; idempotent."""
