"""What regulates requests, put together: priority and fairness, time limits, the server's orderly end.

app.py makes one `Traffic` and asks it at fixed points of the chain; each part stands in its own module: fairness/,
lifecycle.py.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.flowcontrol_v1 import FlowSchema, PriorityLevelConfiguration
from wherry.client.client import Client
from wherry.server.caches import Caches
from wherry.server.fairness.dumps import Dumps
from wherry.server.fairness.fairness import MUTATING, READ_ONLY, Fairness, Gate, Limits
from wherry.server.fairness.keeping import Keeper
from wherry.server.http import Handler, Request
from wherry.server.lifecycle import REQUEST_SECONDS, Lifecycle
from wherry.server.registry import Registry


@dataclass(slots=True)
class TrafficOptions:
    """kube-apiserver's settings of the same names, and its defaults."""

    priority_and_fairness: bool = True
    """--enable-priority-and-fairness; without it, requests over the limits below are refused."""
    read_only_max: int = READ_ONLY
    """--max-requests-inflight; with priority and fairness, the seats are the sum of both."""
    mutating_max: int = MUTATING
    """--max-mutating-requests-inflight."""
    request_seconds: float = REQUEST_SECONDS
    """--request-timeout of all but long-running requests."""
    shutdown_delay_seconds: float = 0.0
    """--shutdown-delay-duration: how long to serve on after readyz has begun to fail."""
    shutdown_send_retry_after: bool = False
    """--shutdown-send-retry-after: answer late-comers with 429 while requests under way finish."""


class Traffic:
    """One per server."""

    def __init__(
        self, options: TrafficOptions, registry: Registry, caches: Caches, client: Callable[[], Client], clock: Clock
    ) -> None:
        self._options = options
        self._registry = registry
        self._caches = caches
        self.lifecycle = Lifecycle(clock, options.request_seconds)
        self.fairness: Fairness | None = None
        self.gate: Gate
        if options.priority_and_fairness:
            self.gate = self.fairness = Fairness(clock, self._sizes, options.read_only_max + options.mutating_max)
        else:
            self.gate = Limits(options.read_only_max, options.mutating_max)
        self._keeper = Keeper(client, caches, clock)
        self._dumps = Dumps(self.fairness, clock) if self.fairness is not None else None
        self._task: asyncio.Task[None] | None = None

    def _sizes(self, request: Request) -> tuple[int, int]:
        info = request.info
        served = self._registry.find(info.api_group, info.api_version, info.resource)
        entries = served.cache.entries if served is not None else {}
        return len(entries), len(next(iter(entries.values())).data) if entries else 0

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Handlers of paths that are no resources."""
        return self._dumps.routes() if self._dumps is not None else []

    def start(self, keep: bool) -> None:
        """Follow the objects that configure this; with `keep`, see that they are there."""
        if self.fairness is None:
            return
        pairs: list[tuple[type[Any], Any]] = [
            (FlowSchema, self.fairness.schema_changed),
            (PriorityLevelConfiguration, self.fairness.level_changed),
        ]
        for kind, listener in pairs:
            self._caches.on_change(kind, listener)
            self._caches.on_change(kind, self._keeper.changed)
        if keep:
            self._task = asyncio.get_running_loop().create_task(self._keeper.run(), name="priority and fairness")

    async def drain(self) -> None:
        """Stop in order: see lifecycle.py."""
        await self.lifecycle.drain(self._options.shutdown_delay_seconds, self._options.request_seconds)

    async def close(self) -> None:
        """Stop at once."""
        self.lifecycle.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
