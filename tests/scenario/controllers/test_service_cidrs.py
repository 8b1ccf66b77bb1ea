"""A range that Services need outlives its deletion (KEP-1880)."""

from tests.scenario.controllers.test_workloads import play
from tests.scenario.controllers.world import World
from wherry.api.core_v1 import Service
from wherry.api.networking_v1 import ServiceCIDR
from wherry.meta.object import ObjectMeta
from wherry.meta.wire import convert
from wherry.rules import conditions


def _range(name: str, *cidrs: str) -> ServiceCIDR:
    return convert({"metadata": {"name": name}, "spec": {"cidrs": cidrs}}, ServiceCIDR)


async def _ready(made: World, name: str) -> tuple[str, str]:
    found = conditions.find((await made.client.get(ServiceCIDR, name)).status.conditions, "Ready")
    return (found.status, found.reason) if found else ("", "")


async def _names(made: World) -> set[str | None]:
    return {item.metadata.name for item in (await made.client.list(ServiceCIDR)).items}


def test_a_range_goes_when_its_last_address_has_gone() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(_range("more", "10.200.0.0/24"))
        await made.settle(1)
        assert await _ready(made, "more") == ("True", "")
        web = Service(metadata=ObjectMeta(name="web", namespace="default"))
        web.spec = convert({"clusterIP": "10.200.0.7", "ports": [{"port": 80}]}, type(web.spec))
        await made.client.create(web)
        await made.client.delete(ServiceCIDR, "more")
        await made.settle(30)
        assert await _ready(made, "more") == ("False", "Terminating")
        await made.client.delete(Service, "web", "default")
        await made.settle(15)
        assert await _names(made) == {"kubernetes"}

    play(scenario)


def test_a_range_within_another_is_not_needed() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(_range("part", "10.96.0.0/16"))
        await made.settle(1)
        await made.client.delete(ServiceCIDR, "part")
        await made.settle(5)
        assert "part" in await _names(made)
        await made.settle(10)
        assert await _names(made) == {"kubernetes"}
        await made.client.delete(ServiceCIDR, "kubernetes")
        await made.settle(60)
        assert await _ready(made, "kubernetes") == ("False", "Terminating")

    play(scenario)
