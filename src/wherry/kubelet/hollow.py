"""Nodes that need not be real: thousands of them in one task group, for `--runtime fake` and for tests.

A hollow node registers, keeps its lease fresh, and says of every pod bound to it that it runs (after a delay) and, when
it is deleted, that it is gone. All nodes share one watch of the pods; each costs two objects and a renewal at times.
The idea is kwok's and kubemark's.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wherry.aio.clock import Clock
from wherry.aio.tasks import TaskSet
from wherry.api.coordination_v1 import Lease, LeaseSpec
from wherry.api.core_v1 import Node, NodeCondition, NodeSystemInfo, Pod
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.client.transport import TransportError
from wherry.client.workqueue import WorkQueue, meta_key, work
from wherry.kubelet.node import architecture, new_node
from wherry.kubelet.options import KubeletOptions
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.quantity import Quantity
from wherry.meta.time import format_micro_time, format_time
from wherry.rules.pods import is_terminal, is_terminating

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
# Half the usual four tries within the controller's 40 s: a thousand nodes write 66 leases a second, not 100.
RENEW_SECONDS = 15.0
PARALLEL_WRITES = 64
BATCH = 10
"""Leases renewed at once."""
CAPACITY = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"}
POD_NETWORK = ipaddress.ip_network("10.0.0.0/8")


class HollowNodes:
    """Pretends to be nodes `names`."""

    def __init__(
        self,
        names: Sequence[str],
        client: Client,
        informers: Informers,
        clock: Clock,
        *,
        pod_start_seconds: float = 0.0,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        self.names = set(names)
        """Nodes that beat; take one out and it falls silent, as if its machine had died."""
        self._client = client
        self._clock = clock
        self._delay = pod_start_seconds
        self._renew_seconds = renew_seconds
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue()
        self._pods = informers.informer(Pod)
        self._pods.add_handler(self._changed)
        self._jobs = TaskSet()
        self._addresses = 0

    async def run(self) -> None:
        """Until cancelled."""
        slots = asyncio.Semaphore(PARALLEL_WRITES)

        async def register(name: str) -> None:
            async with slots:
                await self._register(name)

        await asyncio.gather(*(register(name) for name in sorted(self.names)))
        try:
            self._jobs.spawn(self._beat(), "hollow heartbeats")
            await work(self._queue, self._reconcile, workers=PARALLEL_WRITES, name="hollow pods")
        finally:
            await self._jobs.cancel_all()

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or new.spec.nodeName not in self.names:
            return
        if is_terminating(new) or (new.status.phase in (None, "Pending") and not self._delay):
            self._queue.add(meta_key(new))
        elif new.status.phase in (None, "Pending"):
            self._queue.add_after(meta_key(new), self._delay)

    # Nodes ------------------------------------------------------------------------------------------------------------

    async def _register(self, name: str) -> None:
        try:
            await self._client.create(self._node(name))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        try:
            await self._client.create(self._lease(name))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

    def _node(self, name: str) -> Node:
        node = new_node(KubeletOptions(data_dir=Path("/nonexistent"), node_name=name))
        now = format_time(self._clock.now())
        quantities = {key: Quantity.parse(value) for key, value in CAPACITY.items()}
        node.metadata.labels["type"] = "hollow"
        node.status.capacity = quantities
        node.status.allocatable = dict(quantities)
        node.status.nodeInfo = NodeSystemInfo(
            kubeletVersion="v1.36.2", containerRuntimeVersion="fake://1.0", operatingSystem="linux",
            architecture=architecture(), osImage="hollow", kernelVersion="hollow",
        )  # fmt: skip
        node.status.conditions = [
            NodeCondition(
                type="Ready", status="True", reason="KubeletReady", message="kubelet is posting ready status",
                lastHeartbeatTime=now, lastTransitionTime=now,
            )
        ]  # fmt: skip
        return node

    def _lease(self, name: str) -> Lease:
        return Lease(
            metadata=ObjectMeta(name=name, namespace=LEASE_NAMESPACE),
            spec=LeaseSpec(
                holderIdentity=name,
                leaseDurationSeconds=LEASE_SECONDS,
                renewTime=format_micro_time(self._clock.now()),
            ),
        )

    async def _beat(self) -> None:
        """Renew the leases in small batches, spread over the interval; when behind, without a pause."""
        due = self._clock.monotonic()
        while True:
            names = sorted(self.names)
            step = self._renew_seconds * BATCH / max(len(names), BATCH)
            for start in range(0, max(len(names), 1), BATCH):
                await asyncio.gather(*(self._renew(name) for name in names[start : start + BATCH]))
                due = max(due + step, self._clock.monotonic() - self._renew_seconds)
                await self._clock.sleep(due - self._clock.monotonic())

    async def _renew(self, name: str) -> None:
        if name not in self.names:
            return
        patch = {"spec": {"renewTime": format_micro_time(self._clock.now())}}
        try:
            await self._client.patch(Lease, name, LEASE_NAMESPACE, patch)
        except (StatusError, TransportError) as error:
            log.info("lease of hollow node %s: %s", name, error)

    # Pods -------------------------------------------------------------------------------------------------------------

    async def _reconcile(self, key: tuple[str, str]) -> None:
        pod = self._pods.get(*key)
        if pod is None or pod.spec.nodeName not in self.names:
            return
        uid = pod.metadata.uid
        try:
            if is_terminating(pod):
                await self._client.delete(Pod, key[1], key[0], grace_period_seconds=0, uid=uid)
            elif not is_terminal(pod) and pod.status.phase != "Running":
                patch = {"metadata": {"uid": uid}, "status": self._running(pod)}
                await self._client.patch(Pod, key[1], key[0], patch, patch_type="strategic", subresource="status")
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def _running(self, pod: Pod) -> dict[str, Any]:
        now = format_time(self._clock.now())
        self._addresses += 1
        address = str(POD_NETWORK[self._addresses % POD_NETWORK.num_addresses])
        conditions = [
            {"type": name, "status": "True", "lastTransitionTime": now}
            for name in ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
        ]
        statuses = [
            {
                "name": container.name,
                "image": container.image,
                "imageID": f"fake://{container.image}",
                "containerID": f"fake://{pod.metadata.uid}/{container.name}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod.spec.containers
        ]
        return {
            "phase": "Running",
            "startTime": now,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
            "conditions": conditions,
            "containerStatuses": statuses,
        }
