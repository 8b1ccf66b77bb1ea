"""The kubelet: one node of the cluster, from registration to the last container.

Composition only: agent.py runs a pod, node.py reports the node, server.py answers for logs and exec. Ending the kubelet
leaves every container running; the next one finds them by their labels and goes on.
"""

import asyncio
import logging

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Pod, Service
from wherry.client.client import Client
from wherry.client.events import EventRecorder
from wherry.client.informer import Informers
from wherry.kubelet.agent import PodAgent
from wherry.kubelet.context import NodeContext
from wherry.kubelet.downward import Node as DownwardNode
from wherry.kubelet.images import Images
from wherry.kubelet.machine_facts import MachineFacts
from wherry.kubelet.node import NodeReporter
from wherry.kubelet.objects import ObjectCache
from wherry.kubelet.options import KubeletOptions
from wherry.kubelet.orphans import OrphanSweeper
from wherry.kubelet.runtimes.protocol import Runtime, RuntimeFailure
from wherry.kubelet.server import KubeletServer
from wherry.kubelet.tokens import TokenCache
from wherry.kubelet.volumes.manager import Volumes

log = logging.getLogger(__name__)

RUNTIME_RETRY_SECONDS = 0.2


class Kubelet:
    """One node."""

    def __init__(
        self, options: KubeletOptions, client: Client, runtime: Runtime, clock: Clock, entropy: Entropy
    ) -> None:
        self.options = options
        self._runtime, self._clock, self._client = runtime, clock, client
        self._informers = Informers(client)
        self._pods = self._informers.informer(Pod, field_selector=f"spec.nodeName={options.node_name}")
        self._services = self._informers.informer(Service)
        self._events = EventRecorder(client, "kubelet", options.node_name, clock)
        self._agents: dict[str, PodAgent] = {}
        self._group: asyncio.TaskGroup | None = None
        self.node = NodeReporter(options, client, runtime, clock)
        self._context = self._make_context(client, runtime, clock, entropy)
        self.server = KubeletServer(self._context, self.pods)
        self._orphans = OrphanSweeper(self._context, lambda: set(self._agents))
        runtime.subscribe(self._woken)

    def _make_context(self, client: Client, runtime: Runtime, clock: Clock, entropy: Entropy) -> NodeContext:
        facts = MachineFacts.read(self.options.data_dir)
        context = NodeContext(
            options=self.options,
            client=client,
            runtime=runtime,
            clock=clock,
            entropy=entropy,
            objects=ObjectCache(client, self._woken),
            tokens=TokenCache(client, clock),
            volumes=Volumes(self.options.pods_dir, clock),
            images=Images(runtime, clock, lambda *event: context.tell_container(*event)),
            record_event=self._events.event,
            services=self._services.list,
            downward=DownwardNode(
                self.options.node_name,
                (self.options.node_ip,),
                facts.cpus * 10**9,
                facts.memory_bytes,
                facts.disk_bytes,
            ),
            runtime_scheme="containerd" if runtime.name == "containerd" else runtime.name,
        )
        return context

    async def run(self) -> None:
        """Run the node until cancelled."""
        self.options.data_dir.mkdir(parents=True, exist_ok=True)
        await self._wait_runtime()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._informers.run(), name="kubelet informers")
                group.create_task(self._events.run(), name="kubelet events")
                group.create_task(self._runtime.run(), name="container runtime watch")
                if self.options.serve:
                    self.node.port = await self.server.start()
                    group.create_task(self.server.run(), name="kubelet server")
                group.create_task(self.node.run(), name="node status")
                group.create_task(self.node.run_lease(), name="node lease")
                await self._services.wait_synced()
                self._pods.add_handler(self._pod_changed)
                await self._pods.wait_synced()
                group.create_task(self._orphans.run(), name="orphan sweeper")
        finally:
            self._group = None
            await self._context.objects.close()

    def pods(self) -> list[Pod]:
        """Pods of this node as their agents know them."""
        return [agent.pod for agent in self._agents.values()]

    async def _wait_runtime(self) -> None:
        while True:
            try:
                version = await self._runtime.version()
            except RuntimeFailure as error:
                log.info("waiting for the container runtime: %s", error)
                await self._clock.sleep(RUNTIME_RETRY_SECONDS)
            else:
                log.info("container runtime %s %s", version.name, version.version)
                return

    def _woken(self, uid: str) -> None:
        agent = self._agents.get(uid)
        if agent:
            agent.wake()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None:
            agent = self._agents.get(new.metadata.uid or "")
            if agent:
                agent.update(new)
            else:
                self._adopt(new)
        elif old is not None and (agent := self._agents.get(old.metadata.uid or "")):
            agent.remove()

    def _adopt(self, pod: Pod) -> None:
        if self._group is None:
            return
        agent = self._agents[pod.metadata.uid or ""] = PodAgent(self._context, pod)
        task = self._group.create_task(agent.run(), name=f"pod {pod.metadata.namespace}/{pod.metadata.name}")
        task.add_done_callback(lambda _: self._agents.pop(agent.uid, None))
