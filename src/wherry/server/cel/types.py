"""Static types of CEL: what the checker knows of an expression before it runs.

A type made from a schema also carries the schema's bounds (`max_size`), from which cost.py estimates what an expression
over such values may cost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an object type: its name on the wire and its type."""

    wire_name: str
    type: "Type"


@dataclass(frozen=True, slots=True, eq=False)
class Type:
    """`kind` is list, map, object, opaque, param, type or a scalar's name; compare with `same`."""

    kind: str
    params: tuple["Type", ...] = ()
    name: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict)
    max_size: int | None = None
    """Most elements of a list or map, most characters of a string; None: unknown."""
    min_bytes: int = 1
    """The least that a value takes as JSON; bounds how many of it a request can hold."""
    convert: Convert | None = None
    """Makes the CEL value of the JSON value where these differ (times, bytes, doubles)."""
    list_type: str = ""
    """x-kubernetes-list-type: equality and + of sets and maps go by key."""
    list_keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = self.name or _SHOWN.get(self.kind, self.kind)
        return f"{shown}({', '.join(map(str, self.params))})" if self.params else shown


_SHOWN = {"null": "null", "timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}
DYN, NULL, BOOL, ERROR = Type("dyn"), Type("null"), Type("bool"), Type("error")
INT, UINT, DOUBLE = Type("int"), Type("uint"), Type("double")
STRING, BYTES = Type("string"), Type("bytes")
TIMESTAMP, DURATION = Type("timestamp"), Type("duration")
A, B = Type("param", name="A"), Type("param", name="B")
NULLABLE = frozenset({"null", "object", "opaque", "timestamp", "duration", "dyn"})


def list_of(item: Type) -> Type:
    """list(item)"""
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    """map(key, value)"""
    return Type("map", (key, value))


def opaque(name: str) -> Type:
    """A type that only functions know to handle: kubernetes.Quantity."""
    return Type("opaque", name=name)


def optional_of(item: Type) -> Type:
    """optional_type(item)"""
    return Type("opaque", (item,), "optional_type")


def type_of(item: Type) -> Type:
    """The type of a type's name used as a value."""
    return Type("type", (item,))


def is_optional(kind: Type) -> bool:
    """Whether values are optional values."""
    return kind.kind == "opaque" and kind.name == "optional_type"


def same(left: Type, right: Type) -> bool:
    """Whether two types are one, bounds apart."""
    return (
        left.kind == right.kind
        and left.name == right.name
        and len(left.params) == len(right.params)
        and all(same(a, b) for a, b in zip(left.params, right.params, strict=True))
    )


Bindings = dict[str, Type]


def resolve(kind: Type, bound: Bindings) -> Type:
    """`kind` with what its parameters are bound to; dyn for those still free."""
    if kind.kind == "param":
        found = bound.get(kind.name)
        return DYN if found is None else resolve(found, bound)
    if not kind.params or kind.kind == "type":
        return kind
    params = tuple(resolve(item, bound) for item in kind.params)
    return kind if params == kind.params else Type(kind.kind, params, kind.name, max_size=kind.max_size)


def assignable(actual: Type, wanted: Type, bound: Bindings) -> bool:
    """Whether an `actual` fits where `wanted` is declared; binds type parameters of `wanted`."""
    if wanted.kind == "param":
        known = bound.get(wanted.name)
        if known is None:
            bound[wanted.name] = actual
            return True
        if assignable(actual, known, bound):
            if _vague(actual) and not _vague(known):
                bound[wanted.name] = actual
            return True
        if assignable(known, actual, bound):
            bound[wanted.name] = actual
            return True
        return False
    if "dyn" in (actual.kind, wanted.kind) or "error" in (actual.kind, wanted.kind):
        return True
    if actual.kind == "param":
        return True
    if actual.kind == "null":
        return wanted.kind in NULLABLE
    if wanted.kind == "null":
        return actual.kind in NULLABLE
    if actual.kind != wanted.kind or actual.name != wanted.name or len(actual.params) != len(wanted.params):
        return False
    if actual.kind == "type":
        return True
    return all(assignable(a, b, bound) for a, b in zip(actual.params, wanted.params, strict=True))


def _vague(kind: Type) -> bool:
    return kind.kind in ("dyn", "null") or any(_vague(item) for item in kind.params)


def join(left: Type, right: Type) -> Type | None:
    """The type of a list that holds both; None when there is none."""
    if same(left, right):
        return left
    if assignable(right, left, {}):
        return right if left.kind == "null" else DYN if right.kind == "dyn" else left
    return right if assignable(left, right, {}) else None
