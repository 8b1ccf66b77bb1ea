"""Sets of fields, as managedFields keeps them: which parts of an object somebody set.

A path is a tuple of elements spelled as in fieldsV1: "f:spec", 'k:{"name":"a"}' (item of an associative list),
'v:"x"' (member of a set), and a set is a frozenset of paths, so that the algebra is Python's own. `walk` lists the
parts of an object under its schema; meta/apply.py builds on it.

Source of the format: sigs.k8s.io/structured-merge-diff, fieldpath and typed.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import orjson

from wherry.meta.schema import FieldSchema, TypeSchema

Path = tuple[str, ...]
FieldSet = frozenset[Path]
EMPTY: FieldSet = frozenset()

Part = tuple[Path, Literal["leaf", "item", "map"], Any]
"""A path, what stands there, and its value. An item is a list's or a map's; its own parts follow."""


class SchemaMismatch(Exception):
    """The object does not fit the schema; the text begins with the path."""


def walk(value: Any, schema: FieldSchema | None, path: Path = (), strict: bool = False) -> Iterator[Part]:
    """The parts of `value`. `strict` refuses what the schema does not know (SchemaMismatch)."""
    if isinstance(value, dict) and value and not is_atomic(schema):
        yield from _walk_members(value, schema, path, strict)
    elif isinstance(value, list) and schema and schema.list_type in ("set", "map"):
        seen = set()
        for element, item in list_elements(value, schema, path):
            if strict and element in seen:
                raise SchemaMismatch(f"{path_text(path)}: duplicate entries for key {_element_text(element)}")
            seen.add(element)
            yield (*path, element), "item", None
            yield from walk(item, item_schema(schema), (*path, element), strict)
    else:
        yield path, "leaf", value


def _walk_members(value: dict[str, Any], schema: FieldSchema | None, path: Path, strict: bool) -> Iterator[Part]:
    known = schema.type.fields if schema and schema.shape == "struct" and schema.type else {}
    if path and not known:
        yield path, "map", None
    for key, member in value.items():
        below = (*path, f"f:{key}")
        if key not in known:
            if known and strict:
                raise SchemaMismatch(f"{path_text(below)}: field not declared in schema")
            yield below, "item", None
        yield from walk(member, child_schema(schema, key), below, strict)


def is_atomic(schema: FieldSchema | None) -> bool:
    """Whether a map or struct is owned as a whole, so that its parts do not merge."""
    return schema is not None and (
        schema.map_type == "atomic" or (schema.shape == "struct" and schema.type is not None and schema.type.atomic)
    )


def child_schema(schema: FieldSchema | None, key: str) -> FieldSchema | None:
    """What is known of member `key` of a struct or map."""
    if schema is None or schema.type is None:
        return None
    return schema.type.fields.get(key) if schema.shape == "struct" else FieldSchema("struct", schema.type)


def item_schema(schema: FieldSchema | None) -> FieldSchema | None:
    """What is known of the items of a list."""
    return FieldSchema("struct", schema.type) if schema and schema.type else None


def root_schema(schema: TypeSchema | None) -> FieldSchema | None:
    """What is known of a whole object."""
    return FieldSchema("struct", schema) if schema else None


def list_elements(value: list[Any], schema: FieldSchema, path: Path) -> Iterator[tuple[str, Any]]:
    """The path element of each item of a set or associative list. Raises SchemaMismatch for an item without its key."""
    for index, item in enumerate(value):
        if schema.list_type == "set":
            yield f"v:{_json(item)}", item
            continue
        keys = {}
        for key in schema.list_map_keys:
            found = item.get(key) if isinstance(item, dict) else None
            found = schema.list_map_defaults.get(key) if found is None else found
            if found is not None:
                keys[key] = found
            elif len(schema.list_map_keys) == 1:
                raise SchemaMismatch(
                    f"{path_text(path)}: element {index}: associative list with keys has an element that omits "
                    f'key field "{key}" (and doesn\'t have default value)'
                )
        yield f"k:{_json(keys)}", item


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def path_text(path: Path) -> str:
    """A path as messages spell it: .spec.containers[name="a"].image."""
    return "".join(map(_element_text, path))


def _element_text(element: str) -> str:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        return f"[{','.join(f'{key}={_json(value)}' for key, value in orjson.loads(rest).items())}]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


def prefixes(paths: Iterable[Path]) -> set[Path]:
    """All paths and everything above them."""
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def to_fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """The set as fieldsV1; "." marks a member that also has parts."""
    root: dict[str, Any] = {}
    members = set(paths)
    for path in sorted(members):  # whatever stands above a path is sorted before it
        at = root
        for length, element in enumerate(path, 1):
            if element not in at:
                at[element] = {}
            at = at[element]
            if length < len(path) and not at and path[:length] in members:
                at["."] = {}
    return root


def owned_whole(value: Any, schema: FieldSchema | None, member: bool = False) -> dict[str, Any] | None:
    """fieldsV1 of everything in `value`: to_fields_v1 of its walk in one pass, for the creator who owns it all.

    `member` says that what stands here is a member of the set itself. None when there is nothing to own.
    """
    made: dict[str, Any] = {}
    if isinstance(value, dict) and value and not is_atomic(schema):
        known = schema.type.fields if schema and schema.shape == "struct" and schema.type else {}
        member = member or not known
        for key in sorted(value):
            found = owned_whole(value[key], child_schema(schema, key), key not in known)
            if found is not None:
                made["f:" + key] = found
    elif isinstance(value, list) and schema and schema.list_type in ("set", "map"):
        items = dict(list_elements(value, schema, ()))
        for element in sorted(items):
            made[element] = owned_whole(items[element], item_schema(schema), True)
    else:
        return made
    if not made:
        return made if member else None
    return {".": {}, **made} if member else made


def from_fields_v1(fields: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    """The members of a set in fieldsV1."""
    for element, below in fields.items():
        if element == ".":
            yield path
        elif not below:
            yield (*path, element)
        else:
            yield from from_fields_v1(below, (*path, element))
