"""How patches and server-side apply merge each API type: its Struct joined with patch_keys.py.

`schema_of(core.Pod)` costs nothing until it is called and is made once per type. Read meta/schema.py for what the
records mean; meta/strategic.py and meta/apply.py use them.
"""

import types
from typing import Any, Literal, Union, cast, get_args, get_origin

import msgspec

from wherry.api.patch_keys import ATOMIC_TYPES, FIELDS
from wherry.meta.schema import FieldSchema, Shape, TypeSchema

_SCHEMAS: dict[type, TypeSchema] = {}
_KEY_DEFAULTS: dict[str, object] = {"protocol": "TCP"}
"""Keys of associative lists that may be left out: only ports have one."""


def schema_of(kind: type) -> TypeSchema:
    """The merge rules of a Struct and all it holds; recursive types refer to themselves."""
    known = _SCHEMAS.get(kind)
    if known is not None:
        return known
    qualified = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
    schema = _SCHEMAS[kind] = TypeSchema(name=kind.__name__, atomic=qualified in ATOMIC_TYPES)
    keys = FIELDS.get(qualified, {})
    for item in msgspec.structs.fields(kind):
        schema.fields[item.encode_name] = _field(item.type, keys.get(item.encode_name, ""))
    return schema


def _field(annotation: Any, keys: str) -> FieldSchema:
    shape, struct = _shape(annotation)
    rules = dict(rule.split("=", 1) for rule in keys.split())
    made = FieldSchema(shape, schema_of(struct) if struct else None)
    made.patch_strategy = tuple(rules["patch"].split(",")) if "patch" in rules else ()
    made.patch_merge_key = rules.get("key")
    if shape == "list":
        made.list_type = cast(Literal["atomic", "set", "map"], rules.get("list", "atomic"))
        made.list_map_keys = tuple(rules["keys"].split(",")) if "keys" in rules else ()
        made.list_map_defaults = {key: _KEY_DEFAULTS[key] for key in made.list_map_keys if key in _KEY_DEFAULTS}
    elif shape in ("map", "struct"):
        inherited = "atomic" if shape == "struct" and made.type is not None and made.type.atomic else None
        made.map_type = cast(Literal["atomic", "granular"] | None, rules.get("map", inherited))
    return made


def _shape(annotation: Any) -> tuple[Shape, type | None]:
    """The shape of a field, and the Struct that it is or holds."""
    members = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
    if len(members) > 1:
        return ("any" if any(_is_struct(member) for member in members) else "scalar"), None
    (member,) = members
    if member is Any or member is msgspec.Raw:
        return "any", None
    if _is_struct(member):
        return "struct", member
    if get_origin(member) is list:
        return "list", _struct_or_none(get_args(member)[0])
    if get_origin(member) is dict:
        return "map", _struct_or_none(get_args(member)[1])
    return "scalar", None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _struct_or_none(kind: Any) -> type | None:
    return kind if _is_struct(kind) else None
