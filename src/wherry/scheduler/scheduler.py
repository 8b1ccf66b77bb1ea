"""kube-scheduler's work: watch pods and nodes, decide, bind, report.

The loop takes one pod after the other from the queue, decides synchronously on the columnar snapshot (cycle.py),
assumes the pod there at once, and binds in the background, so that the next decision need not wait for the server.
"""

import asyncio
import logging
from dataclasses import dataclass

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import TaskSet
from wherry.api.core_v1 import Binding, Node, ObjectReference, Pod, PodCondition
from wherry.client.client import Client
from wherry.client.events import EventRecorder
from wherry.client.informer import Informers
from wherry.client.transport import TransportError
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.time import format_time
from wherry.meta.wire import to_builtins
from wherry.rules.pods import is_terminal
from wherry.scheduler.cycle import Decision, decide
from wherry.scheduler.framework import Change, ClusterEvent, Profile
from wherry.scheduler.plugins import default_profile
from wherry.scheduler.queue import QueuedPod, SchedulingQueue
from wherry.scheduler.snapshot import PodInfo, Snapshot

log = logging.getLogger(__name__)

# Decisions between two looks at the event loop: keeps watches and binds moving under a flood of pods.
DECISIONS_PER_TURN = 16


@dataclass(slots=True)
class SchedulerOptions:
    """Settings of the scheduler."""

    scheduler_name: str = "default-scheduler"
    parallel_binds: int = 64
    """Bindings under way at once."""


class Scheduler:
    """Places pods on nodes."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        clock: Clock,
        entropy: Entropy,
        options: SchedulerOptions | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._entropy = entropy
        self._options = options or SchedulerOptions()
        self.profile = profile or default_profile(self._options.scheduler_name)
        self.snapshot = Snapshot()
        self.queue = SchedulingQueue(clock, self.profile.by_name())
        self._recorder = EventRecorder(client, self._options.scheduler_name, clock=clock)
        self._binds = TaskSet()
        self._slots = asyncio.Semaphore(self._options.parallel_binds)
        self._nodes = informers.informer(Node)
        self._pods = informers.informer(Pod)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self._nodes.wait_synced()
        await self._pods.wait_synced()
        recorder = asyncio.create_task(self._recorder.run())
        try:
            while True:
                await self.queue.wait()
                for _ in range(DECISIONS_PER_TURN):
                    queued = self.queue.take()
                    if queued is None:
                        break
                    await self._schedule(queued)
                await asyncio.sleep(0)
        finally:
            self.queue.close()
            await self._binds.cancel_all()
            recorder.cancel()
            await asyncio.gather(recorder, return_exceptions=True)

    # What the informers tell ------------------------------------------------------------------------------------------

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self.snapshot.remove_node(old.metadata.name or "")
            return
        if old is not None and _same_for_scheduling(old, new):
            return
        self.snapshot.set_node(new)
        event = ClusterEvent.NODE_ADD if old is None else ClusterEvent.NODE_UPDATE
        self.queue.happened(Change(event, old, new))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        key = (pod.metadata.namespace or "", pod.metadata.name or "")
        if new is not None and not new.spec.nodeName and not is_terminal(new):
            self._waiting_pod_changed(new)
            return
        self.queue.remove(key)
        uid = pod.metadata.uid or ""
        if new is None or is_terminal(new):
            if uid in self.snapshot.pods:
                self.snapshot.remove_pod(uid)
                self.queue.happened(Change(ClusterEvent.ASSIGNED_POD_DELETE, pod=pod))
            return
        known = self.snapshot.pods.get(uid)
        if known is None or known[0] != new.spec.nodeName or known[1].pod.spec != new.spec:
            self.snapshot.add_pod(PodInfo.of(new), new.spec.nodeName or "")
            self.queue.happened(Change(ClusterEvent.ASSIGNED_POD_ADD, pod=new))

    def _waiting_pod_changed(self, pod: Pod) -> None:
        key = (pod.metadata.namespace or "", pod.metadata.name or "")
        if (pod.spec.schedulerName or "default-scheduler") != self.profile.scheduler_name:
            return
        if pod.metadata.deletionTimestamp is not None:
            self.queue.remove(key)
            return
        if (pod.metadata.uid or "") in self.snapshot.pods:
            return  # assumed: its binding is under way
        info = PodInfo.of(pod)
        gate = next((reason for plugin in self.profile.pre_enqueue if (reason := plugin.pre_enqueue(info))), None)
        self.queue.put(info, gated=gate is not None)
        if gate is not None:
            condition = self._set_condition(
                pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"
            )
            self._binds.spawn(condition, "condition")

    # Deciding and binding ---------------------------------------------------------------------------------------------

    async def _schedule(self, queued: QueuedPod) -> None:
        decision = decide(self.profile, queued.info, self.snapshot, self._entropy)
        if decision.node_name is None:
            self._not_placed(queued, decision)
            return
        self.snapshot.add_pod(queued.info, decision.node_name)
        await self._slots.acquire()
        self._binds.spawn(self._bind(queued, decision.node_name), "bind")

    async def _bind(self, queued: QueuedPod, node_name: str) -> None:
        pod = queued.info.pod
        namespace, name = queued.info.key
        try:
            binding = Binding(
                apiVersion="v1",
                kind="Binding",
                metadata=ObjectMeta(name=name, namespace=namespace, uid=pod.metadata.uid),
                target=ObjectReference(kind="Node", name=node_name),
            )
            await self._client.post(f"/api/v1/namespaces/{namespace}/pods/{name}/binding", binding, dict)
        except (StatusError, TransportError) as error:
            self.snapshot.remove_pod(pod.metadata.uid or "")
            gone = isinstance(error, StatusError) and error.code == 404
            if not gone:
                log.info("pod %s/%s was not bound to %s: %s", namespace, name, node_name, error)
                current = self._pods.get(namespace, name)
                if current is not None and not current.spec.nodeName and current.metadata.uid == pod.metadata.uid:
                    self.queue.give_back(queued, refused_by=frozenset())
            return
        finally:
            self._slots.release()
        self._recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {node_name}")

    def _not_placed(self, queued: QueuedPod, decision: Decision) -> None:
        message = decision.message()
        refused_by = decision.refused_by or frozenset({"NodeName"})  # no node at all: any new node may help
        self.queue.give_back(queued, refused_by=refused_by)
        self._recorder.event(queued.info.pod, "Warning", "FailedScheduling", message)
        self._binds.spawn(self._set_condition(queued.info.pod, "Unschedulable", message), "condition")

    async def _set_condition(self, pod: Pod, reason: str, message: str) -> None:
        for condition in pod.status.conditions:
            if condition.type == "PodScheduled" and (condition.reason, condition.message) == (reason, message):
                return
        condition = PodCondition(
            type="PodScheduled",
            status="False",
            reason=reason,
            message=message,
            lastTransitionTime=format_time(self._clock.now()),
            observedGeneration=pod.metadata.generation,
        )
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [to_builtins(condition)]}}
        namespace, name = pod.metadata.namespace or "", pod.metadata.name or ""
        try:
            await self._client.patch(Pod, name, namespace, patch, patch_type="strategic", subresource="status")
        except StatusError as error:
            if error.code not in (404, 409):
                raise


def _same_for_scheduling(old: Node, new: Node) -> bool:
    """Heartbeats change nothing that a scheduler looks at."""
    return (
        old.spec == new.spec
        and old.metadata.labels == new.metadata.labels
        and old.status.allocatable == new.status.allocatable
        and old.status.images == new.status.images
    )
