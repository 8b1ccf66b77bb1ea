"""Leases: keys that go away with whoever stopped calling.

Only the table is here, without I/O or waiting; wherry/store/local.py deletes the keys of what `expired` names. Grants
and ends are durable, the time left is not: after a restart every lease has its full time again, as in etcd.
"""

import heapq

import msgspec

from wherry.store.errors import InvalidRequestError, LeaseExistsError, LeaseNotFoundError
from wherry.store.protocol import LeaseStatus

TTL_SECONDS_MAX = 9_000_000_000
"""etcd's own limit."""


class Lease(msgspec.Struct):
    id: int
    ttl_seconds: int
    deadline: float
    keys: set[bytes] = msgspec.field(default_factory=set)

    def status(self, now: float, keys: bool = False) -> LeaseStatus:
        remaining = max(0.0, self.deadline - now)
        return LeaseStatus(self.id, self.ttl_seconds, remaining, sorted(self.keys) if keys else [])


class LeaseTable:
    """`now` is monotonic seconds throughout."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        # One entry per lease at least; keepalives move a deadline without touching its entry, which is then put
        # back when it comes up.
        self._deadlines: list[tuple[float, int]] = []

    def __contains__(self, lease: int) -> bool:
        return lease in self._leases

    def ids(self) -> list[int]:
        return sorted(self._leases)

    def get(self, lease: int) -> Lease:
        found = self._leases.get(lease)
        if found is None:
            raise LeaseNotFoundError(lease)
        return found

    def grant(self, lease: int, ttl_seconds: int, now: float) -> Lease:
        if lease in self._leases:
            raise LeaseExistsError(lease)
        if not 0 < ttl_seconds <= TTL_SECONDS_MAX or lease <= 0:
            raise InvalidRequestError(f"a lease needs a positive id and 1 to {TTL_SECONDS_MAX} seconds")
        granted = Lease(lease, ttl_seconds, now + ttl_seconds)
        self.restore(granted)
        return granted

    def restore(self, lease: Lease) -> None:
        """Put back what was removed: the write that removed it failed."""
        self._leases[lease.id] = lease
        heapq.heappush(self._deadlines, (lease.deadline, lease.id))

    def remove(self, lease: int) -> Lease | None:
        return self._leases.pop(lease, None)

    def keepalive(self, lease: int, now: float) -> Lease:
        found = self.get(lease)
        if found.deadline <= now:
            raise LeaseNotFoundError(lease)
        found.deadline = now + found.ttl_seconds
        return found

    def attach(self, lease: int, key: bytes) -> None:
        if found := self._leases.get(lease):
            found.keys.add(key)

    def detach(self, lease: int, key: bytes) -> None:
        if found := self._leases.get(lease):
            found.keys.discard(key)

    def next_deadline(self) -> float | None:
        """When to look at `expired` next. Brings the heap up to date."""
        while self._deadlines:
            deadline, lease = self._deadlines[0]
            found = self._leases.get(lease)
            if found is not None and found.deadline <= deadline:
                return deadline
            heapq.heappop(self._deadlines)
            if found is not None:
                heapq.heappush(self._deadlines, (found.deadline, lease))
        return None

    def expired(self, now: float) -> list[int]:
        """The leases whose time is over, longest overdue first. They stay until removed."""
        ended = [lease for lease in self._leases.values() if lease.deadline <= now]
        return [lease.id for lease in sorted(ended, key=lambda lease: (lease.deadline, lease.id))]
