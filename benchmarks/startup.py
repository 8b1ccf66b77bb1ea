"""How long a cluster takes to start, and what it costs while nothing happens.

    python benchmarks/startup.py [--runs N] [--idle-seconds S] [--containerd]
    python benchmarks/startup.py --pid PID [--pid PID ...] [--node]      only memory and CPU of a running cluster

The first form starts and removes clusters of this Wherry, each with an empty data directory. The control plane is
measured with a fake node, which costs a few tasks; `--containerd` (root) measures a real node as well. The second form
measures any Kubernetes: name all of its processes.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from table import COLD_CONTAINERD, COLD_CONTROL_PLANE, IDLE_CPU, IDLE_MEMORY, IDLE_MEMORY_NODE, Table, median
from target import cpu_seconds, memory_bytes

NAME = "benchmark"
SETTLE_SECONDS = 5.0
START_SECONDS_MAX = 90.0


class Started:
    """One cluster of `wherry up`, from process start on."""

    def __init__(self, runtime: str, nodes: int) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wherry-startup-"))
        self.kubeconfig = self._directory / "kubeconfig"
        arguments = ["--name", NAME, "--data-dir", str(self._directory / "data")]
        up = ["up", "--runtime", runtime, "--nodes", str(nodes), "--port", "0", "--kubeconfig", str(self.kubeconfig)]
        self._wherry = [sys.executable, "-m", "wherry"]
        self._arguments = arguments
        self.begin = time.perf_counter()
        # An installed Wherry has its bytecode; run from a source tree, the first run leaves it for the others.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen([*self._wherry, *up, *arguments], stderr=subprocess.DEVNULL, env=environment)

    async def context_written(self) -> float:
        """Seconds until the kubeconfig had the context: nodes Ready, DNS answering, the service account there."""
        while not self.kubeconfig.exists():
            await self._pause()
        return time.perf_counter() - self.begin

    async def _pause(self) -> None:
        if self.process.poll() is not None or time.perf_counter() - self.begin > START_SECONDS_MAX:
            raise RuntimeError("the cluster did not start")
        await asyncio.sleep(0.005)

    def remove(self) -> None:
        """Stop the cluster and delete what it left."""
        subprocess.run([*self._wherry, "down", *self._arguments], check=True, stderr=subprocess.DEVNULL)
        self.process.wait()
        shutil.rmtree(self._directory)


async def start_control_plane(table: Table, runs: int, idle_seconds: float) -> None:
    seconds = []
    for run in range(runs):
        cluster = Started("fake", 1)
        try:
            seconds.append(await cluster.context_written())
            if run == runs - 1:
                table.add(COLD_CONTROL_PLANE, median(seconds), f"{runs} runs, context written: service account seen")
                pids = [cluster.process.pid]
                await idle(table, pids, idle_seconds, node=False)
        finally:
            cluster.remove()


async def start_containerd(table: Table, runs: int, idle_seconds: float) -> None:
    seconds = []
    for run in range(runs):
        cluster = Started("containerd", 1)
        try:
            seconds.append(await cluster.context_written())
            if run == runs - 1:
                table.add(COLD_CONTAINERD, median(seconds), f"{runs} runs")
                await idle(table, [cluster.process.pid], idle_seconds, node=True)
        finally:
            cluster.remove()


async def idle(table: Table, pids: list[int], seconds: float, *, node: bool) -> None:
    """Memory, and CPU over `seconds`, of processes that have nothing to do."""
    await asyncio.sleep(SETTLE_SECONDS)
    before, begin = cpu_seconds(pids), time.perf_counter()
    await asyncio.sleep(seconds)
    used = (cpu_seconds(pids) - before) / (time.perf_counter() - begin)
    resident = memory_bytes(pids, "Rss") / 1e6
    table.add(IDLE_MEMORY_NODE if node else IDLE_MEMORY, memory_bytes(pids) / 1e6, f"RSS {resident:.0f} MB")
    table.add(IDLE_CPU, used * 100, f"over {seconds:g} s")


async def main(given: argparse.Namespace) -> None:
    table = Table()
    if given.pid:
        await idle(table, given.pid, given.idle_seconds, node=given.node)
        return
    await start_control_plane(table, given.runs, given.idle_seconds)
    if given.containerd:
        await start_containerd(table, given.runs, given.idle_seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pid", type=int, action="append", default=[])
    parser.add_argument("--node", action="store_true", help="the processes include kubelet and kube-proxy")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    parser.add_argument("--containerd", action="store_true")
    uvloop.run(main(parser.parse_args()))
