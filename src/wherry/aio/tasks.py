"""Tasks that somebody answers for: components that are restarted when they crash, and small jobs on the side.

`Supervisor` runs the components of a node or a control plane; one that crashes is restarted alone, after a backoff,
and the others do not notice. `TaskSet` holds fire-and-forget jobs, so that none is lost to the garbage collector and
no exception goes unseen. Both leave nothing behind when closed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from wherry.aio.backoff import Backoff
from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy

logger = logging.getLogger(__name__)

STOP_SECONDS = 10.0
HEALTHY_SECONDS = 60.0
"""A component that ran this long before it crashed starts again without the waits of earlier crashes."""

Run = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Health:
    """How a component does."""

    trouble: str = ""
    """What is wrong, in one line; empty: nothing."""
    restarts: int = 0


@dataclass(slots=True)
class Component:
    """One supervised component."""

    name: str
    run: Run
    inside: Callable[[], Health] = Health
    """What it says of itself while it runs."""
    restarts: int = 0
    last_error: BaseException | None = None
    waiting: bool = False
    """It crashed, and will start again."""
    task: "asyncio.Task[None] | None" = None

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    def health(self) -> Health:
        """Its own word, and what its supervisor has seen."""
        inside = self.inside()
        trouble = f"crashed: {describe(self.last_error)}" if self.waiting and self.last_error else inside.trouble
        return Health(trouble, self.restarts + inside.restarts)


class Supervisor:
    """Named components, each in its own task. `run` is called anew for every restart; returning ends a component."""

    def __init__(self, clock: Clock, entropy: Entropy, initial_seconds: float = 1.0, cap_seconds: float = 60.0) -> None:
        self._clock = clock
        self._entropy = entropy
        self._initial_seconds = initial_seconds
        self._cap_seconds = cap_seconds
        self._closing = False
        self.components: dict[str, Component] = {}
        """By name, in the order they were started."""

    def start(self, name: str, run: Run, inside: Callable[[], Health] = Health) -> Component:
        """Run a component until it returns, is stopped, or everything is closed."""
        if self._closing:
            raise RuntimeError(f"cannot start {name}: the supervisor is closing")
        if name in self.components and self.components[name].running:
            raise RuntimeError(f"{name} runs already")
        component = Component(name, run, inside)
        self.components[name] = component
        component.task = asyncio.create_task(self._keep_running(component), name=name)
        return component

    async def stop(self, name: str, deadline_seconds: float = STOP_SECONDS) -> None:
        """Stop one component and forget it."""
        component = self.components.pop(name)
        await _cancel([component.task] if component.task else [], deadline_seconds)

    async def close(self, deadline_seconds: float = STOP_SECONDS) -> list[str]:
        """Stop all, the last started first. Returns the names of those that would not end in time."""
        self._closing = True
        tasks = [item.task for item in reversed(self.components.values()) if item.task]
        return await _cancel(tasks, deadline_seconds)

    def health(self) -> Health:
        """All that run, as one."""
        found = {name: one.health() for name, one in self.components.items() if one.running}
        trouble = "; ".join(f"{name}: {health.trouble}" for name, health in found.items() if health.trouble)
        return Health(trouble, sum(health.restarts for health in found.values()))

    async def _keep_running(self, component: Component) -> None:
        backoff = Backoff(self._entropy, self._initial_seconds, self._cap_seconds)
        while True:
            started = self._clock.monotonic()
            try:
                await component.run()
                return
            except Exception as error:
                component.last_error = error
                if self._clock.monotonic() - started >= HEALTHY_SECONDS:
                    backoff.reset()
                component.waiting = True
                wait_seconds = backoff.next_seconds()
                logger.exception("%s crashed; it starts again in %.1f s", component.name, wait_seconds)
            await self._clock.sleep(wait_seconds)
            component.restarts += 1
            component.waiting = False


def describe(error: BaseException) -> str:
    """An error in one line; of a group, its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class TaskSet:
    """Jobs on the side. A failing job is logged with its name, and the others go on."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, job: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a job."""
        task = asyncio.create_task(job, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def join(self) -> None:
        """Wait until all jobs, and those they spawn meanwhile, have ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def cancel_all(self, deadline_seconds: float = STOP_SECONDS) -> list[str]:
        """Cancel all jobs and wait for their end. Returns the names of those that would not end in time."""
        return await _cancel(self._tasks, deadline_seconds)

    def __len__(self) -> int:
        return len(self._tasks)

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("%s failed: %s", task.get_name(), error, exc_info=error)


async def _cancel(tasks: "Iterable[asyncio.Task[Any]]", deadline_seconds: float) -> list[str]:
    current = asyncio.current_task()
    pending = [task for task in tasks if not task.done() and task is not current]
    for task in pending:
        task.cancel()
    if not pending:
        return []
    _, stuck = await asyncio.wait(pending, timeout=deadline_seconds)
    names = [task.get_name() for task in pending if task in stuck]
    if names:
        logger.error("still running %.0f s after being stopped: %s", deadline_seconds, ", ".join(names))
    return names
