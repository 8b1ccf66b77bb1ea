"""Containers as child processes of this host: no root, no images, no isolation; also where there is no containerd.

Conventions. The image's name is not looked at: a container must have a command. A pod's address is one of the loopback
network (the pod network's numbers below 127; 127.0.0.1 where there is only that), given to its processes as POD_IP;
they must bind to it rather than to 0.0.0.0 if pods share ports. Mounts cannot be made, so each container has a
directory, WHERRY_ROOT, below which every mount path is a symbolic link to what would be mounted (readOnly is not
enforced); the working directory is below it too. What this runtime cannot do it refuses, with the reason.

State is in files, so that a new kubelet finds what runs: `<directory>/<sandbox>/sandbox.json` and, for each container,
`container.json`, `run.json`, `pid.json` and `exit.json` (process_shim.py writes the last two).
"""

import asyncio
import ipaddress
import json
import os
import posixpath
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from wherry.aio.clock import Clock
from wherry.kubelet.logs import LogOptions, read_log
from wherry.kubelet.runtimes import process_shim
from wherry.kubelet.runtimes.process_exec import run_captured, run_streamed
from wherry.kubelet.runtimes.process_shim import EXIT, PID, RUN, STDIN, identity
from wherry.kubelet.runtimes.protocol import (
    CREATED,
    EXITED,
    LOG_FILE,
    RESTART_COUNT,
    RUNNING,
    BytePipe,
    ContainerConfig,
    ContainerRecord,
    ContainerStats,
    ExecResult,
    Image,
    ImageAuth,
    Mount,
    PodRecord,
    RuntimeCondition,
    RuntimeFailure,
    RuntimeVersion,
    SandboxConfig,
    SandboxRecord,
    Streams,
)
from wherry.kubelet.streaming.netns import SocketPipe

SANDBOX, CONTAINER = "sandbox.json", "container.json"
POLL_SECONDS = 0.25
STOP_POLL_SECONDS = 0.02
START_SECONDS = 10.0
LOST_CODE = 137
"""Exit code of a container whose end nobody saw, as kubelet gives it (ContainerStatusUnknown)."""


