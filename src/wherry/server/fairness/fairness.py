"""The filter that decides who is served now, who waits and who is turned away (KEP-1040).

`enter` classifies a request (a dictionary look-up for what came before), takes seats of its priority level and, when
there are none, returns a seat that must be waited for; `leave` gives them back. While nothing waits, that is all there
is to it. Levels that run out borrow what others lend and do not use (`_balance`). Read level.py for the queues,
matching.py for the classification, keeping.py for the objects that configure all this.
"""

import asyncio
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any, Protocol

from wherry.aio.clock import Clock
from wherry.api.flowcontrol_v1 import FlowSchema, PriorityLevelConfiguration
from wherry.server.fairness import suggested
from wherry.server.fairness.level import Flow, Level, Seat
from wherry.server.fairness.matching import in_order, matches
from wherry.server.fairness.statistics import Statistics
from wherry.server.http import Refusal, Request, Response, UserInfo
from wherry.server.lifecycle import long_running

READ_ONLY, MUTATING = 400, 200
"""kube-apiserver's --max-requests-inflight and --max-mutating-requests-inflight; together the seats there are."""
QUEUE_WAIT_SECONDS = 15.0
"""A quarter of the request timeout, as upstream."""
FLOWS_MAX = 10_000
BALANCE_SECONDS = 0.25
LIST_SEATS_MAX = 10
LIST_SEATS_FRACTION = 0.15
BYTES_PER_SEAT, LIST_BYTES_MAX = 100_000, 1_000_000
FLOW_SCHEMA_UID, PRIORITY_LEVEL_UID = "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"
_READING = frozenset({"get", "list", "watch", "head", "options"})
Sizes = Callable[[Request], tuple[int, int]]
"""How many objects of the request's kind there are, and the bytes of a typical one."""


class Gate(Protocol):
    """What limits requests in flight: `Fairness`, or `Limits` where that is off."""

    def enter(self, request: Request) -> Seat | None:
        """Seats for a request, to be waited for when `granted` is set; None when it needs none. Raises Refusal."""

    async def wait(self, seat: Seat) -> None:
        """Return once the seats are granted. Raises Refusal when that takes too long."""

    def leave(self, seat: Seat, seconds: float) -> None:
        """The request was answered after so many seconds."""

    def collect(self) -> list[Any]:
        """Metric families."""


