"""What regulates and records requests, put together: priority and fairness, time limits, the end, the audit log.

app.py makes one `Traffic` and asks it at fixed points of the chain; each part stands in its own module: fairness/,
lifecycle.py, audit/. What is not configured costs a look at an attribute.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wherry.api.flowcontrol_v1 import FlowSchema, PriorityLevelConfiguration
from wherry.client.client import Client
from wherry.server.audit.options import AuditOptions, make_auditor
from wherry.server.caches import Caches
from wherry.server.edges import Edges
from wherry.server.fairness.dumps import Dumps
from wherry.server.fairness.fairness import MUTATING, READ_ONLY, Fairness, Gate, Limits
from wherry.server.fairness.keeping import Keeper
from wherry.server.http import Handler, Request, Response
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
    audit: AuditOptions = field(default_factory=AuditOptions)


class Traffic:
    """One per server."""

    def __init__(
        self, options: TrafficOptions, registry: Registry, caches: Caches, client: Callable[[], Client], edges: Edges
    ) -> None:
        clock = edges.callouts.clock
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
        edges.metrics.families.append(self.gate.collect)
        self._audit_prefix = edges.callouts.entropy.uid()[:24]
        self._count = 0
        self._auditor = make_auditor(options.audit, edges.callouts, clock)
        if self._auditor is not None:
            edges.metrics.families.append(self._auditor.collect)
            edges.who = (edges.who[0], self._auditor.received, *edges.who[1:])

    # Points of the chain

    def begin(self, request: Request, now: float) -> None:
        """The request came in. Raises Refusal, and StatusError for a timeout that cannot be read."""
        if request.raw is not None or self._auditor is not None:
            self._count += 1
            request.audit_id = request.headers.get("audit-id") or f"{self._audit_prefix}{self._count:012x}"
        if request.raw is not None:
            self.lifecycle.begin(request, now)

    def end(self, request: Request) -> None:
        """The request is answered or was given up."""
        if request.raw is not None:
            self.lifecycle.end(request)

    def answered(self, request: Request, response: Response) -> None:
        """The answer is ready to go."""
        if request.flow_headers is not None:
            response.headers.update(request.flow_headers)
        if request.audit_id:
            response.headers["Audit-Id"] = request.audit_id
        if self._auditor is not None:
            self._auditor.answered(request, response)

    def crashed(self, request: Request, error: Exception) -> None:
        """The handler broke."""
        if self._auditor is not None:
            self._auditor.crashed(request, error)

    # The rest

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
        if self._auditor is not None:
            await self._auditor.close()
