"""Tables of custom resources: Name, then the definition's columns, or Age when it has none.

Source: apiextensions-apiserver, registry/customresource/tableconvertor.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson

from wherry.api.apiextensions_v1 import CustomResourceColumnDefinition
from wherry.meta.time import format_duration, parse_time
from wherry.server.customresources.jsonpath import Find, compile_path

Json = dict[str, Any]
Row = Callable[[Json, datetime], list[Any]]

_NAME = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated."
)
_AGE = CustomResourceColumnDefinition(
    name="Age",
    type="date",
    description=(
        "CreationTimestamp is a timestamp representing the server time when this object was created. It is not "
        "guaranteed to be set in happens-before order across separate operations."
    ),
    jsonPath=".metadata.creationTimestamp",
)


class Printer:
    """The columns of one version."""

    def __init__(self, columns: Sequence[CustomResourceColumnDefinition]) -> None:
        shown = columns or [_AGE]
        name = {"name": "Name", "type": "string", "format": "name", "description": _NAME, "priority": 0}
        self.definitions: list[Json] = [name, *map(_definition, shown)]
        self._cells = [(compile_path(column.jsonPath), column.type) for column in shown]

    def row(self, obj: Json, now: datetime) -> list[Any]:
        """The cells of one object."""
        return [obj["metadata"].get("name"), *(_cell(obj, find, kind, now) for find, kind in self._cells)]


def _definition(column: CustomResourceColumnDefinition) -> Json:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format or "",
        "description": column.description
        or f"Custom resource definition column (in JSONPath format): {column.jsonPath}",
        "priority": column.priority or 0,
    }


def _cell(obj: Json, find: Find, kind: str, now: datetime) -> Any:
    found = find(obj)
    value = found[0] if found else None
    if value is None:
        return None
    if kind == "string":
        return text(value)
    if kind == "date":
        return _age(value, now)
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if kind == "integer" else float(value)


def _age(value: Any, now: datetime) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return format_duration(now - parse_time(value))
    except ValueError:
        return "<invalid>"


def text(value: Any) -> str:
    """A value as a string cell, or as a selectable field, shows it."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
