"""The seam under the store: something that makes batches of changes durable, and its twin that only pretends.

The shell (wherry/store/local.py) hands over one `Batch` at a time and waits for `done` before the next.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from wherry.store.lease import Lease
from wherry.store.mvcc import Record


class Batch(msgspec.Struct):
    """What becomes durable together, or not at all."""

    records: list[Record] = []
    leases: list[tuple[bool, Lease]] = []
    """Granted (True) and ended (False), in order."""
    dead: list[Record] = []
    """Records nobody can ask for any more."""
    compact_revision: int = 0
    """When not 0: the new compact revision."""


class Loaded(msgspec.Struct):
    """What an engine holds. `records` comes in revision order, without values if the engine can `read` them."""

    records: Iterable[Record]
    compact_revision: int
    leases: list[tuple[int, int]]
    """Id and seconds of each."""


Done = Callable[[Exception | None], None]


class Engine(Protocol):
    """All methods are called on the event loop's thread; only `load` may take long and is called from a worker."""

    keeps_values: bool
    """Whether `read` works: if so the store drops values from memory."""

    group_commit: bool
    """Whether it pays to collect writes for one turn of the event loop before the first append."""

    def load(self) -> Loaded:
        """Raises CorruptStoreError."""

    def append(self, batch: Batch, done: Done) -> None:
        """Make `batch` durable, then call `done(None)` on the loop; or `done(error)` with nothing written.

        `done` may be called before this returns.
        """

    def durable_revision(self) -> int:
        """What is really there, asked after a failed append. Raises StoreUnavailableError if that cannot be told."""

    def read(self, records: list[Record]) -> list[bytes]:
        """The values of durable records. Raises CorruptStoreError, StoreUnavailableError."""

    def size_bytes(self) -> int:
        """What is taken on disk."""

    def close(self) -> None:
        """Release everything. Called with no append under way."""


class MemoryEngine:
    """Durable as long as the process is. Answers at once and without threads, so that virtual time stays exact."""

    keeps_values = False
    group_commit = False

    def __init__(self) -> None:
        self._revision = 1

    def load(self) -> Loaded:
        return Loaded([], 0, [])

    def append(self, batch: Batch, done: Done) -> None:
        if batch.records:
            self._revision = batch.records[-1].mod_revision
        done(None)

    def durable_revision(self) -> int:
        return self._revision

    def read(self, records: list[Record]) -> list[bytes]:
        raise AssertionError("a memory engine's records carry their values")

    def size_bytes(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is held."""
