"""Containers as real child processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wherry.aio.clock import SystemClock
from wherry.kubelet.logs import LogOptions, read_log
from wherry.kubelet.runtimes.process import ProcessRuntime, loopback_network
from wherry.kubelet.runtimes.protocol import (
    EXITED,
    RUNNING,
    ContainerConfig,
    ContainerRecord,
    Mount,
    RuntimeFailure,
    SandboxConfig,
)

CIDR = "10.244.0.0/16"


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[ProcessRuntime]:
    made = ProcessRuntime(tmp_path / "run", CIDR, SystemClock())
    yield made
    for pod in (await made.pods()).values():
        for sandbox in pod.sandboxes:
            await made.remove_sandbox(sandbox.id)


class Caller:
    """The caller's end of exec."""

    def __init__(self, stdin: bytes | None = None, *, tty: bool = False) -> None:
        self.stdin, self.stdout, self.stderr, self.tty = stdin is not None, True, not tty, tty
        self._input = [stdin or b"", b""]
        self.out = {"stdout": b"", "stderr": b""}

    async def read_stdin(self) -> bytes:
        return self._input.pop(0)

    async def write(self, stream: str, data: bytes) -> None:
        self.out[stream] += data

    async def read_resize(self) -> tuple[int, int] | None:
        return None


async def start(runtime: ProcessRuntime, tmp_path: Path, script: str, **options: object) -> ContainerRecord:
    sandbox = SandboxConfig("web", "default", "uid-1", log_directory=str(tmp_path / "logs"), hostname="web")
    sandbox_id = await runtime.run_sandbox(sandbox)
    config = ContainerConfig("main", "any", command=["sh", "-c", script], log_path="main/0.log", **options)  # type: ignore[arg-type]
    container_id = await runtime.create_container(sandbox_id, config, sandbox)
    await runtime.start_container(container_id)
    return await record(runtime)


async def record(runtime: ProcessRuntime) -> ContainerRecord:
    pod = await runtime.pod("uid-1")
    assert pod
    return pod.containers[0]


async def ended(runtime: ProcessRuntime) -> ContainerRecord:
    async with asyncio.timeout(10):
        while (found := await record(runtime)).state == RUNNING:
            await SystemClock().sleep(0.01)
    return found


async def log_of(tmp_path: Path) -> bytes:
    async def running() -> bool:
        return False

    path = tmp_path / "logs" / "main" / "0.log"
    return b"".join([chunk async for chunk in read_log(path, LogOptions(), SystemClock(), running)])


async def test_output_goes_to_the_log_and_the_exit_code_is_kept(runtime: ProcessRuntime, tmp_path: Path) -> None:
    await start(runtime, tmp_path, "echo one; echo two >&2; printf three; exit 7")
    found = await ended(runtime)
    assert (found.state, found.exit_code, found.reason) == (EXITED, 7, "Error")
    assert sorted((await log_of(tmp_path)).splitlines(keepends=True)) in (
        [b"one\n", b"three", b"two\n"],
        [b"one\n", b"threetwo\n"],  # stderr was read after the piece without newline
    )


async def test_a_signal_that_ends_the_program_is_128_plus_its_number(runtime: ProcessRuntime, tmp_path: Path) -> None:
    await start(runtime, tmp_path, "kill -9 $$")
    assert (await ended(runtime)).exit_code == 137


