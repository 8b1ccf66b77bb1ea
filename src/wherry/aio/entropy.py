"""The one source of randomness: uids, name suffixes, tokens, jitter.

Passed as an argument like the clock, so that a seed replays a whole cluster. `Entropy()` draws from the operating
system; `Entropy(seed)` is deterministic and for tests and simulation only.
"""

import os
import random

# Kubernetes' generateName alphabet: no vowels (no words), no 0, 1, 3 (no look-alikes).
# Source: k8s.io/apimachinery/pkg/util/rand.
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

_DRAW_BYTES = 1024
"""For 64 uids at once: asking the system for each would cost a write more than all other randomness."""


class Entropy:
    """Randomness for one cluster."""

    def __init__(self, seed: int | None = None) -> None:
        self._random: random.Random = random.SystemRandom() if seed is None else random.Random(seed)
        self._seeded = seed is not None
        self._drawn = b""

    def uid(self) -> str:
        """A version 4 UUID in lower case, as `metadata.uid` wants it."""
        if self._seeded:
            drawn = self.token(16)
        else:
            if not self._drawn:
                self._drawn = os.urandom(_DRAW_BYTES)
            drawn, self._drawn = self._drawn[:16], self._drawn[16:]
        text = drawn.hex()
        variant = "89ab"[drawn[8] >> 4 & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"

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
