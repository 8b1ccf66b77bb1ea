"""The webhook backend: events in batches to an HTTPS server, from a bounded buffer; what does not fit is lost."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from itertools import islice

from wherry.aio.clock import Clock
from wherry.server.audit.events import Event
from wherry.server.callouts.client import CalloutError, Callouts, Remote

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 4
RETRY_SECONDS = 10.0
CLOSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """--audit-webhook-batch-*, with kube-apiserver's defaults."""

    buffer_size: int = 10_000
    size_max: int = 400
    wait_seconds: float = 30.0
    """How long an event waits for others."""
    throttle_qps: float = 10.0
    """Batches a second."""
    retry_seconds: float = RETRY_SECONDS
    """--audit-webhook-initial-backoff."""


class Webhook:
    """Sends in the background, one batch at a time."""

    name = "webhook"

    def __init__(self, remote: Remote, callouts: Callouts, clock: Clock, options: BatchOptions) -> None:
        self._remote = remote
        self._callouts = callouts
        self._clock = clock
        self._options = options
        self._buffer: deque[Event] = deque()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.errors = 0

    def put(self, event: Event) -> None:
        """Take an event; never waits."""
        if len(self._buffer) >= self._options.buffer_size:
            self.errors += 1
            return
        self._buffer.append(event)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="audit webhook")
        if len(self._buffer) in (1, self._options.size_max):
            self._woken.set()

    async def close(self) -> None:
        """Send what is left, for a while."""
        self._closing = True
        self._woken.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._buffer or not self._closing:
            if not self._buffer:
                self._woken.clear()
                await self._woken.wait()
            if len(self._buffer) < self._options.size_max and not self._closing:
                self._woken.clear()
                try:
                    async with asyncio.timeout(self._options.wait_seconds):
                        await self._woken.wait()
                except TimeoutError:
                    pass  # what there is goes alone
            batch = list(islice(self._buffer, self._options.size_max))
            if batch:
                await self._send(batch)
                for _ in batch:
                    self._buffer.popleft()
                if not self._closing:
                    await self._clock.sleep(1 / self._options.throttle_qps)

    async def _send(self, batch: list[Event]) -> None:
        body = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": batch}
        for attempt in range(ATTEMPTS):
            try:
                await self._callouts.deliver(self._remote, body, timeout_seconds=TIMEOUT_SECONDS)
                return
            except CalloutError as error:
                if attempt == ATTEMPTS - 1 or self._closing:
                    _log.error("%d audit events are lost: %s", len(batch), error)
                    self.errors += len(batch)
                    return
            await self._clock.sleep(self._options.retry_seconds * 1.5**attempt)
