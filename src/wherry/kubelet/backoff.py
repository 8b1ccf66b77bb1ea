"""Delays that double: before a container is started again, before an image is pulled again.

Kubernetes' numbers: 10 s, doubling to 5 minutes, forgotten after 10 minutes without a failure. The state is a value
per key; the machine asks, the agent records.
"""

from dataclasses import dataclass, field

INITIAL_SECONDS = 10.0
MAX_SECONDS = 300.0


@dataclass(slots=True)
class _Entry:
    delay_seconds: float
    updated: float


@dataclass(slots=True)
class Backoff:
    """Delays by key; times are seconds of one clock, whichever the caller chose."""

    initial_seconds: float = INITIAL_SECONDS
    max_seconds: float = MAX_SECONDS
    entries: dict[str, _Entry] = field(default_factory=dict)

    def remaining(self, key: str, since: float, now: float) -> float:
        """Seconds still to wait after an event at `since`; 0 or less when it may be tried."""
        entry = self.entries.get(key)
        if entry is None or since - entry.updated > 2 * self.max_seconds:
            return 0.0
        return entry.delay_seconds - (now - since)

    def remaining_since_update(self, key: str, now: float) -> float:
        """Seconds still to wait after the last `grow`."""
        entry = self.entries.get(key)
        if entry is None or now - entry.updated > 2 * self.max_seconds:
            return 0.0
        return entry.delay_seconds - (now - entry.updated)

    def grow(self, key: str, now: float) -> None:
        """Another failure (or another start after one): the next delay is the double."""
        entry = self.entries.get(key)
        if entry is None or now - entry.updated > 2 * self.max_seconds:
            self.entries[key] = _Entry(self.initial_seconds, now)
        else:
            self.entries[key] = _Entry(min(2 * entry.delay_seconds, self.max_seconds), now)

    def delay_seconds(self, key: str) -> float:
        """The present delay."""
        entry = self.entries.get(key)
        return entry.delay_seconds if entry else 0.0

    def forget(self, key: str) -> None:
        """Start from the shortest delay again."""
        self.entries.pop(key, None)
