"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386) on plain dicts and lists.

Neither changes its arguments. A patch that is no patch answers 400; one that cannot be carried out (a failing test, a
path that leads nowhere) answers 422 with the generic text that kube-apiserver gives. Strategic merge patch is in
meta/strategic.py, apply in meta/apply.py.
"""

from collections.abc import Callable
from typing import Any

import orjson

from wherry.meta.errors import StatusError, bad_request, generic, request_entity_too_large

OPERATIONS_MAX = 10_000
COPIED_BYTES_MAX = 3 * 1024 * 1024
"""All that "copy" operations of one patch may add up to: the size of the largest request."""

_MISSING = object()


class _Failed(Exception):
    """The patch cannot be carried out on this document."""


def json_patch(document: Any, operations: Any) -> Any:
    """`document` after all `operations`. Raises StatusError (400 malformed, 413 too many, 422 not possible)."""
    if not isinstance(operations, list) or not all(isinstance(item, dict) for item in operations):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > OPERATIONS_MAX:
        count = len(operations)
        raise request_entity_too_large(
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}"
        )
    root = [_copy(document)]  # a list of one, so that the document itself is a member that can be replaced
    copied_bytes = 0
    try:
        for item in operations:
            apply_one = _OPERATIONS.get(item.get("op") or "")
            if apply_one is None:
                raise _Failed(f"Unexpected kind: {item.get('op')}")
            if item["op"] == "copy":
                copied_bytes += len(orjson.dumps(_get(root, _pointer(item, "from"))))
                if copied_bytes > COPIED_BYTES_MAX:
                    raise _Failed("the accumulated size increase of copy operations exceeded the limit")
            apply_one(root, item)
    except _Failed as error:
        raise cannot_apply() from error
    return root[0]


def cannot_apply() -> StatusError:
    """422, as kube-apiserver answers a patch that does not fit the object."""
    return generic(422)


def merge_patch(document: Any, patch: Any) -> Any:
    """`document` with `patch` merged in: null deletes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def make_merge_patch(old: Any, new: Any) -> Any:
    """The smallest merge patch that turns `old` into `new` (when `new` holds no nulls)."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif not same(old[key], value):
            patch[key] = make_merge_patch(old[key], value)
    return patch


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: unlike Python's, true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


# The operations ------------------------------------------------------------------------------------------------------


def _copy(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value)) if isinstance(value, dict | list) else value


def _pointer(item: dict[str, Any], member: str) -> list[str]:
    """A JSON pointer's tokens, behind the "0" that selects the document in its list of one."""
    text = item.get(member)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _Failed(f"{member} is missing or not a JSON pointer")
    return ["0", *(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])]


def _index(array: list[Any], token: str, limit: int) -> int:
    """An array index below `limit`; negative ones count from the end, as kube-apiserver's patch library has it."""
    digits = token[1:] if token.startswith("-") else token
    if not (digits.isascii() and digits.isdecimal()):
        raise _Failed(f"not an array index: {token}")
    index = int(token)
    if not -limit <= index < limit:
        raise _Failed(f"array index out of range: {token} of {len(array)}")
    return index if index >= 0 else index + limit


def _member(container: Any, token: str) -> Any:
    if isinstance(container, dict):
        return container.get(token, _MISSING)
    if isinstance(container, list):
        return container[_index(container, token, len(container))]
    raise _Failed(f"{token} within neither object nor array")


def _parent(root: Any, path: list[str]) -> Any:
    container = root
    for token in path[:-1]:
        container = _member(container, token)
    if not isinstance(container, dict | list):
        raise _Failed(f"no object or array above {path[-1]}")
    return container


def _get(root: Any, path: list[str]) -> Any:
    value = _member(_parent(root, path), path[-1])
    if value is _MISSING:
        raise _Failed(f"missing: {path[-1]}")
    return value


def _put(root: Any, path: list[str], value: Any) -> None:
    container, token = _parent(root, path), path[-1]
    if isinstance(container, dict):
        container[token] = value
    elif container is root:
        container[0] = value
    elif token == "-":
        container.append(value)
    else:
        container.insert(_index(container, token, len(container) + 1), value)


def _take(root: Any, path: list[str]) -> Any:
    value = _get(root, path)
    container, token = _parent(root, path), path[-1]
    if isinstance(container, dict):
        del container[token]
    elif container is root:
        raise _Failed("the document itself cannot be removed")
    else:
        del container[_index(container, token, len(container))]
    return value


def _value(item: dict[str, Any]) -> Any:
    if "value" not in item:
        raise _Failed("value is missing")
    return _copy(item["value"])


def _add(root: Any, item: dict[str, Any]) -> None:
    _put(root, _pointer(item, "path"), _value(item))


def _remove(root: Any, item: dict[str, Any]) -> None:
    _take(root, _pointer(item, "path"))


def _replace(root: Any, item: dict[str, Any]) -> None:
    path, value = _pointer(item, "path"), _value(item)
    _get(root, path)
    container, token = _parent(root, path), path[-1]
    container[token if isinstance(container, dict) else _index(container, token, len(container))] = value


def _move(root: Any, item: dict[str, Any]) -> None:
    source, target = _pointer(item, "from"), _pointer(item, "path")
    if target[: len(source)] == source and target != source:
        raise _Failed("a value cannot move into itself")
    if target != source:
        _put(root, target, _take(root, source))
    else:
        _get(root, source)


def _copy_to(root: Any, item: dict[str, Any]) -> None:
    _put(root, _pointer(item, "path"), _copy(_get(root, _pointer(item, "from"))))


def _test(root: Any, item: dict[str, Any]) -> None:
    path = _pointer(item, "path")
    found = _member(_parent(root, path), path[-1])
    # A member that is not there passes as null, as it does upstream: the way to test for absence.
    if not same(None if found is _MISSING else found, item.get("value")):
        raise _Failed(f"testing value {item['path']} failed")


_OPERATIONS: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy_to,
    "test": _test,
}
