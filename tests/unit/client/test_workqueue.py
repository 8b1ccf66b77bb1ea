"""The work queue's promises, as client-go's queue_test.go and delaying_queue_test.go state them."""

import asyncio

import pytest

from wherry.aio.clock import LoopClock
from wherry.client.workqueue import ShutDown, WorkQueue, meta_key, work
from wherry.meta.errors import not_found
from wherry.meta.object import ObjectMeta, PartialObjectMetadata
from wherry.sim.loop import run_virtual


def test_a_key_added_twice_is_handed_out_once() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        for key in ("a", "b", "a"):
            queue.add(key)
        assert len(queue) == 2
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    run_virtual(main())


def test_a_key_added_while_worked_on_comes_back_only_when_done() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0
        queue.done(key)
        assert len(queue) == 1
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    run_virtual(main())


def test_a_delayed_key_arrives_at_the_earliest_of_its_times() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        loop = asyncio.get_running_loop()
        queue.add_after("a", 30)
        queue.add_after("a", 10)
        queue.add_after("a", 20)
        queue.add_after("b", 5)
        assert (await queue.get(), round(loop.time(), 6)) == ("b", 5)
        assert (await queue.get(), round(loop.time(), 6)) == ("a", 10)
        queue.done("a")
        await asyncio.sleep(100)
        assert len(queue) == 0, "the later times were dropped"

    run_virtual(main())


def test_failures_double_the_delay_up_to_the_limit_and_forget_resets_it() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        loop = asyncio.get_running_loop()
        delays = []
        for _ in range(20):
            before = loop.time()
            queue.add_rate_limited("a")
            queue.done(await queue.get())
            delays.append(round(loop.time() - before, 6))
        assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
        assert delays[-1] == 1000.0
        assert queue.failures("a") == 20
        queue.forget("a")
        before = loop.time()
        queue.add_rate_limited("a")
        await queue.get()
        assert round(loop.time() - before, 6) == 0.005

    run_virtual(main(), limit_seconds=1e6)


def test_a_shut_down_queue_drains_then_sends_everyone_home() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        queue.add_after("later", 10)
        queue.shutdown()
        queue.add("refused")
        assert await queue.get() == "a"
        with pytest.raises(ShutDown):
            await queue.get()

    run_virtual(main())


def test_shutting_down_wakes_those_who_wait() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        async with asyncio.TaskGroup() as group:
            group.create_task(work(queue, _never, workers=3, name="idle"))
            await asyncio.sleep(1)
            queue.shutdown()

    run_virtual(main())


async def _never(key: str) -> None:
    raise AssertionError(key)


def test_a_cancelled_getter_does_not_swallow_its_wake_up() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")  # wakes the first, which is cancelled before it can run
        first.cancel()
        assert await second == "a"

    run_virtual(main())


def test_workers_retry_failures_and_forget_after_success(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[float]:
        queue: WorkQueue[str] = WorkQueue()
        clock = LoopClock()
        attempts: list[float] = []

        async def reconcile(key: str) -> None:
            attempts.append(round(clock.monotonic(), 6))
            if len(attempts) == 1:
                raise not_found("pods", key)
            if len(attempts) == 2:
                raise ValueError("a bug")
            queue.shutdown()

        queue.add("a")
        await work(queue, reconcile, workers=2, name="test")
        assert queue.failures("a") == 0
        return attempts

    assert run_virtual(main()) == [0.0, 0.005, 0.015]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1, "only the unexpected failure shows its traceback"


def test_two_workers_never_hold_the_same_key() -> None:
    async def main() -> None:
        queue: WorkQueue[int] = WorkQueue()
        held: set[int] = set()
        runs = 0

        async def reconcile(key: int) -> None:
            nonlocal runs
            assert key not in held
            held.add(key)
            queue.add(key)
            await asyncio.sleep(1)
            held.remove(key)
            runs += 1
            if runs == 30:
                queue.shutdown()

        for key in range(3):
            queue.add(key)
        await work(queue, reconcile, workers=5, name="test")

    run_virtual(main())


def test_keys_of_typed_and_plain_objects_agree() -> None:
    typed = PartialObjectMetadata(metadata=ObjectMeta(namespace="ns", name="x"))
    assert meta_key(typed) == meta_key({"metadata": {"namespace": "ns", "name": "x"}}) == ("ns", "x")
    assert meta_key({"metadata": {"name": "node"}}) == ("", "node")
