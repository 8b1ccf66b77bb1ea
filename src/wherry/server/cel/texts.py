"""The strings, sets and lists libraries, and Kubernetes' own regex functions.

Source: cel-go, ext/strings.go (version 2), formatting.go, sets.go; apiserver, cel/library/lists.go, regex.go.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from wherry.meta.errors import quote
from wherry.server.cel.functions import Functions, Sizes, declare, tenth
from wherry.server.cel.operators import TEXT_MAX, compiled, double_text, integer
from wherry.server.cel.operators import regex_cost as pattern_cost
from wherry.server.cel.values import CelError, CostExceeded, Duration, Timestamp, TypeValue, UInt, equal, type_name

TEXTS: Functions = {}


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise CelError(f"index out of range: {at}")
    return text[at : at + 1]


def _offset(text: str, at: int) -> int:
    if not 0 <= at <= len(text):
        raise CelError(f"index out of range: {at}")
    return at


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    _offset(text, start), _offset(text, stop)
    if start > stop:
        raise CelError(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old) if count < 0 else min(count, text.count(old))
    if len(text) + found * len(new) > TEXT_MAX:
        raise CostExceeded
    return text.replace(old, new, count)


def _split(text: str, by: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not by:
        return list(text) if count < 0 or count >= len(text) else [*text[: count - 1], text[count - 1 :]]
    return text.split(by, count - 1 if count > 0 else -1)


def _join(items: list[Any], by: str = "") -> str:
    if not all(isinstance(item, str) for item in items):
        raise CelError("no such overload")
    if sum(map(len, items)) + len(by) * len(items) > TEXT_MAX:
        raise CostExceeded
    return by.join(items)


_UPPER = str.maketrans({chr(c): chr(c - 32) for c in range(97, 123)})
_LOWER = str.maketrans({chr(c): chr(c + 32) for c in range(65, 91)})
_TRIMMED = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


# format() -------------------------------------------------------------------------------------------------------------

_CLAUSE = re.compile(r"%(?:\.(\d+))?(.?)", re.S)


def shown(value: Any) -> str:
    """A value as %s of format() writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return double_text(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{shown(key)}: {shown(item)}" for key, item in value.items())) + "}"
    if isinstance(value, TypeValue):
        return value.name
    if isinstance(value, str | int | Duration | Timestamp):
        return str(value)
    kinds = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
    found = type_name(value)
    raise CelError(f"error during formatting: string clause can only be used on {kinds}, was given {found}")


