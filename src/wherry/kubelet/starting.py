"""Starting one container: image, configuration, creation, start, postStart hook; and the volumes they need.

A failure is not an error of the kubelet: it becomes the container's waiting reason, an event and another try later.
"""

from collections.abc import Sequence
from pathlib import Path

from wherry.api.core_v1 import EphemeralContainer, Pod
from wherry.kubelet import configs
from wherry.kubelet.actions import pod_address
from wherry.kubelet.context import NodeContext
from wherry.kubelet.environment import ConfigFailure, container_environment
from wherry.kubelet.hooks import run_hook
from wherry.kubelet.machine import AnyContainer, Start
from wherry.kubelet.memory import PodMemory, Reason
from wherry.kubelet.runtimes.protocol import (
    EXITED,
    ContainerConfig,
    ContainerRecord,
    Image,
    PodRecord,
    RuntimeFailure,
)
from wherry.kubelet.volumes.sources import Sources, VolumeFailure

RETRY_CONFIG_SECONDS = 10.0
"""A container that cannot be configured is tried again after this, or when an object that it needs appears."""


class Starter:
    """Starts one pod's containers."""

    def __init__(self, node: NodeContext, memory: PodMemory) -> None:
        self._node = node
        self._memory = memory
        self._volumes: dict[str, Path] | None = None
        self._sandbox_ips: tuple[str, ...] = ()
        self.pre_stopped: set[str] = set()
        """Containers whose preStop hook has run."""

    def address(self, pod: Pod) -> str:
        """Where hooks find the pod."""
        return pod_address(pod, self._node.options.node_ip, self._sandbox_ips)

    # Volumes ----------------------------------------------------------------------------------------------------------

    async def prepare_volumes(self, pod: Pod, pod_ips: Sequence[str]) -> None:
        """Make all volumes. Raises VolumeFailure."""
        sources = Sources(self._node.lookup(pod), self._node.tokens.get, self._node.downward, tuple(pod_ips))
        self._volumes = await self._node.volumes.prepare(pod, sources)

    async def refresh_volumes(self, pod: Pod, record: PodRecord) -> None:
        """Bring volumes up to date; what was there stays when that fails."""
        ips = tuple(record.sandbox.ips) if record.sandbox else ()
        self._sandbox_ips = ips
        try:
            await self.prepare_volumes(pod, ips)
        except VolumeFailure as error:
            self._node.tell(pod, "Warning", "FailedMount", str(error))
            if self._volumes is None:
                raise

    # Containers -------------------------------------------------------------------------------------------------------

    async def start(self, pod: Pod, start: Start, record: PodRecord) -> float:
        """Start it; the seconds after which to look again: 0 after success."""
        container = start.container
        try:
            container_id = await self._create(pod, start, record)
        except ConfigFailure as error:
            return self._failed(pod, container, "CreateContainerConfigError", str(error), RETRY_CONFIG_SECONDS)
        except RuntimeFailure as error:
            reason = error.reason or "CreateContainerError"
            if reason in ("ErrImagePull", "ImagePullBackOff"):
                self._memory.waiting[container.name] = Reason(reason, str(error))
                if reason == "ImagePullBackOff":
                    self._node.tell_container(pod, container, "Warning", "Failed", "Error: ImagePullBackOff")
                return (
                    max(0.0, self._node.images.remaining_seconds(pod, container))
                    if reason == "ImagePullBackOff"
                    else 0.0
                )
            return self._failed(pod, container, reason, str(error), RETRY_CONFIG_SECONDS)
        return await self._run(pod, start, container_id)

    def _failed(self, pod: Pod, container: AnyContainer, reason: str, message: str, seconds: float) -> float:
        self._memory.waiting[container.name] = Reason(reason, message)
        self._node.tell_container(pod, container, "Warning", "Failed", f"Error: {message}")
        return seconds

    async def _create(self, pod: Pod, start: Start, record: PodRecord) -> str:
        node, container, sandbox = self._node, start.container, record.sandbox
        if sandbox is None:
            raise RuntimeFailure("the pod has no sandbox")
        image = await node.images.ensure(pod, container, node.lookup(pod))
        config = await self._container_config(pod, start, record, image)
        configs.make_log_directory(node.options, pod, container)
        common = configs.sandbox_config(pod, sandbox.attempt, node.options)
        container_id = await node.runtime.create_container(sandbox.id, config, common)
        node.tell_container(pod, container, "Normal", "Created", f"Created container: {container.name}")
        return container_id

    async def _container_config(self, pod: Pod, start: Start, record: PodRecord, image: Image) -> ContainerConfig:
        node, container = self._node, start.container
        ips = tuple(record.sandbox.ips) if record.sandbox else ()
        if pod.spec.hostNetwork:
            ips = (node.options.node_ip,)
        environment = await container_environment(pod, container, node.lookup(pod), node.services(), ips, node.downward)
        target = container.targetContainerName if isinstance(container, EphemeralContainer) else None
        found = record.newest(target) if target else None
        return configs.container_config(
            pod,
            container,
            start.restart_count,
            options=node.options,
            image=image,
            environment=environment,
            volumes=self._volumes or {},
            extra_mounts=configs.hosts_mounts(pod, ips, node.options),
            termination_file=configs.new_termination_file(pod, container, node.options, node.entropy.suffix(8)),
            node_memory_bytes=node.downward.memory_bytes,
            target_container_id=found.id if found else "",
        )

    async def _run(self, pod: Pod, start: Start, container_id: str) -> float:
        node, container = self._node, start.container
        if start.restart_count:
            self._memory.backoff.grow(container.name, node.clock.now().timestamp())
        hook = container.lifecycle.postStart if container.lifecycle else None
        if hook:
            self._memory.hooks_pending.add(container_id)
        try:
            await node.runtime.start_container(container_id)
        except RuntimeFailure as error:
            self._memory.hooks_pending.discard(container_id)
            return self._failed(pod, container, error.reason or "RunContainerError", str(error), 0.0)
        self._memory.waiting.pop(container.name, None)
        node.tell_container(pod, container, "Normal", "Started", f"Started container {container.name}")
        if hook:
            started = ContainerRecord(container_id, "", container.name, EXITED)
            outcome = await run_hook(hook, container, started, node.runtime, node.clock, self.address(pod))
            self._memory.hooks_pending.discard(container_id)
            if not outcome.ok:
                node.tell_container(pod, container, "Warning", "FailedPostStartHook", "PostStartHook failed")
                self._memory.unhealthy[container_id] = Reason("PostStartHook", "failed postStart hook")
        return 0.0
