"""Operators, conversions and the functions of the language itself.

Integers are 64 bits wide and never wrap. Source: cel-spec, doc/langdef.md; cel-go, common/stdlib.
"""

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wherry.server.cel.functions import Functions, Sizes, declare, tenth
from wherry.server.cel.values import (
    NONE,
    SECOND,
    CelError,
    CostExceeded,
    Duration,
    Optional,
    Timestamp,
    TypeValue,
    UInt,
    duration,
    equal,
    timestamp,
    type_name,
)

INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
TEXT_MAX = 10_000_000
"""The longest string an expression may build: more than any request can hold."""


def integer(value: int) -> int:
    """`value`, if it fits."""
    if not INT_MIN <= value <= INT_MAX:
        raise CelError("integer overflow")
    return value


def _unsigned(value: int) -> UInt:
    if not 0 <= value <= UINT_MAX:
        raise CelError("unsigned integer overflow")
    return UInt(value)


def _whole(value: float) -> int:
    if math.isnan(value) or not -(2.0**63) < value < 2.0**63:
        raise CelError("integer overflow")
    return int(value)


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise CelError("division by zero")
    quotient = abs(left) // abs(right)
    return integer(quotient if (left < 0) == (right < 0) else -quotient)


def _modulo(left: int, right: int) -> int:
    if right == 0:
        raise CelError("modulus by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _float_divide(left: float, right: float) -> float:
    if right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
    return left / right


def concatenate(left: Any, right: Any) -> Any:
    """Strings, bytes, lists; bounded."""
    if len(left) + len(right) > TEXT_MAX:
        raise CostExceeded
    return left + right


def _span(nanos: int) -> Duration:
    if not INT_MIN <= nanos <= INT_MAX:
        raise CelError("integer overflow")
    return Duration(nanos)


def _moment(nanos: int) -> Timestamp:
    if not -62135596800 * SECOND <= nanos < 253402300800 * SECOND:
        raise CelError("timestamp overflow")
    return Timestamp(nanos)


OPERATORS: Functions = {}


def _whole_size(sizes: Sizes) -> int:
    return tenth(sizes[0] + sizes[1])


def _shorter(sizes: Sizes) -> int:
    return max(1, tenth(min(sizes)))


def _sum(sizes: Sizes) -> int:
    return sizes[0] + sizes[1]


declare(
    {
        "_+_(int, int) -> int": lambda a, b: integer(a + b),
        "_+_(uint, uint) -> uint": lambda a, b: _unsigned(int(a) + int(b)),
        "_+_(double, double) -> double": lambda a, b: a + b,
        "_+_(Duration, Duration) -> Duration": lambda a, b: _span(a.nanos + b.nanos),
        "_+_(Timestamp, Duration) -> Timestamp": lambda a, b: _moment(a.nanos + b.nanos),
        "_+_(Duration, Timestamp) -> Timestamp": lambda a, b: _moment(a.nanos + b.nanos),
        "_-_(int, int) -> int": lambda a, b: integer(a - b),
        "_-_(uint, uint) -> uint": lambda a, b: _unsigned(int(a) - int(b)),
        "_-_(double, double) -> double": lambda a, b: a - b,
        "_-_(Duration, Duration) -> Duration": lambda a, b: _span(a.nanos - b.nanos),
        "_-_(Timestamp, Duration) -> Timestamp": lambda a, b: _moment(a.nanos - b.nanos),
        "_-_(Timestamp, Timestamp) -> Duration": lambda a, b: _span(a.nanos - b.nanos),
        "_*_(int, int) -> int": lambda a, b: integer(a * b),
        "_*_(uint, uint) -> uint": lambda a, b: _unsigned(int(a) * int(b)),
        "_*_(double, double) -> double": lambda a, b: a * b,
        "_/_(int, int) -> int": _divide,
        "_/_(uint, uint) -> uint": lambda a, b: UInt(_divide_unsigned(a, b)),
        "_/_(double, double) -> double": _float_divide,
        "_%_(int, int) -> int": _modulo,
        "_%_(uint, uint) -> uint": lambda a, b: UInt(_modulo(int(a), int(b))),
        "-_(int) -> int": lambda a: integer(-a),
        "-_(double) -> double": lambda a: -a,
        "!_(bool) -> bool": lambda a: not a,
    },
    OPERATORS,
)
declare(
    {
        "_+_(string, string) -> string": concatenate,
        "_+_(bytes, bytes) -> bytes": concatenate,
        "_+_(list<A>, list<A>) -> list<A>": concatenate,
    },
    OPERATORS,
    _whole_size,
    _sum,
)
_ORDERED = ("bool", "int", "uint", "double", "string", "bytes", "Timestamp", "Duration")
_MIXED = [(a, b) for a in ("int", "uint", "double") for b in ("int", "uint", "double") if a != b]
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "_<_": lambda a, b: a < b,
    "_<=_": lambda a, b: a <= b,
    "_>_": lambda a, b: a > b,
    "_>=_": lambda a, b: a >= b,
}
for _name, _run in _COMPARE.items():
    for _kind in _ORDERED:
        _cost = _shorter if _kind in ("string", "bytes") else None
        declare({f"{_name}({_kind}, {_kind}) -> bool": _run}, OPERATORS, _cost)
    for _left, _right in _MIXED:
        declare({f"{_name}({_left}, {_right}) -> bool": _run}, OPERATORS)