class ProcessRuntime:
    """Pods below one directory, with addresses of one loopback network."""

    name = "process"

    def __init__(self, directory: Path, pod_cidr: str, clock: Clock) -> None:
        self._directory = directory.absolute()
        self._network = loopback_network(pod_cidr)
        self._clock = clock
        self._changed: Callable[[str], None] = lambda uid: None
        self._states: dict[str, tuple[str, str]] = {}
        self._count = 0

    async def run(self) -> None:
        while True:
            await self._look()
            await self._clock.sleep(POLL_SECONDS)

    async def _look(self) -> None:
        pods = (await self.pods()).values()
        states = {item.id: (pod.uid, item.state) for pod in pods for item in pod.containers}
        changed = {uid for _, (uid, _) in dict(states.items() ^ self._states.items()).items()}
        self._states = states
        for uid in changed:
            self._changed(uid)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    async def version(self) -> RuntimeVersion:
        return RuntimeVersion("process", sys.version.split()[0])

    async def conditions(self) -> list[RuntimeCondition]:
        return [RuntimeCondition("RuntimeReady", True), RuntimeCondition("NetworkReady", True)]

    # Images: every name stands for this machine's own programs --------------------------------------------------------

    async def list_images(self) -> list[Image]:
        return []

    async def find_image(self, image: str) -> Image | None:
        return Image(image, (image,), user=str(os.getuid()))

    async def pull_image(self, image: str, auth: ImageAuth | None) -> str:
        return image

    async def remove_image(self, image: str) -> None:
        return None

    # Records ----------------------------------------------------------------------------------------------------------

    async def pods(self) -> dict[str, PodRecord]:
        found: dict[str, PodRecord] = {}
        for path in self._sandboxes():
            pod = self._read_pod(path)
            found[pod.uid] = _joined(pod, found[pod.uid]) if pod.uid in found else pod
        return found

    async def pod(self, uid: str) -> PodRecord | None:
        return (await self.pods()).get(uid)

    def _sandboxes(self) -> list[Path]:
        return [path.parent for path in self._directory.glob(f"*/{SANDBOX}")]

    def _read_pod(self, path: Path) -> PodRecord:
        facts = _load(path / SANDBOX)
        sandbox = SandboxRecord(
            path.name, facts["attempt"], facts["ready"], facts["created_at"], (facts["ip"],), facts["host_network"]
        )
        containers = [_read_container(item.parent) for item in path.glob(f"*/{CONTAINER}")]
        containers.sort(key=lambda item: -item.created_at)
        return PodRecord(facts["uid"], facts["name"], facts["namespace"], (sandbox,), tuple(containers))

    # Sandboxes --------------------------------------------------------------------------------------------------------

    async def run_sandbox(self, config: SandboxConfig) -> str:
        if config.ports:
            raise RuntimeFailure("the process runtime cannot map host ports: listen on the port itself")
        sandbox_id = self._new_id(config.uid)
        path = self._directory / sandbox_id
        path.mkdir(parents=True)
        facts = {
            "uid": config.uid,
            "name": config.name,
            "namespace": config.namespace,
            "attempt": config.attempt,
            "ready": True,
            "created_at": self._now(),
            "ip": self._free_address(config.uid),
            "host_network": config.namespaces.host_network,
        }
        _store(path / SANDBOX, facts)
        self._changed(config.uid)
        return sandbox_id

    def _free_address(self, uid: str) -> str:
        """Begins at a place that depends on the pod, so that nodes which share a machine seldom meet."""
        size = self._network.num_addresses
        if size == 1:
            return str(self._network[0])
        used = {_load(path / SANDBOX)["ip"] for path in self._sandboxes()}
        start = int.from_bytes(sha256(uid.encode()).digest()[:4], "big")
        for step in range(size - 3):
            address = str(self._network[2 + (start + step) % (size - 3)])
            if address not in used:
                return address
        raise RuntimeFailure(f"no address is left in {self._network}")

    async def stop_sandbox(self, sandbox_id: str) -> None:
        path = self._directory / sandbox_id
        facts = _load(path / SANDBOX)
        if not facts:
            return
        for container in self._read_pod(path).containers:
            await self.stop_container(container.id, 0)
        _store(path / SANDBOX, facts | {"ready": False})
        self._changed(facts["uid"])

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        await asyncio.to_thread(shutil.rmtree, self._directory / sandbox_id, True)

    # Containers -------------------------------------------------------------------------------------------------------

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        self._refuse(config)
        facts = _load(self._directory / sandbox_id / SANDBOX)
        if not facts:
            raise RuntimeFailure(f"sandbox {sandbox_id} not found")
        container_id = self._new_id(config.name)
        path = self._directory / sandbox_id / container_id
        root = path / "root"
        root.mkdir(parents=True)
        try:
            _link_mounts(root, config.mounts)
            work = Path(f"{root}{_normal(config.working_dir)}")
            work.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeFailure) as error:
            await asyncio.to_thread(shutil.rmtree, path, True)
            raise RuntimeFailure(str(error), "CreateContainerError") from error
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(root), "POD_IP": facts["ip"]}
        env |= {"HOSTNAME": sandbox.hostname or sandbox.name, **config.env, "WHERRY_ROOT": str(root)}
        log = config.annotations.get(LOG_FILE) or str(Path(sandbox.log_directory) / config.log_path)
        if config.stdin:
            os.mkfifo(path / STDIN, 0o600)
        run = {"command": [*config.command, *config.args], "env": env, "cwd": str(work), "log": log}
        _store(path / RUN, run | {"tty": config.tty, "stdin": config.stdin, "signal": config.stop_signal}, 0o600)
        made = {"name": config.name, "image": config.image, "annotations": dict(config.annotations)}
        _store(path / CONTAINER, made | {"created_at": self._now()})
        self._changed(facts["uid"])
        return container_id

    def _refuse(self, config: ContainerConfig) -> None:
        why, user = "", config.security.run_as_user
        if not config.command:
            why = f"the process runtime has no images to take a command from: container {config.name!r} needs a command"
        elif user not in (None, os.getuid()):
            why = f"the process runtime runs everything as uid {os.getuid()}: container {config.name!r} wants {user}"
        if why:
            raise RuntimeFailure(why, "CreateContainerError")

    async def start_container(self, container_id: str) -> None:
        path = self._find(container_id)
        null = asyncio.subprocess.DEVNULL
        launcher = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", process_shim.__file__, str(path), stdin=null, stdout=null, stderr=null
        )
        await launcher.wait()  # the shim itself has forked away
        async with asyncio.timeout(START_SECONDS):
            while not (path / PID).exists() and not (path / EXIT).exists():
                await self._clock.sleep(STOP_POLL_SECONDS)
        if failed := _load(path / EXIT).get("message", ""):
            raise RuntimeFailure(failed, "RunContainerError")
        self._changed(_owner(path))

    async def stop_container(self, container_id: str, grace_seconds: int) -> None:
        path = self._find(container_id)
        wanted = _load(path / RUN).get("signal") or "SIGTERM"
        deadline = self._clock.monotonic() + grace_seconds
        if grace_seconds > 0:
            _signal(path, getattr(signal, wanted, signal.SIGTERM))
        killed = False
        while _read_container(path).state == RUNNING:
            if not killed and self._clock.monotonic() >= deadline:
                _signal(path, signal.SIGKILL)
                killed = True
            await self._clock.sleep(STOP_POLL_SECONDS)
        self._changed(_owner(path))

    async def remove_container(self, container_id: str) -> None:
        if not self._container_paths(container_id):
            return
        path, uid = self._find(container_id), _owner(self._find(container_id))
        await self.stop_container(container_id, 0)
        await asyncio.to_thread(shutil.rmtree, path, True)
        self._changed(uid)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        return await run_captured(self._running(container_id), command, timeout_seconds)

    async def exec(self, container_id: str, command: Sequence[str], streams: Streams) -> int:
        return await run_streamed(self._running(container_id), command, streams)

    async def attach(self, container_id: str, streams: Streams) -> None:
        path, run = self._find(container_id), self._running(container_id)
        feeder = asyncio.create_task(_feed(path / STDIN, streams)) if streams.stdin and run["stdin"] else None

        async def running() -> bool:
            return _read_container(path).state == RUNNING

        async def copy(name: str) -> None:
            options = LogOptions(follow=True, tail_lines=0, stream=name.capitalize())
            async for chunk in read_log(Path(run["log"]), options, self._clock, running):
                await streams.write(name, chunk)

        try:
            await asyncio.gather(*(copy(name) for name in ("stdout", "stderr") if getattr(streams, name)))
        finally:
            if feeder:
                feeder.cancel()
                await asyncio.gather(feeder, return_exceptions=True)

    async def connect(self, sandbox_id: str, port: int) -> BytePipe:
        address = _load(self._directory / sandbox_id / SANDBOX).get("ip", "")
        try:
            return SocketPipe(*await asyncio.open_connection(address, port))
        except OSError as error:
            raise RuntimeFailure(f"nothing listens on port {port} of {address}: {error.strerror}") from error

    async def reopen_log(self, container_id: str) -> None:
        return None  # the shim sees that its file was moved

    async def stats(self) -> list[ContainerStats]:
        return [
            ContainerStats(item.id, pod.uid, item.name)
            for pod in (await self.pods()).values()
            for item in pod.containers
            if item.state == RUNNING
        ]

    # Within -----------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)

    def _new_id(self, stem: str) -> str:
        self._count += 1
        return sha256(f"{self._directory}/{stem}/{self._now()}/{self._count}".encode()).hexdigest()

    def _container_paths(self, container_id: str) -> list[Path]:
        return [path.parent for path in self._directory.glob(f"*/{container_id}/{CONTAINER}")]

    def _find(self, container_id: str) -> Path:
        for path in self._container_paths(container_id):
            return path
        raise RuntimeFailure(f"container {container_id} not found")

    def _running(self, container_id: str) -> dict[str, Any]:
        path = self._find(container_id)
        if _read_container(path).state != RUNNING:
            raise RuntimeFailure(f"container {container_id} is not running")
        return _load(path / RUN)


