"""The scheduler against a real API server, in virtual time."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wherry.api.core_v1 import Event, Pod, PodSchedulingGate, ServiceAccount, Taint
from wherry.api.scheduling_v1 import PriorityClass
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.rules import conditions
from wherry.sim.loop import run_virtual
from wherry.testing.builders import node, pod
from wherry.testing.cluster import InProcessCluster, scheduler

Story = Callable[[InProcessCluster], Awaitable[Any]]


def play(story: Story) -> Any:
    """Tell `story` in a cluster that has a scheduler and nothing else that acts."""

    async def main() -> Any:
        async with InProcessCluster(start=[scheduler]) as cluster:
            await cluster.client.create(ServiceAccount(metadata=ObjectMeta(name="default", namespace="default")))
            return await story(cluster)

    return run_virtual(main(), limit_seconds=3600)


async def add_node(cluster: InProcessCluster, name: str, **options: Any) -> None:
    """A node whose kubelet and node controller have nothing against it."""
    made = await cluster.client.create(node(name, **options))
    made.spec.taints = list(options.get("taints", ()))
    made.spec.unschedulable = None
    await cluster.client.update(made)


async def condition_of(cluster: InProcessCluster, name: str) -> tuple[str, str, str]:
    """(status, reason, message) of PodScheduled, once there is one."""
    found = None
    while found is None:
        found = conditions.find((await cluster.client.get(Pod, name, "default")).status.conditions, "PodScheduled")
        await cluster.clock.sleep(0.1)
    return found.status, found.reason or "", found.message or ""


async def bound(cluster: InProcessCluster, *names: str) -> Mapping[str, str]:
    """Where these pods went."""
    pods = cluster.informers.informer(Pod)

    def placed() -> bool:
        found = [pods.get("default", name) for name in names]
        return all(each is not None and each.spec.nodeName for each in found)

    await cluster.until(placed)
    return {name: each.spec.nodeName or "" for name in names if (each := pods.get("default", name))}


async def events(cluster: InProcessCluster, name: str) -> list[tuple[str | None, str | None]]:
    await cluster.clock.sleep(1)
    found = (await cluster.client.list(Event, "default")).items
    return [(event.reason, event.message) for event in found if event.involvedObject.name == name]


def test_a_pod_is_bound_and_an_event_says_where() -> None:
    async def story(cluster: InProcessCluster) -> None:
        await add_node(cluster, "a")
        await cluster.client.create(pod("web"))
        assert await bound(cluster, "web") == {"web": "a"}
        assert await events(cluster, "web") == [("Scheduled", "Successfully assigned default/web to a")]

    play(story)


def test_a_pod_that_fits_nowhere_says_why_and_goes_when_a_node_comes() -> None:
    async def story(cluster: InProcessCluster) -> None:
        await add_node(cluster, "small", capacity={"cpu": 1})
        await add_node(cluster, "tainted", taints=[Taint(key="gpu", effect="NoSchedule")])
        await cluster.client.create(pod("web", requests={"cpu": 2}))
        message = (
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). no new claims to "
            "deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        )
        assert await condition_of(cluster, "web") == ("False", "Unschedulable", message)
        assert await events(cluster, "web") == [("FailedScheduling", message)]
        await add_node(cluster, "large", capacity={"cpu": 8})
        assert await bound(cluster, "web") == {"web": "large"}

    play(story)


def test_a_gated_pod_waits_for_its_gate() -> None:
    async def story(cluster: InProcessCluster) -> None:
        await add_node(cluster, "a")
        gated = pod("web")
        gated.spec.schedulingGates = [PodSchedulingGate(name="example.com/quota")]
        await cluster.client.create(gated)
        await cluster.clock.sleep(60)
        assert (await condition_of(cluster, "web"))[1] == "SchedulingGated"
        assert (await cluster.client.get(Pod, "web", "default")).spec.nodeName is None
        await cluster.client.patch(Pod, "web", "default", {"spec": {"schedulingGates": None}}, patch_type="merge")
        assert await bound(cluster, "web") == {"web": "a"}

    play(story)


def test_an_important_pod_takes_the_place_of_a_lesser_one() -> None:
    async def story(cluster: InProcessCluster) -> None:
        await cluster.client.create(PriorityClass(metadata=ObjectMeta(name="high"), value=1000))
        await add_node(cluster, "a", capacity={"cpu": 2})
        await cluster.client.create(pod("lesser", requests={"cpu": 2}))
        await bound(cluster, "lesser")
        important = pod("important", requests={"cpu": 2})
        important.spec.priorityClassName = "high"
        uid = (await cluster.client.create(important)).metadata.uid
        await cluster.until(lambda: cluster.informers.informer(Pod).get("default", "important"))
        await cluster.clock.sleep(2)
        waiting = await cluster.client.get(Pod, "important", "default")
        assert waiting.spec.nodeName == "a" or waiting.status.nominatedNodeName == "a"
        assert ("Preempted", f"Preempted by pod {uid} on node a") in await events(cluster, "lesser")
        try:  # the kubelet's last word
            await cluster.client.delete(Pod, "lesser", "default", grace_period_seconds=0)
        except StatusError as error:
            assert error.code == 404
        assert await bound(cluster, "important") == {"important": "a"}

    play(story)


def test_the_same_seed_gives_the_same_placement() -> None:
    async def story(cluster: InProcessCluster) -> Mapping[str, str]:
        names = [f"web-{number}" for number in range(20)]
        for name in ("a", "b", "c"):
            await add_node(cluster, name)
        for name in names:
            await cluster.client.create(pod(name, requests={"cpu": "100m", "memory": "64Mi"}))
        return await bound(cluster, *names)

    first = play(story)
    assert play(story) == first
    assert len(set(first.values())) == 3
