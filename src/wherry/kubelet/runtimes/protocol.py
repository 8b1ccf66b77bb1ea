"""What the kubelet asks of whatever runs containers; each runtime is one file beside this one.

`cri.py` speaks to containerd, `process.py` starts child processes, `fake.py` only remembers. The agent knows none of
them: it hands over the configs below and reads back `PodRecord`s. A runtime tells about changes by calling the
function given to `subscribe` with a pod's uid, so that nobody waits for a poll.

What must outlive a kubelet (restart counts, the pod's identity, hashes) is kept in labels and annotations of
sandboxes and containers, under the names that upstream's kubelet uses, so that a new kubelet adopts what it finds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_UID_LABEL = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"
RESTART_COUNT = "io.kubernetes.container.restartCount"
TERMINATION_PATH = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY = "io.kubernetes.container.terminationMessagePolicy"
GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
TERMINATION_FILE = "wherry.dev/termination-file"
LOG_FILE = "wherry.dev/log-file"

CREATED, RUNNING, EXITED, UNKNOWN = "created", "running", "exited", "unknown"


class RuntimeFailure(Exception):
    """The runtime refused or failed; the text is fit for an event. `reason` is the container's waiting reason."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class ImageFailure(RuntimeFailure):
    """An image could not be had."""


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    """Name and version, as in a node's containerRuntimeVersion: containerd://1.6.20."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class RuntimeCondition:
    """RuntimeReady or NetworkReady."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """One image on the node. `user` is the uid or name it runs as, "" when it says nothing."""

    id: str
    tags: Sequence[str] = ()
    digests: Sequence[str] = ()
    size_bytes: int = 0
    user: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class ImageAuth:
    """Credentials for a registry."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A host port."""

    protocol: str
    container_port: int
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory or file at a path of the container."""

    host_path: str
    container_path: str
    read_only: bool = False
    propagation: str = "None"


@dataclass(frozen=True, slots=True)
class Security:
    """Identity and privileges; None leaves the choice to the image."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: Sequence[int] = ()
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    add_capabilities: Sequence[str] = ()
    drop_capabilities: Sequence[str] = ()
    seccomp: str = "Unconfined"
    seccomp_profile: str = ""
    apparmor: str = ""
    apparmor_profile: str = ""
    unmasked_proc: bool = False


@dataclass(frozen=True, slots=True)
class Resources:
    """Kernel limits; 0 is none."""

    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Which namespaces are the host's, and whether the containers share one process namespace."""

    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_processes: bool = False


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """A pod's common ground."""

    name: str
    namespace: str
    uid: str
    attempt: int = 0
    hostname: str = ""
    log_directory: str = ""
    nameservers: Sequence[str] = ()
    searches: Sequence[str] = ()
    dns_options: Sequence[str] = ()
    ports: Sequence[PortMapping] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    namespaces: Namespaces = Namespaces()
    security: Security = Security()
    runtime_handler: str = ""


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """One container, everything resolved: expanded command, environment, mounts. `log_path` is below the sandbox's."""

    name: str
    image: str
    attempt: int = 0
    image_ref: str = ""
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    working_dir: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    security: Security = Security()
    resources: Resources = Resources()
    namespaces: Namespaces = Namespaces()
    target_container_id: str = ""
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """A sandbox as the runtime sees it; times in nanoseconds since 1970."""

    id: str
    attempt: int
    ready: bool
    created_at: int = 0
    ips: Sequence[str] = ()
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as the runtime sees it; `restart_count` counts the containers of this name before it."""

    id: str
    sandbox_id: str
    name: str
    state: str
    restart_count: int = 0
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodRecord:
    """All that a runtime holds of one pod, newest first."""

    uid: str
    name: str
    namespace: str
    sandboxes: Sequence[SandboxRecord] = ()
    containers: Sequence[ContainerRecord] = ()

    def newest(self, container: str) -> ContainerRecord | None:
        """The latest container of this name."""
        return next((item for item in self.containers if item.name == container), None)

    def all_of(self, container: str) -> list[ContainerRecord]:
        """Every container of this name, the latest first."""
        return [item for item in self.containers if item.name == container]

    @property
    def sandbox(self) -> SandboxRecord | None:
        """The latest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """Use of one container now."""

    container_id: str
    pod_uid: str
    name: str
    cpu_nanoseconds: int = 0
    memory_working_set_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command left behind."""

    exit_code: int
    output: bytes


class Streams(Protocol):
    """The caller's end of exec and attach: what was asked for, and the four ways bytes go."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    async def read_stdin(self) -> bytes:
        """The next input; b"" when there will be no more."""

    async def write(self, stream: str, data: bytes) -> None:
        """Output for "stdout" or "stderr". Raises ConnectionError when the caller is gone."""

    async def read_resize(self) -> tuple[int, int] | None:
        """The terminal's next (columns, rows); None when there will be no more."""


class BytePipe(Protocol):
    """One connection to a port of a pod."""

    async def read(self) -> bytes:
        """The next bytes; b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Send."""

    def write_eof(self) -> None:
        """Nothing more will be written."""

    def close(self) -> None:
        """Let go."""


class Runtime(Protocol):
    """A container runtime. Every method may raise RuntimeFailure."""

    name: str

    async def run(self) -> None:
        """Watch for changes until cancelled, calling the subscriber."""

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call `changed(pod uid)` whenever a sandbox or container of that pod changed."""

    async def version(self) -> RuntimeVersion: ...

    async def conditions(self) -> list[RuntimeCondition]: ...

    async def list_images(self) -> list[Image]: ...

    async def find_image(self, image: str) -> Image | None: ...

    async def pull_image(self, image: str, auth: ImageAuth | None) -> str:
        """Returns a reference to what was pulled. Raises ImageFailure."""

    async def remove_image(self, image: str) -> None: ...

    async def pods(self) -> dict[str, PodRecord]:
        """Everything there is, by pod uid."""

    async def pod(self, uid: str) -> PodRecord | None: ...

    async def run_sandbox(self, config: SandboxConfig) -> str: ...

    async def stop_sandbox(self, sandbox_id: str) -> None: ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, grace_seconds: int) -> None: ...

    async def remove_container(self, container_id: str) -> None: ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        """Raises TimeoutError."""

    async def exec(self, container_id: str, command: Sequence[str], streams: Streams) -> int:
        """Run until the command ends; returns its exit code."""

    async def attach(self, container_id: str, streams: Streams) -> None: ...

    async def connect(self, sandbox_id: str, port: int) -> BytePipe:
        """A connection to `port` of the pod's own loopback."""

    async def reopen_log(self, container_id: str) -> None: ...

    async def stats(self) -> list[ContainerStats]: ...
