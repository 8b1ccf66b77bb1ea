"""The node object: registration, status, conditions, the lease. Pure parts first, then `NodeReporter`, which talks.

Status is sent when it changed (looked at every 10 s) and else every 5 minutes; the lease every 10 s says that the
node lives. Behaviour and texts as in Kubernetes' pkg/kubelet/nodestatus.
"""

import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.coordination_v1 import Lease, LeaseSpec
from wherry.api.core_v1 import (
    ContainerImage,
    DaemonEndpoint,
    Node,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
    Taint,
)
from wherry.client.client import Client
from wherry.client.transport import TransportError
from wherry.kubelet.machine_facts import MachineFacts, pressure_conditions
from wherry.kubelet.options import KubeletOptions
from wherry.kubelet.runtimes.protocol import Image, Runtime, RuntimeCondition, RuntimeFailure, RuntimeVersion
from wherry.meta import wire
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta, OwnerReference
from wherry.meta.quantity import Quantity
from wherry.meta.time import format_micro_time, format_time
from wherry.rules import conditions

log = logging.getLogger(__name__)

VERSION = "v1.36.0"
LEASE_NAMESPACE = "kube-node-lease"
IMAGES_MAX = 50
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
REGISTER_RETRY_SECONDS = 0.2
READY_CHECK_SECONDS = 0.5
"""How often a runtime that is not ready is asked again."""


@dataclass(slots=True)
class NodeView:
    """All that a node's status is made of."""

    options: KubeletOptions
    facts: MachineFacts
    port: int
    version: RuntimeVersion | None = None
    runtime_conditions: Sequence[RuntimeCondition] = ()
    runtime_error: str = ""
    images: Sequence[Image] = field(default_factory=list)


