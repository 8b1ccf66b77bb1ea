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
from wherry.api.core_v1 import Namespace, Node, Pod
from wherry.api.policy_v1 import PodDisruptionBudget
from wherry.client.client import Client
from wherry.client.events import EventRecorder
from wherry.client.informer import Informers
from wherry.client.transport import TransportError
from wherry.meta.errors import StatusError
from wherry.rules.pods import is_terminal
from wherry.scheduler.cycle import Decision, decide
from wherry.scheduler.effects import SCHEDULER_ERROR, UNSCHEDULABLE, Effects
from wherry.scheduler.framework import DEFAULT_SCHEDULER, Change, ClusterEvent, Profile
from wherry.scheduler.plugins import default_profile
from wherry.scheduler.plugins.default_binder import DefaultBinder
from wherry.scheduler.plugins.default_preemption import DefaultPreemption
from wherry.scheduler.plugins.priority_sort import PrioritySort
from wherry.scheduler.queue import QueuedPod, SchedulingQueue
from wherry.scheduler.snapshot import PodInfo, Snapshot
from wherry.scheduler.why import Book
from wherry.scheduler.workload_selectors import WorkloadSelectors

log = logging.getLogger(__name__)

# Decisions between two looks at the event loop: keeps watches and binds moving under a flood of pods.
DECISIONS_PER_TURN = 16
# Stands for "there are no nodes": its hint is that any new node may help.
NO_NODES_REFUSER = frozenset({"NodeName"})


@dataclass(slots=True)
class SchedulerOptions:
    """Settings of the scheduler."""

    scheduler_name: str = DEFAULT_SCHEDULER
    parallel_binds: int = 64
    """Bindings under way at once."""


class Refused(Exception):
    """A plugin would not let a placed pod be bound."""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(reason)
        self.plugin = plugin