declare(
    {
        "_==_(A, A) -> bool": equal,
        "_!=_(A, A) -> bool": lambda a, b: not equal(a, b),
    },
    OPERATORS,
    _shorter,
)


def _divide_unsigned(left: int, right: int) -> int:
    if right == 0:
        raise CelError("division by zero")
    return int(left) // int(right)


def contains(item: Any, items: Any) -> bool:
    """item in list or map."""
    if isinstance(items, dict):
        try:
            return item in items and not (isinstance(item, bool) and item not in (*filter(_is_bool, items),))
        except TypeError:
            return False
    if type(item) is str:
        return item in items
    return any(equal(item, other) for other in items)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


declare({"@in(A, list<A>) -> bool": contains}, OPERATORS, lambda sizes: sizes[1])
declare({"@in(A, map<A, B>) -> bool": contains}, OPERATORS)


def index(items: Any, key: Any) -> Any:
    """items[key]"""
    if isinstance(items, dict):
        try:
            if key in items:
                return items[key]
        except TypeError:
            raise CelError("no such overload") from None
        raise CelError(f"no such key: {key}")
    if isinstance(items, list):
        if isinstance(key, bool) or not isinstance(key, int | float) or key != int(key):
            raise CelError("no such overload")
        if not 0 <= key < len(items):
            raise CelError(f"index out of bounds: {key}")
        return items[int(key)]
    raise CelError("no such overload")


def optional_index(items: Any, key: Any) -> Optional:
    """items[?key]"""
    if isinstance(items, Optional):
        if not items.present:
            return NONE
        items = items.value
    try:
        return Optional(index(items, key), True)
    except CelError:
        return NONE


declare(
    {
        "_[_](list<A>, int) -> A": index,
        "_[_](map<A, B>, A) -> B": index,
        "_[_](optional<list<A>>, int) -> optional<A>": optional_index,
        "_[_](optional<map<A, B>>, A) -> optional<B>": optional_index,
        "_[?_](list<A>, int) -> optional<A>": optional_index,
        "_[?_](map<A, B>, A) -> optional<B>": optional_index,
        "_[?_](optional<list<A>>, int) -> optional<A>": optional_index,
        "_[?_](optional<map<A, B>>, A) -> optional<B>": optional_index,
    },
    OPERATORS,
)

# Sizes and strings ----------------------------------------------------------------------------------------------------


def matches(text: str, pattern: str) -> bool:
    """Whether the RE2 expression is found."""
    return compiled(pattern).search(text) is not None


_PATTERNS: dict[str, Any] = {}
_PATTERNS_MAX = 1000


def compiled(pattern: str) -> Any:
    """A pattern in RE2, whose time is bounded by the text's length. Raises CelError."""
    found = _PATTERNS.get(pattern)
    if found is None:
        import re2  # imported only when an expression has a pattern

        try:
            options = re2.Options()
            options.log_errors = False
            found = re2.compile(pattern, options)
        except re2.error as error:
            text = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
            raise CelError(f"error parsing regexp: {text}") from error
        if len(_PATTERNS) >= _PATTERNS_MAX:
            _PATTERNS.clear()
        _PATTERNS[pattern] = found
    return found


