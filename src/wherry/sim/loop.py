"""An asyncio event loop whose time is virtual: it never waits, it jumps to the next timer.

With `LoopClock` everything that takes a `Clock` then runs in virtual time: a five-minute eviction costs the few
callbacks it is made of, and the same seed gives the same run. When nothing is ready and nothing is scheduled, nothing
can ever happen again; the loop says so at once and lists who waits where, instead of hanging.

Work for threads (`run_in_executor`, `asyncio.to_thread`) runs inline, so threads cannot disturb the order of events.
Real sockets work, as a concession: while any are open they get a moment of real time before each jump, and the run is
no longer deterministic.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

REAL_GRACE_SECONDS = 0.01
"""How long open sockets are really waited for before virtual time moves on."""
_CLOCK_RESOLUTION_SECONDS = 1e-9
_OWN_FILES = 1  # the loop's self-pipe


class Deadlock(RuntimeError):
    """Every task waits for another, and no timer is left to wake one."""


class TimeLimitExceeded(RuntimeError):
    """The run would go on beyond its limit of virtual time."""


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would sleep, `pass_time` is called instead."""

    def __init__(self) -> None:
        super().__init__()
        self.pass_time: Callable[[float | None], None] = lambda seconds: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        real_files = len(self.get_map()) > _OWN_FILES
        if real_files:
            wait = timeout if timeout is None else min(timeout, REAL_GRACE_SECONDS)
            events = super().select(wait)
            if events or timeout is None:
                return events
        if timeout is None or timeout > 0:
            self.pass_time(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at time 0. `limit_seconds` bounds how far virtual time may go."""

    def __init__(self, limit_seconds: float = float("inf")) -> None:
        selector = _JumpingSelector()
        self._virtual_seconds = 0.0
        self._limit_seconds = limit_seconds
        super().__init__(selector)
        selector.pass_time = self._pass
        self._clock_resolution = _CLOCK_RESOLUTION_SECONDS

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Runs `func` now, in this thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the future
            future.set_exception(error)
        return future

    def _pass(self, seconds: float | None) -> None:
        if seconds is None:
            raise Deadlock("deadlock: nothing is ready and no timer is set; waiting:\n" + waiting_tasks(self))
        if self._virtual_seconds + seconds > self._limit_seconds:
            raise TimeLimitExceeded(
                f"still running after {self._limit_seconds:g} s of virtual time; waiting:\n" + waiting_tasks(self)
            )
        self._virtual_seconds += seconds


def run_virtual(coroutine: Coroutine[Any, Any, T], *, limit_seconds: float = 86400.0) -> T:
    """Run to completion in virtual time. Raises Deadlock, TimeLimitExceeded, or what the coroutine raises."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(limit_seconds)) as runner:
        return runner.run(coroutine)


def waiting_tasks(loop: asyncio.AbstractEventLoop) -> str:
    """A line for every unfinished task: its name and the place where it waits."""
    return "\n".join(sorted(f"  {task.get_name()}: {_place(task)}" for task in asyncio.all_tasks(loop)))


def _place(task: asyncio.Task[Any]) -> str:
    places = [f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}" for frame in _frames(task)]
    return places[-1] if places else "not started"


def _frames(task: asyncio.Task[Any]) -> Iterable[FrameType]:
    """From the task's own function down to the innermost one that awaits; asyncio's own are left out at the end."""
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None and "/asyncio/" not in frame.f_code.co_filename:
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
