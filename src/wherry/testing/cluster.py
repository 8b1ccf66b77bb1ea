"""A cluster inside the test: a real API server in memory, one client, shared informers, and the components asked for.

    async with InProcessCluster(start=[scheduler]) as cluster:
        await cluster.client.create(builders.pod("web"))
        await cluster.until(lambda: cluster.informers.informer(Pod).by_index(...))

Under wherry.sim.loop.run_virtual every wait in it is free. Unlike a real cluster it restarts nothing: a component that
crashes fails the test. Objects to put in are in wherry/testing/builders.py.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from wherry.aio.clock import Clock, LoopClock
from wherry.aio.entropy import Entropy
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.client.transport import Transport

if TYPE_CHECKING:
    from wherry.server.admission.configured import AdmissionFunction
    from wherry.server.admission.plugin import AdmissionPlugin

Run = Callable[[], Awaitable[None]]
Serve = Callable[[Clock, Entropy], AbstractAsyncContextManager[Transport]]
Component = Callable[["InProcessCluster"], Run]
"""Makes a component of the cluster's client, informers, clock and entropy; its `run` is started."""
Condition = Callable[[], object]

POLL_SECONDS = 0.01


@asynccontextmanager
async def api_server(
    clock: Clock, entropy: Entropy, admission: Sequence["AdmissionPlugin | AdmissionFunction"] = ()
) -> AsyncIterator[Transport]:
    """An API server over a store in memory, reached as an administrator."""
    from wherry.server.app import SELF, Server
    from wherry.server.options import ServerOptions
    from wherry.store.local import memory_store

    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy, ServerOptions(admission=admission))
    await server.start()
    try:
        yield server.transport(SELF)
    finally:
        await server.close()
        await store.close()


class InProcessCluster:
    """An asynchronous context manager. The same entropy seed and the virtual loop give the same run."""

    def __init__(
        self,
        serve: Serve | None = None,
        *,
        start: Sequence[Component] = (),
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        admission: Sequence["AdmissionPlugin | AdmissionFunction"] = (),
    ) -> None:
        """`admission`: functions and plugins that may change or refuse writes (server/admission/configured.py)."""
        self.clock = clock or LoopClock()
        self.entropy = entropy or Entropy(0)
        self._serve = serve or (lambda clock, entropy: api_server(clock, entropy, admission))
        self._components = start
        self._stack = AsyncExitStack()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "InProcessCluster":
        async with AsyncExitStack() as stack:
            transport = await stack.enter_async_context(self._serve(self.clock, self.entropy))
            self.client = Client(transport, clock=self.clock, entropy=self.entropy)
            self.informers = Informers(self.client)
            self._group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(self._stop_all)
            self.start("informers", self.informers.run)
            for component in self._components:
                self.start(getattr(component, "__name__", "component"), component(self))
            await self.informers.wait_synced()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def start(self, name: str, run: Run) -> None:
        """Run a component until the cluster is left, or `stop`."""

        async def running() -> None:
            await run()

        self._tasks[name] = self._group.create_task(running(), name=name)

    async def stop(self, name: str) -> None:
        """Stop one component, as a crash of its process would."""
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Condition, timeout_seconds: float = 300.0) -> None:
        """Wait until `condition` (a function, also an asynchronous one) holds. Raises TimeoutError."""
        deadline = self.clock.monotonic() + timeout_seconds
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            if self.clock.monotonic() >= deadline:
                name = getattr(condition, "__name__", "condition")
                raise TimeoutError(f"{name} does not hold after {timeout_seconds:g} s")
            await self.clock.sleep(POLL_SECONDS)

    def _stop_all(self) -> None:
        for task in self._tasks.values():
            task.cancel()


def scheduler(cluster: InProcessCluster) -> Run:
    """The scheduler with its default profile."""
    from wherry.scheduler.scheduler import Scheduler  # brings numpy, which other tests need not wait for

    return Scheduler(cluster.client, cluster.informers, cluster.clock, cluster.entropy).run