def loopback_network(pod_cidr: str) -> ipaddress.IPv4Network:
    """10.244.0.0/16 becomes 127.244.0.0/16; only Linux answers for all of 127.0.0.0/8."""
    network = ipaddress.ip_network(pod_cidr)
    if sys.platform != "linux" or network.version != 4:
        return ipaddress.IPv4Network("127.0.0.1/32")
    number = int(network.network_address) & 0x00FFFFFF | 127 << 24
    return ipaddress.IPv4Network((number, max(8, network.prefixlen)), strict=False)


def _normal(path: str) -> str:
    """Absolute, without dots."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def _link_mounts(root: Path, mounts: Sequence[Mount]) -> None:
    for mount in sorted(mounts, key=lambda item: _normal(item.container_path)):
        link = Path(f"{root}{_normal(mount.container_path)}")
        if any(parent.is_symlink() for parent in link.parents if parent.is_relative_to(root)) or link == root:
            raise RuntimeFailure(f"the process runtime cannot mount {mount.container_path}: it lies in another mount")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(mount.host_path)


def _read_container(path: Path) -> ContainerRecord:
    facts, started = _load(path / CONTAINER), _load(path / PID)
    alive = bool(started) and _alive(started)
    ended = _load(path / EXIT)  # read last: the shim writes it while the process still counts as alive
    record = ContainerRecord(
        id=path.name,
        sandbox_id=path.parent.name,
        name=facts["name"],
        state=CREATED,
        restart_count=int(facts["annotations"].get(RESTART_COUNT, 0)),
        created_at=facts["created_at"],
        image=facts["image"],
        image_ref=facts["image"],
        annotations=facts["annotations"],
    )
    if not ended and started and not alive:
        lost = {"exit_code": LOST_CODE, "finished_at": started["started_at"], "started_at": started["started_at"]}
        ended = lost | {"message": "ContainerStatusUnknown: nobody was there when the container ended"}
    if not ended:
        return replace(record, state=RUNNING, started_at=started["started_at"]) if started else record
    default = "Error" if ended["exit_code"] else "Completed"
    return replace(
        record,
        state=EXITED,
        started_at=ended["started_at"],
        finished_at=ended["finished_at"],
        exit_code=ended["exit_code"],
        reason=ended["message"].partition(":")[0] or default,
        message=ended["message"],
    )


def _alive(started: Mapping[str, Any]) -> bool:
    """The shim, or the program without its shim. A later process with the same pid is neither."""
    return any(identity(started[role]) == started[f"{role}_identity"] for role in ("shim", "pid"))


def _signal(path: Path, number: signal.Signals) -> None:
    started = _load(path / PID)
    if started and identity(started["pid"]) == started["pid_identity"]:
        with suppress(ProcessLookupError):
            os.killpg(started["pid"], number)


def _owner(path: Path) -> str:
    return str(_load(path.parent / SANDBOX).get("uid", ""))


def _joined(one: PodRecord, other: PodRecord) -> PodRecord:
    sandboxes = sorted((*one.sandboxes, *other.sandboxes), key=lambda item: -item.created_at)
    containers = sorted((*one.containers, *other.containers), key=lambda item: -item.created_at)
    return replace(one, sandboxes=tuple(sandboxes), containers=tuple(containers))


async def _feed(fifo: Path, streams: Streams) -> None:
    descriptor = os.open(fifo, os.O_RDWR)
    try:
        while data := await streams.read_stdin():
            await asyncio.to_thread(os.write, descriptor, data)
    finally:
        os.close(descriptor)


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


def _store(path: Path, content: Mapping[str, Any], mode: int = 0o644) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(content))
    temporary.chmod(mode)
    temporary.rename(path)
