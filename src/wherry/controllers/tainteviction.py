"""Evicts pods from nodes with NoExecute taints that they do not tolerate, or no longer.

Source of the behaviour: kubernetes pkg/controller/tainteviction.
"""

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Node, Pod, Taint
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.client.workqueue import meta_key
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.controllers.nodelifecycle import BY_NODE, index_by_node
from wherry.meta.errors import StatusError
from wherry.meta.time import format_time
from wherry.rules.pods import is_terminal, is_terminating
from wherry.rules.taints import NO_EXECUTE, eviction_delay_seconds


class TaintEvictionController(Controller):
    """Each pod under a NoExecute taint has a timer; the taint or the toleration going away stops it."""

    name = "taint-eviction-controller"

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._since: dict[Key, tuple[str, float]] = {}
        """uid of the pod and when its timer started, on the monotonic clock."""
        self._pods = self.watch(Pod)
        index_by_node(self._pods)
        self._nodes = self.watch(Node, self._node_changed)
        self._pods.add_handler(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        before = _no_execute(old) if old else []
        after = _no_execute(new) if new else []
        node = new or old
        if before != after and node is not None:
            for pod in self._pods.by_index(BY_NODE, node.metadata.name or ""):
                self.queue.add(meta_key(pod))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or old is None or old.spec != new.spec or is_terminating(new) or is_terminal(new):
            pod = new or old
            if pod is not None and pod.spec.nodeName:
                self.queue.add(meta_key(pod))

    async def reconcile(self, key: Key) -> None:
        pod = self._pods.get(*key)
        if pod is None or is_terminating(pod) or is_terminal(pod):
            self._since.pop(key, None)
            return
        node = self._nodes.get(None, pod.spec.nodeName or "")
        bad = _no_execute(node) if node else []
        delay_seconds = eviction_delay_seconds(bad, pod.spec.tolerations)
        if not bad or delay_seconds is None:
            if self._since.pop(key, None) is not None:
                text = f"Cancelling deletion of Pod {key[0]}/{key[1]}"
                self.recorder.event(pod, "Normal", "TaintManagerEviction", text)
            return
        now = self.clock.monotonic()
        uid, since = self._since.setdefault(key, (pod.metadata.uid or "", now))
        if uid != pod.metadata.uid:
            self._since[key], since = (pod.metadata.uid or "", now), now
        left_seconds = since + delay_seconds - now
        if left_seconds > 0:
            self.queue.add_after(key, left_seconds)
            return
        await self._evict(key, pod)

    async def _evict(self, key: Key, pod: Pod) -> None:
        self.recorder.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key[0]}/{key[1]}")
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": format_time(self.clock.now()),
        }
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
        try:
            await self.client.patch(Pod, key[1], key[0], patch, patch_type="strategic", subresource="status")
            await self.client.delete(Pod, key[1], key[0], uid=pod.metadata.uid)
        except StatusError as error:
            if not is_missing(error):
                raise


def _no_execute(node: Node) -> list[Taint]:
    return [item for item in node.spec.taints if item.effect == NO_EXECUTE]