class Fairness:
    """One per server."""

    def __init__(self, clock: Clock, sizes: Sizes, seats: int = READ_ONLY + MUTATING) -> None:
        self._clock = clock
        self._sizes = sizes
        self._seats = seats
        self.levels: dict[str, Level] = {}
        self.statistics = Statistics()
        self._schemas = {name(item): item for item in suggested.schemas() if name(item) in suggested.MANDATORY}
        self._configurations = {name(item): item for item in suggested.levels() if name(item) in suggested.MANDATORY}
        self._order: list[FlowSchema] = []
        self._flows: dict[tuple[str, ...], dict[tuple[str, ...], Flow | None]] = {}
        self._flow_count = 0
        self._stale = True

    # Configuration

    def schema_changed(self, old: FlowSchema | None, new: FlowSchema | None) -> None:
        """A FlowSchema came (no `old`), changed or went (no `new`)."""
        if new is not None:
            self._schemas[name(new)] = new
        elif old is not None and name(old) not in suggested.MANDATORY:
            self._schemas.pop(name(old), None)
        self._forget()

    def level_changed(self, old: PriorityLevelConfiguration | None, new: PriorityLevelConfiguration | None) -> None:
        """A PriorityLevelConfiguration came, changed or went."""
        if new is not None:
            self._configurations[name(new)] = new
        elif old is not None and name(old) not in suggested.MANDATORY:
            self._configurations.pop(name(old), None)
        self._forget()

    def _forget(self) -> None:
        self._stale = True
        self._flows.clear()
        self._flow_count = 0

    def _configure(self) -> None:
        """Everything from the objects there are: shares to seats, schemas in order."""
        self._stale = False
        configurations = self._configurations
        total = sum(_shares(item)[0] for item in configurations.values()) or 1
        for title, item in configurations.items():
            level = self.levels.setdefault(title, Level(title))
            shares, lendable, borrowing = _shares(item)
            level.uid, level.exempt, level.quiescing = item.metadata.uid or "", item.spec.type == "Exempt", False
            level.nominal = level.limit = ceil(self._seats * shares / total)
            level.minimum = level.nominal - round(level.nominal * lendable / 100)
            level.maximum = level.nominal + (
                self._seats if borrowing is None else round(level.nominal * borrowing / 100)
            )
            queuing = item.spec.limited.limitResponse.queuing if item.spec.limited is not None else None
            if queuing is not None:
                level.shape(queuing.queues or 64, queuing.handSize or 8, queuing.queueLengthLimit or 50)
            else:
                level.shape(0, 0, 0)
        for title, level in list(self.levels.items()):
            if title not in configurations:
                level.quiescing = True
                if not level.demand:
                    del self.levels[title]
            level.dispatch(self._clock.monotonic())
        self._order = in_order(
            item for item in self._schemas.values() if item.spec.priorityLevelConfiguration.name in configurations
        )

    # Requests

    def enter(self, request: Request) -> Seat | None:
        info, user = request.info, request.user or UserInfo()
        known = self._flows.get((user.name, *user.groups))
        flow = None
        if known is not None:
            flow = known.get(
                (info.verb, info.api_group, info.resource, info.subresource, info.namespace)
                if info.is_resource_request
                else (info.verb, info.path)
            )
        if flow is None:
            flow = self._classify(request, user)
            if flow is None:
                return None
        level, seat = flow.level, flow.plain
        request.flow_headers = flow.headers
        if flow.sized and not level.exempt:
            seat = Seat(flow, self._width(request, level))
        width = seat.width
        if level.exempt or (not level.waiting and level.in_use + width <= level.limit):
            level.in_use += width
            level.executing += 1
            flow.statistics.executing += 1
            return seat
        return self._wait_for_room(request, flow, width)

    def _classify(self, request: Request, user: UserInfo) -> Flow | None:
        if self._stale:
            self._configure()
        info = request.info
        if info.verb != "watch" and long_running(info):
            return None
        schema = next((item for item in self._order if matches(item, user, info)), None)
        if schema is None:  # a user of neither group that the catch-all names
            schema = self._schemas["catch-all"]
        level = self.levels[schema.spec.priorityLevelConfiguration.name]
        method = schema.spec.distinguisherMethod
        distinguisher = "" if method is None else user.name if method.type == "ByUser" else info.namespace
        headers = {FLOW_SCHEMA_UID: schema.metadata.uid or "", PRIORITY_LEVEL_UID: level.uid}
        sized = info.is_resource_request and info.verb in ("list", "watch")
        mutating = info.verb not in _READING
        kind = "watch" if info.verb == "watch" else "mutating" if mutating else "readOnly"
        statistics = self.statistics.of(name(schema), level.name, kind)
        flow = Flow(name(schema), level, distinguisher, headers, mutating, sized, statistics)
        if self._flow_count >= FLOWS_MAX:
            self._flows.clear()
            self._flow_count = 0
        self._flow_count += 1
        key = (
            (info.verb, info.api_group, info.resource, info.subresource, info.namespace)
            if info.is_resource_request
            else (info.verb, info.path)
        )
        self._flows.setdefault((user.name, *user.groups), {})[key] = flow
        return flow

    def _width(self, request: Request, level: Level) -> int:
        """Seats of a list: one per 100 kB that it is likely to read, one for a watch that begins with no list."""
        info = request.info
        if info.name or (info.verb == "watch" and request.first("sendInitialEvents") not in ("1", "true")):
            return 1
        count, size = self._sizes(request)
        limit = request.first("limit")
        if limit.isdecimal() and 0 < int(limit) < count:
            count = int(limit)
        most = max(1, min(LIST_SEATS_MAX, ceil(level.nominal * LIST_SEATS_FRACTION)))
        return max(1, min(most, ceil(min(count * size, LIST_BYTES_MAX) / BYTES_PER_SEAT)))

    def _wait_for_room(self, request: Request, flow: Flow, width: int) -> Seat:
        level, now = flow.level, self._clock.monotonic()
        if level.limit < level.maximum and now >= level.balance_after:
            self._balance(level, width, now)
        seat = Seat(flow, width)
        seat.request = request
        if not level.waiting and level.fits(width):
            level.in_use += width
            level.executing += 1
            flow.statistics.executing += 1
            return seat
        if not level.queues:
            raise self._refused(flow, "concurrency-limit")
        if not level.enqueue(seat, now):
            raise self._refused(flow, "queue-full")
        flow.statistics.waiting += 1
        level.dispatch(now)
        return seat

    async def wait(self, seat: Seat) -> None:
        flow, statistics = seat.flow, seat.flow.statistics
        assert seat.granted is not None
        try:
            async with asyncio.timeout(QUEUE_WAIT_SECONDS):
                await seat.granted
        except TimeoutError:
            self._withdraw(seat)
            raise self._refused(flow, "time-out") from None
        except asyncio.CancelledError:
            self._withdraw(seat)
            statistics.reject("cancelled")
            raise
        statistics.waiting -= 1
        statistics.executing += 1
        statistics.waited(self._clock.monotonic() - seat.since, True)

    def _withdraw(self, seat: Seat) -> None:
        """Wait no longer; seats granted at the same moment go back."""
        level, now = seat.flow.level, self._clock.monotonic()
        assert seat.granted is not None
        seat.flow.statistics.waiting -= 1
        seat.flow.statistics.waited(now - seat.since, False)
        if seat.granted.done() and not seat.granted.cancelled():
            level.in_use -= seat.width
            level.executing -= 1
            level.finished(seat, now)
        else:
            level.withdraw(seat)
        level.dispatch(now)

    def leave(self, seat: Seat, seconds: float) -> None:
        flow = seat.flow
        level = flow.level
        level.in_use -= seat.width
        level.executing -= 1
        flow.statistics.served(seconds)
        if seat.queue is not None:
            level.finished(seat, self._clock.monotonic())
        if level.waiting:
            level.dispatch(self._clock.monotonic())

    def _refused(self, flow: Flow, reason: str) -> Refusal:
        flow.statistics.reject(reason)
        return too_many()

    def collect(self) -> list[Any]:
        return self.statistics.collect(all_levels(self))

    # Borrowing

    def _balance(self, wanting: Level, width: int, now: float) -> None:
        """Deal the seats anew: to each what it needs of its own, then what is left in proportion to what is wanted."""
        limited = [level for level in self.levels.values() if not level.exempt]
        wanted: dict[str, tuple[int, int]] = {}
        for level in limited:
            demand = level.demand + (width if level is wanting else 0)
            own = max(level.minimum, min(level.nominal, demand))
            wanted[level.name] = own, max(0, min(level.maximum, demand) - own)
        spare = max(0, self._seats - sum(own for own, _ in wanted.values()))
        more = sum(extra for _, extra in wanted.values())
        share = 1.0 if more <= spare else spare / more
        before = wanting.limit
        for level in limited:
            own, extra = wanted[level.name]
            level.limit = own + int(extra * share)
            level.dispatch(now)
        if wanting.limit <= before:
            wanting.balance_after = now + BALANCE_SECONDS


