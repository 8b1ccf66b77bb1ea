"""Stopping a cluster and removing what it left on the machine, whether its process still lives or was killed.

Works from outside: ends the process, then takes away containers, network, rules, addresses and the kubeconfig context.
"""

import os
import shutil
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path

from wherry.aio.clock import Clock
from wherry.client import kubeconfig
from wherry.cluster import addresses, instance
from wherry.cluster.containerd import Containerd
from wherry.cluster.failure import ClusterError
from wherry.cluster.network import Masquerade, service_table
from wherry.kubelet.runtimes.protocol import RuntimeFailure
from wherry.proxy.backend import BackendError

STOP_TIMEOUT_SECONDS = 20.0
GRACE_SECONDS = 2


async def bring_down(root: Path, name: str, *, keep_data: bool, clock: Clock, say: Callable[[str], None]) -> None:
    """Stop cluster `name`. Raises ClusterError when there is none, or it cannot be stopped."""
    directory = root / name
    found = instance.find(root, name)
    if found.running():
        say(f"stopping {name}")
        await _end(found.pid, found.running, clock)
    with instance.exclusive(directory):
        left = await _remove_from_machine(directory, found, clock)
        # Data that is still needed for another try stays.
        gone = not keep_data and not left
        left += _remove_context(found)
        if gone:
            addresses.release(directory)
            shutil.rmtree(directory)
    outcome = f"cluster {name} is stopped" + (" and removed" if gone else f"; its data is kept in {directory}")
    if left:
        raise ClusterError(f"{outcome}, but {'; '.join(left)}")
    say(outcome)


async def _remove_from_machine(directory: Path, found: instance.Instance, clock: Clock) -> list[str]:
    """Take away what outlives the process: containers, child processes, rules. What could not be, one line each."""
    steps: list[Coroutine[None, None, None]] = []
    for node in found.nodes:
        if found.runtime == "containerd":
            steps.append(remove_containers(Containerd(Path(node.directory) / "containerd", clock), clock))
        elif found.runtime == "process":
            steps.append(_remove_processes(Path(node.directory), clock))
    if found.runtime == "containerd":
        steps.append(remove_tables(directory, found.name))
    left = []
    for step in steps:
        try:
            await step
        except (ClusterError, BackendError, RuntimeFailure, OSError) as error:
            left.append(f"something is left on this machine ({error}): try wherry down again")
    return left


def _remove_context(found: instance.Instance) -> list[str]:
    try:
        kubeconfig.remove_context(Path(found.kubeconfig), found.context, found.server)
    except kubeconfig.KubeconfigError as error:
        return [f"context {found.context} could not be taken out of its kubeconfig ({error})"]
    return []


async def remove_tables(directory: Path, name: str) -> None:
    """Take the cluster's rules out of the kernel; without a claimed number it has none."""
    from wherry.proxy.nftables import NftablesBackend

    if (number := addresses.claimed(directory)) is not None:
        await NftablesBackend(service_table(name, number)).remove()
        await Masquerade(name, number).remove()


async def remove_containers(containerd: Containerd, clock: Clock) -> None:
    """Stop and remove every pod of a node, then its containerd."""
    from wherry.kubelet.runtimes.cri import CriRuntime

    if not containerd.paths.config.exists():
        return
    await containerd.start()
    runtime = CriRuntime(str(containerd.paths.socket), clock)
    try:
        for pod in (await runtime.pods()).values():
            for container in pod.containers:
                await runtime.stop_container(container.id, GRACE_SECONDS)
                await runtime.remove_container(container.id)
            for sandbox in pod.sandboxes:
                await runtime.stop_sandbox(sandbox.id)
                await runtime.remove_sandbox(sandbox.id)
    finally:
        await runtime.close()
        await containerd.stop()


async def _remove_processes(node: Path, clock: Clock) -> None:
    from wherry.kubelet.runtimes.process import ProcessRuntime

    runtime = ProcessRuntime(node / "processes", "127.0.0.0/8", clock)
    for pod in (await runtime.pods()).values():
        for container in pod.containers:
            await runtime.stop_container(container.id, GRACE_SECONDS)
            await runtime.remove_container(container.id)
        for sandbox in pod.sandboxes:
            await runtime.stop_sandbox(sandbox.id)
            await runtime.remove_sandbox(sandbox.id)


async def _end(pid: int, running: Callable[[], bool], clock: Clock) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ClusterError(f"process {pid} belongs to another user: run wherry down as that user") from error
        deadline = clock.monotonic() + STOP_TIMEOUT_SECONDS
        while running() and clock.monotonic() < deadline:
            await clock.sleep(0.05)
        if not running():
            return
    raise ClusterError(f"process {pid} does not stop")
