r"""The JSONPath of printer columns: .spec.a, ['a'], [0], [-1], [*], [?(@.type=="Ready")], and \. for a dot in a name.

A path that leads nowhere finds nothing. Source: k8s.io/client-go/util/jsonpath, its simple part.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Step = Callable[[Any], Iterable[Any]]
Find = Callable[[Any], list[Any]]

_TOKEN = re.compile(
    r"""\.\.(?P<deep>[\w-]+) | \.?\[\?\((?P<filter>.*?)\)\] | \.?\[\s*(?P<index>-?\d+)\s*\]
    | \.?\[(?P<slice>-?\d*:-?\d*)\] | \.?\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
    | \.?\[\*\](?P<all>) | \.\*(?P<star>)
    | \.(?P<name>(?:\\.|[^.\[\]\\])+)""",
    re.VERBOSE,
)
_FILTER = re.compile(r"""^\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*$""")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def compile_path(path: str) -> Find:
    """What finds all values at `path`. Raises ValueError for a path that cannot be read."""
    steps = list(_steps(path.strip()))

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [item for parent in found for item in step(parent)]
        return found

    return find


def _steps(path: str) -> Iterator[Step]:
    at = 0
    while at < len(path):
        token = _TOKEN.match(path, at)
        if token is None:
            if path[at:] == ".":
                return
            raise ValueError(f"unrecognized character in action: {path[at:]!r}")
        at = token.end()
        yield _step(token)


def _step(token: "re.Match[str]") -> Step:
    part = token.groupdict()
    if part["name"] is not None:
        return _member(re.sub(r"\\(.)", r"\1", part["name"]))
    if part["quoted"] is not None:
        return _member(part["quoted"])
    if part["index"] is not None:
        return _item(int(part["index"]))
    if part["slice"] is not None:
        low, _, high = part["slice"].partition(":")
        chosen = slice(int(low) if low else None, int(high) if high else None)
        return lambda value: value[chosen] if isinstance(value, list) else ()
    if part["filter"] is not None:
        return _filter(part["filter"])
    if part["deep"] is not None:
        return lambda value: _deep(value, part["deep"])
    return _every


def _member(name: str) -> Step:
    return lambda value: (value[name],) if isinstance(value, dict) and name in value else ()


def _item(index: int) -> Step:
    return lambda value: (value[index],) if isinstance(value, list) and -len(value) <= index < len(value) else ()


def _every(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _deep(value: Any, name: str) -> Iterator[Any]:
    if isinstance(value, dict) and name in value:
        yield value[name]
    for member in _every(value):
        yield from _deep(member, name)


def _filter(text: str) -> Step:
    found = _FILTER.match(text)
    if found is None:
        raise ValueError(f"unrecognized filter: {text!r}")
    left = compile_path(found["path"])
    if found["operator"] is None:
        return lambda value: [item for item in _every(value) if left(item)]
    compare, right = _COMPARE[found["operator"]], _literal(found["value"])

    def matches(item: Any) -> bool:
        values = left(item)
        if not values or type(values[0]) is not type(right):
            return False
        return compare(values[0], right)

    return lambda value: [item for item in _every(value) if matches(item)]


def _literal(text: str) -> Any:
    if text[:1] in "'\"" and text[-1:] == text[:1]:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return float(text)
