"""Crashed components come back alone; nothing is left running."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Health, Supervisor, TaskSet


class InstantClock:
    """Sleeping takes no time but is remembered, and moves the clock on."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Crashing:
    """Crashes a number of times, then runs until cancelled."""

    def __init__(self, crashes: int) -> None:
        self.crashes_left = crashes
        self.settled = asyncio.Event()

    async def run(self) -> None:
        if self.crashes_left:
            self.crashes_left -= 1
            raise RuntimeError("boom")
        self.settled.set()
        await asyncio.Event().wait()


async def test_a_crashed_component_is_restarted_with_growing_waits(caplog: pytest.LogCaptureFixture) -> None:
    clock, crashing, steady = InstantClock(), Crashing(3), Crashing(0)
    supervisor = Supervisor(clock, Entropy(1))
    component = supervisor.start("shaky", crashing.run)
    other = supervisor.start("steady", steady.run)
    await crashing.settled.wait()
    assert (component.restarts, other.restarts) == (3, 0)
    assert clock.slept == sorted(clock.slept)
    assert [record.getMessage()[:13] for record in caplog.records] == ["shaky crashed"] * 3
    assert await supervisor.close() == []
    assert not component.running and not other.running


async def test_a_component_that_returns_has_ended() -> None:
    async def run() -> None:
        return

    supervisor = Supervisor(InstantClock(), Entropy(1))
    component = supervisor.start("once", run)
    assert component.task is not None
    await component.task
    assert (component.running, component.restarts) == (False, 0)


async def test_a_name_runs_once_and_nothing_starts_while_closing() -> None:
    supervisor = Supervisor(InstantClock(), Entropy(1))
    supervisor.start("a", Crashing(0).run)
    with pytest.raises(RuntimeError, match="a runs already"):
        supervisor.start("a", Crashing(0).run)
    await supervisor.stop("a")
    supervisor.start("a", Crashing(0).run)
    await supervisor.close()
    with pytest.raises(RuntimeError, match="closing"):
        supervisor.start("b", Crashing(0).run)


async def test_components_that_will_not_stop_are_named(caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    supervisor = Supervisor(InstantClock(), Entropy(1))
    supervisor.start("stubborn", stubborn)
    await asyncio.sleep(0)
    assert await supervisor.close(deadline_seconds=0) == ["stubborn"]
    assert "stubborn" in caplog.text
    release.set()
    assert await supervisor.close() == []


async def test_failures_of_jobs_are_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("boom")

    jobs = TaskSet()
    jobs.spawn(fail(), "sweep")
    await jobs.join()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "sweep failed: boom")
    ]
    assert len(jobs) == 0


async def test_join_waits_for_jobs_that_jobs_spawn() -> None:
    jobs, seen = TaskSet(), []

    async def leaf() -> None:
        seen.append("leaf")

    async def root() -> None:
        jobs.spawn(leaf(), "leaf")

    jobs.spawn(root(), "root")
    await jobs.join()
    assert seen == ["leaf"]


async def test_cancel_all_leaves_nothing_running() -> None:
    jobs = TaskSet()
    task = jobs.spawn(asyncio.Event().wait(), "forever")
    assert await jobs.cancel_all() == []
    assert task.cancelled()
    await asyncio.sleep(0)
    assert len(jobs) == 0


async def test_health_tells_a_crash_until_the_component_runs_again() -> None:
    supervisor = Supervisor(InstantClock(), Entropy(1))
    crashing = Crashing(2)
    seen: list[Health] = []

    async def run() -> None:
        seen.append(supervisor.health())
        await crashing.run()

    supervisor.start("shaky", run)
    supervisor.start("open", asyncio.Event().wait, lambda: Health("listens to nobody"))  # type: ignore[arg-type]
    while not (waiting := supervisor.components["shaky"].health()).trouble:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)
    assert waiting == Health("crashed: RuntimeError: boom", 0)
    await crashing.settled.wait()
    assert supervisor.health() == Health("open: listens to nobody", 2)
    assert [health.restarts for health in seen] == [0, 1, 2]
    await supervisor.close()
    assert supervisor.health() == Health()