def architecture() -> str:
    """This machine's, as Go names it."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def new_node(options: KubeletOptions) -> Node:
    """The object to register, without status."""
    labels = {
        "kubernetes.io/hostname": options.hostname or options.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture(),
    }
    taints = [Taint(key=key, value=value or None, effect=effect) for key, value, effect in options.register_taints]
    return Node(
        metadata=ObjectMeta(
            name=options.node_name,
            labels=labels | options.node_labels,
            annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        ),
        spec=NodeSpec(taints=taints, providerID=options.provider_id or None),
    )


def node_status(view: NodeView, old: NodeStatus, now: str) -> NodeStatus:
    """The status as it ought to be; transition times are kept where nothing changed."""
    options, facts = view.options, view.facts
    capacity = facts.capacity(options.max_pods) | {
        name: Quantity.parse(value) for name, value in options.capacity.items()
    }
    reserved = {name: Quantity.parse(value) for name, value in options.system_reserved.items()}
    status = wire.deep_copy(old)
    status.capacity = capacity
    status.allocatable = {
        name: value.sub(reserved[name]) if name in reserved else value for name, value in capacity.items()
    }
    status.addresses = [
        NodeAddress(type="InternalIP", address=options.node_ip),
        NodeAddress(type="Hostname", address=options.hostname or options.node_name),
    ]
    status.daemonEndpoints = NodeDaemonEndpoints(kubeletEndpoint=DaemonEndpoint(Port=view.port))
    runtime = f"{view.version.name}://{view.version.version}" if view.version else ""
    status.nodeInfo = NodeSystemInfo(
        machineID=facts.machine_id,
        systemUUID=facts.system_uuid,
        bootID=facts.boot_id,
        kernelVersion=facts.kernel,
        osImage=facts.os_image,
        containerRuntimeVersion=runtime,
        kubeletVersion=VERSION,
        kubeProxyVersion="",
        operatingSystem="linux",
        architecture=architecture(),
    )
    status.images = [
        ContainerImage(names=[*item.digests, *item.tags], sizeBytes=item.size_bytes)
        for item in sorted(view.images, key=lambda item: -item.size_bytes)[:IMAGES_MAX]
    ]
    for condition in [*pressure_conditions(facts), _ready(view)]:
        condition.lastHeartbeatTime = condition.lastTransitionTime = now
        conditions.put(status.conditions, condition)
    return status


def _ready(view: NodeView) -> NodeCondition:
    faults = [view.runtime_error] if view.runtime_error else []
    for condition in view.runtime_conditions:
        if not condition.status:
            what = "container runtime network" if condition.type == "NetworkReady" else "container runtime"
            faults.append(
                f"{what} not ready: {condition.type}=false reason:{condition.reason} message:{condition.message}"
            )
    if faults:
        text = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
        return NodeCondition(type="Ready", status="False", reason="KubeletNotReady", message=text)
    return NodeCondition(type="Ready", status="True", reason="KubeletReady", message="kubelet is posting ready status")


def status_change(old: NodeStatus, new: NodeStatus) -> dict[str, Any]:
    """Changed fields of the status as a strategic merge patch."""
    before, after = wire.to_builtins(old), wire.to_builtins(new)
    change = {key: value for key, value in after.items() if before.get(key) != value}
    if "addresses" in change:
        change["addresses"] = [*change["addresses"], {"$patch": "replace"}]
    return change


def same_but_heartbeat(old: NodeStatus, new: NodeStatus) -> bool:
    """Whether nothing but the time changed."""
    change = status_change(old, new)
    times = ("lastHeartbeatTime",)
    stripped = [
        [
            {key: value for key, value in wire.to_builtins(item).items() if key not in times}
            for item in status.conditions
        ]
        for status in (old, new)
    ]
    return not (change.keys() - {"conditions"}) and stripped[0] == stripped[1]


class NodeReporter:
    """Registers one node and keeps its status and lease fresh."""

    def __init__(self, options: KubeletOptions, client: Client, runtime: Runtime, clock: Clock) -> None:
        self._options, self._client, self._runtime, self._clock = options, client, runtime, clock
        self.port = options.port
        self.node: Node | None = None
        self._reported = 0.0
        self._pod_cidrs: list[str] = []

    async def run(self) -> None:
        """Register, then report until cancelled."""
        await self._register()
        while True:
            ready = await self._try(self._report())
            await self._clock.sleep(self._options.status_check_seconds if ready else READY_CHECK_SECONDS)

    async def run_lease(self) -> None:
        """Renew the lease until cancelled."""
        while True:
            await self._try(self._renew())
            await self._clock.sleep(self._options.lease_renew_seconds)

    async def _try(self, work: Any) -> bool:
        try:
            return bool(await work)
        except (StatusError, TransportError) as error:
            log.warning("node %s: %s", self._options.node_name, error)
            return False

    async def _register(self) -> None:
        delay = REGISTER_RETRY_SECONDS
        while True:
            try:
                self.node = await self._create_or_adopt()
            except (StatusError, TransportError) as error:
                log.warning("registering node %s: %s", self._options.node_name, error)
                await self._clock.sleep(delay)
                delay = min(2 * delay, 7.0)
            else:
                return

    async def _create_or_adopt(self) -> Node:
        wanted = new_node(self._options)
        wanted.status = await self._fresh_status(wanted.status)
        try:
            return await self._client.create(wanted)
        except StatusError as error:
            if error.code != 409:
                raise
        found = await self._client.get(Node, self._options.node_name)
        labels = {
            key: value for key, value in wanted.metadata.labels.items() if found.metadata.labels.get(key) != value
        }
        if labels:
            found = await self._client.patch(Node, self._options.node_name, None, {"metadata": {"labels": labels}})
        return found

    async def _fresh_status(self, old: NodeStatus) -> NodeStatus:
        view = NodeView(self._options, MachineFacts.read(self._options.data_dir), self.port)
        try:
            view.version = await self._runtime.version()
            view.runtime_conditions = await self._runtime.conditions()
            view.images = await self._runtime.list_images()
        except RuntimeFailure as error:
            view.runtime_error = f"container runtime is down: {error}"
        return node_status(view, old, format_time(self._clock.now()))

    async def _report(self) -> bool:
        """Send the status if it is time; True when the node is ready and knows its pod network."""
        node = await self._client.get(Node, self._options.node_name)
        await self._configure_network(node)
        status = await self._fresh_status(node.status)
        due = self._clock.monotonic() - self._reported >= self._options.status_report_seconds or not self._reported
        if due or not same_but_heartbeat(node.status, status):
            patch = {"status": status_change(node.status, status)}
            node = await self._client.patch(
                Node, self._options.node_name, None, patch, patch_type="strategic", subresource="status"
            )
            self._reported = self._clock.monotonic()
        self.node = node
        settled = self._options.on_pod_cidr is None or bool(self._pod_cidrs)
        return settled and conditions.is_true(status.conditions, "Ready")

    async def _configure_network(self, node: Node) -> None:
        cidrs = list(node.spec.podCIDRs) or ([node.spec.podCIDR] if node.spec.podCIDR else [])
        if cidrs and cidrs != self._pod_cidrs and self._options.on_pod_cidr:
            await self._options.on_pod_cidr(cidrs)
        self._pod_cidrs = cidrs or self._pod_cidrs

    async def _renew(self) -> bool:
        name, now = self._options.node_name, format_micro_time(self._clock.now())
        try:
            patch = {"spec": {"holderIdentity": name, "renewTime": now}}
            await self._client.patch(Lease, name, LEASE_NAMESPACE, patch)
        except StatusError as error:
            if error.code != 404:
                raise
            await self._client.create(self._lease(now))
        return True

    def _lease(self, now: str) -> Lease:
        name = self._options.node_name
        owners = []
        if self.node:
            owners = [OwnerReference(apiVersion="v1", kind="Node", name=name, uid=self.node.metadata.uid or "")]
        spec = LeaseSpec(holderIdentity=name, leaseDurationSeconds=self._options.lease_duration_seconds, renewTime=now)
        return Lease(metadata=ObjectMeta(name=name, namespace=LEASE_NAMESPACE, ownerReferences=owners), spec=spec)
