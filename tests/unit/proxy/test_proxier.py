"""What the proxy does when the kernel refuses: the whole plan again, soon, then less and less often."""

import asyncio
from collections.abc import Mapping

import pytest

from wherry.api.core_v1 import Service, ServiceSpec
from wherry.api.core_v1 import ServicePort as ServiceSpecPort
from wherry.meta.object import ObjectMeta
from wherry.proxy.backend import BackendError, MemoryBackend
from wherry.proxy.proxier import Proxier, ProxyOptions
from wherry.proxy.rules import ServicePort
from wherry.sim.loop import run_virtual
from wherry.testing.cluster import InProcessCluster


class Refusing(MemoryBackend):
    """Refuses the first plans it is given, and notes when."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals
        self.asked: list[float] = []

    async def apply(self, ports: Mapping[str, ServicePort]) -> None:
        self.asked.append(asyncio.get_running_loop().time())
        if len(self.asked) <= self.refusals:
            raise BackendError("the table is gone")
        await super().apply(ports)


def test_a_refused_plan_is_applied_a_moment_later(caplog: pytest.LogCaptureFixture) -> None:
    backend = Refusing(refusals=9)

    async def play() -> None:
        async with InProcessCluster() as cluster:
            ports = [ServiceSpecPort(port=80)]
            await cluster.client.create(
                Service(metadata=ObjectMeta(name="web", namespace="default"), spec=ServiceSpec(ports=ports))
            )
            proxier = Proxier(ProxyOptions("node"), cluster.informers, backend, cluster.clock)
            task = asyncio.create_task(proxier.run())
            await proxier.synced.wait()
            task.cancel()

    run_virtual(play())
    assert set(backend.ports) >= {"default/web"}
    waits = [round(after - before, 2) for before, after in zip(backend.asked, backend.asked[1:], strict=False)]
    assert waits == [0.06, 0.11, 0.21, 0.41, 0.81, 1.61, 3.21, 5.01, 5.01]
    assert "services are not up to date on this node: the table is gone" in caplog.text