class Scheduler:
    """Places pods on nodes. `snapshot`, `queue` and `book` may be read by who wants to explain or measure."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        clock: Clock,
        entropy: Entropy,
        options: SchedulerOptions | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._options = options or SchedulerOptions()
        budgets = informers.informer(PodDisruptionBudget)
        self.profile = profile or default_profile(
            self._options.scheduler_name,
            selector_of=WorkloadSelectors(informers),
            preemption=DefaultPreemption(entropy, budgets.list),
            binder=DefaultBinder(client),
        )
        self.snapshot = Snapshot()
        self.queue = SchedulingQueue(clock, self.profile.by_name(), self.profile.queue_sort or PrioritySort())
        self.book = Book()
        self._recorder = EventRecorder(client, self.profile.scheduler_name, clock=clock)
        self._effects = Effects(client, clock, self._recorder, self.profile.scheduler_name)
        self._jobs = TaskSet()
        self._slots = asyncio.Semaphore(self._options.parallel_binds)
        self._assumed: set[str] = set()
        """Uids of pods placed here that no watch event has shown on their node yet."""
        self._preempting: dict[str, bool] = {}
        """Uids of pods whose victims are being evicted → whether the pod wanted another try meanwhile."""
        self._informers = informers
        self._pods = informers.informer(Pod)
        informers.informer(Namespace).add_handler(self._namespace_changed)
        informers.informer(Node).add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self._informers.wait_synced()
        recorder = asyncio.create_task(self._recorder.run(), name="scheduler events")
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
            await self._jobs.cancel_all()
            recorder.cancel()
            await asyncio.gather(recorder, return_exceptions=True)

    # What the informers tell ------------------------------------------------------------------------------------------

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self.snapshot.namespaces[new.metadata.name or ""] = dict(new.metadata.labels)
        elif old is not None:
            self.snapshot.namespaces.pop(old.metadata.name or "", None)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self.snapshot.remove_node(old.metadata.name or "")
            self.queue.happened(Change(ClusterEvent.NODE_DELETE, old))
            return
        if old is not None and _same_for_scheduling(old, new):
            return
        self.snapshot.set_node(new)
        event = ClusterEvent.NODE_ADD if old is None else ClusterEvent.NODE_UPDATE
        self.queue.happened(Change(event, old, new))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        if new is not None and not new.spec.nodeName and not is_terminal(new):
            self._waiting_pod_changed(old, new)
            return
        key = (pod.metadata.namespace or "", pod.metadata.name or "")
        uid = pod.metadata.uid or ""
        self.queue.remove(key)
        self.snapshot.nominated.pop(uid, None)
        if new is None:
            self.book.forget(key)
        if new is None or is_terminal(new):
            self._remove_pod(uid)
        else:
            self._placed_pod_changed(uid, new)

    def _remove_pod(self, uid: str) -> None:
        known = self.snapshot.pods.get(uid)
        self._assumed.discard(uid)
        if known is not None:
            self.snapshot.remove_pod(uid)
            self.queue.happened(Change(ClusterEvent.ASSIGNED_POD_DELETE, pod=known[1]))

    def _placed_pod_changed(self, uid: str, pod: Pod) -> None:
        known = self.snapshot.pods.get(uid)
        if known is not None and known[0] == pod.spec.nodeName and _counts_alike(known[1].pod, pod):
            info, event, before = known[1], ClusterEvent.ASSIGNED_POD_ADD, None
            info.pod = pod
            if uid not in self._assumed:
                return
        else:
            info = PodInfo.of(pod)
            self.snapshot.add_pod(info, pod.spec.nodeName or "")
            seen = known is not None and uid not in self._assumed
            before = known[1] if known is not None and seen else None
            event = ClusterEvent.ASSIGNED_POD_UPDATE if seen else ClusterEvent.ASSIGNED_POD_ADD
        self._assumed.discard(uid)
        self.queue.happened(Change(event, pod=info, old_pod=before))

    def _waiting_pod_changed(self, old: Pod | None, pod: Pod) -> None:
        key = (pod.metadata.namespace or "", pod.metadata.name or "")
        uid = pod.metadata.uid or ""
        if (pod.spec.schedulerName or DEFAULT_SCHEDULER) != self.profile.scheduler_name:
            return
        if pod.metadata.deletionTimestamp is not None:
            self.queue.remove(key)
            self.snapshot.nominated.pop(uid, None)
            return
        if uid in self.snapshot.pods:
            return  # assumed: its binding is under way
        info = PodInfo.of(pod)
        if pod.status.nominatedNodeName:
            self.snapshot.nominated[uid] = (pod.status.nominatedNodeName, info)
        elif old is not None and old.status.nominatedNodeName:
            self.snapshot.nominated.pop(uid, None)
        gated = any(plugin.pre_enqueue(info) is not None for plugin in self.profile.pre_enqueue)
        self.queue.put(info, gated=gated)

    # Deciding ---------------------------------------------------------------------------------------------------------

    async def _schedule(self, queued: QueuedPod) -> None:
        info = queued.info
        if info.uid in self._preempting:
            self._preempting[info.uid] = True
            self.queue.give_back(queued, refused_by=queued.refused_by or NO_NODES_REFUSER)
            return
        decision = decide(self.profile, info, self.snapshot, self._entropy)
        self.book.record(info.key, decision, self.snapshot, self._clock.now())
        if decision.node_name is None:
            self._not_placed(queued, decision)
            return
        for plugin in self.profile.reserves:
            reason = plugin.reserve(info, decision.node_name)
            if reason is not None:
                self._give_up(queued, decision.node_name, reason, frozenset({plugin.name}))
                return
        self.snapshot.nominated.pop(info.uid, None)
        self.snapshot.add_pod(info, decision.node_name)
        self._assumed.add(info.uid)
        await self._slots.acquire()
        self._jobs.spawn(self._bind(queued, decision.node_name), "bind")

    def _not_placed(self, queued: QueuedPod, decision: Decision) -> None:
        info, help = queued.info, decision.help
        self.queue.give_back(queued, refused_by=decision.refused_by or NO_NODES_REFUSER)
        nominated = None if help.keep_nomination else help.node_name or ""
        if help.node_name:
            self._make_room(info, help.node_name, help.victims)
        elif not help.keep_nomination:
            self.snapshot.nominated.pop(info.uid, None)
        self._report(info.pod, UNSCHEDULABLE, decision.message(), nominated)

    def _report(self, pod: Pod, reason: str, message: str, nominated: str | None) -> None:
        self._recorder.event(pod, "Warning", "FailedScheduling", message)
        self._jobs.spawn(self._effects.not_scheduled(pod, reason, message, nominated), "condition")

    def _make_room(self, info: PodInfo, node_name: str, victims: list[PodInfo]) -> None:
        for uid, (name, other) in list(self.snapshot.nominated.items()):
            if name == node_name and other.priority < info.priority:
                del self.snapshot.nominated[uid]
                self.queue.activate(other.key)
                self._jobs.spawn(self._effects.drop_nomination(other.pod), "nomination")
        self.snapshot.nominated[info.uid] = (node_name, info)
        self._preempting[info.uid] = False
        self._jobs.spawn(self._evict(info, node_name, victims), "preemption")

    async def _evict(self, info: PodInfo, node_name: str, victims: list[PodInfo]) -> None:
        done = False
        try:
            done = await self._effects.evict(info, node_name, victims)
        finally:
            wanted = self._preempting.pop(info.uid, False)
            if wanted or not done:
                self.queue.activate(info.key)

    # Binding ----------------------------------------------------------------------------------------------------------

    async def _bind(self, queued: QueuedPod, node_name: str) -> None:
        info = queued.info
        namespace, name = info.key
        try:
            for permit in self.profile.permits:
                reason = await permit.permit(info, node_name)
                if reason is not None:
                    raise Refused(permit.name, reason)
            for pre_bind in self.profile.pre_binds:
                await pre_bind.pre_bind(info, node_name)
            for plugin in self.profile.binds:
                if await plugin.bind(info, node_name):
                    break
        except Refused as refused:
            self._give_up(queued, node_name, str(refused), frozenset({refused.plugin}))
        except (StatusError, TransportError) as error:
            self._give_up(queued, node_name, f"binding rejected: {error}", frozenset())
        else:
            for post_bind in self.profile.post_binds:
                post_bind.post_bind(info, node_name)
            told = f"Successfully assigned {namespace}/{name} to {node_name}"
            self._recorder.event(info.pod, "Normal", "Scheduled", told)
        finally:
            self._slots.release()

    def _give_up(self, queued: QueuedPod, node_name: str, message: str, refused_by: frozenset[str]) -> None:
        """Undo the assumption and queue the pod again, unless it is gone or placed by now."""
        info = queued.info
        for plugin in reversed(self.profile.reserves):
            plugin.unreserve(info, node_name)
        current = self._pods.get(*info.key)
        if current is not None and current.metadata.uid == info.uid and current.spec.nodeName:
            return  # the binding did happen
        self._remove_pod(info.uid)
        if current is None or current.metadata.uid != info.uid or current.metadata.deletionTimestamp is not None:
            return
        log.info("pod %s/%s was not bound to %s: %s", *info.key, node_name, message)
        queued.info = PodInfo.of(current)
        self.queue.give_back(queued, refused_by=refused_by)
        self._report(current, UNSCHEDULABLE if refused_by else SCHEDULER_ERROR, message, None)


def _same_for_scheduling(old: Node, new: Node) -> bool:
    """Heartbeats change nothing that a scheduler looks at."""
    return (
        old.spec == new.spec
        and old.metadata.labels == new.metadata.labels
        and old.status.allocatable == new.status.allocatable
        and old.status.images == new.status.images
    )


def _counts_alike(old: Pod, new: Pod) -> bool:
    """Whether the snapshot's numbers for the pod still hold: they go by labels, containers and being on the way out."""
    return (
        old.metadata.labels == new.metadata.labels
        and (old.metadata.deletionTimestamp is None) == (new.metadata.deletionTimestamp is None)
        and old.spec.containers == new.spec.containers
        and old.spec.initContainers == new.spec.initContainers
        and old.spec.resources == new.spec.resources
    )
