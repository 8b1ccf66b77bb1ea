"""A whole kubelet on the remembering runtime, in virtual time, against a small API twin."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.unit.kubelet.api_twin import ApiTwin
from wherry.aio.clock import LoopClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Pod
from wherry.client.client import Client
from wherry.kubelet.kubelet import Kubelet
from wherry.kubelet.options import KubeletOptions
from wherry.kubelet.runtimes.fake import FakeRuntime
from wherry.kubelet.runtimes.protocol import ExecResult
from wherry.sim.loop import run_virtual

PODS = "/api/v1/namespaces/default/pods"


class World:
    """Kubelet, runtime and API of one test."""

    def __init__(self, directory: Path, runtime: FakeRuntime | None = None, api: ApiTwin | None = None) -> None:
        self.clock = LoopClock()
        self.api = api or ApiTwin()
        entropy = Entropy(1)
        self.client = client = Client(self.api, clock=self.clock, entropy=entropy)
        self.runtime = runtime or FakeRuntime(self.clock)
        options = KubeletOptions(directory, node_name="n1", serve=False)
        self.kubelet = Kubelet(options, client, self.runtime, self.clock, entropy)

    def create(self, name: str = "web", **spec: Any) -> None:
        spec = {"nodeName": "n1", "containers": [container()], "restartPolicy": "Always"} | spec
        meta = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
        self.api.put(
            f"{PODS}/{name}", {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {}}
        )

    def status(self, name: str = "web") -> dict[str, Any]:
        return dict(self.api.objects[f"{PODS}/{name}"]["status"])

    def ready(self, name: str = "web") -> bool:
        conditions = self.status(name).get("conditions", [])
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    async def until(self, condition: Callable[[], object], seconds: float = 2000.0) -> None:
        deadline = self.clock.monotonic() + seconds
        while not condition():
            assert self.clock.monotonic() < deadline, self.api.objects
            await self.clock.sleep(0.05)

    def reasons(self) -> list[str]:
        return [item["reason"] for path, item in self.api.objects.items() if "/events/" in path]

    async def container_id(self, name: str = "web") -> str:
        record = await self.runtime.pod(f"uid-{name}")
        assert record
        return record.containers[0].id


def container(name: str = "main", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "app:1", "imagePullPolicy": "IfNotPresent"} | more


Scenario = Callable[[World], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario with a kubelet beside it."""

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            world = World(tmp_path)
            task = asyncio.create_task(world.kubelet.run())
            try:
                await scenario(world)
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

        run_virtual(main())

    return run


Play = Callable[[Scenario], None]


