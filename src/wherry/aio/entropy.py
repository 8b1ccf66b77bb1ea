"""The one source of randomness: uids, name suffixes, tokens, jitter.

Passed as an argument like the clock, so that a seed replays a whole cluster. `Entropy()` draws from the operating
system; `Entropy(seed)` is deterministic and for tests and simulation only.
"""

import random
import uuid

# Kubernetes' generateName alphabet: no vowels (no words), no 0, 1, 3 (no look-alikes).
# Source: k8s.io/apimachinery/pkg/util/rand.
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class Entropy:
    """Randomness for one cluster."""

    def __init__(self, seed: int | None = None) -> None:
        self._random: random.Random = random.SystemRandom() if seed is None else random.Random(seed)

    def uid(self) -> str:
        """A version 4 UUID in lower case, as `metadata.uid` wants it."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def suffix(self, length: int = 5) -> str:
        """A name suffix from Kubernetes' safe alphabet."""
        return "".join(self._random.choices(NAME_ALPHABET, k=length))

    def token(self, byte_count: int) -> bytes:
        """`byte_count` random bytes, fit for secrets when the entropy is the system's."""
        return self._random.getrandbits(8 * byte_count).to_bytes(byte_count, "big")

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high], for jitter."""
        return self._random.uniform(low, high)

    def below(self, limit: int) -> int:
        """An integer in [0, limit), for tie breaking."""
        return self._random.randrange(limit)