class Limits:
    """--enable-priority-and-fairness=false: so many reads and so many writes at a time (0: any number)."""

    def __init__(self, read_only: int = READ_ONLY, mutating: int = MUTATING) -> None:
        self._limits = (read_only, mutating)
        level = Level("")
        level.exempt = True
        self.statistics = Statistics()
        statistics = [self.statistics.of("", "", kind) for kind in ("readOnly", "mutating")]
        self._seats = [Flow("", level, "", {}, bool(i), False, one).plain for i, one in enumerate(statistics)]

    def enter(self, request: Request) -> Seat | None:
        if long_running(request.info):
            return None
        kind = int(request.info.verb not in _READING)
        limit = self._limits[kind]
        seat = self._seats[kind]
        statistics = seat.flow.statistics
        if limit and statistics.executing >= limit and "system:masters" not in (request.user or UserInfo()).groups:
            raise too_many()
        statistics.executing += 1
        return seat

    async def wait(self, seat: Seat) -> None:
        """Nothing ever waits."""

    def leave(self, seat: Seat, seconds: float) -> None:
        seat.flow.statistics.served(seconds)

    def collect(self) -> list[Any]:
        """Metric families."""
        return self.statistics.collect([])[:1]


def too_many() -> Refusal:
    """429, worded as kube-apiserver does: text, no Status."""
    headers = {"Retry-After": "1", "X-Content-Type-Options": "nosniff"}
    body = b"Too many requests, please try again later.\n"
    return Refusal(Response(429, body, headers=headers, content_type="text/plain; charset=utf-8"))


def name(item: Any) -> str:
    """An object's name."""
    return item.metadata.name or ""


def _shares(item: PriorityLevelConfiguration) -> tuple[int, int, int | None]:
    """Shares, percentage lent, percentage that may be borrowed (None: no limit)."""
    part: Any = item.spec.exempt if item.spec.type == "Exempt" else item.spec.limited
    if part is None:
        return 0, 0, None
    shares = part.nominalConcurrencyShares
    if shares is None:
        shares = 0 if item.spec.type == "Exempt" else 30
    return shares, part.lendablePercent or 0, getattr(part, "borrowingLimitPercent", None)


def all_levels(fairness: Fairness) -> Iterable[Level]:
    """Levels by name, for dumps and metrics."""
    return [level for _, level in sorted(fairness.levels.items())]
