"""Virtual time: jumps, deadlocks, limits."""

import asyncio
import time

import pytest

from wherry.aio.clock import LoopClock
from wherry.sim.loop import Deadlock, TimeLimitExceeded, run_virtual


def test_a_day_of_sleep_takes_no_time() -> None:
    async def main() -> float:
        clock = LoopClock()
        before = clock.now()
        await clock.sleep(86_000)
        return (clock.now() - before).total_seconds()

    started = time.monotonic()
    assert run_virtual(main()) == pytest.approx(86_000)
    assert time.monotonic() - started < 1.0


def test_timers_fire_in_order_and_at_their_times() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[str, float]] = []

        async def note(name: str, delay: float) -> None:
            await asyncio.sleep(delay)
            seen.append((name, round(loop.time(), 6)))

        await asyncio.gather(note("late", 300), note("early", 0.5), note("middle", 10))
        return seen

    assert run_virtual(main()) == [("early", 0.5), ("middle", 10.0), ("late", 300.0)]


def test_timers_beyond_a_day_are_reached_in_steps() -> None:
    async def main() -> float:
        await asyncio.sleep(1_000_000)
        return asyncio.get_running_loop().time()

    assert run_virtual(main(), limit_seconds=2_000_000) == pytest.approx(1_000_000)


def test_a_timeout_fires_in_virtual_time() -> None:
    async def main() -> None:
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run_virtual(main())


def test_a_deadlock_names_the_waiting_tasks_and_their_places() -> None:
    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(waits_for_nobody(), name="forgotten")

    with pytest.raises(Deadlock, match=r"forgotten: .*test_loop\.py:\d+ waits_for_nobody"):
        run_virtual(main())


def test_a_run_beyond_its_limit_is_stopped_with_the_waiting_tasks() -> None:
    async def main() -> None:
        clock = LoopClock()
        while True:
            await clock.sleep(60)

    with pytest.raises(TimeLimitExceeded, match="still running after 600 s"):
        run_virtual(main(), limit_seconds=600)


def test_work_for_threads_runs_inline_and_its_errors_arrive() -> None:
    def fails() -> None:
        raise ValueError("told")

    async def main() -> int:
        with pytest.raises(ValueError, match="told"):
            await asyncio.to_thread(fails)
        return await asyncio.to_thread(lambda: 7)

    assert run_virtual(main()) == 7


def test_real_sockets_are_served_while_virtual_time_jumps() -> None:
    async def main() -> bytes:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return answer

    assert run_virtual(main()) == b"hello\n"
