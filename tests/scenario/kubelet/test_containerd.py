"""A pod on a real containerd: from sandbox to removal, with logs, exec, attach, port-forward and adoption."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.kubelet.api_twin import ApiTwin
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Pod
from wherry.client.client import Client
from wherry.cluster.containerd import Containerd, missing_programs
from wherry.cluster.network import write_cni_configuration
from wherry.kubelet.kubelet import Kubelet
from wherry.kubelet.options import KubeletOptions
from wherry.kubelet.runtimes.cri import CriRuntime
from wherry.kubelet.streaming.connection import Connection
from wherry.testing.images import BUSYBOX, busybox_archive

IMAGE = "docker.io/library/busybox:test"
PODS = "/api/v1/namespaces/default/pods"
AUTH = {"Authorization": "Bearer friend"}
MISSING = missing_programs() + ([] if os.geteuid() == 0 else ["root"]) + ([] if BUSYBOX.exists() else [str(BUSYBOX)])
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


class World:
    """One node on one private containerd."""

    def __init__(self, directory: Path) -> None:
        self.clock = SystemClock()
        self.api = ApiTwin()
        self.containerd = Containerd(directory / "containerd", self.clock)
        self.directory = directory
        self.kubelet: Kubelet | None = None
        self._task: asyncio.Task[None] | None = None
        self.client = Client(self.api, clock=self.clock, entropy=Entropy(1))

    async def start(self) -> None:
        await self.containerd.start()
        await self.containerd.prepare_pause_image()
        await self.containerd.ctr("images", "import", "-", stdin=busybox_archive(IMAGE))
        write_cni_configuration(self.containerd.paths.cni_conf, "10.211.7.0/24", self.directory / "ipam")
        await self.start_kubelet()

    async def start_kubelet(self) -> None:
        self.runtime = CriRuntime(str(self.containerd.paths.socket), self.clock)
        options = KubeletOptions(
            self.directory / "kubelet", node_name="n1", port=0, bind_address="127.0.0.1", allow_oom_score=False
        )
        self.kubelet = Kubelet(options, self.client, self.runtime, self.clock, Entropy(1))
        self._task = asyncio.create_task(self.kubelet.run())

    async def stop_kubelet(self) -> None:
        assert self._task
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.runtime.close()

    async def stop(self) -> None:
        if self.kubelet:
            for path, pod in list(self.api.objects.items()):
                if pod["kind"] == "Pod":
                    await self.client.delete(Pod, path.rpartition("/")[2], "default", grace_period_seconds=1)
            with suppress(TimeoutError):
                await self.until(lambda: not [item for item in self.api.objects.values() if item["kind"] == "Pod"], 20)
            await self.stop_kubelet()
        await self.containerd.stop()
        shutil.rmtree(self.containerd.paths.socket.parent, ignore_errors=True)

    def create(self, name: str, command: list[str], **container: Any) -> None:
        main = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command} | container
        meta = {"name": name, "namespace": "default", "uid": f"uid-{name}-{os.getpid()}"}
        spec = {"nodeName": "n1", "containers": [main], "restartPolicy": "Always", "terminationGracePeriodSeconds": 1}
        self.api.put(
            f"{PODS}/{name}", {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {}}
        )

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.api.objects[f"{PODS}/{name}"]["status"])

    def ready(self, name: str) -> bool:
        conditions = self.status(name).get("conditions", [])
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    async def until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await self.clock.sleep(0.02)

    def url(self, path: str) -> str:
        assert self.kubelet
        return f"http://127.0.0.1:{self.kubelet.node.port}{path}"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    try:
        await world.start()
        yield world
    finally:
        await world.stop()


async def test_a_pod_lives_on_containerd(world: World) -> None:
    world.create(
        "web",
        ["sh", "-c", "echo hello; echo $COLOR; while true; do nc -l -p 8080 -e cat; done"],
        env=[{"name": "COLOR", "value": "red"}],
    )
    await world.until(lambda: world.ready("web"))
    status = world.status("web")
    assert status["podIP"].startswith("10.211.7.")
    assert status["containerStatuses"][0]["containerID"].startswith("containerd://")
    async with aiohttp.ClientSession(headers=AUTH) as session:
        # Ready says that it runs, not that it has printed yet: followed, the lines come when they come.
        async with session.get(world.url("/containerLogs/default/web/main?follow=true")) as answer:
            assert [await answer.content.readline() for _ in range(2)] == [b"hello\n", b"red\n"]
        async with session.get(world.url("/pods"), headers={"Authorization": "Bearer foe"}) as answer:
            assert answer.status == 401
        await _exec_over_websocket(world, session)
        await _port_forward_over_websocket(world, session)
    await _exec_over_spdy(world)
    await _a_new_kubelet_adopts_it(world)
    await world.client.delete(Pod, "web", "default", grace_period_seconds=1)
    await world.until(lambda: f"{PODS}/web" not in world.api.objects)
    assert await world.runtime.pods() == {}


async def _exec_over_websocket(world: World, session: aiohttp.ClientSession) -> None:
    query = "command=sh&command=-c&command=cat;exit%203&input=1&output=1&error=1"
    url = world.url(f"/exec/default/web/main?{query}")
    received: dict[int, bytes] = {}
    async with session.ws_connect(url, protocols=("v5.channel.k8s.io",)) as ws:
        assert ws.protocol == "v5.channel.k8s.io"
        await ws.send_bytes(b"\x00ping")
        await ws.send_bytes(b"\xff\x00")
        async for message in ws:
            received[message.data[0]] = received.get(message.data[0], b"") + message.data[1:]
    assert received[1] == b"ping"
    status = json.loads(received[3])
    assert (status["reason"], status["details"]["causes"][0]["message"]) == ("NonZeroExitCode", "3")


async def _exec_over_spdy(world: World) -> None:
    assert world.kubelet
    reader, writer = await asyncio.open_connection("127.0.0.1", world.kubelet.node.port)
    path = "/exec/default/web/main?command=cat&input=1&output=1"
    lines = [f"POST {path} HTTP/1.1", "Host: k", "Authorization: Bearer friend", "Connection: Upgrade"]
    lines += ["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io", "Content-Length: 0", "", ""]
    writer.write("\r\n".join(lines).encode())
    assert b"101" in await reader.readuntil(b"\r\n\r\n")

    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    connection = Connection(lambda: reader.read(65536), write, client=True)
    task = asyncio.create_task(connection.run())
    error, stdin, stdout = [await connection.open({"streamType": name}) for name in ("error", "stdin", "stdout")]
    await stdin.write(b"x" * 100_000)
    await stdin.close()
    assert await stdout.read_all() == b"x" * 100_000
    assert json.loads(await error.read_all())["status"] == "Success"
    writer.close()
    await asyncio.gather(task, return_exceptions=True)


async def _port_forward_over_websocket(world: World, session: aiohttp.ClientSession) -> None:
    url = world.url("/portForward/default/web")
    async with session.ws_connect(url, protocols=("SPDY/3.1+portforward.k8s.io",)) as ws:

        async def read() -> bytes:
            message = await ws.receive()
            return message.data if message.type is aiohttp.WSMsgType.BINARY else b""

        connection = Connection(read, ws.send_bytes, client=True)
        task = asyncio.create_task(connection.run())
        await connection.open({"streamType": "error", "port": "8080", "requestID": "0"})
        data = await connection.open({"streamType": "data", "port": "8080", "requestID": "0"})
        await data.write(b"echo")
        assert await data.read() == b"echo"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _a_new_kubelet_adopts_it(world: World) -> None:
    before = world.status("web")["containerStatuses"][0]["containerID"]
    await world.stop_kubelet()
    await world.start_kubelet()
    await world.until(lambda: world.kubelet and world.kubelet.pods())
    await asyncio.sleep(0.5)
    assert world.status("web")["containerStatuses"][0]["containerID"] == before
    assert world.status("web")["containerStatuses"][0]["restartCount"] == 0


async def test_a_container_that_ends_is_seen_and_restarted_within_a_moment(world: World) -> None:
    command = ["sh", "-c", "echo dying words > /dev/termination-log; exit 4"]
    world.create("crash", command)
    await world.until(
        lambda: world.status("crash").get("containerStatuses", [{"restartCount": 0}])[0]["restartCount"] == 1
    )
    last = world.status("crash")["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (4, "Error", "dying words\n")
