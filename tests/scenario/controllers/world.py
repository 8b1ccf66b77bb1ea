"""A real API server in memory, all controllers, and nodes that answer at once: under virtual time, so nothing waits."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from wherry.aio.clock import LoopClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Event, Pod
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.manager import ControllerManager, ManagerOptions
from wherry.meta.errors import StatusError
from wherry.meta.time import format_time
from wherry.rules.pods import is_terminating
from wherry.server.app import Server
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store


class World:
    """Everything a scenario touches."""

    def __init__(self, client: Client, informers: Informers, clock: LoopClock) -> None:
        self.client = client
        self.informers = informers
        self.clock = clock
        self.outcome: dict[str, str] = {}
        """Phase in which a container of this image ends; others run on."""
        self.pods = informers.informer(Pod)

    async def settle(self, seconds: float = 5.0) -> None:
        """Let things happen."""
        await self.clock.sleep(seconds)

    async def events(self, *reasons: str) -> list[str]:
        """ "reason: message" of the events written, in order."""
        items = (await self.client.list(Event)).items
        items.sort(key=lambda item: int(item.metadata.name.rpartition(".")[2], 16) if item.metadata.name else 0)
        return [f"{item.reason}: {item.message}" for item in items if not reasons or item.reason in reasons]


class Kubelet:
    """Stands for every kubelet and the scheduler: pods run a tenth of a second after they appear."""

    def __init__(self, world: World, node: str) -> None:
        self._world = world
        self._node = node
        self._queue: asyncio.Queue[Pod] = asyncio.Queue()
        world.pods.add_handler(self._changed)

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and (old is None or (is_terminating(new) and not is_terminating(old))):
            self._queue.put_nowait(new)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pod = await self._queue.get()
            await self._world.clock.sleep(0.1)
            try:
                await (self._end(pod) if is_terminating(pod) else self._run(pod))
            except StatusError as error:
                if error.code not in (404, 409):
                    raise

    async def _end(self, pod: Pod) -> None:
        name, namespace = pod.metadata.name or "", pod.metadata.namespace
        if _is_still_held(pod):
            await self._status(pod, {"phase": "Failed"})
        await self._world.client.delete(Pod, name, namespace, grace_period_seconds=0, uid=pod.metadata.uid)

    async def _run(self, pod: Pod) -> None:
        if pod.spec.nodeName not in (None, self._node):
            return
        now = format_time(self._world.clock.now())
        phase = self._world.outcome.get(pod.spec.containers[0].image or "", "Running")
        ready = {"type": "Ready", "status": str(phase == "Running"), "lastTransitionTime": now}
        addresses = {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}
        await self._status(pod, {"phase": phase, **addresses, "conditions": [ready]})

    async def _status(self, pod: Pod, status: dict[str, object]) -> None:
        name, namespace = pod.metadata.name or "", pod.metadata.namespace
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": status}
        await self._world.client.patch(Pod, name, namespace, patch, patch_type="strategic", subresource="status")


def _is_still_held(pod: Pod) -> bool:
    return bool(pod.metadata.finalizers) and pod.status.phase not in ("Succeeded", "Failed")


@asynccontextmanager
async def world(
    names: Iterable[str] | None = None, *, kubelet: bool = True, options: ServerOptions | None = None
) -> AsyncIterator[World]:
    """A world that is gone, tasks and all, when left."""
    clock, entropy = LoopClock(), Entropy(7)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy, options)
    await server.start()
    client = server.client()
    informers = Informers(client)
    made = World(client, informers, clock)
    settings = ManagerOptions(root_ca="PEM", sign_token=lambda account, secret: f"{account.metadata.uid} {secret}")
    manager = ControllerManager(
        client, clock, entropy, settings, server.registry.resources, names=names, informers=informers
    )
    runs = [informers.run(), manager.run()]
    if kubelet:
        runs.append(Kubelet(made, "node").run())
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        await informers.wait_synced()
        await made.settle(1.0)
        yield made
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await server.close()
        await store.close()
        failed = [item for item in results if isinstance(item, Exception)]
        if failed:
            raise ExceptionGroup("components crashed", failed)
