"""Leader election among candidates on one memory server, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.unit.client.memory_server import MemoryServer
from wherry.aio.clock import LoopClock
from wherry.aio.entropy import Entropy
from wherry.client.client import Client
from wherry.client.leaderelection import LeaderElector
from wherry.sim.loop import run_virtual

LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/boss"


def candidate(server: MemoryServer, identity: str) -> LeaderElector:
    clock = LoopClock()
    client = Client(server, clock=clock, entropy=Entropy(len(identity)))
    return LeaderElector(client, "boss", "kube-system", identity, clock)


def leading(leaders: list[str], identity: str) -> Callable[[], Awaitable[None]]:
    async def lead() -> None:
        leaders.append(identity)
        try:
            await asyncio.Event().wait()
        finally:
            leaders.remove(identity)

    return lead


def test_one_leads_and_gives_the_lease_back_when_cancelled() -> None:
    async def main() -> None:
        server, leaders = MemoryServer(), list[str]()
        first = asyncio.create_task(candidate(server, "one").run(leading(leaders, "one")))
        await asyncio.sleep(1)
        second = asyncio.create_task(candidate(server, "second").run(leading(leaders, "second")))
        await asyncio.sleep(120)
        assert leaders == ["one"]
        assert server.objects[LEASE]["spec"]["leaseTransitions"] == 0
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert server.objects[LEASE]["spec"].get("holderIdentity", "") == ""
        await asyncio.sleep(5)
        assert leaders == ["second"]
        assert server.objects[LEASE]["spec"]["leaseTransitions"] == 1
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)

    run_virtual(main())


def test_a_leader_that_cannot_renew_stops_before_another_may_start() -> None:
    async def main() -> None:
        lost, healthy, leaders = MemoryServer(), MemoryServer(), list[str]()
        healthy.objects = lost.objects  # two views of one server, of which one will fail
        first = asyncio.create_task(candidate(lost, "one").run(leading(leaders, "one")))
        await asyncio.sleep(1)
        second = asyncio.create_task(candidate(healthy, "second").run(leading(leaders, "second")))
        await asyncio.sleep(30)
        lost.down = True
        seen: list[tuple[str, ...]] = []
        for _ in range(40):
            await asyncio.sleep(1)
            if not seen or seen[-1] != tuple(leaders):
                seen.append(tuple(leaders))
        assert seen == [("one",), (), ("second",)]
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)

    run_virtual(main())


def test_run_returns_when_the_work_is_done() -> None:
    async def main() -> None:
        server = MemoryServer()

        async def lead() -> None:
            await asyncio.sleep(60)

        await candidate(server, "one").run(lead)
        assert server.objects[LEASE]["spec"].get("holderIdentity", "") == ""

    run_virtual(main())
