"""Group commit: whatever was applied while the last batch was being synced becomes the next one.

One batch is under way at a time. A sync takes a few hundred microseconds however much it covers, so the busier the
store, the larger the batches and the cheaper each write. Writers wait on futures of their own, because cancelling one
of them must not disturb the others.
"""

import asyncio
from collections.abc import Callable

from wherry.store.engine import Batch, Engine
from wherry.store.errors import StoreUnavailableError, TooManyRequestsError

WAITERS_MAX = 10_000
PENDING_BYTES_MAX = 64 << 20
"""Beyond these, writes are refused: about a second of the slowest disk worth having."""


class Committer:
    """`pending` is the batch that applied changes are put into; `durable` then waits for it.

    `committed(batch)` is called when a batch is durable, `failed(batches)` when one is not: with it and the one that
    was applied on top of it, oldest first.
    """

    def __init__(
        self, engine: Engine, committed: Callable[[Batch], None], failed: Callable[[list[Batch]], None]
    ) -> None:
        self._engine = engine
        self._committed = committed
        self._failed = failed
        self.trouble = ""
        """Why the last batch did not become durable; empty: it did."""
        self.pending = Batch()
        self._pending_bytes = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._flight: tuple[Batch, list[asyncio.Future[None]]] | None = None
        self._scheduled = False

    @property
    def idle(self) -> bool:
        """Whether everything applied is durable."""
        return self._flight is None and not self._waiters

    def admit(self, byte_count: int) -> None:
        """Call before applying a write of this size."""
        if not self._waiters:
            self._pending_bytes = 0  # what was admitted since the last batch was refused later on
        if len(self._waiters) >= WAITERS_MAX or self._pending_bytes >= PENDING_BYTES_MAX:
            raise TooManyRequestsError("etcdserver: too many requests")
        self._pending_bytes += byte_count

    def durable(self) -> "asyncio.Future[None]":
        """A future that is done when all that is applied by now is durable, or fails with StoreUnavailableError."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiters.append(future)
        if self._flight is None and not self._scheduled:
            if self._engine.group_commit:
                self._scheduled = True
                loop.call_soon(self._flush)
            else:
                self._flush()
        return future

    def _flush(self) -> None:
        self._scheduled = False
        batch, waiters = self.pending, self._waiters
        self.pending, self._waiters, self._pending_bytes = Batch(), [], 0
        self._flight = (batch, waiters)
        self._engine.append(batch, self._done)

    def _done(self, error: Exception | None) -> None:
        assert self._flight is not None
        batch, waiters = self._flight
        self._flight = None
        self.trouble = str(error) if error else ""
        if error is None:
            self._committed(batch)
            for future in waiters:
                if not future.done():
                    future.set_result(None)
        else:
            waiters = waiters + self._waiters
            later = self.pending
            self.pending, self._waiters, self._pending_bytes = Batch(), [], 0
            self._failed([batch, later])
            for future in waiters:
                if not future.done():
                    future.set_exception(StoreUnavailableError(f"the write could not be made durable: {error}"))
        if self._waiters and not self._scheduled:
            self._flush()
