"""containerd (or any CRI runtime) over its unix socket.

grpcio is imported when a connection is made, not before: processes without containers never pay for it. Changes are
noticed through containerd's own event stream on the same socket, and by listing every `RELIST_SECONDS` in case events
are lost or the runtime has none. Messages are in cri.proto; cri_messages.py turns configs into them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from wherry.aio.clock import Clock
from wherry.kubelet.runtimes import cri_messages as messages
from wherry.kubelet.runtimes.protocol import (
    POD_UID_LABEL,
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
from wherry.kubelet.streaming.client import run_remote
from wherry.kubelet.streaming.netns import connect_in_namespace

log = logging.getLogger(__name__)

CALL_SECONDS = 120.0
PULL_SECONDS = 3600.0
RELIST_SECONDS, RELIST_WITH_EVENTS_SECONDS = 1.0, 10.0
SETTLE_SECONDS = (0.0, 0.05, 0.25)
"""After an event the CRI plugin may need a moment to know it too: look at once and twice more."""
_RUNTIME, _IMAGE = "/runtime.v1.RuntimeService/", "/runtime.v1.ImageService/"


class CriRuntime:
    """A CRI endpoint. `socket` is the path of the unix socket."""

    name = "containerd"

    def __init__(self, socket: str, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
        self._channel: Any = None
        self._changed: Callable[[str], None] = lambda uid: None
        self._states: dict[str, str] = {}
        self._ended: dict[str, ContainerRecord] = {}
        self._poke = asyncio.Event()
        self._has_events = False

    # The wire ---------------------------------------------------------------------------------------------------------

    async def _call(self, method: str, request: Any, answer: Any = None, seconds: float = CALL_SECONDS) -> Any:
        import grpc
        import grpc.aio

        pb = messages.load()
        decode = (answer or pb.Empty).FromString
        call = self._open().unary_unary(method, request_serializer=_serialize, response_deserializer=decode)
        try:
            return await call(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(error.details()) from error
            raise RuntimeFailure(f"rpc error: code = {_code(error)} desc = {error.details()}") from error

    def _open(self) -> Any:
        if self._channel is None:
            import grpc.aio

            options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.default_authority", "localhost")]
            self._channel = grpc.aio.insecure_channel(f"unix:{self._socket}", options=options)
        return self._channel

    async def close(self) -> None:
        """Close the connection; containers go on."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    # Noticing changes -------------------------------------------------------------------------------------------------

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._relist_forever(), name="container relist")
            group.create_task(self._follow_events(), name="container events")

    async def _relist_forever(self) -> None:
        while True:
            try:
                await self._relist()
            except (RuntimeFailure, TimeoutError) as error:
                log.warning("listing containers: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(RELIST_WITH_EVENTS_SECONDS if self._has_events else RELIST_SECONDS):
                    await self._poke.wait()
            if self._poke.is_set():
                self._poke.clear()
                for seconds in SETTLE_SECONDS:
                    await self._clock.sleep(seconds)
                    with suppress(RuntimeFailure, TimeoutError):
                        await self._relist()

    async def _relist(self) -> None:
        pb = messages.load()
        sandboxes = await self._call(_RUNTIME + "ListPodSandbox", pb.Empty(), pb.ListPodSandboxResponse)
        containers = await self._call(_RUNTIME + "ListContainers", pb.Empty(), pb.ListContainersResponse)
        states, changed = {}, set()
        for item in (*sandboxes.items, *containers.containers):
            uid = item.labels.get(POD_UID_LABEL, "")
            states[item.id] = f"{uid}/{item.state}"
        for key in states.keys() | self._states.keys():
            if states.get(key) != self._states.get(key):
                changed |= {(states.get(key) or self._states[key]).partition("/")[0]}
        self._states = states
        self._ended = {key: value for key, value in self._ended.items() if key in states}
        for uid in changed:
            self._changed(uid)

    async def _follow_events(self) -> None:
        import grpc
        import grpc.aio

        pb = messages.load()
        while True:
            subscribe = self._open().unary_stream(
                "/containerd.services.events.v1.Events/Subscribe",
                request_serializer=_serialize,
                response_deserializer=pb.Envelope.FromString,
            )
            try:
                request = pb.SubscribeRequest(filters=['topic=="/tasks/exit"', 'topic=="/tasks/oom"'])
                async for _ in subscribe(request):
                    self._has_events = True
                    self._poke.set()
            except grpc.aio.AioRpcError as error:
                self._has_events = False
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return
                log.debug("container events: %s", error.details())
            await self._clock.sleep(RELIST_SECONDS)

    # The runtime itself -----------------------------------------------------------------------------------------------

    async def version(self) -> RuntimeVersion:
        pb = messages.load()
        found = await self._call(_RUNTIME + "Version", pb.VersionRequest(), pb.VersionResponse, 10)
        return RuntimeVersion(found.runtime_name, found.runtime_version)

    async def conditions(self) -> list[RuntimeCondition]:
        pb = messages.load()
        found = await self._call(_RUNTIME + "Status", pb.Empty(), pb.StatusResponse, 10)
        return [RuntimeCondition(item.type, item.status, item.reason, item.message) for item in found.status.conditions]

    async def list_images(self) -> list[Image]:
        pb = messages.load()
        found = await self._call(_IMAGE + "ListImages", pb.Empty(), pb.ListImagesResponse)
        return [messages.image(item) for item in found.images]

    async def find_image(self, image: str) -> Image | None:
        pb = messages.load()
        request = pb.ImageRequest(image=pb.ImageSpec(image=image))
        found = await self._call(_IMAGE + "ImageStatus", request, pb.ImageStatusResponse)
        return messages.image(found.image) if found.HasField("image") else None

    async def pull_image(self, image: str, auth: ImageAuth | None) -> str:
        pb = messages.load()
        request = pb.PullImageRequest(image=pb.ImageSpec(image=image, user_specified_image=image))
        if auth:
            request.auth.username, request.auth.password = auth.username, auth.password
            request.auth.identity_token, request.auth.registry_token = auth.identity_token, auth.registry_token
        try:
            answer = await self._call(_IMAGE + "PullImage", request, pb.PullImageResponse, PULL_SECONDS)
        except (RuntimeFailure, TimeoutError) as error:
            raise ImageFailure(str(error)) from error
        return str(answer.image_ref)

    async def remove_image(self, image: str) -> None:
        pb = messages.load()
        await self._call(_IMAGE + "RemoveImage", pb.ImageRequest(image=pb.ImageSpec(image=image)))

    # Pods -------------------------------------------------------------------------------------------------------------

    async def pods(self) -> dict[str, PodRecord]:
        pb = messages.load()
        found = await self._call(_RUNTIME + "ListPodSandbox", pb.Empty(), pb.ListPodSandboxResponse)
        uids = {item.labels.get(POD_UID_LABEL, "") for item in found.items} - {""}
        records = [await self.pod(uid) for uid in sorted(uids)]
        return {record.uid: record for record in records if record}

    async def pod(self, uid: str) -> PodRecord | None:
        pb = messages.load()
        found = await self._call(_RUNTIME + "ListPodSandbox", messages.sandboxes_of(uid), pb.ListPodSandboxResponse)
        listed = await self._call(_RUNTIME + "ListContainers", messages.containers_of(uid), pb.ListContainersResponse)
        if not found.items and not listed.containers:
            return None
        sandboxes = [known for item in found.items if (known := await self._sandbox(item))]
        containers = [record for item in listed.containers if (record := await self._container(item))]
        meta = found.items[0].metadata if found.items else pb.PodSandboxMetadata()
        return PodRecord(
            uid,
            meta.name,
            meta.namespace,
            sorted(sandboxes, key=lambda item: -item.created_at),
            sorted(containers, key=lambda item: -item.created_at),
        )

    async def _sandbox(self, item: Any) -> SandboxRecord | None:
        pb = messages.load()
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=item.id)
        try:
            found = await self._call(_RUNTIME + "PodSandboxStatus", request, pb.PodSandboxStatusResponse)
        except RuntimeFailure as error:
            if "NotFound" in str(error):
                return None
            raise
        return messages.sandbox_record(found.status)

    async def _container(self, item: Any) -> ContainerRecord | None:
        if item.id in self._ended:  # what has ended changes no more
            return self._ended[item.id]
        pb = messages.load()
        request = pb.ContainerRef(container_id=item.id)
        try:
            found = await self._call(_RUNTIME + "ContainerStatus", request, pb.ContainerStatusResponse)
        except RuntimeFailure as error:
            if "NotFound" in str(error):
                return None
            raise
        record = messages.container_record(found.status, item.pod_sandbox_id)
        if record.state == "exited":
            self._ended[item.id] = record
        return record

    async def run_sandbox(self, config: SandboxConfig) -> str:
        pb = messages.load()
        request = pb.RunPodSandboxRequest(config=messages.sandbox(config), runtime_handler=config.runtime_handler)
        answer = await self._call(_RUNTIME + "RunPodSandbox", request, pb.SandboxRef, 240)
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._call(_RUNTIME + "StopPodSandbox", messages.load().SandboxRef(pod_sandbox_id=sandbox_id))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._call(_RUNTIME + "RemovePodSandbox", messages.load().SandboxRef(pod_sandbox_id=sandbox_id))

    # Containers -------------------------------------------------------------------------------------------------------

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        pb = messages.load()
        request = pb.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=messages.container(config), sandbox_config=messages.sandbox(sandbox)
        )
        return str((await self._call(_RUNTIME + "CreateContainer", request, pb.ContainerRef)).container_id)

    async def start_container(self, container_id: str) -> None:
        await self._call(_RUNTIME + "StartContainer", messages.load().ContainerRef(container_id=container_id))

    async def stop_container(self, container_id: str, grace_seconds: int) -> None:
        request = messages.load().StopContainerRequest(container_id=container_id, timeout=grace_seconds)
        await self._call(_RUNTIME + "StopContainer", request, seconds=grace_seconds + CALL_SECONDS)

    async def remove_container(self, container_id: str) -> None:
        await self._call(_RUNTIME + "RemoveContainer", messages.load().ContainerRef(container_id=container_id))

    async def reopen_log(self, container_id: str) -> None:
        await self._call(_RUNTIME + "ReopenContainerLog", messages.load().ContainerRef(container_id=container_id))

    # Streams ----------------------------------------------------------------------------------------------------------

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        pb = messages.load()
        request = pb.ExecSyncRequest(container_id=container_id, cmd=command, timeout=max(1, int(timeout_seconds)))
        answer = await self._call(_RUNTIME + "ExecSync", request, pb.ExecSyncResponse, timeout_seconds + 1)
        return ExecResult(answer.exit_code, answer.stdout + answer.stderr)

    async def exec(self, container_id: str, command: Sequence[str], streams: Streams) -> int:
        pb = messages.load()
        request = pb.ExecRequest(
            container_id=container_id,
            cmd=command,
            tty=streams.tty,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr and not streams.tty,
        )
        answer = await self._call(_RUNTIME + "Exec", request, pb.StreamingResponse)
        return await run_remote(answer.url, streams)

    async def attach(self, container_id: str, streams: Streams) -> None:
        pb = messages.load()
        request = pb.AttachRequest(
            container_id=container_id,
            tty=streams.tty,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr and not streams.tty,
        )
        answer = await self._call(_RUNTIME + "Attach", request, pb.StreamingResponse)
        await run_remote(answer.url, streams)

    async def connect(self, sandbox_id: str, port: int) -> BytePipe:
        pb = messages.load()
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=True)
        found = await self._call(_RUNTIME + "PodSandboxStatus", request, pb.PodSandboxStatusResponse)
        return await connect_in_namespace(messages.network_namespace(found), port)

    async def stats(self) -> list[ContainerStats]:
        pb = messages.load()
        found = await self._call(_RUNTIME + "ListContainerStats", pb.Empty(), pb.ListContainerStatsResponse)
        return [messages.stats(item) for item in found.stats]


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _code(error: Any) -> str:
    """NotFound for NOT_FOUND, as Go's status codes read."""
    return "".join(part.capitalize() for part in error.code().name.split("_"))
