"""One priority level: its seats, and the queues in which requests wait for one.

While seats are free a request takes one and nothing else happens. When they are not, it is put into one of the few
queues that shuffle sharding deals to its flow, the one with the least work; seats that come free go to the queue whose
next request would finish first in virtual time, which is what makes flows of few requests overtake those of many.
Virtual time advances at the rate at which an active queue is served. Source of the design: KEP-1040.
"""

import asyncio
import hashlib
from collections import deque

from wherry.server.fairness.statistics import SchemaStatistics

QUEUES_MAX = 10_000
"""More queues than this are not made, whatever is configured: each costs memory, and so many flows never wait."""
GUESSED_SECONDS = 0.003
"""How long a request is taken to last when it is dispatched; mended when it ends."""


class Flow:
    """Requests that share a fate: one FlowSchema, one distinguisher, one verb and resource."""

    __slots__ = ("distinguisher", "hand", "headers", "level", "mutating", "plain", "schema", "sized", "statistics")

    def __init__(
        self,
        schema: str,
        level: "Level",
        distinguisher: str,
        headers: dict[str, str],
        mutating: bool,
        sized: bool,
        statistics: SchemaStatistics,
    ) -> None:
        self.statistics = statistics
        self.schema = schema
        self.level = level
        self.distinguisher = distinguisher
        self.headers = headers
        """What every answer tells: the uids of schema and level."""
        self.mutating = mutating
        self.sized = sized
        """Lists take seats by their size."""
        self.hand = level.deal(schema, distinguisher)
        self.plain = Seat(self, 1)


class Seat:
    """What a request holds while it is served: `width` seats of its flow's level."""

    __slots__ = ("dispatched", "flow", "granted", "queue", "request", "since", "width")

    def __init__(self, flow: Flow, width: int) -> None:
        self.flow = flow
        self.width = width
        self.queue: Queue | None = None
        self.granted: asyncio.Future[None] | None = None
        """Set while the request waits."""
        self.since = 0.0
        self.dispatched = 0.0
        self.request: object = None


class Queue:
    """Requests of some flows that wait, and what those that came out of it are doing."""

    __slots__ = ("executing", "index", "next_start", "seats", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Seat] = deque()
        self.next_start = 0.0
        """Virtual time at which the next request begins."""
        self.executing = 0
        self.seats = 0

    @property
    def active(self) -> bool:
        """Something waits or runs."""
        return bool(self.waiting or self.executing)

    def work(self) -> int:
        """Seats asked for and held."""
        return self.seats + sum(seat.width for seat in self.waiting)


class Level:
    """The seats of one PriorityLevelConfiguration."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.exempt = False
        self.nominal = self.minimum = self.maximum = self.limit = 0
        """Seats by right; those never lent; those with all that may be borrowed; and those of the moment."""
        self.in_use = 0
        self.executing = 0
        self.waiting = 0
        self.waiting_seats = 0
        self.queues: list[Queue] = []
        """Empty: what does not fit is turned away."""
        self.hand_size = 0
        self.queue_length_limit = 0
        self.quiescing = False
        """Its object is gone; it serves what it has."""
        self.balance_after = 0.0
        """Not worth asking for more seats before (monotonic seconds)."""
        self._virtual = 0.0
        self._last = 0.0

    def shape(self, queues: int, hand_size: int, length_limit: int) -> None:
        """Queues as configured; those in use that are too many stay until the level is idle."""
        queues = min(queues, QUEUES_MAX)
        while len(self.queues) > queues and not self.queues[-1].active:
            self.queues.pop()
        self.queues += [Queue(index) for index in range(len(self.queues), queues)]
        self.hand_size, self.queue_length_limit = hand_size, length_limit

    def deal(self, schema: str, distinguisher: str) -> tuple[int, ...]:
        """The queues of a flow: `hand_size` different ones, chosen by its hash."""
        deck = len(self.queues)
        digest = hashlib.sha256(f"{len(schema)},{schema}{distinguisher}".encode()).digest()
        value = int.from_bytes(digest[:8], "little")
        left = list(range(deck)) if deck <= 1024 else None
        hand: list[int] = []
        for dealt in range(min(self.hand_size, deck)):
            value, card = divmod(value, deck - dealt)
            if left is not None:
                hand.append(left.pop(card))
            else:  # a deck too large to lay out: the n-th card not yet dealt
                for earlier in sorted(hand):
                    card += card >= earlier
                hand.append(card)
        return tuple(hand)

    @property
    def demand(self) -> int:
        """Seats held and asked for."""
        return self.in_use + self.waiting_seats

    def fits(self, width: int) -> bool:
        """Whether there is room, nobody waiting; what is wider than the level may have it to itself."""
        return self.in_use + width <= self.limit or not self.in_use

    def enqueue(self, seat: Seat, now: float) -> bool:
        """Let a request wait; False when its queue is full."""
        queue = min((self.queues[index] for index in seat.flow.hand), key=Queue.work)
        if len(queue.waiting) >= self.queue_length_limit:
            return False
        self._advance(now)
        if not queue.active:
            queue.next_start = self._virtual
        seat.queue, seat.since = queue, now
        seat.granted = asyncio.get_running_loop().create_future()
        queue.waiting.append(seat)
        self.waiting += 1
        self.waiting_seats += seat.width
        return True

    def withdraw(self, seat: Seat) -> None:
        """The request waits no longer, and was not served."""
        assert seat.queue is not None
        seat.queue.waiting.remove(seat)
        self._unqueued(seat)

    def _unqueued(self, seat: Seat) -> None:
        self.waiting -= 1
        self.waiting_seats -= seat.width

    def dispatch(self, now: float) -> None:
        """Give free seats to those that wait, fairest first."""
        if not self.waiting:
            return
        self._advance(now)
        while self.waiting:
            queue = min((queue for queue in self.queues if queue.waiting), key=_finish)
            seat = queue.waiting[0]
            if not self.fits(seat.width):
                return
            queue.waiting.popleft()
            self._unqueued(seat)
            queue.next_start += seat.width * GUESSED_SECONDS
            queue.executing += 1
            queue.seats += seat.width
            seat.dispatched = now
            self.in_use += seat.width
            self.executing += 1
            assert seat.granted is not None
            if not seat.granted.done():
                seat.granted.set_result(None)

    def finished(self, seat: Seat, now: float) -> None:
        """A request that had waited was served: charge its queue what it really took."""
        queue = seat.queue
        assert queue is not None
        self._advance(now)
        queue.next_start += seat.width * (now - seat.dispatched - GUESSED_SECONDS)
        queue.executing -= 1
        queue.seats -= seat.width

    def _advance(self, now: float) -> None:
        active = sum(queue.active for queue in self.queues)
        if active:
            self._virtual += (now - self._last) * min(self.demand, self.limit) / active
        self._last = now


def _finish(queue: Queue) -> tuple[float, int]:
    return queue.next_start + queue.waiting[0].width * GUESSED_SECONDS, queue.index
