"""What `wherry status` is told by the components themselves."""

import asyncio

from wherry.aio.clock import LoopClock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Health, Supervisor
from wherry.cluster.report import report
from wherry.sim.loop import run_virtual
from wherry.store.local import memory_store


def test_components_are_listed_with_their_troubles_and_helpers_only_then() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def crash() -> None:
        raise OSError("no such device")

    async def ended() -> None:
        return

    async def play() -> None:
        clock, entropy = LoopClock(), Entropy(1)
        store, supervisor = memory_store(clock, entropy), Supervisor(clock, entropy)
        for name, run in {"informers": forever, "scheduler": forever, "dns service": ended}.items():
            supervisor.start(name, run)
        supervisor.start("proxy", forever, lambda: Health("nft is not installed"))
        supervisor.start("kubelet/a", crash)
        await asyncio.sleep(20)
        found = {one.name: (one.ready, one.message) for one in report(store, supervisor)}
        assert found == {
            "store": (True, ""),
            "apiserver": (True, ""),
            "scheduler": (True, ""),
            "proxy": (False, "nft is not installed"),
            "kubelet/a": (False, "crashed: OSError: no such device"),
        }
        assert [one.restarts for one in report(store, supervisor)] == [0, 0, 0, 0, 4]
        await supervisor.close()
        await store.close()

    run_virtual(play())
