"""The in-process cluster's own promises, on the memory server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.unit.client.memory_server import MemoryServer
from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Node, Pod, ServiceAccount
from wherry.client.transport import Transport
from wherry.meta.object import ObjectMeta
from wherry.sim.loop import run_virtual
from wherry.testing import builders
from wherry.testing.cluster import InProcessCluster, Run, scheduler


@asynccontextmanager
async def serve(clock: Clock, entropy: Entropy) -> AsyncIterator[Transport]:
    server = MemoryServer()
    yield server
    await server.close()


def watcher(cluster: InProcessCluster) -> Run:
    pods = cluster.informers.informer(Pod)

    async def run() -> None:
        await pods.wait_synced()
        await asyncio.Event().wait()

    return run


def crasher(cluster: InProcessCluster) -> Run:
    async def run() -> None:
        await cluster.clock.sleep(5)
        raise ValueError("a component's bug")

    return run


def test_what_is_created_reaches_the_shared_informers() -> None:
    async def main() -> None:
        async with InProcessCluster(serve, start=[watcher]) as cluster:
            pods = cluster.informers.informer(Pod)
            assert pods.has_synced
            await cluster.client.create(builders.pod("web"))
            await cluster.until(lambda: pods.get("default", "web"))

    run_virtual(main())


def test_the_scheduler_runs_by_name_on_a_real_server() -> None:
    async def main() -> str | None:
        async with InProcessCluster(start=[scheduler]) as cluster:
            await cluster.client.create(ServiceAccount(metadata=ObjectMeta(name="default", namespace="default")))
            await cluster.client.create(builders.node("n1"))
            # A new node carries not-ready:NoSchedule until its lifecycle controller, which is not here, lifts it.
            await cluster.client.patch(Node, "n1", None, {"spec": {"taints": None}})
            await cluster.client.create(builders.pod("web"))
            pods = cluster.informers.informer(Pod)
            await cluster.until(lambda: (pod := pods.get("default", "web")) and pod.spec.nodeName)
            return (await cluster.client.get(Pod, "web", "default")).spec.nodeName

    assert run_virtual(main()) == "n1"


def test_leaving_stops_everything_it_started() -> None:
    async def main() -> int:
        async with InProcessCluster(serve, start=[watcher]) as cluster:
            await cluster.stop("watcher")
        return len(asyncio.all_tasks())

    assert run_virtual(main()) == 1


def test_a_condition_that_never_holds_is_a_timeout() -> None:
    async def main() -> None:
        async with InProcessCluster(serve) as cluster:
            with pytest.raises(TimeoutError, match="does not hold after 30 s"):
                await cluster.until(lambda: False, timeout_seconds=30)

    run_virtual(main())


def test_a_crashing_component_fails_the_test() -> None:
    async def main() -> None:
        async with InProcessCluster(serve, start=[crasher]) as cluster:
            await cluster.until(lambda: False)

    with pytest.raises(ExceptionGroup) as caught:
        run_virtual(main())
    assert "a component's bug" in str(caught.value.exceptions[0])
