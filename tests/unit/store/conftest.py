"""Stores to test with: every behaviour holds for both engines."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wherry.store.local import LocalStore, memory_store, open_store


class TickClock:
    """A clock that moves when told; sleepers wake in order of their deadlines."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, future))
        await future

    async def tick(self, seconds: float) -> None:
        await asyncio.sleep(0)  # let freshly started tasks reach their sleep
        self._now += seconds
        due = sorted((entry for entry in self._sleepers if entry[0] <= self._now), key=lambda entry: entry[0])
        self._sleepers = [entry for entry in self._sleepers if entry[0] > self._now]
        for _, future in due:
            if not future.done():
                future.set_result(None)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> TickClock:
    return TickClock()


@pytest.fixture(params=["memory", "lmdb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: TickClock) -> AsyncIterator[LocalStore]:
    made = memory_store(clock) if request.param == "memory" else await open_store(tmp_path / "data", clock)
    yield made
    await made.close()
