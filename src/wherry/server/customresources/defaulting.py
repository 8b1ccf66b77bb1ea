"""Filling in a schema's defaults, and dropping nulls that it does not allow; one closure per schema node.

A null where the schema is not nullable counts as absent: it becomes the default, or goes.
Source: apiextensions-apiserver, schema/defaulting.
"""

from collections.abc import Callable
from typing import Any

import orjson

Json = dict[str, Any]
Defaulter = Callable[[Any], None]
"""Changes the value in place."""


def defaulter(schema: Json) -> Defaulter | None:
    """The defaulter of values of `schema`; None when it never changes anything."""
    properties: Json = schema.get("properties") or {}
    defaults = [
        (key, _copier(below["default"])) for key, below in properties.items() if below.get("default") is not None
    ]
    wanted = dict(defaults)
    below = {key: made for key, item in properties.items() if (made := _later(item)) is not None}
    strict = frozenset(key for key, item in properties.items() if not item.get("nullable"))
    more = schema.get("additionalProperties")
    more = more if isinstance(more, dict) else None
    items = schema.get("items")
    items = items if isinstance(items, dict) else None
    other = defaulter(more) if more else None
    item = defaulter(items) if items else None
    if not properties and not more and item is None:
        return None

    def members(value: Json) -> None:
        for key, copy in defaults:
            if value.get(key) is None and (key not in value or key in strict):
                value[key] = copy()
        nulls = [key for key, member in value.items() if member is None]
        for key in nulls:
            if key in strict and key not in wanted:
                del value[key]
            elif key not in properties and more and not more.get("nullable"):
                if more.get("default") is not None:
                    value[key] = _copier(more["default"])()
                else:
                    del value[key]
        for key, fill in below.items():
            member = value.get(key)
            if member is not None:
                fill(member)
        if other is not None:
            for key, member in value.items():
                if key not in properties and member is not None:
                    other(member)

    def fill(value: Any) -> None:
        if isinstance(value, dict):
            members(value)
        elif isinstance(value, list) and item is not None:
            for member in value:
                item(member)

    return fill


def _later(schema: Json) -> Defaulter | None:
    """The defaulter of a member, made when there first is one: of a large schema's members most never are."""
    if not any(schema.get(key) for key in ("properties", "items", "additionalProperties")):
        return None
    made: list[Defaulter | None] = []

    def fill(value: Any) -> None:
        if not made:
            made.append(defaulter(schema))
        if made[0] is not None:
            made[0](value)

    return fill


def _copier(value: Any) -> Callable[[], Any]:
    if not isinstance(value, dict | list):
        return lambda: value
    data = orjson.dumps(value)
    return lambda: orjson.loads(data)
