"""What CEL values are in Python, and how they compare.

null, bool, int, double, string, bytes, list and map are None, bool, int, float, str, bytes, list and dict, so JSON
needs no conversion. The rest stands here. Python holds True equal to 1; CEL does not, hence `equal`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import total_ordering
from typing import Any

SECOND = 1_000_000_000
"""Nanoseconds."""


class CelError(Exception):
    """An expression failed while it ran: no such key, division by zero, ..."""


class CostExceeded(Exception):
    """An expression did more than it may."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class UInt(int):
    """An unsigned integer, which CEL keeps apart from int."""

    __slots__ = ()


@total_ordering
@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time in nanoseconds."""

    nanos: int

    def __lt__(self, other: "Duration") -> bool:
        return self.nanos < other.nanos

    def __str__(self) -> str:
        whole, part = divmod(abs(self.nanos), SECOND)
        digits = f".{part:09d}".rstrip("0") if part else ""
        return f"{'-' if self.nanos < 0 else ''}{whole}{digits}s"


@total_ordering
@dataclass(frozen=True, slots=True)
class Timestamp:
    """A moment, as nanoseconds since 1970."""

    nanos: int

    def __lt__(self, other: "Timestamp") -> bool:
        return self.nanos < other.nanos

    def moment(self) -> datetime:
        """To the microsecond, in UTC."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.nanos // 1000)

    def __str__(self) -> str:
        part = self.nanos % SECOND
        digits = f".{part:09d}".rstrip("0") if part else ""
        return f"{self.moment():%Y-%m-%dT%H:%M:%S}{digits}Z".rjust(20, "0")


@dataclass(frozen=True, slots=True)
class Optional:
    """optional.of(value), or optional.none()."""

    value: Any = None
    present: bool = False


NONE = Optional()


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value: what type(x) gives."""

    name: str


@dataclass(frozen=True, slots=True)
class Struct:
    """An object made by an expression: Object{...}, JSONPatch{...}."""

    name: str
    fields: dict[str, Any]


_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}


def duration(text: str) -> Duration:
    """As Go parses it: 1h30m, -1.5s. Raises ValueError."""
    body = text[1:] if text[:1] in ("-", "+") else text
    total, at = 0, 0
    for match in _DURATION.finditer(body):
        if match.start() != at:
            break
        whole, _, part = match.group(1).partition(".")
        unit = _UNITS[match.group(2)]
        total += int(whole or 0) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
        at = match.end()
    if not body or (at != len(body) and body != "0") or total >= 1 << 63:
        raise ValueError(f'time: invalid duration "{text}"')
    return Duration(-total if text[0] == "-" else total)


_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)")


def timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises ValueError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse')
    moment = datetime.fromisoformat(f"{text[:10]}T{text[11:19]}+00:00")
    zone = match.group(8)
    if zone not in "Zz":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        moment -= shift if zone[0] == "+" else -shift
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return Timestamp(seconds * SECOND + int((match.group(7) or "").ljust(9, "0")))


_NUMBERS = frozenset({int, float, UInt})
_PLAIN = frozenset({str, bytes, int, float, UInt, type(None), bool, Duration, Timestamp})


def equal(left: Any, right: Any) -> bool:
    """CEL's ==, across types and in depth."""
    a, b = type(left), type(right)
    if a is b and a in _PLAIN:
        return bool(left == right)
    if a is list and b is list:
        return len(left) == len(right) and all(map(equal, left, right))
    if a is dict and b is dict:
        return len(left) == len(right) and all(key in right and equal(item, right[key]) for key, item in left.items())
    if a in _NUMBERS and b in _NUMBERS:
        return bool(left == right)
    if a is Optional and b is Optional:
        return left.present == right.present and equal(left.value, right.value)
    if a is Struct and b is Struct:
        return left.name == right.name and equal(left.fields, right.fields)
    return a is b and bool(left == right)


_NAMES: dict[type, str] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    Duration: "google.protobuf.Duration",
    Timestamp: "google.protobuf.Timestamp",
    Optional: "optional_type",
    TypeValue: "type",
}


def type_name(value: Any) -> str:
    """The name of a value's type."""
    if isinstance(value, Struct):
        return value.name
    return _NAMES.get(type(value)) or str(getattr(value, "cel_name", type(value).__name__))


def plain(value: Any) -> Any:
    """A value as JSON has it: what an expression made becomes part of an object. Raises CelError."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Struct):
        return plain(value.fields)
    if isinstance(value, Optional):
        return plain(value.value)
    if isinstance(value, UInt):
        return int(value)
    if isinstance(value, Duration | Timestamp):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CelError(f"unsupported conversion to JSON of type {type_name(value)}")
