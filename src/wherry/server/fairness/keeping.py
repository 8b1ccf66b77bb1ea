"""Keeps the objects of priority and fairness: creates what every cluster has, and writes the Dangling conditions.

An object annotated `apf.kubernetes.io/autoupdate-spec: "true"` (or never changed by anybody) is kept as suggested.py
has it; "false" makes it the administrator's. Runs once at start and, at most once a minute, after changes. Source:
kube-apiserver's priority-and-fairness-config-producer and api-priority-and-fairness-config-consumer-v1.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.flowcontrol_v1 import FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration
from wherry.client.client import Client
from wherry.meta.errors import StatusError
from wherry.meta.time import format_time
from wherry.server.fairness import suggested
from wherry.server.strategies.strategy import Caches

AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
REPEAT_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Keeper:
    """One per server; `run` is a task."""

    def __init__(self, client: Callable[[], Client], caches: Caches, clock: Clock) -> None:
        self._client = client
        self._caches = caches
        self._clock = clock
        self._changed = asyncio.Event()

    def changed(self, _old: Any, _new: Any) -> None:
        """An object came, changed or went."""
        self._changed.set()

    async def run(self) -> None:
        """Keep everything, until cancelled."""
        kept = float("-inf")
        while True:
            self._changed.clear()
            now = self._clock.monotonic()
            try:
                if now - kept >= REPEAT_SECONDS:
                    kept = now
                    await self.ensure()
                await self._report()
            except StatusError as error:
                _log.warning("objects of priority and fairness cannot be kept now: %s", error)
            wait = self._changed.wait()
            if self._clock.monotonic() - kept < REPEAT_SECONDS and self._incomplete():
                await self._soon(wait, kept)
            else:
                await wait

    async def _soon(self, wait: Any, kept: float) -> None:
        """Something is not as it should be: look again when the minute is over, or something changes."""
        try:
            async with asyncio.timeout(max(0.0, kept + REPEAT_SECONDS - self._clock.monotonic())):
                await wait
        except TimeoutError:
            return

    def _incomplete(self) -> bool:
        return any(self._lacking(item) for item in [*suggested.levels(), *suggested.schemas()])

    async def ensure(self) -> None:
        """Create what is missing, restore what is kept, remove what is no longer suggested. Raises StatusError."""
        wanted = [*suggested.levels(), *suggested.schemas()]
        await asyncio.gather(*(self._ensure(item) for item in wanted if self._lacking(item)))
        for kind in (FlowSchema, PriorityLevelConfiguration):
            names = {item.metadata.name for item in wanted if isinstance(item, kind)}
            for found in self._caches.list(kind):
                if found.metadata.name not in names and found.metadata.annotations.get(AUTO_UPDATE) == "true":
                    await self._client().delete(kind, found.metadata.name or "")

    def _lacking(self, wanted: Any) -> bool:
        found: Any = self._caches.get(type(wanted), None, wanted.metadata.name)
        return found is None or self._mended(found, wanted) is not None

    def _mended(self, found: Any, wanted: Any) -> Any:
        """`found` as it should be; None when it is, or is not to be touched."""
        mandatory = wanted.metadata.name in suggested.MANDATORY
        said = found.metadata.annotations.get(AUTO_UPDATE)
        automatic = said == "true" if said in ("true", "false") else found.metadata.generation == 1
        if mandatory and wanted.metadata.name != "exempt":
            automatic = True
        if said == str(automatic).lower() and (not automatic or found.spec == wanted.spec):
            return None
        found.metadata.annotations = {**found.metadata.annotations, AUTO_UPDATE: str(automatic).lower()}
        if automatic:
            found.spec = wanted.spec
        return found

    async def _ensure(self, wanted: Any) -> None:
        found: Any = self._caches.get(type(wanted), None, wanted.metadata.name)
        try:
            if found is None:
                wanted.metadata.annotations = {AUTO_UPDATE: "true"}
                await self._client().create(wanted)
            elif (mended := self._mended(found, wanted)) is not None:
                await self._client().update(mended)
        except StatusError as error:
            if error.reason not in ("AlreadyExists", "Conflict"):  # several API servers start at once
                raise

    async def _report(self) -> None:
        levels = {item.metadata.name for item in self._caches.list(PriorityLevelConfiguration)}
        levels |= suggested.MANDATORY
        await asyncio.gather(*(self._condition(schema, levels) for schema in self._caches.list(FlowSchema)))

    async def _condition(self, schema: FlowSchema, levels: Iterable[str | None]) -> None:
        """Say whether the priority level of `schema` is there."""
        name = schema.spec.priorityLevelConfiguration.name
        there = name in levels
        subject = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}"'
        status, reason, tail = ("False", "Found", "and it exists") if there else ("True", "NotFound", _MISSING)
        message = f"{subject} {tail}"
        old = next((item for item in schema.status.conditions if item.type == "Dangling"), None)
        if old is not None and (old.status, old.reason, old.message) == (status, reason, message):
            return
        since = old.lastTransitionTime if old is not None and old.status == status else format_time(self._clock.now())
        made = FlowSchemaCondition(
            type="Dangling", status=status, reason=reason, message=message, lastTransitionTime=since
        )
        schema.status.conditions = [*(item for item in schema.status.conditions if item.type != "Dangling"), made]
        try:
            await self._client().update_status(schema)
        except StatusError as error:
            if error.reason not in ("Conflict", "NotFound"):  # the next change reports again
                raise


_MISSING = "but there is no such object"
