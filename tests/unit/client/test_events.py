"""Events: counted, combined, refused when too many, and never in the way."""

import asyncio
import re

from tests.unit.client.memory_server import MemoryServer
from wherry.aio.clock import LoopClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Pod
from wherry.client.client import Client
from wherry.client.events import QUEUE_MAX, EventRecorder
from wherry.meta.object import ObjectMeta
from wherry.sim.loop import run_virtual

POD = Pod(metadata=ObjectMeta(name="web", namespace="shop", uid="u1"))


def recorder(server: MemoryServer) -> EventRecorder:
    return EventRecorder(Client(server, clock=LoopClock(), entropy=Entropy(1)), "kubelet", "node-1")


def test_an_event_says_who_what_where_and_when() -> None:
    async def main() -> None:
        server = MemoryServer()
        events = recorder(server)
        await asyncio.sleep(90)
        events.event(POD, "Warning", "BackOff", "Back-off restarting failed container")
        await events.flush()
        ((path, event),) = server.objects.items()
        assert re.fullmatch(r"/api/v1/namespaces/shop/events/web\.[0-9a-f]{16}", path)
        assert event["involvedObject"] == {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "web",
            "namespace": "shop",
            "uid": "u1",
        }
        assert event["source"] == {"component": "kubelet", "host": "node-1"}
        assert (event["type"], event["reason"], event["count"]) == ("Warning", "BackOff", 1)
        assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:01:30Z"
        assert (event["reportingComponent"], event["reportingInstance"]) == ("kubelet", "node-1")

    run_virtual(main())


def test_the_same_words_again_are_counted_in_the_same_event() -> None:
    async def main() -> None:
        server = MemoryServer()
        events = recorder(server)
        for _ in range(3):
            events.event(POD, "Normal", "Pulled", "there already")
            await asyncio.sleep(60)
        await events.flush()
        (event,) = server.objects.values()
        assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
            3,
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:02:00Z",
        )

    run_virtual(main())


def test_a_counted_event_that_expired_is_created_again() -> None:
    async def main() -> None:
        server = MemoryServer()
        events = recorder(server)
        events.event(POD, "Normal", "Pulled", "there already")
        await events.flush()
        server.objects.clear()
        events.event(POD, "Normal", "Pulled", "there already")
        await events.flush()
        (event,) = server.objects.values()
        assert event["count"] == 2

    run_virtual(main())


def test_ten_different_messages_of_one_reason_become_one_event() -> None:
    async def main() -> None:
        server = MemoryServer()
        events = recorder(server)
        for number in range(12):
            events.event(POD, "Warning", "Failed", f"error {number}")
        await events.flush()
        messages = [(event["message"], event["count"]) for event in server.objects.values()]
        assert messages[:9] == [(f"error {number}", 1) for number in range(9)]
        assert messages[9:] == [("(combined from similar events): error 11", 3)]

    run_virtual(main())


def test_an_object_that_causes_too_many_events_is_heard_each_five_minutes() -> None:
    async def main() -> None:
        server = MemoryServer()
        events = recorder(server)
        for number in range(100):
            events.event(POD, "Normal", f"Reason{number}", "text")
        await events.flush()
        assert len(server.objects) == 25
        await asyncio.sleep(301)
        for number in range(100, 105):
            events.event(POD, "Normal", f"Reason{number}", "text")
        await events.flush()
        assert len(server.objects) == 26

    run_virtual(main())


def test_an_unreachable_server_delays_events_and_loses_none_at_first() -> None:
    async def main() -> None:
        server = MemoryServer()
        events = recorder(server)
        running = asyncio.create_task(events.run())
        server.down = True
        events.event(POD, "Normal", "Pulled", "there already")
        await asyncio.sleep(55)
        server.down = False
        await asyncio.sleep(10)
        assert len(server.objects) == 1
        assert events.dropped == 0
        running.cancel()

    run_virtual(main())


def test_a_full_queue_drops_and_counts() -> None:
    async def main() -> None:
        events = recorder(MemoryServer())
        for number in range(QUEUE_MAX + 7):
            events.event(POD, "Normal", f"Reason{number}", "text")
        assert events.dropped == 7

    run_virtual(main())