async def test_stopping_is_graceful_first(runtime: ProcessRuntime, tmp_path: Path) -> None:
    found = await start(runtime, tmp_path, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done")
    while b"ready" not in await log_of(tmp_path):
        await SystemClock().sleep(0.01)
    await runtime.stop_container(found.id, 10)
    assert (await record(runtime)).exit_code == 3


async def test_what_will_not_stop_is_killed_with_its_children(runtime: ProcessRuntime, tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.01; done"
    found = await start(runtime, tmp_path, script)
    while not (text := await log_of(tmp_path)):
        await SystemClock().sleep(0.01)
    await runtime.stop_container(found.id, 0)
    assert (await record(runtime)).exit_code == 137
    assert not Path(f"/proc/{int(text)}/cmdline").exists()


async def test_a_new_runtime_adopts_what_runs(runtime: ProcessRuntime, tmp_path: Path) -> None:
    found = await start(runtime, tmp_path, "exec sleep 1000")
    successor = ProcessRuntime(tmp_path / "run", CIDR, SystemClock())
    assert (await record(successor)).state == RUNNING
    await successor.stop_container(found.id, 10)
    assert (await record(runtime)).exit_code == 128 + signal.SIGTERM


async def test_a_program_that_does_not_exist_says_so(runtime: ProcessRuntime, tmp_path: Path) -> None:
    sandbox = SandboxConfig("web", "default", "uid-1", log_directory=str(tmp_path / "logs"))
    sandbox_id = await runtime.run_sandbox(sandbox)
    config = ContainerConfig("main", "any", command=["no-such-program"], log_path="main/0.log")
    container_id = await runtime.create_container(sandbox_id, config, sandbox)
    with pytest.raises(RuntimeFailure, match=r'"no-such-program": executable file not found in \$PATH'):
        await runtime.start_container(container_id)
    assert (await record(runtime)).exit_code == 128


async def test_a_container_without_command_is_refused(runtime: ProcessRuntime, tmp_path: Path) -> None:
    sandbox = SandboxConfig("web", "default", "uid-1")
    sandbox_id = await runtime.run_sandbox(sandbox)
    with pytest.raises(RuntimeFailure, match="needs a command") as failure:
        await runtime.create_container(sandbox_id, ContainerConfig("main", "any"), sandbox)
    assert failure.value.reason == "CreateContainerError"


async def test_mounts_are_links_below_the_root(runtime: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "greeting").write_text("hello")
    mounts = [Mount(str(tmp_path / "volume"), "/etc/config")]
    await start(
        runtime, tmp_path, "cat $WHERRY_ROOT/etc/config/greeting greeting", mounts=mounts, working_dir="/etc/config"
    )
    await ended(runtime)
    assert await log_of(tmp_path) == b"hellohello"


async def test_exec_runs_in_the_containers_environment(runtime: ProcessRuntime, tmp_path: Path) -> None:
    found = await start(runtime, tmp_path, "exec sleep 1000", env={"COLOUR": "red"})
    caller = Caller(b"x" * 1_000_000)
    code = await runtime.exec(found.id, ["sh", "-c", "wc -c; echo $COLOUR $HOSTNAME >&2; exit 5"], caller)
    assert (code, caller.out["stdout"].strip(), caller.out["stderr"]) == (5, b"1000000", b"red web\n")


async def test_exec_can_have_a_terminal(runtime: ProcessRuntime, tmp_path: Path) -> None:
    found = await start(runtime, tmp_path, "exec sleep 1000")
    caller = Caller(tty=True)
    assert await runtime.exec(found.id, ["sh", "-c", "test -t 0 && test -t 1 && echo terminal"], caller) == 0
    assert caller.out["stdout"] == b"terminal\r\n"


async def test_exec_sync_ends_with_its_time(runtime: ProcessRuntime, tmp_path: Path) -> None:
    found = await start(runtime, tmp_path, "exec sleep 1000")
    assert (await runtime.exec_sync(found.id, ["sh", "-c", "echo out; echo err >&2; exit 2"], 10)).exit_code == 2
    with pytest.raises(TimeoutError):
        await runtime.exec_sync(found.id, ["sleep", "1000"], 0.05)


async def test_ports_are_reached_at_the_pods_address(runtime: ProcessRuntime, tmp_path: Path) -> None:
    script = (
        "import os,socket;s=socket.create_server((os.environ['POD_IP'],0));"
        "print(s.getsockname()[1],flush=True);c,_=s.accept();c.sendall(b'hi '+c.recv(9))"
    )
    found = await start(runtime, tmp_path, f'exec {sys.executable} -c "{script}"')
    while not (port := await log_of(tmp_path)):
        await SystemClock().sleep(0.01)
    pipe = await runtime.connect(found.sandbox_id, int(port))
    await pipe.write(b"there")
    assert await pipe.read() == b"hi there"
    pipe.close()


def test_pod_networks_lie_in_the_loopback_network() -> None:
    assert str(loopback_network("10.244.0.0/16")) == "127.244.0.0/16"


async def test_removing_leaves_nothing(runtime: ProcessRuntime, tmp_path: Path) -> None:
    found = await start(runtime, tmp_path, "exec sleep 1000")
    await runtime.remove_sandbox(found.sandbox_id)
    assert await runtime.pods() == {}
    assert os.listdir(tmp_path / "run") == []