def test_the_node_registers_and_becomes_ready_with_a_lease(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.until(
            lambda: "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1" in world.api.objects
        )
        node = world.api.objects["/api/v1/nodes/n1"]
        ready = next(item for item in node["status"]["conditions"] if item["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"
        assert node["status"]["capacity"]["pods"] == "110"

    play(scenario)


def test_an_idle_node_is_not_reported_more_often_than_its_lease_and_the_five_minutes(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.clock.sleep(60)
        before = len([path for path, _ in world.api.patches if path.endswith("nodes/n1/status")])
        await world.clock.sleep(280)
        after = len([path for path, _ in world.api.patches if path.endswith("nodes/n1/status")])
        assert after - before <= 1

    play(scenario)


def test_a_pod_becomes_ready_at_once(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.create()
        await world.until(lambda: world.ready(), 1.0)
        status = world.status()
        assert status["phase"] == "Running"
        assert status["podIP"] and status["hostIP"] == "127.0.0.1" and status["qosClass"] == "BestEffort"
        assert status["containerStatuses"][0]["state"]["running"]["startedAt"]
        await world.clock.sleep(1)
        assert {"Pulling", "Pulled", "Created", "Started"} <= set(world.reasons())

    play(scenario)


def test_init_containers_run_one_after_the_other(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.create(initContainers=[container("one"), container("two")])
        await world.until(lambda: world.runtime.configs, 5)
        await world.clock.sleep(1)
        assert [item.name for item in world.runtime.configs.values()] == ["one"]
        assert world.status()["phase"] == "Pending"
        for _ in range(2):
            world.runtime.finish(await world.container_id(), 0)
            await world.clock.sleep(1)
        assert [item.name for item in world.runtime.configs.values()] == ["one", "two", "main"]
        assert world.ready()

    play(scenario)


def test_a_crashing_container_is_restarted_with_growing_delays(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.create()
        await world.until(lambda: world.ready())
        waits = []
        for count in range(4):
            world.runtime.finish(await world.container_id(), 3)
            began = world.clock.monotonic()
            await world.until(lambda: world.status()["containerStatuses"][0]["restartCount"] == count + 1)  # noqa: B023
            waits.append(round(world.clock.monotonic() - began))
        assert waits == [0, 10, 20, 40]
        last = world.status()["containerStatuses"][0]["lastState"]["terminated"]
        assert (last["exitCode"], last["reason"]) == (3, "Error")

    play(scenario)


def test_while_it_waits_the_container_says_crash_loop_back_off(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.create()
        await world.until(lambda: world.ready())
        for _ in range(2):
            world.runtime.finish(await world.container_id(), 1)
            await world.clock.sleep(1)
        waiting = world.status()["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] == "CrashLoopBackOff"
        assert waiting["message"] == "back-off 10s restarting failed container=main pod=web_default(uid-web)"
        assert world.status()["phase"] == "Running" and not world.ready()

    play(scenario)


def test_a_job_pod_ends_as_succeeded_or_failed(play: Play) -> None:
    async def scenario(world: World) -> None:
        for name, code, phase in (("good", 0, "Succeeded"), ("bad", 1, "Failed")):
            world.create(name, restartPolicy="Never")
            await world.until(lambda name=name: world.ready(name))  # type: ignore[misc]
            world.runtime.finish(await world.container_id(name), code)
            await world.until(lambda name=name, phase=phase: world.status(name)["phase"] == phase)  # type: ignore[misc]
            assert not world.ready(name)

    play(scenario)


def test_deletion_stops_the_container_with_the_grace_period_and_removes_the_pod(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.create(terminationGracePeriodSeconds=17)
        await world.until(lambda: world.ready())
        container_id = await world.container_id()
        await world.client.delete(Pod, "web", "default", grace_period_seconds=17)
        await world.until(lambda: f"{PODS}/web" not in world.api.objects)
        assert world.runtime.stopped_with_grace[container_id] == 17
        assert await world.runtime.pods() == {}
        assert not world.kubelet.pods()

    play(scenario)


def test_a_missing_image_is_reported_and_tried_again_later(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.runtime.missing_images.add("app:1")
        world.create()
        await world.until(lambda: _waiting(world) == "ImagePullBackOff")
        world.runtime.missing_images.clear()
        await world.until(lambda: world.ready(), 15)

    play(scenario)


def _waiting(world: World) -> str:
    statuses = world.status().get("containerStatuses", [])
    return str(statuses[0]["state"].get("waiting", {}).get("reason", "")) if statuses else ""


def test_a_missing_config_map_holds_the_container_until_it_is_there(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.create(containers=[container(envFrom=[{"configMapRef": {"name": "settings"}}])])
        await world.until(lambda: _waiting(world) == "CreateContainerConfigError")
        message = world.status()["containerStatuses"][0]["state"]["waiting"]["message"]
        assert message == 'configmap "settings" not found'
        meta = {"name": "settings", "namespace": "default", "uid": "c"}
        world.api.put(
            "/api/v1/namespaces/default/configmaps/settings",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"COLOR": "blue"}},
        )
        await world.until(lambda: world.ready(), 1)
        assert world.runtime.configs[await world.container_id()].env["COLOR"] == "blue"

    play(scenario)


def test_readiness_follows_the_probe(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.runtime.commands[("check",)] = ExecResult(1, b"not yet")
        probe = {"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 1}
        world.create(containers=[container(readinessProbe=probe)])
        await world.clock.sleep(20)
        assert world.status()["phase"] == "Running" and not world.ready()
        world.runtime.commands[("check",)] = ExecResult(0, b"")
        await world.until(lambda: world.ready(), 6)

    play(scenario)


def test_a_failed_liveness_probe_restarts_the_container(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.runtime.commands[("check",)] = ExecResult(1, b"dead")
        probe = {"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 2}
        world.create(containers=[container(livenessProbe=probe)])
        await world.until(
            lambda: world.status().get("containerStatuses", [{"restartCount": 0}])[0]["restartCount"] == 1, 30
        )
        await world.clock.sleep(1)
        assert {"Unhealthy", "Killing"} <= set(world.reasons())

    play(scenario)


def test_a_new_kubelet_adopts_what_runs(tmp_path: Path) -> None:
    async def main() -> None:
        first = World(tmp_path)
        task = asyncio.create_task(first.kubelet.run())
        first.create()
        await first.until(lambda: first.ready())
        container_id = await first.container_id()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        second = World(tmp_path, first.runtime, first.api)
        task = asyncio.create_task(second.kubelet.run())
        await second.clock.sleep(30)
        assert await second.container_id() == container_id
        assert second.status()["containerStatuses"][0]["restartCount"] == 0
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_sidecars_start_before_and_stop_after_the_others(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.create(initContainers=[container("proxy", restartPolicy="Always")], restartPolicy="Never")
        await world.until(lambda: world.ready())
        assert [item.name for item in world.runtime.configs.values()] == ["proxy", "main"]
        world.runtime.finish(await world.container_id(), 0)
        await world.until(lambda: world.status()["phase"] == "Succeeded")

    play(scenario)


def test_a_pod_past_its_deadline_fails(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.create(activeDeadlineSeconds=30)
        await world.until(lambda: world.status().get("phase") == "Failed", 40)
        assert world.status()["reason"] == "DeadlineExceeded"
        assert world.status()["message"] == "Pod was active on the node longer than the specified deadline"

    play(scenario)
