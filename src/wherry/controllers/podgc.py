"""Removes pods nobody else will: on nodes that are gone, terminating without a node, and old finished ones.

Source of the behaviour: kubernetes pkg/controller/podgc.
"""

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Node, Pod
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.controllers.nodelifecycle import BY_NODE, index_by_node
from wherry.meta.errors import StatusError
from wherry.meta.time import format_time
from wherry.rules.pods import is_scheduled, is_terminal, is_terminating

QUARANTINE_SECONDS = 40.0
"""How long a node must be gone before its pods are: its kubelet may only be registering anew."""
TERMINATED_PODS_MAX = 12500


class PodGarbageCollector(Controller):
    """Keys are ("node", name), ("pod", "namespace/name") and ("finished", "")."""

    name = "pod-garbage-collector-controller"
    workers = 2

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._finished = 0
        self._pods = self.watch(Pod)
        index_by_node(self._pods)
        self._nodes = self.watch(Node, self._node_changed)
        self._pods.add_handler(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None and old is not None:
            self.queue.add_after(("node", old.metadata.name or ""), QUARANTINE_SECONDS)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        self._finished += (new is not None and is_terminal(new)) - (old is not None and is_terminal(old))
        if self._finished > TERMINATED_PODS_MAX:
            self.queue.add(("finished", ""))
        if new is None:
            return
        if not is_scheduled(new):
            if is_terminating(new):
                self.queue.add(("pod", f"{new.metadata.namespace}/{new.metadata.name}"))
        elif (old is None or not is_scheduled(old)) and self._nodes.get(None, new.spec.nodeName or "") is None:
            self.queue.add_after(("node", new.spec.nodeName or ""), QUARANTINE_SECONDS)

    async def reconcile(self, key: Key) -> None:
        sort, name = key
        if sort == "node":
            await self._collect_node(name)
        elif sort == "pod":
            namespace, _, pod_name = name.partition("/")
            pod = self._pods.get(namespace, pod_name)
            if pod is not None and is_terminating(pod) and not is_scheduled(pod):
                await self._delete(pod)
        else:
            finished = sorted(filter(is_terminal, self._pods.list()), key=_created)
            for pod in finished[: max(0, len(finished) - TERMINATED_PODS_MAX)]:
                await self._delete(pod)

    async def _collect_node(self, name: str) -> None:
        try:
            await self.client.get(Node, name)
        except StatusError as error:
            if not is_missing(error):
                raise
        else:
            return
        for pod in self._pods.by_index(BY_NODE, name):
            if not is_terminal(pod):
                await self._fail(pod)
            await self._delete(pod)

    async def _fail(self, pod: Pod) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
            "lastTransitionTime": format_time(self.clock.now()),
        }
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed", "conditions": [condition]}}
        name, namespace = pod.metadata.name or "", pod.metadata.namespace
        try:
            await self.client.patch(Pod, name, namespace, patch, patch_type="strategic", subresource="status")
        except StatusError as error:
            if not is_missing(error):
                raise

    async def _delete(self, pod: Pod) -> None:
        metadata = pod.metadata
        try:
            await self.client.delete(
                Pod, metadata.name or "", metadata.namespace, grace_period_seconds=0, uid=metadata.uid
            )
        except StatusError as error:
            if not is_missing(error):
                raise


def _created(pod: Pod) -> str:
    return pod.metadata.creationTimestamp or ""
