"""`wherry up`: one process runs one cluster until it is told to stop.

The directory is locked for as long; what a first start that failed has made is removed again. Read cluster.py next,
which says what is started, in which order.
"""

import asyncio
import logging
from collections.abc import Callable

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.cluster import instance
from wherry.cluster.cluster import Cluster
from wherry.cluster.components import log_to_stderr, run_until_stopped
from wherry.cluster.detach import FAILED, READY, reporter
from wherry.cluster.failure import ClusterError
from wherry.cluster.options import UpOptions

Say = Callable[[str], None]


def run_forever(options: UpOptions, *, verbose: bool, say: Say) -> int:
    """Run a cluster until SIGINT or SIGTERM; the process's exit code. Raises ClusterError."""
    level = logging.DEBUG if verbose else logging.WARNING
    log_to_stderr(level)
    tell = reporter(say)
    try:
        run_until_stopped(lambda stop: _run(options, tell, stop))
    except ClusterError as error:
        tell(f"{FAILED} {error}")
        raise
    return 0


async def _run(options: UpOptions, tell: Say, stop: asyncio.Event) -> None:
    directory = options.directory()
    with instance.exclusive(directory):
        fresh = instance.read(directory) is None
        cluster = Cluster(options, SystemClock(), Entropy(), tell)
        ready = False
        cluster.check_kubeconfig()
        try:
            async with cluster:
                await _wait_ready(cluster, options, stop)
                cluster.publish()
                ready = True
                tell(READY)
                await stop.wait()
        finally:
            if fresh and not ready:
                await cluster.undo()


async def _wait_ready(cluster: Cluster, options: UpOptions, stop: asyncio.Event) -> None:
    waiting = asyncio.create_task(cluster.readiness.wait())
    stopping = asyncio.create_task(stop.wait())
    tasks = {waiting, stopping}
    await asyncio.wait(tasks, timeout=options.wait_seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if stop.is_set():
        raise ClusterError("stopped before the cluster was ready")
    if missing := cluster.readiness.missing():
        raise ClusterError(
            f"not ready within {options.wait_seconds:g} s ({'; '.join(missing)}): "
            f"look into {options.directory() / 'wherry.log'}, or give it longer with --wait"
        )
