"""What encode.py and decode.py share: fields by number, what type a field holds, and which Struct a kind is.

The numbers stand in numbers.py and machinery_numbers.py, the types in wherry.api.
"""

import types
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec

from wherry.api import meta_v1
from wherry.api.registry import kind_type
from wherry.meta.object import PartialObjectMetadata
from wherry.server.protobuf.machinery_numbers import MACHINERY_MESSAGES
from wherry.server.protobuf.numbers import MESSAGES

MAGIC = b"k8s\x00"
"""What every body begins with; the envelope follows."""
INT_OR_STRING = frozenset({int, str})
Table = dict[int, tuple[str, str]]
"""By field number: JSON name (or ">Message") and mark."""
_ANSWERS = {
    kind.__name__: kind
    for kind in (meta_v1.Status, meta_v1.APIVersions, meta_v1.APIGroup, meta_v1.APIGroupList, meta_v1.APIResourceList)
}


@cache
def tables() -> dict[str, Table]:
    """Every message, by module and name of its type."""
    made: dict[str, Table] = {}
    table: Table = {}
    number = 0
    for line in (MESSAGES.strip() + MACHINERY_MESSAGES.rstrip()).splitlines():
        words = line.split()
        if not line.startswith(" "):
            table = made[words.pop(0)] = {}
            number = 1
        for word in words:
            if word.isdigit():
                number = int(word)
                continue
            name, _, mark = word.partition("~")
            table[number] = (name.rstrip("*"), mark or name[len(name.rstrip("*")) :])
            number += 1
    return made


@cache
def annotations(kind: type) -> dict[str, Any]:
    """The types of a Struct's fields by JSON name, without None; a union is a frozenset."""
    return {field.encode_name: required(field.type) for field in msgspec.structs.fields(kind)}


def required(annotation: Any) -> Any:
    """The annotation without None."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    members = [member for member in get_args(annotation) if member is not type(None)]
    return members[0] if len(members) == 1 else frozenset(members)


def struct_of(union: Any) -> type[msgspec.Struct]:
    """The Struct among a union's members."""
    return next(member for member in union if isinstance(member, type) and issubclass(member, msgspec.Struct))


def module_of(kind: type) -> str:
    """core_v1 and the like: the first half of a message's name."""
    return kind.__module__.rpartition(".")[2]


def message_type(api_version: str, kind: str) -> type | None:
    """The Struct of a kind that protobuf can carry; None when there is none, as for custom resources."""
    if api_version.startswith("meta.k8s.io/"):
        return PartialObjectMetadata if kind == "PartialObjectMetadata" else None
    if kind == "DeleteOptions":
        return meta_v1.DeleteOptions
    if api_version in ("v1", "") and kind in _ANSWERS:
        return _ANSWERS[kind]
    return kind_type(api_version, kind)
