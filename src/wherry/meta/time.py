"""Times on the wire and ages in tables.

`Time` has whole seconds, `MicroTime` exactly six decimals (client-go refuses any other number); both are UTC and end
in Z. Ages follow kubectl's: two units at most, coarser as they grow (k8s.io/apimachinery/pkg/util/duration).
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


def format_time(when: datetime) -> str:
    """2026-01-01T00:00:00Z; fractions of a second are cut off."""
    return _second(when.timestamp() // 1)


@lru_cache(maxsize=16)
def _second(timestamp: float) -> str:
    """Writes come by the thousand in a second, and all of them bear its name."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(when: datetime) -> str:
    """2026-01-01T00:00:00.000000Z."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """RFC 3339, any offset, any number of decimals, to an aware datetime in UTC. Raises ValueError."""
    if len(text) < 20 or text[10] != "T" or text[4] != "-" or text[13] != ":":
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"')
    return when.astimezone(UTC)


def age(timestamp: str | None, now: datetime) -> str:
    """The AGE column: how long ago `timestamp` was, "<unknown>" when there is none."""
    return "<unknown>" if not timestamp else format_duration(now - parse_time(timestamp))


def format_duration(span: timedelta) -> str:
    """5s, 2m3s, 12m, 3h7m, 23h, 2d5h, 300d, 2y11d, 9y. A clock two seconds or more behind gives "<invalid>"."""
    seconds = int(span.total_seconds())
    if seconds < -1:
        return "<invalid>"
    seconds = max(0, seconds)
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return _two(seconds, _MINUTE, "m", 1, "s")
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 8 * _HOUR:
        return _two(seconds, _HOUR, "h", _MINUTE, "m")
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    if seconds < 8 * _DAY:
        return _two(seconds, _DAY, "d", _HOUR, "h")
    if seconds < 2 * _YEAR:
        return f"{seconds // _DAY}d"
    if seconds < 8 * _YEAR:
        return _two(seconds, _YEAR, "y", _DAY, "d")
    return f"{seconds // _YEAR}y"


def _two(seconds: int, unit: int, name: str, sub: int, sub_name: str) -> str:
    rest = seconds % unit // sub
    return f"{seconds // unit}{name}{rest}{sub_name}" if rest else f"{seconds // unit}{name}"
