"""Exponential backoff: how long to wait before the next try."""

from dataclasses import dataclass

from wherry.aio.entropy import Entropy


@dataclass(slots=True)
class Backoff:
    """Waits grow from `initial_seconds` by `factor` up to `cap_seconds`; each is lengthened by up to `jitter` of it.

    The cap holds before jitter, as in Kubernetes' wait.Backoff: many clients at the cap still spread out.
    """

    entropy: Entropy
    initial_seconds: float = 1.0
    cap_seconds: float = 60.0
    factor: float = 2.0
    jitter: float = 0.1
    attempts: int = 0
    """Tries since the last reset."""
    _next_seconds: float = 0.0

    def next_seconds(self) -> float:
        """The wait before the next try."""
        self._next_seconds = min(
            self.cap_seconds, self._next_seconds * self.factor if self.attempts else self.initial_seconds
        )
        self.attempts += 1
        return self._next_seconds * (1 + self.entropy.uniform(0, self.jitter) if self.jitter else 1)

    def reset(self) -> None:
        """Start over: the last try did well."""
        self.attempts = 0
