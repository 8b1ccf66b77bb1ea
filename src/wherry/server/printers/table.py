"""The shape of a printed kind: its columns, and a function from an object to cells."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wherry.meta.time import age

NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """One columnDefinition. Priority 1 shows only with -o wide."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


Row = Callable[[Any, datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class Printed:
    """How one kind is listed."""

    columns: list[Column]
    row: Row


def printed(names: str, row: Row) -> Printed:
    """Columns as comma-separated names: "+" before one that only -o wide shows, "#" before an integer."""
    return Printed([_column(name.strip()) for name in names.split(",")], row)


def _column(text: str) -> Column:
    name = text.lstrip("+#")
    return Column(
        name=name,
        type="integer" if "#" in text else "string",
        format="name" if name == "Name" else "",
        priority=1 if text.startswith("+") else 0,
    )


def since(obj: Any, now: datetime) -> str:
    """The Age cell."""
    return age(obj.metadata.creationTimestamp, now)


def or_none(value: str | None) -> str:
    """`value`, or <none>."""
    return value or NONE


def joined(items: Iterable[str], limit: int = 0) -> str:
    """Comma-separated, <none> when empty; past `limit` items the rest are counted."""
    values = list(items)
    if limit and len(values) > limit:
        return f"{','.join(values[:limit])} + {len(values) - limit} more..."
    return ",".join(values) or NONE


def labels(values: Mapping[str, str]) -> str:
    """a=b,c=d in order of the keys."""
    return joined(f"{key}={value}" for key, value in sorted(values.items()))


def selector(value: Any) -> str:
    """A LabelSelector as kubectl shows one."""
    if value is None:
        return NONE
    parts = [f"{key}={item}" for key, item in sorted(value.matchLabels.items())]
    for expression in value.matchExpressions:
        match expression.operator:
            case "In" | "NotIn":
                verb = "in" if expression.operator == "In" else "notin"
                parts.append(f"{expression.key} {verb} ({','.join(sorted(expression.values))})")
            case "Exists":
                parts.append(expression.key)
            case "DoesNotExist":
                parts.append(f"!{expression.key}")
    return joined(parts)


def containers(template: Any) -> list[str]:
    """The Containers and Images cells of a pod template."""
    items = template.spec.containers if template is not None else []
    return [",".join(item.name for item in items), ",".join(item.image or "" for item in items)]