def regex_cost(sizes: Sizes) -> int:
    """The text's length by the pattern's."""
    return tenth(1 + sizes[0]) * -(-sizes[1] // 4)


declare(
    {
        "size({T}) -> int [string bytes list<A>]": len,
        "string.size() -> int": len,
        "bytes.size() -> int": len,
        "list<A>.size() -> int": len,
        "map<A, B>.size() -> int": len,
        "size(map<A, B>) -> int": len,
    },
    OPERATORS,
)
declare(
    {
        "string.startsWith(string) -> bool": str.startswith,
        "string.endsWith(string) -> bool": str.endswith,
    },
    OPERATORS,
    lambda sizes: tenth(sizes[1]),
)
declare({"string.contains(string) -> bool": lambda a, b: b in a}, OPERATORS, lambda s: tenth(s[0]) * tenth(s[1]))
declare({"string.matches(string) -> bool": matches, "matches(string, string) -> bool": matches}, OPERATORS, regex_cost)

# Conversions ----------------------------------------------------------------------------------------------------------


def _to_int(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text):
        raise CelError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return integer(int(text))


def _to_uint(text: str) -> UInt:
    if not text.isdecimal():
        raise CelError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return _unsigned(int(text))


def _to_double(text: str) -> float:
    try:
        return float(text.replace("_", "x"))
    except ValueError:
        raise CelError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from None


def _to_bool(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise CelError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def double_text(value: float) -> str:
    """As Go's %g of a float64 in its shortest form."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value)) if value or math.copysign(1, value) > 0 else "-0"
    return re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", repr(value))


def _parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise CelError(str(error)) from None

    return convert


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None


def _same(value: Any) -> Any:
    return value


declare(
    {
        "int({T}) -> int [int uint]": lambda v: integer(int(v)),
        "int(double) -> int": _whole,
        "int(string) -> int": _to_int,
        "int(Timestamp) -> int": lambda v: v.nanos // SECOND,
        "int(Duration) -> int": lambda v: v.nanos,
        "uint({T}) -> uint [int uint]": lambda v: _unsigned(int(v)),
        "uint(double) -> uint": lambda v: _unsigned(_whole(v)),
        "uint(string) -> uint": _to_uint,
        "double({T}) -> double [int uint double]": float,
        "double(string) -> double": _to_double,
        "bool(bool) -> bool": _same,
        "bool(string) -> bool": _to_bool,
        "string({T}) -> string [int uint Timestamp Duration]": str,
        "string(string) -> string": _same,
        "string(bool) -> string": lambda v: "true" if v else "false",
        "string(double) -> string": double_text,
        "string(bytes) -> string": _decode,
        "bytes(bytes) -> bytes": _same,
        "bytes(string) -> bytes": str.encode,
        "timestamp(string) -> Timestamp": _parsed(timestamp),
        "timestamp(int) -> Timestamp": lambda v: _moment(v * SECOND),
        "timestamp(Timestamp) -> Timestamp": _same,
        "duration(string) -> Duration": _parsed(duration),
        "duration(int) -> Duration": Duration,
        "duration(Duration) -> Duration": _same,
        "dyn(A) -> dyn": _same,
        "type(A) -> type": lambda v: TypeValue(type_name(v)),
    },
    OPERATORS,
)

# Times ----------------------------------------------------------------------------------------------------------------


def _local(at: Timestamp, zone: str) -> datetime:
    fixed = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", zone)
    try:
        if fixed is not None:
            shift = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
            return at.moment().astimezone(timezone(-shift if fixed[1] == "-" else shift))
        return at.moment().astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError):
        raise CelError(f"unknown time zone {zone}") from None


_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDate": lambda t: t.day,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
    "getMilliseconds": lambda t: t.microsecond // 1000,
}


def _part_in_utc(part: Callable[[datetime], int]) -> Callable[[Timestamp], int]:
    return lambda at: part(at.moment())


def _part_in_zone(part: Callable[[datetime], int]) -> Callable[[Timestamp, str], int]:
    return lambda at, zone: part(_local(at, zone))


for _name, _part in _PARTS.items():
    declare(
        {
            f"Timestamp.{_name}() -> int": _part_in_utc(_part),
            f"Timestamp.{_name}(string) -> int": _part_in_zone(_part),
        },
        OPERATORS,
    )
declare(
    {
        "Duration.getHours() -> int": lambda v: int(v.nanos / (3600 * SECOND)),
        "Duration.getMinutes() -> int": lambda v: int(v.nanos / (60 * SECOND)),
        "Duration.getSeconds() -> int": lambda v: int(v.nanos / SECOND),
        "Duration.getMilliseconds() -> int": lambda v: int(v.nanos / 10**6),
    },
    OPERATORS,
)

# Optional values ------------------------------------------------------------------------------------------------------


def _value(optional: Optional) -> Any:
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


_ZEROS: tuple[Any, ...] = (None, False, 0, 0.0, "", b"", [], {}, Duration(0), Timestamp(0))


def _non_zero(value: Any) -> Optional:
    return NONE if any(type(zero) is type(value) and zero == value for zero in _ZEROS) else Optional(value, True)


declare(
    {
        "optional.of(A) -> optional<A>": lambda v: Optional(v, True),
        "optional.ofNonZeroValue(A) -> optional<A>": _non_zero,
        "optional.none() -> optional<A>": lambda: NONE,
        "optional<A>.hasValue() -> bool": lambda v: v.present,
        "optional<A>.value() -> A": _value,
        "optional<A>.or(optional<A>) -> optional<A>": lambda a, b: a if a.present else b,
        "optional<A>.orValue(A) -> A": lambda a, b: a.value if a.present else b,
    },
    OPERATORS,
)
