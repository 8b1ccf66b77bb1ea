"""Nodes that stop reporting become Unknown; what their conditions say becomes taints; their pods become not ready.

A node lives as long as its Lease is renewed or its status is written; each sets the node's timer anew, and nothing else
runs. tainteviction.py then acts on the taints.

Source of the behaviour: kubernetes pkg/controller/nodelifecycle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from wherry.aio.clock import Clock
from wherry.api.coordination_v1 import Lease
from wherry.api.core_v1 import Node, NodeCondition, NodeStatus, ObjectReference, Pod, Taint
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.meta.errors import StatusError
from wherry.meta.time import format_time
from wherry.meta.wire import deep_copy, to_builtins
from wherry.rules import conditions, taints
from wherry.rules.pods import is_ready, is_terminal

LEASE_NAMESPACE = "kube-node-lease"
STARTUP_GRACE_SECONDS = 60.0
"""For a node that never had a Ready condition."""
BY_NODE = "node"
_CONDITION_TAINTS = {
    "MemoryPressure": taints.MEMORY_PRESSURE,
    "DiskPressure": taints.DISK_PRESSURE,
    "PIDPressure": taints.PID_PRESSURE,
    "NetworkUnavailable": taints.NETWORK_UNAVAILABLE,
}
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_OURS = frozenset({*_CONDITION_TAINTS.values(), taints.NOT_READY, taints.UNREACHABLE, taints.UNSCHEDULABLE})


def plan_silence(status: NodeStatus, created: str | None, now: datetime) -> NodeStatus:
    """The status of a node that has not reported for too long."""
    status = deep_copy(status)
    for kind in _REPORTED:
        present = conditions.find(status.conditions, kind)
        if present is None:
            item = NodeCondition(
                type=kind,
                status="Unknown",
                reason="NodeStatusNeverUpdated",
                message="Kubelet never posted node status.",
                lastHeartbeatTime=created,
                lastTransitionTime=format_time(now),
            )
            status.conditions.append(item)
        elif present.status != "Unknown":
            present.status = "Unknown"
            present.reason = "NodeStatusUnknown"
            present.message = "Kubelet stopped posting node status."
            present.lastTransitionTime = format_time(now)
    return status


def plan_taints(node: Node, now: datetime) -> list[Taint]:
    """All taints the node is to have: those of others as they are, ours as its conditions ask."""
    wanted: list[tuple[str, str]] = []
    ready = conditions.status(node.status.conditions, "Ready")
    if ready != "True":
        key = taints.NOT_READY if ready == "False" else taints.UNREACHABLE
        if ready:
            wanted += [(key, taints.NO_SCHEDULE), (key, taints.NO_EXECUTE)]
        else:
            wanted.append((taints.NOT_READY, taints.NO_SCHEDULE))
    for kind, key in _CONDITION_TAINTS.items():
        if conditions.is_true(node.status.conditions, kind):
            wanted.append((key, taints.NO_SCHEDULE))
    if node.spec.unschedulable:
        wanted.append((taints.UNSCHEDULABLE, taints.NO_SCHEDULE))
    kept = [item for item in node.spec.taints if not _is_ours(item) or (item.key, item.effect) in wanted]
    present = {(item.key, item.effect) for item in kept}
    added = [pair for pair in wanted if pair not in present]
    return kept + [Taint(key=key, effect=effect, timeAdded=format_time(now)) for key, effect in added]


def _is_ours(taint: Taint) -> bool:
    return taint.key in _OURS and taint.effect in (taints.NO_SCHEDULE, taints.NO_EXECUTE)


@dataclass(slots=True)
class _Life:
    """What is remembered of a node."""

    seen_seconds: float
    """When it last reported, on our own monotonic clock: clocks of nodes are not trusted."""
    ready: str = ""


class NodeLifecycleController(Controller):
    """Watches over nodes."""

    name = "node-controller"

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, monitor_grace_period_seconds: float = 40.0
    ) -> None:
        super().__init__(client, informers, clock)
        self._grace_seconds = monitor_grace_period_seconds
        self._lives: dict[str, _Life] = {}
        self._nodes = self.watch(Node, self._node_changed)
        self._pods = self.watch(Pod)
        index_by_node(self._pods)
        self._leases = self.informers.informer(Lease, LEASE_NAMESPACE)
        self._watched.append(self._leases)
        self._leases.add_handler(self._lease_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        name = _name(new or old)
        if new is None:
            self._lives.pop(name, None)
            self.recorder.event(_reference(name), "Normal", "RemovingNode", _about(name, "Removing", "from"))
            return
        if name not in self._lives:
            self._lives[name] = _Life(self.clock.monotonic())
            self.recorder.event(_reference(name), "Normal", "RegisteredNode", _about(name, "Registered", "in"))
        elif old is None or _heartbeats(old) != _heartbeats(new):
            self._lives[name].seen_seconds = self.clock.monotonic()
        if old is None or _facts(old) != _facts(new):
            self.queue.add(("", name))

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        life = self._lives.get((new.metadata.name if new else None) or "")
        if life is None or new is None or (old is not None and old.spec.renewTime == new.spec.renewTime):
            return
        life.seen_seconds = self.clock.monotonic()

    async def reconcile(self, key: Key) -> None:
        node, life = self._nodes.get(*key), self._lives.get(key[1])
        if node is None or life is None:
            return
        ready = conditions.find(node.status.conditions, "Ready")
        grace_seconds = self._grace_seconds if ready else max(STARTUP_GRACE_SECONDS, self._grace_seconds)
        left_seconds = grace_seconds - (self.clock.monotonic() - life.seen_seconds)
        if left_seconds <= 0:
            status = plan_silence(node.status, node.metadata.creationTimestamp, self.clock.now())
            if status != node.status:
                node = deep_copy(node)
                node.status = status
                node = await self.client.update_status(node)
        else:
            self.queue.add_after(key, left_seconds)
        await self._taint(node)
        await self._follow_readiness(node, life)

    async def _taint(self, node: Node) -> None:
        wanted = plan_taints(node, self.clock.now())
        if wanted == node.spec.taints:
            return
        metadata = {"uid": node.metadata.uid, "resourceVersion": node.metadata.resourceVersion}
        patch = {"metadata": metadata, "spec": {"taints": [to_builtins(item) for item in wanted]}}
        await self.client.patch(Node, _name(node), None, patch)

    async def _follow_readiness(self, node: Node, life: _Life) -> None:
        """A node that was ready and is not: so are its pods."""
        ready = conditions.status(node.status.conditions, "Ready")
        if life.ready == "True" and ready != "True":
            name = _name(node)
            text = f"Node {name} status is now: NodeNotReady"
            await self._mark_pods(self._pods.by_index(BY_NODE, name))
            self.recorder.event(_reference(name), "Normal", "NodeNotReady", text)
        life.ready = ready

    async def _mark_pods(self, pods: Sequence[Pod]) -> None:
        for pod in pods:
            if not is_ready(pod) or is_terminal(pod):
                continue
            condition = {"type": "Ready", "status": "False", "lastTransitionTime": format_time(self.clock.now())}
            patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
            name, namespace = pod.metadata.name or "", pod.metadata.namespace
            try:
                await self.client.patch(Pod, name, namespace, patch, patch_type="strategic", subresource="status")
            except StatusError as error:
                if not is_missing(error):
                    raise
            self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")


def index_by_node(pods: Informer[Pod]) -> None:
    """Find pods by their node."""
    pods.add_index(BY_NODE, lambda pod: [pod.spec.nodeName] if pod.spec.nodeName else [])


def _name(node: Node | None) -> str:
    return (node.metadata.name if node else None) or ""


def _reference(name: str) -> ObjectReference:
    """Events about nodes name the node in place of its uid, as the kubelet's do."""
    return ObjectReference(apiVersion="v1", kind="Node", name=name, uid=name)


def _about(name: str, verb: str, preposition: str) -> str:
    return f"Node {name} event: {verb} Node {name} {preposition} Controller"


def _heartbeats(node: Node) -> list[str | None]:
    return [item.lastHeartbeatTime for item in node.status.conditions]


def _facts(node: Node) -> tuple[object, ...]:
    return [(item.type, item.status) for item in node.status.conditions], node.spec.taints, node.spec.unschedulable
