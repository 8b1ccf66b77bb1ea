"""A containerd of the cluster's own: configured, started, found again after a crash, and stopped.

Wherry never touches the machine's containerd. Each node gets a private one with its own root, state, socket, CNI
configuration and images. It runs in its own session and survives the death of the process that started it, so the
containers of a node keep running; the next start finds it by its pid file and adopts it.
"""

import asyncio
import contextlib
import hashlib
import os
import platform
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from wherry.aio.clock import Clock
from wherry.cluster.failure import ClusterError
from wherry.cluster.pause_image import PAUSE_IMAGE, pause_archive

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0
# sockaddr_un.sun_path holds 108 bytes, and shims add a name of their own to the state directory.
SOCKET_PATH_LIMIT_BYTES = 80
CNI_BINARY_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
IMAGE_NAMESPACE = "k8s.io"


@dataclass(frozen=True, slots=True)
class ContainerdPaths:
    """Where one private containerd keeps its things."""

    root: Path
    state: Path
    socket: Path
    config: Path
    pid_file: Path
    log: Path
    cni_conf: Path

    @classmethod
    def under(cls, directory: Path) -> "ContainerdPaths":
        """Paths under `directory`; state and socket move to /run/wherry where the socket's path would be too long."""
        run = directory / "run"
        if len(os.fsencode(run)) > SOCKET_PATH_LIMIT_BYTES:
            run = Path("/run/wherry") / hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
        return cls(
            root=directory / "root",
            state=run / "state",
            socket=run / "containerd.sock",
            config=directory / "config.toml",
            pid_file=directory / "containerd.pid",
            log=directory / "containerd.log",
            cni_conf=directory / "cni",
        )


def missing_programs() -> list[str]:
    """What a containerd node needs and this machine lacks, by name of program."""
    missing = [name for name in ("containerd", "runc", "ctr", "nft") if shutil.which(name) is None]
    if cni_binary_directory() is None:
        missing.append("CNI plugins")
    return missing


def cni_binary_directory() -> str | None:
    """The directory that holds the ptp plugin, or None."""
    return next((d for d in CNI_BINARY_DIRECTORIES if (Path(d) / "ptp").exists()), None)


class Containerd:
    """One private containerd."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.paths = ContainerdPaths.under(directory)
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, or adopt the one that runs; returns once it answers. Raises ClusterError naming its log."""
        paths = self.paths
        if self.running_pid() is None:
            for directory in (paths.root, paths.state, paths.cni_conf):
                directory.mkdir(parents=True, exist_ok=True)
            paths.config.write_text(_config(paths))
            with paths.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    "containerd", "--config", str(paths.config), stdout=log, stderr=log, start_new_session=True
                )  # fmt: skip
            paths.pid_file.write_text(str(self._process.pid))
        await self._wait_until_it_answers()

    async def prepare_pause_image(self) -> None:
        """Import the pause image unless it is there."""
        if PAUSE_IMAGE not in (await self.ctr("images", "list", "-q")).split():
            await self.ctr("images", "import", "--digests=false", "-", stdin=pause_archive(platform.machine()))

    async def ctr(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run ctr against this containerd; its standard output. Raises ClusterError with ctr's own message."""
        # A file, not a pipe: see proxy/backend.py's run_tool.
        with TemporaryFile() as source:
            source.write(stdin or b"")
            source.seek(0)
            process = await asyncio.create_subprocess_exec(
                "ctr", "--address", str(self.paths.socket), "--namespace", IMAGE_NAMESPACE, *arguments,
                stdin=source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            output, errors = await process.communicate()
        if process.returncode:
            raise ClusterError(f"ctr {' '.join(arguments[:2])}: {errors.decode(errors='replace').strip()}")
        return output.decode()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL; returns when it is gone. Its containers' shims keep running."""
        pid = self.running_pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            if not await self._gone(pid, STOP_TIMEOUT_SECONDS):
                os.kill(pid, signal.SIGKILL)
                await self._gone(pid, STOP_TIMEOUT_SECONDS)
        self.paths.pid_file.unlink(missing_ok=True)
        shutil.rmtree(self.paths.socket.parent, ignore_errors=True)

    async def watch(self) -> None:
        """Return when it has died (a supervisor then calls `start` again)."""
        while self.running_pid() is not None:
            if self._process is not None:
                await self._process.wait()
                self._process = None
            else:
                await self._clock.sleep(1.0)

    def running_pid(self) -> int | None:
        """The pid of the containerd that runs with our configuration, or None."""
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError, PermissionError):
            pid = int(self.paths.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if os.fsencode(self.paths.config) in command:
                return pid
        return None

    async def _wait_until_it_answers(self) -> None:
        deadline = self._clock.monotonic() + START_TIMEOUT_SECONDS
        while True:
            starting = self._process is not None and self._process.returncode is None  # /proc may not show it yet
            if self.running_pid() is None and not starting:
                raise ClusterError(f"containerd stopped while starting: see {self.paths.log}")
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(self.paths.socket))
                writer.close()
                return
            if self._clock.monotonic() > deadline:
                raise ClusterError(f"containerd does not answer on {self.paths.socket}: see {self.paths.log}")
            await self._clock.sleep(0.01)

    async def _gone(self, pid: int, timeout_seconds: float) -> bool:
        deadline = self._clock.monotonic() + timeout_seconds
        while self._clock.monotonic() < deadline:
            if self.running_pid() != pid:
                return True
            await self._clock.sleep(0.02)
        return False


def _config(paths: ContainerdPaths) -> str:
    # Version 2 is read by 1.6 and 1.7 and migrated by 2.x. restrict_oom_score_adj: root without CAP_SYS_RESOURCE may
    # not lower scores, and without it every sandbox fails there.
    return f"""version = 2
root = "{paths.root}"
state = "{paths.state}"
disabled_plugins = ["io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{paths.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_binary_directory()}"
    conf_dir = "{paths.cni_conf}"
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""
