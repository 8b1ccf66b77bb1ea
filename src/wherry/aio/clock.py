"""The one place that knows what time it is.

Everything that needs the time takes a `Clock`; nothing else calls `time` or `datetime.now` (a lint rule bans them).
`SystemClock` is the machine's. Under virtual time (wherry.sim) the event loop's own `time()` is virtual, and
`LoopClock` derives both the wall clock and the monotonic clock from it, so that a five-minute wait costs nothing and
every run sees the same instants.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and waiting."""

    def now(self) -> datetime:
        """The wall clock as an aware datetime in UTC."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task for `seconds` (0 or less: yield once)."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class LoopClock:
    """Both clocks derived from the running event loop's `time()`; the loop decides how fast it passes.

    `epoch` is the wall time at which the loop's clock reads zero.
    """

    def __init__(self, epoch: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._epoch = epoch

    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
