"""What belongs to no pod any more: sandboxes, directories and logs that a kubelet left behind when it ended."""

import asyncio
import logging
import shutil
from collections.abc import Callable

from wherry.kubelet.context import NodeContext
from wherry.kubelet.logs import rotate
from wherry.kubelet.runtimes.protocol import LOG_FILE, RUNNING, PodRecord, RuntimeFailure

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0


class OrphanSweeper:
    """Housekeeping of one node."""

    def __init__(self, node: NodeContext, known: Callable[[], set[str]]) -> None:
        self._node = node
        self._known = known

    async def run(self) -> None:
        """Sweep now and then."""
        while True:
            try:
                await self.sweep()
            except (RuntimeFailure, OSError) as error:
                log.warning("sweeping: %s", error)
            await self._node.clock.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Remove what no pod owns, and rotate logs that have grown too long."""
        records = await self._node.runtime.pods()
        for uid, record in records.items():
            if uid not in self._known():
                await self._remove(record)
        for uid in self._node.volumes.uids():
            if uid not in self._known():
                await self._node.volumes.remove(uid)
        logs_dir = self._node.options.logs_dir
        for path in logs_dir.iterdir() if logs_dir.is_dir() else ():
            if path.name.rpartition("_")[2] not in self._known():
                await asyncio.to_thread(shutil.rmtree, path, True)
        await self._rotate_logs(records)

    async def _remove(self, record: PodRecord) -> None:
        log.info("removing pod %s/%s (%s), which is no more", record.namespace, record.name, record.uid)
        runtime = self._node.runtime
        for sandbox in record.sandboxes:
            await runtime.stop_sandbox(sandbox.id)
        for container in record.containers:
            await runtime.remove_container(container.id)
        for sandbox in record.sandboxes:
            await runtime.remove_sandbox(sandbox.id)

    async def _rotate_logs(self, records: dict[str, PodRecord]) -> None:
        from pathlib import Path

        options = self._node.options
        for container in (item for record in records.values() for item in record.containers):
            path = Path(container.annotations.get(LOG_FILE, ""))
            if container.state != RUNNING or not path.is_file():
                continue
            if path.stat().st_size > options.container_log_max_bytes:
                stamp = self._node.clock.now().strftime("%Y%m%d-%H%M%S")
                await asyncio.to_thread(rotate, path, stamp, options.container_log_max_files)
                await self._node.runtime.reopen_log(container.id)
