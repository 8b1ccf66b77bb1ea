"""The queue in virtual time: order, backoff, hints, the five-minute flush, gates."""

import asyncio

from wherry.aio.clock import LoopClock
from wherry.scheduler.framework import Change, ClusterEvent
from wherry.scheduler.plugins import default_profile
from wherry.scheduler.plugins.priority_sort import PrioritySort
from wherry.scheduler.queue import QueuedPod, SchedulingQueue
from wherry.scheduler.snapshot import PodInfo
from wherry.sim.loop import run_virtual
from wherry.testing.builders import node

from .worlds import pod

FIT = frozenset({"NodeResourcesFit"})
NODE_ADDED = Change(ClusterEvent.NODE_ADD, new_node=node())


def make() -> SchedulingQueue:
    return SchedulingQueue(LoopClock(), default_profile().by_name(), PrioritySort())


def info(name: str = "p", priority: int = 0) -> PodInfo:
    return PodInfo.of(pod(name, priority=priority, requests={"cpu": 1}))


def taken(queue: SchedulingQueue) -> QueuedPod:
    queued = queue.take()
    assert queued is not None
    return queued


def test_higher_priority_goes_first_and_then_who_waited_longer() -> None:
    async def main() -> None:
        queue = make()
        for name, priority in (("old", 0), ("vip", 9), ("young", 0)):
            queue.put(info(name, priority), gated=False)
            await asyncio.sleep(1)
        assert [taken(queue).info.uid for _ in range(3)] == ["vip", "old", "young"]
        assert queue.take() is None

    run_virtual(main())


def test_an_unschedulable_pod_waits_for_an_event_that_its_refuser_says_helps() -> None:
    async def main() -> None:
        queue = make()
        queue.put(info(), gated=False)
        queue.give_back(taken(queue), refused_by=FIT)
        same = node()
        queue.happened(Change(ClusterEvent.NODE_UPDATE, same, same))
        queue.happened(Change(ClusterEvent.ASSIGNED_POD_ADD, pod=info("other")))
        assert queue.counts()["unschedulable"] == 1 and queue.take() is None
        queue.happened(NODE_ADDED)
        assert taken(queue).info.uid == "p"
        queue.close()

    run_virtual(main())


def test_backoff_doubles_from_one_second_to_ten() -> None:
    queued = QueuedPod(info(), 0.0)
    waits = []
    for attempts in range(1, 8):
        queued.attempts = attempts
        waits.append(queued.backoff_until())
    assert waits == [1, 2, 4, 8, 10, 10, 10]


def test_a_pod_whose_binding_failed_sits_out_its_backoff_even_when_nothing_else_is_to_do() -> None:
    async def main() -> None:
        queue = make()
        queue.put(info("failed"), gated=False)
        queue.give_back(taken(queue), refused_by=frozenset())
        assert queue.take() is None
        await queue.wait()
        assert asyncio.get_running_loop().time() >= 1.0
        assert taken(queue).info.uid == "failed"
        queue.close()

    run_virtual(main())


def test_a_pod_in_backoff_without_error_goes_after_the_active_ones_but_need_not_wait() -> None:
    async def main() -> None:
        queue = make()
        queue.put(info("refused"), gated=False)
        queue.give_back(taken(queue), refused_by=FIT)
        queue.happened(NODE_ADDED)
        queue.put(info("fresh"), gated=False)
        assert queue.counts()["backoff"] == 1
        assert [taken(queue).info.uid, taken(queue).info.uid] == ["fresh", "refused"]
        assert asyncio.get_running_loop().time() == 0
        queue.close()

    run_virtual(main())


def test_after_five_minutes_every_pod_is_tried_again() -> None:
    async def main() -> None:
        queue = make()
        queue.put(info(), gated=False)
        queue.give_back(taken(queue), refused_by=FIT)
        queue.take()
        await queue.wait()
        assert asyncio.get_running_loop().time() == 300
        assert taken(queue).info.uid == "p"
        queue.close()

    run_virtual(main())


def test_a_change_of_status_does_not_bring_a_pod_back_but_smaller_wishes_do() -> None:
    async def main() -> None:
        queue = make()
        queue.put(info(), gated=False)
        queue.give_back(taken(queue), refused_by=FIT)
        told = pod("p", requests={"cpu": 1}, priority=0)
        told.status.nominatedNodeName = "a"
        queue.put(PodInfo.of(told), gated=False)
        assert queue.counts()["unschedulable"] == 1
        queue.put(PodInfo.of(pod("p", requests={"cpu": "500m"}, priority=0)), gated=False)
        assert taken(queue).info.requests == {"cpu": 500}
        queue.close()

    run_virtual(main())


def test_a_gated_pod_comes_when_its_gates_are_gone() -> None:
    async def main() -> None:
        queue = make()
        queue.put(info(), gated=True)
        queue.happened(NODE_ADDED)
        assert queue.take() is None and queue.counts()["gated"] == 1
        queue.put(info(), gated=False)
        assert taken(queue).info.uid == "p"

    run_virtual(main())


def test_a_deleted_pod_is_forgotten_in_every_part() -> None:
    async def main() -> None:
        queue = make()
        for name in ("active", "unschedulable", "failed"):
            queue.put(info(name), gated=False)
        parts = {queued.info.uid: queued for queued in (taken(queue), taken(queue), taken(queue))}
        queue.put(parts["active"].info, gated=False)
        queue.give_back(parts["unschedulable"], refused_by=FIT)
        queue.give_back(parts["failed"], refused_by=frozenset())
        for queued in parts.values():
            queue.remove(queued.info.key)
        queue.happened(NODE_ADDED)
        await asyncio.sleep(400)
        assert queue.take() is None and len(queue) == 0
        queue.close()

    run_virtual(main())
