"""GET /debug/api_priority_and_fairness/…: levels, queues and waiting requests as tables of text."""

from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta
from typing import Any

from wherry.aio.clock import Clock
from wherry.server.fairness.fairness import Fairness, all_levels
from wherry.server.fairness.level import Level
from wherry.server.http import Handler, Request, Response

_LEVELS = ("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests")
_QUEUES = (
    *("PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR"),
    *("InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"),
)
_REQUESTS = (
    *("PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime"),
    *("InitialSeats", "FinalSeats", "AdditionalLatency"),
)
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")


class Dumps:
    """The three handlers."""

    def __init__(self, fairness: Fairness, clock: Clock) -> None:
        self._fairness = fairness
        self._clock = clock

    def routes(self) -> list[tuple[str, str, Handler]]:
        """What app.py registers."""
        root = "/debug/api_priority_and_fairness"
        return [
            ("GET", f"{root}/dump_priority_levels", self.levels),
            ("GET", f"{root}/dump_queues", self.queues),
            ("GET", f"{root}/dump_requests", self.requests),
        ]

    async def levels(self, request: Request) -> Response:
        """A row per priority level."""
        return _table(_LEVELS, map(_level, all_levels(self._fairness)))

    async def queues(self, request: Request) -> Response:
        """A row per queue."""
        rows: list[Sequence[object]] = []
        for level in all_levels(self._fairness):
            if not level.queues:
                rows.append((level.name, *["<none>"] * (len(_QUEUES) - 1)))
            for queue in level.queues:
                asked = sum(seat.width for seat in queue.waiting)
                facts = (len(queue.waiting), queue.executing, queue.seats, f"{queue.next_start:.8f}ss", asked, asked)
                rows.append((level.name, queue.index, *facts, f"{asked * 0.003:.8f}ss"))
        return _table(_QUEUES, rows)

    async def requests(self, request: Request) -> Response:
        """A row per waiting request; ?includeRequestDetails=1 tells whose it is and what it asks."""
        detailed = bool(request.first("includeRequestDetails"))
        now, wall = self._clock.monotonic(), self._clock.now()
        rows: list[Sequence[object]] = []
        for level in all_levels(self._fairness):
            for queue in level.queues:
                for index, seat in enumerate(queue.waiting):
                    arrived = (wall - timedelta(seconds=now - seat.since)).astimezone(UTC)
                    when = arrived.isoformat().replace("+00:00", "Z")
                    flow = seat.flow
                    row = (level.name, flow.schema, queue.index, index, flow.distinguisher, when, seat.width, 0, "0s")
                    rows.append((*row, *_details(seat.request)) if detailed else row)
        return _table((*_REQUESTS, *_DETAILS) if detailed else _REQUESTS, rows)


def _level(level: Level) -> Sequence[object]:
    if level.exempt:
        return (level.name, *["<none>"] * (len(_LEVELS) - 1))
    active = sum(bool(queue.waiting) for queue in level.queues)
    idle, quiescing = (str(fact).lower() for fact in (not level.demand, level.quiescing))
    return level.name, active, idle, quiescing, level.waiting, level.executing


def _details(request: Any) -> Sequence[str]:
    info = request.info
    version = f"{info.api_group}/{info.api_version}" if info.api_group else info.api_version
    user = request.user.name if request.user else ""
    return user, info.verb, info.path, info.namespace, info.name, version, info.resource, info.subresource


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """Columns padded to their widest cell, each cell but the last followed by a comma."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    cells = [[f"{cell}," for cell in row[:-1]] + row[-1:] for row in cells]
    widths = [max(8, max(len(row[column]) for row in cells) + 1) for column in range(len(header))]
    lines = [
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + row[-1] for row in cells
    ]
    return Response(200, ("\n".join(lines) + "\n").encode(), content_type="text/plain; charset=utf-8")
