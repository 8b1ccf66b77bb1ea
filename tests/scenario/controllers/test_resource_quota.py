"""What a quota's count follows besides what the conformance tests ask for."""

import asyncio

from tests.scenario.controllers.test_workloads import play
from tests.scenario.controllers.world import World
from wherry.api.core_v1 import ConfigMap, Pod, ResourceQuota
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.wire import convert
from wherry.testing import builders


async def _quota(made: World, **hard: str) -> None:
    members = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}
    await made.client.create(convert(members, ResourceQuota))
    await made.settle(1)


async def _used(made: World) -> dict[str, str]:
    return dict((await made.client.get(ResourceQuota, "q", "default")).status.used)


def _map(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"))


def test_what_a_failed_write_took_is_given_back() -> None:
    async def scenario(made: World) -> None:
        await _quota(made, configmaps="9")
        answers = await asyncio.gather(*(made.client.create(_map("one")) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(item, StatusError) for item in answers) == 4
        assert await _used(made) == {"configmaps": "6"}
        await made.settle(6)
        assert await _used(made) == {"configmaps": "2"}

    play(scenario)


def test_a_pod_that_has_ended_makes_room() -> None:
    async def scenario(made: World) -> None:
        made.outcome["ends"] = "Succeeded"
        await _quota(made, **{"pods": "1", "count/pods": "9"})
        await made.client.create(builders.pod("one", spec=builders.pod_spec(image="ends")))
        await made.settle(1)
        assert await _used(made) == {"pods": "0", "count/pods": "1"}
        await made.client.create(builders.pod("two"))
        await made.settle(1)
        assert await _used(made) == {"pods": "1", "count/pods": "2"}

    play(scenario)


def test_creating_and_deleting_at_once_never_oversteps() -> None:
    async def scenario(made: World) -> None:
        await _quota(made, **{"count/configmaps": "10"})
        most = 0

        async def churn(number: int) -> None:
            nonlocal most
            for turn in range(10):
                try:
                    await made.client.create(_map(f"m{number}-{turn}"))
                except StatusError as error:
                    assert error.code == 403
                else:
                    most = max(most, len((await made.client.list(ConfigMap, "default")).items))
                    await made.client.delete(ConfigMap, f"m{number}-{turn}", "default")
                await made.clock.sleep(0.05 * number)

        await asyncio.gather(*(churn(number) for number in range(20)))
        assert 5 < most <= 10
        await made.settle(10)
        assert await _used(made) == {"count/configmaps": "1"}

    play(scenario)


def test_a_counted_pod_is_seen_when_the_quota_comes_later() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(builders.pod("one"))
        await _quota(made, pods="1")
        assert await _used(made) == {"pods": "1"}
        try:
            await made.client.create(builders.pod("two"))
        except StatusError as error:
            assert "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1" in error.message
        assert len((await made.client.list(Pod, "default")).items) == 1

    play(scenario)
