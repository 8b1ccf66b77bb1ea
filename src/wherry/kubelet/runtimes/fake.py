"""A runtime that only remembers: the memory twin of the others, for tests and for nodes that need not be real.

Containers run as soon as they are started (or after `start_delay_seconds`), end when `finish` says so or they are
stopped, and log nothing. Images are there when pulled; `missing_images` cannot be had.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from wherry.aio.clock import Clock
from wherry.kubelet.runtimes.protocol import (
    CREATED,
    EXITED,
    RESTART_COUNT,
    RUNNING,
    BytePipe,
    ContainerConfig,
    ContainerRecord,
    ContainerStats,
    ExecResult,
    Image,
    ImageAuth,
    ImageFailure,
    PodRecord,
    RuntimeCondition,
    RuntimeFailure,
    RuntimeVersion,
    SandboxConfig,
    SandboxRecord,
    Streams,
)


class FakeRuntime:
    """Sandboxes and containers as records in a dict."""

    name = "fake"

    def __init__(self, clock: Clock, *, start_delay_seconds: float = 0.0, pod_prefix: str = "10.244.0") -> None:
        self._clock = clock
        self._start_delay_seconds = start_delay_seconds
        self._pod_prefix = pod_prefix
        self._pods: dict[str, PodRecord] = {}
        self._owner: dict[str, str] = {}  # sandbox or container id -> pod uid
        self._images: dict[str, Image] = {}
        self._changed: Callable[[str], None] = lambda uid: None
        self._count = 0
        self.missing_images: set[str] = set()
        self.configs: dict[str, ContainerConfig] = {}
        self.stopped_with_grace: dict[str, int] = {}
        self.commands: dict[tuple[str, ...], ExecResult] = {}
        """What exec_sync answers, by command; else exit code 0."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    async def version(self) -> RuntimeVersion:
        return RuntimeVersion("fake", "1.0")

    async def conditions(self) -> list[RuntimeCondition]:
        return [RuntimeCondition("RuntimeReady", True), RuntimeCondition("NetworkReady", True)]

    # Images -----------------------------------------------------------------------------------------------------------

    async def list_images(self) -> list[Image]:
        return list(self._images.values())

    async def find_image(self, image: str) -> Image | None:
        return self._images.get(image)

    async def pull_image(self, image: str, auth: ImageAuth | None) -> str:
        if image in self.missing_images:
            raise ImageFailure(f'failed to pull and unpack image "{image}": not found')
        self._images[image] = Image(f"sha256:{len(self._images):064x}", tags=(image,))
        return self._images[image].id

    async def remove_image(self, image: str) -> None:
        self._images.pop(image, None)

    # Records ----------------------------------------------------------------------------------------------------------

    async def pods(self) -> dict[str, PodRecord]:
        return dict(self._pods)

    async def pod(self, uid: str) -> PodRecord | None:
        return self._pods.get(uid)

    async def run_sandbox(self, config: SandboxConfig) -> str:
        sandbox_id = self._new_id(config.uid)
        number = self._count % 65024
        ip = f"{self._pod_prefix.rsplit('.', 1)[0]}.{number // 254}.{number % 254 + 1}"
        sandbox = SandboxRecord(sandbox_id, config.attempt, True, self._now(), (ip,), config.namespaces.host_network)
        pod = self._pods.get(config.uid) or PodRecord(config.uid, config.name, config.namespace)
        self._put(replace(pod, sandboxes=(sandbox, *pod.sandboxes)))
        return sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        pod = self._pods.get(self._owner.get(sandbox_id, ""))
        if pod is None:
            return
        for container in pod.containers:
            if container.sandbox_id == sandbox_id and container.state == RUNNING:
                self.finish(container.id, 137)
        pod = self._pods[pod.uid]
        stopped = [replace(item, ready=item.ready and item.id != sandbox_id) for item in pod.sandboxes]
        self._put(replace(pod, sandboxes=tuple(stopped)))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        pod = self._pods.get(self._owner.pop(sandbox_id, ""))
        if pod is None:
            return
        sandboxes = tuple(item for item in pod.sandboxes if item.id != sandbox_id)
        containers = tuple(item for item in pod.containers if item.sandbox_id != sandbox_id)
        if sandboxes or containers:
            self._put(replace(pod, sandboxes=sandboxes, containers=containers))
        else:
            del self._pods[pod.uid]
            self._changed(pod.uid)

    # Containers -------------------------------------------------------------------------------------------------------

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        pod = self._pod_of(sandbox_id)
        container_id = self._new_id(pod.uid)
        self.configs[container_id] = config
        record = ContainerRecord(
            container_id,
            sandbox_id,
            config.name,
            CREATED,
            restart_count=int(config.annotations.get(RESTART_COUNT, config.attempt)),
            created_at=self._now(),
            image=config.image,
            image_ref=config.image_ref,
            annotations=config.annotations,
        )
        self._put(replace(pod, containers=(record, *pod.containers)))
        return container_id

    async def start_container(self, container_id: str) -> None:
        if self._start_delay_seconds:
            await self._clock.sleep(self._start_delay_seconds)
        self._update(container_id, state=RUNNING, started_at=self._now())

    def finish(self, container_id: str, exit_code: int, reason: str = "") -> None:
        """The container's process ends."""
        reason = reason or ("Completed" if exit_code == 0 else "Error")
        self._update(container_id, state=EXITED, exit_code=exit_code, reason=reason, finished_at=self._now())

    async def stop_container(self, container_id: str, grace_seconds: int) -> None:
        self.stopped_with_grace[container_id] = grace_seconds
        self.finish(container_id, 137 if grace_seconds == 0 else 0)

    async def remove_container(self, container_id: str) -> None:
        pod = self._pods.get(self._owner.pop(container_id, ""))
        if pod:
            self._put(replace(pod, containers=tuple(item for item in pod.containers if item.id != container_id)))

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        return self.commands.get(tuple(command), ExecResult(0, b""))

    async def exec(self, container_id: str, command: Sequence[str], streams: Streams) -> int:
        result = self.commands.get(tuple(command), ExecResult(0, b""))
        await streams.write("stdout", result.output)
        return result.exit_code

    async def attach(self, container_id: str, streams: Streams) -> None:
        raise RuntimeFailure("a fake container has nothing to attach to")

    async def connect(self, sandbox_id: str, port: int) -> BytePipe:
        raise RuntimeFailure("a fake pod listens on no port")

    async def reopen_log(self, container_id: str) -> None:
        return None

    async def stats(self) -> list[ContainerStats]:
        return [
            ContainerStats(item.id, pod.uid, item.name)
            for pod in self._pods.values()
            for item in pod.containers
            if item.state == RUNNING
        ]

    # Within -----------------------------------------------------------------------------------------------------------

    def _new_id(self, uid: str) -> str:
        self._count += 1
        new_id = f"{self._count:064x}"
        self._owner[new_id] = uid
        return new_id

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)

    def _pod_of(self, part_id: str) -> PodRecord:
        pod = self._pods.get(self._owner.get(part_id, ""))
        if pod is None:
            raise RuntimeFailure(f'rpc error: code = NotFound desc = "{part_id}": not found')
        return pod

    def _put(self, pod: PodRecord) -> None:
        self._pods[pod.uid] = pod
        self._changed(pod.uid)

    def _update(self, container_id: str, **change: object) -> None:
        pod = self._pod_of(container_id)
        containers = [replace(item, **change) if item.id == container_id else item for item in pod.containers]  # type: ignore[arg-type]
        self._put(replace(pod, containers=tuple(containers)))
