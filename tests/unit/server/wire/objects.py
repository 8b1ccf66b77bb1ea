"""Random objects of any kind, drawn from the Structs: every field may be there, and holds something of its type."""

import base64
from random import Random
from typing import Any, get_args, get_origin

import msgspec

from wherry.meta.object import KubernetesObject
from wherry.meta.quantity import Quantity
from wherry.meta.resource import Resource
from wherry.server.protobuf.messages import INT_OR_STRING, annotations, module_of, tables

Json = dict[str, Any]
_DEPTH = 7
_WORDS = ("a", "web", "b-2", "x.y/z", "é", "true", "10")
_QUANTITIES = ("1", "500m", "2Gi", "100k", "0")


def random_object(resource: Resource, random: Random, fill: float = 0.5) -> Json:
    """An object that need not be valid, but has the right types."""
    assert resource.type is not None
    made = _struct(resource.type, random, fill, 0)
    meta = made.get("metadata") or {}
    meta.pop("managedFields", None)
    return {**made, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}


def _struct(kind: type, random: Random, fill: float, depth: int) -> Json:
    made: Json = {}
    marks = _marks(module_of(kind), kind.__name__)
    for name, annotation in annotations(kind).items():
        if name in ("apiVersion", "kind") and issubclass(kind, KubernetesObject):
            continue  # protobuf has them in the envelope alone
        if random.random() < fill and not (depth > _DEPTH and _deep(annotation)):
            value = _value(annotation, marks.get(name, ""), random, fill, depth)
            if value is not None:
                made[name] = value
    return made


def _marks(module: str, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for field, mark in tables().get(f"{module}.{name}", {}).values():
        found |= _marks(module, field[1:]) if field.startswith(">") else {field: mark}
    return found


def _deep(annotation: Any) -> bool:
    return get_origin(annotation) in (list, dict) or isinstance(annotation, frozenset) or _is_struct(annotation)


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _value(annotation: Any, mark: str, random: Random, fill: float, depth: int) -> Any:
    origin = get_origin(annotation)
    if origin is list:
        item = get_args(annotation)[0]
        return [_value(item, mark, random, fill, depth + 1) for _ in range(random.randint(1, 2))]
    if origin is dict:
        item = get_args(annotation)[1]
        return {word: _value(item, mark, random, fill, depth + 1) for word in random.sample(_WORDS, 2)}
    if mark == "t":
        return f"2026-01-{random.randint(1, 28):02}T03:04:05Z"
    if mark == "u":
        return f"2026-01-{random.randint(1, 28):02}T03:04:05.{random.randint(0, 999999):06}Z"
    if mark == "b":
        return base64.b64encode(random.randbytes(5)).decode()
    if _is_struct(annotation):
        return _struct(annotation, random, fill, depth + 1)
    return _scalar(annotation, random, fill, depth)


def _scalar(annotation: Any, random: Random, fill: float, depth: int) -> Any:
    if annotation is str:
        return random.choice(_WORDS)
    if annotation is bool:
        return True
    if annotation is int:
        return random.choice((1, 80, 30000, -1, 2**31 - 1))
    if annotation is float:
        return random.choice((0.5, 2.0))
    if annotation is Quantity:
        return random.choice(_QUANTITIES)
    if annotation == INT_OR_STRING:
        return random.choice((8080, "http"))
    if isinstance(annotation, frozenset):
        member = random.choice(sorted(annotation, key=repr))
        return _value(member, "", random, fill, depth)
    return {"any": [1, "x", {"deep": None}]}
