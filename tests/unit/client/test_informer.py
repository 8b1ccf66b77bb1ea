"""Informers against a memory server, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.client.memory_server import MemoryServer
from wherry.aio.clock import LoopClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Pod
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.meta.resource import Resource
from wherry.sim.loop import run_virtual

PODS = "/api/v1/namespaces/default/pods"
Changes = list[tuple[str | None, str | None]]


class Scene:
    """A server, a client and one informer of pods whose changes are written down as (old, new) versions."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.client = Client(self.server, clock=LoopClock(), entropy=Entropy(1))
        self.informer: Informer[Pod] = Informer(self.client, Pod)
        self.changes: Changes = []
        self.informer.add_handler(self.note)

    def note(self, old: Pod | None, new: Pod | None) -> None:
        self.changes.append(
            (old.metadata.resourceVersion if old else None, new.metadata.resourceVersion if new else None)
        )

    def told(self) -> Changes:
        told, self.changes = self.changes, []
        return told

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.informer.run())
        try:
            async with asyncio.timeout(3600):
                await self.informer.wait_synced()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def scenario(play: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await play(Scene())

    run_virtual(main())


def test_it_lists_then_follows_every_change() -> None:
    async def play(scene: Scene) -> None:
        scene.server.put(f"{PODS}/a")
        async with scene.running():
            assert scene.told() == [(None, "1")]
            scene.server.put(f"{PODS}/b")
            scene.server.put(f"{PODS}/a")
            scene.server.remove(f"{PODS}/b")
            await asyncio.sleep(1)
            assert scene.told() == [(None, "2"), ("1", "3"), ("2", None)]
            pod = scene.informer.get("default", "a")
            assert pod is not None
            assert pod.metadata.resourceVersion == "3"
            assert (pod.apiVersion, pod.kind) == ("", ""), "a watch gives what the server sent"
            assert scene.informer.get("default", "b") is None
            assert scene.informer.list("elsewhere") == []
            assert len(scene.informer.list()) == 1

    scenario(play)


def test_a_list_fills_in_the_kind_that_its_items_leave_out() -> None:
    async def play(scene: Scene) -> None:
        scene.server.put(f"{PODS}/a")
        async with scene.running():
            (pod,) = scene.informer.list()
            assert (pod.apiVersion, pod.kind) == ("v1", "Pod")

    scenario(play)


def test_after_410_it_lists_again_and_tells_only_the_difference() -> None:
    async def play(scene: Scene) -> None:
        for name in ("stays", "changes", "vanishes"):
            scene.server.put(f"{PODS}/{name}")
        async with scene.running():
            scene.told()
            scene.server.down = True
            scene.server.cut()
            await asyncio.sleep(1)
            scene.server.put(f"{PODS}/changes")
            scene.server.remove(f"{PODS}/vanishes")
            scene.server.put(f"{PODS}/new")
            scene.server.compact()
            scene.server.down = False
            await asyncio.sleep(60)
            assert scene.told() == [("3", None), ("2", "4"), (None, "6")]

    scenario(play)


def test_an_object_replaced_unseen_is_a_deletion_and_an_addition() -> None:
    async def play(scene: Scene) -> None:
        scene.server.put(f"{PODS}/a", metadata={"uid": "first"})
        async with scene.running():
            scene.told()
            scene.server.down = True
            scene.server.cut()
            await asyncio.sleep(1)
            scene.server.put(f"{PODS}/a", metadata={"uid": "second"})
            scene.server.compact()
            scene.server.down = False
            await asyncio.sleep(60)
            assert scene.told() == [("1", None), (None, "2")]

    scenario(play)


def test_a_watch_closed_normally_goes_on_from_the_last_version_without_a_list() -> None:
    async def play(scene: Scene) -> None:
        scene.server.put(f"{PODS}/a")
        async with scene.running():
            await asyncio.sleep(3000)  # several watch timeouts
            scene.server.put(f"{PODS}/b")
            await asyncio.sleep(1)
            assert [pod.metadata.name for pod in scene.informer.list()] == ["a", "b"]
        assert scene.server.requests.count("GET /api/v1/pods") == 1
        assert 5 <= scene.server.requests.count("WATCH /api/v1/pods") <= 11

    scenario(play)


def test_a_server_that_is_down_is_asked_ever_more_seldom() -> None:
    async def play(scene: Scene) -> None:
        scene.server.down = True
        task = asyncio.create_task(scene.informer.run())
        await asyncio.sleep(600)
        assert 20 <= len(scene.server.requests) <= 45, "0.8 s doubling up to 15-30 s"
        assert not scene.informer.has_synced
        scene.server.down = False
        await asyncio.sleep(31)
        assert scene.informer.has_synced
        task.cancel()

    scenario(play)


def test_a_handler_that_raises_is_logged_and_the_others_still_hear(caplog: pytest.LogCaptureFixture) -> None:
    def broken(old: Pod | None, new: Pod | None) -> None:
        raise ValueError("a bug in a handler")

    async def play(scene: Scene) -> None:
        scene.informer.add_handler(broken)
        heard: list[Pod | None] = []
        scene.informer.add_handler(lambda old, new: heard.append(new))
        async with scene.running():
            scene.server.put(f"{PODS}/a")
            scene.server.put(f"{PODS}/b")
            await asyncio.sleep(1)
            assert len(heard) == 2

    scenario(play)
    assert "a bug in a handler" in caplog.text


def test_a_late_handler_gets_what_is_there() -> None:
    async def play(scene: Scene) -> None:
        scene.server.put(f"{PODS}/a")
        async with scene.running():
            scene.told()
            scene.informer.add_handler(scene.note)
            assert scene.told() == [(None, "1")]

    scenario(play)


def test_an_index_follows_changes_and_deletions() -> None:
    async def play(scene: Scene) -> None:
        scene.informer.add_index("node", lambda pod: [pod.spec.nodeName] if pod.spec.nodeName else [])
        scene.server.put(f"{PODS}/a", spec={"nodeName": "n1", "containers": []})
        async with scene.running():
            assert [pod.metadata.name for pod in scene.informer.by_index("node", "n1")] == ["a"]
            scene.server.put(f"{PODS}/a", spec={"nodeName": "n2", "containers": []})
            await asyncio.sleep(1)
            assert scene.informer.by_index("node", "n1") == []
            assert len(scene.informer.by_index("node", "n2")) == 1
            scene.server.remove(f"{PODS}/a")
            await asyncio.sleep(1)
            assert scene.informer.by_index("node", "n2") == []

    scenario(play)


def test_shared_informers_list_once_and_start_when_asked_for_late() -> None:
    async def play(scene: Scene) -> None:
        informers = Informers(scene.client)
        first = informers.informer(Pod)
        assert informers.informer(Pod) is first
        assert informers.informer(Pod, "default") is not first
        scene.server.put(f"{PODS}/a")
        running = asyncio.create_task(informers.run())
        await informers.wait_synced()
        late = informers.informer(Pod, label_selector="app=x")
        await informers.wait_synced()
        assert late.has_synced
        assert scene.server.requests.count("GET /api/v1/pods") == 2
        running.cancel()

    scenario(play)


def test_kinds_known_only_at_run_time_are_plain_dicts() -> None:
    async def play(scene: Scene) -> None:
        widgets = Resource("example.com", "v1", "Widget", "widgets", True, None)
        scene.server.put("/apis/example.com/v1/namespaces/default/widgets/w", spec={"size": 3})
        informer: Informer[dict[str, Any]] = Informer(scene.client, dict, resource=widgets)
        running = asyncio.create_task(informer.run())
        await informer.wait_synced()
        widget = informer.get("default", "w")
        assert widget is not None
        assert (widget["kind"], widget["spec"]) == ("Widget", {"size": 3})
        running.cancel()

    scenario(play)
