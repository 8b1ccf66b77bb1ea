"""EventRateLimit: events come no faster than the server, a namespace, a user, or a source and object may send them.

Configured as upstream (eventratelimit.admission.k8s.io/v1alpha1 Configuration):

    limits: [{type: Namespace, qps: 50, burst: 100, cacheSize: 2000}]
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from wherry.aio.clock import Clock
from wherry.meta.errors import StatusError
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation

CACHE_SIZE = 4096
"""Buckets of one limit; who has been quiet longest is forgotten, and starts with a full one again."""
_MESSAGE = "limit reached on type {} for key {}"


class Bucket:
    """So many tokens at once, and so many more each second."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: int, now: float) -> None:
        self._tokens, self._at = float(burst), now

    def take(self, qps: float, burst: int, now: float) -> bool:
        """One token, if there is one."""
        self._tokens = min(float(burst), self._tokens + (now - self._at) * qps)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _source_and_object(attributes: Attributes) -> str:
    event = attributes.object
    source, target = event.source, event.involvedObject
    parts = (source.component, source.host, target.kind, target.namespace, target.name, target.uid, target.apiVersion)
    return "".join(part or "" for part in parts)


_KEYS: dict[str, Callable[[Attributes], str]] = {
    "Server": lambda attributes: "",
    "Namespace": lambda attributes: attributes.namespace,
    "User": lambda attributes: attributes.user.name,
    "SourceAndObject": _source_and_object,
}


class Limit:
    """One configured limit. Raises ValueError for settings that make no sense."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.type, self.qps, self.burst = given.get("type") or "", given.get("qps") or 0, given.get("burst") or 0
        self._size = given.get("cacheSize") or CACHE_SIZE
        if self.type not in _KEYS:
            raise ValueError(f"limits: type must be one of {', '.join(sorted(_KEYS))}, not {self.type!r}")
        if not isinstance(self.qps, int) or not isinstance(self.burst, int) or self.qps <= 0 or self.burst < self.qps:
            raise ValueError(f"limits: {self.type}: qps must be positive, and burst no less than it")
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def exceeded(self, attributes: Attributes, now: float) -> str | None:
        """The key whose events come too fast."""
        key = _KEYS[self.type](attributes)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self.burst, now)
            if len(self._buckets) > self._size:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return None if bucket.take(self.qps, self.burst, now) else key


def limits_of(configuration: Mapping[str, Any]) -> list[Limit]:
    """The limits configured. Raises ValueError."""
    limits = [Limit(given) for given in configuration.get("limits") or ()]
    if not limits:
        raise ValueError("limits must name at least one limit")
    return limits


class EventRateLimit(AdmissionPlugin):
    """429 for events beyond any of the limits."""

    name = "EventRateLimit"
    kinds = frozenset({("", "events")})

    def __init__(self, clock: Clock, configuration: Mapping[str, Any]) -> None:
        self._clock = clock
        self._limits = limits_of(configuration)

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def validate(self, attributes: Attributes) -> None:
        if attributes.dry_run:
            return
        now = self._clock.monotonic()
        over = [(limit.type, key) for limit in self._limits if (key := limit.exceeded(attributes, now)) is not None]
        if over:
            text = "; ".join(_MESSAGE.format(*item) for item in over)
            raise StatusError(429, "TooManyRequests", text, {"retryAfterSeconds": 0})
