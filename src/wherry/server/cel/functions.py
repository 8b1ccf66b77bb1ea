"""How functions are declared: a table from signatures to Python callables.

    declare({"string.charAt(int) -> string": char_at}, cost=..., into=LIBRARY)

A signature is `[receiver.]name(types) -> type`. Costs are functions of the operands' sizes (1 for what has none), so
that one rule serves both the estimate (the largest sizes possible) and the run (the real ones).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from wherry.server.cel import types
from wherry.server.cel.types import Type
from wherry.server.cel.values import Duration, Optional, Timestamp, TypeValue, UInt

Run = Callable[..., Any]
Sizes = list[int]
Cost = Callable[[Sizes], int]


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One way to call a function. `cost` None: 1."""

    args: tuple[Type, ...]
    result: Type
    run: Run
    receiver: bool = False
    cost: Cost | None = None
    size: Cost | None = None
    """The size of the result, where that is not the type's own."""


Functions = dict[str, list[Overload]]

OPAQUE = {
    "URL": "kubernetes.URL",
    "IP": "net.IP",
    "CIDR": "net.CIDR",
    "Quantity": "kubernetes.Quantity",
    "Semver": "kubernetes.Semver",
    "Format": "kubernetes.NamedFormat",
    "Authorizer": "kubernetes.authorization.Authorizer",
    "PathCheck": "kubernetes.authorization.PathCheck",
    "GroupCheck": "kubernetes.authorization.GroupCheck",
    "ResourceCheck": "kubernetes.authorization.ResourceCheck",
    "Decision": "kubernetes.authorization.Decision",
}
_TYPES: dict[str, Type] = {
    "dyn": types.DYN,
    "null": types.NULL,
    "bool": types.BOOL,
    "int": types.INT,
    "uint": types.UINT,
    "double": types.DOUBLE,
    "string": types.STRING,
    "bytes": types.BYTES,
    "Timestamp": types.TIMESTAMP,
    "Duration": types.DURATION,
    "A": types.A,
    "B": types.B,
    "type": types.type_of(types.DYN),
    **{short: types.opaque(name) for short, name in OPAQUE.items()},
}
_SIGNATURE = re.compile(r"(?:(.+)\.)?([\w!\[\]?:<>=&|+*/%@-]+)\(([^()]*)\) -> (.+)")


@cache
def parse_type(text: str) -> Type:
    """`list<string>` as a type."""
    if not text.endswith(">"):
        return _TYPES[text]
    outer, _, inner = text[:-1].partition("<")
    if outer == "map":
        key, _, value = inner.partition(", ")
        return types.map_of(parse_type(key), parse_type(value))
    return types.list_of(parse_type(inner)) if outer == "list" else types.optional_of(parse_type(inner))


def declare(table: Mapping[str, Run], into: Functions, cost: Cost | None = None, size: Cost | None = None) -> None:
    """Add overloads; `{T}` in a signature stands for each of the types in `[...]` at its end."""
    for signature, run in table.items():
        for one in _expanded(signature):
            name, overload = _overload(one, run, cost, size)
            into.setdefault(name, []).append(overload)


def _expanded(signature: str) -> Iterable[str]:
    if not signature.endswith("]") or " [" not in signature:
        return [signature]
    body, _, choices = signature[:-1].rpartition(" [")
    return [body.replace("{T}", choice) for choice in choices.split()]


def _overload(signature: str, run: Run, cost: Cost | None, size: Cost | None) -> tuple[str, Overload]:
    match = _SIGNATURE.fullmatch(signature)
    assert match is not None, signature
    prefix, name, args, result = match.groups()
    operands = [parse_type(item) for item in re.split(r", (?![^<]*>)", args)] if args else []
    receiver = prefix is not None and (prefix in _TYPES or prefix.endswith(">"))
    if receiver:
        operands.insert(0, parse_type(prefix))
    elif prefix:
        name = f"{prefix}.{name}"
    return name, Overload(tuple(operands), parse_type(result), run, receiver, cost, size)


_PYTHON: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "uint": (UInt,),
    "double": (float,),
    "string": (str,),
    "bytes": (bytes,),
    "timestamp": (Timestamp,),
    "duration": (Duration,),
    "list": (list,),
    "type": (TypeValue,),
}


def accepts(kind: Type, value: type) -> bool:
    """Whether a value of a Python type may be an operand declared as `kind`."""
    if kind.kind in ("dyn", "param"):
        return True
    if kind.kind in ("map", "object"):
        return issubclass(value, dict)
    if kind.kind == "opaque":
        return value is Optional if kind.name == "optional_type" else getattr(value, "cel_name", "") == kind.name
    return value in _PYTHON.get(kind.kind, ())


def size_of(value: Any) -> int:
    """The size of an operand, for costs."""
    return len(value) if isinstance(value, str | bytes | list | dict) else 1


def tenth(size: int) -> int:
    """What reading a string of this size costs."""
    return -(-size // 10)