def _number(value: Any, clause: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise CelError(f"error during formatting: {clause} clause can only be used on integers")
    return value


def _hexadecimal(value: Any, upper: bool) -> str:
    if isinstance(value, str | bytes):
        text = (value.encode() if isinstance(value, str) else value).hex()
    else:
        text = f"{_number(value, 'hex'):x}"
    return text.upper() if upper else text


def _real(value: Any, precision: int, clause: str) -> str:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        what = "scientific notation" if clause == "e" else "fixed-point"
        raise CelError(f"error during formatting: {what} clause can only be used on doubles")
    return f"{value:.{precision}{clause}}".replace("inf", "Infinity").replace("nan", "NaN")


def _clause(name: str, precision: int, value: Any) -> str:
    if name == "s":
        return shown(value)
    if name == "d":
        return shown(value) if isinstance(value, float) else str(_number(value, "decimal"))
    if name in ("f", "e"):
        return _real(value, precision, name)
    if name == "b":
        return str(int(value)) if isinstance(value, bool) else f"{_number(value, 'binary'):b}"
    if name == "o":
        return f"{_number(value, 'octal'):o}"
    if name in ("x", "X"):
        return _hexadecimal(value, name == "X")
    raise CelError(f"could not parse formatting clause: unrecognized formatting clause {quote(name)}")


def _format(text: str, values: list[Any]) -> str:
    next_value = iter(values)
    length = 0

    def one(match: re.Match[str]) -> str:
        nonlocal length
        if match[2] == "%" and match[1] is None:
            return "%"
        precision = int(match[1] or 6)
        if precision > 1000:
            raise CelError("error during formatting: precision too large")
        try:
            value = next(next_value)
        except StopIteration:
            raise CelError(f"index {len(values)} out of range") from None
        made = _clause(match[2], precision, value)
        length += len(made)
        if length > TEXT_MAX:
            raise CostExceeded
        return made

    return _CLAUSE.sub(one, text)


def _sum_of(sizes: Sizes) -> int:
    return sum(sizes)


def _first(sizes: Sizes) -> int:
    return sizes[0]


declare({"string.charAt(int) -> string": _char_at}, TEXTS)
declare(
    {
        "string.indexOf(string) -> int": str.find,
        "string.indexOf(string, int) -> int": lambda a, b, at: a.find(b, _offset(a, at)),
        "string.lastIndexOf(string) -> int": str.rfind,
        "string.lastIndexOf(string, int) -> int": lambda a, b, at: a.rfind(b, 0, _offset(a, at) + len(b)),
    },
    TEXTS,
    lambda sizes: tenth(sizes[0]),
)
declare(
    {
        "string.lowerAscii() -> string": lambda v: v.translate(_LOWER),
        "string.upperAscii() -> string": lambda v: v.translate(_UPPER),
        "string.trim() -> string": lambda v: v.strip(_TRIMMED),
        "string.substring(int) -> string": _substring,
        "string.substring(int, int) -> string": _substring,
        "string.reverse() -> string": lambda v: v[::-1],
    },
    TEXTS,
    lambda sizes: tenth(sizes[0]),
    _first,
)
declare(
    {
        "string.replace(string, string) -> string": _replace,
        "string.replace(string, string, int) -> string": _replace,
    },
    TEXTS,
    lambda sizes: tenth(2 * sizes[0]),
    lambda sizes: (sizes[0] + 1) * max(1, sizes[2]),
)
declare(
    {
        "string.split(string) -> list<string>": _split,
        "string.split(string, int) -> list<string>": _split,
    },
    TEXTS,
    lambda sizes: tenth(2 * sizes[0]),
    _first,
)
declare(
    {"list<string>.join() -> string": _join, "list<string>.join(string) -> string": _join},
    TEXTS,
    lambda sizes: tenth(2 * sizes[0]),
    lambda sizes: sizes[0] * (sizes[1] if len(sizes) > 1 else 1),
)
declare({"string.format(list<dyn>) -> string": _format}, TEXTS, lambda sizes: tenth(sizes[0]), _sum_of)
declare({"strings.quote(string) -> string": quote}, TEXTS, lambda sizes: tenth(sizes[0]), _first)

# Regular expressions --------------------------------------------------------------------------------------------------


def _find(text: str, pattern: str) -> str:
    match = compiled(pattern).search(text)
    return match.group() if match is not None else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    for match in compiled(pattern).finditer(text):
        if 0 <= limit <= len(found):
            break
        found.append(match.group())
    return found


declare({"string.find(string) -> string": _find}, TEXTS, pattern_cost, _first)
declare(
    {
        "string.findAll(string) -> list<string>": _find_all,
        "string.findAll(string, int) -> list<string>": _find_all,
    },
    TEXTS,
    pattern_cost,
    _first,
)

# Lists and sets -------------------------------------------------------------------------------------------------------

_COMPARABLE = "[int uint double bool Duration Timestamp string bytes]"


def _extreme(choose: Callable[[list[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
    def find(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{name} called on empty list")
        return _compared(choose, items)

    return find


def _compared(run: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    try:
        return run(items)
    except TypeError:
        raise CelError("no such overload") from None


def _sorted(items: list[Any]) -> bool:
    return bool(_compared(lambda v: all(a <= b for a, b in pairwise(v)), items))


def _total(items: list[Any]) -> Any:
    if all(type(item) is int for item in items):
        return integer(sum(items))
    if all(isinstance(item, Duration) for item in items):
        return Duration(sum(item.nanos for item in items))
    if all(isinstance(item, UInt) for item in items):
        return UInt(sum(items))
    if all(isinstance(item, float) for item in items):
        return float(sum(items))
    raise CelError("no such overload")


def _zero(zero: Any) -> Callable[[list[Any]], Any]:
    return lambda items: _total(items) if items else zero


def _index_of(items: list[Any], item: Any) -> int:
    return next((at for at, other in enumerate(items) if equal(other, item)), -1)


def _last_index_of(items: list[Any], item: Any) -> int:
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], item)), -1)


declare(
    {
        f"list<{{T}}>.isSorted() -> bool {_COMPARABLE}": _sorted,
        f"list<{{T}}>.min() -> {{T}} {_COMPARABLE}": _extreme(min, "min"),
        f"list<{{T}}>.max() -> {{T}} {_COMPARABLE}": _extreme(max, "max"),
        "list<int>.sum() -> int": _zero(0),
        "list<uint>.sum() -> uint": _zero(UInt(0)),
        "list<double>.sum() -> double": _zero(0.0),
        "list<Duration>.sum() -> Duration": _zero(Duration(0)),
        "list<A>.indexOf(A) -> int": _index_of,
        "list<A>.lastIndexOf(A) -> int": _last_index_of,
    },
    TEXTS,
    _first,
)


def _subset(items: list[Any], others: list[Any]) -> bool:
    return all(any(equal(other, item) for item in items) for other in others)


declare(
    {
        "sets.contains(list<A>, list<A>) -> bool": _subset,
        "sets.equivalent(list<A>, list<A>) -> bool": lambda a, b: _subset(a, b) and _subset(b, a),
        "sets.intersects(list<A>, list<A>) -> bool": lambda a, b: any(equal(x, y) for x in a for y in b),
    },
    TEXTS,
    lambda sizes: max(1, sizes[0] * sizes[1]),
)
