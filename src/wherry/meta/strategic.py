"""Strategic merge patch: a merge patch that knows which lists merge by key, plus directives in the patch.

Directives: `$patch: replace|delete|merge` in a map or list item, `$retainKeys: [..]` in a map,
`$deleteFromPrimitiveList/<field>: [..]` and `$setElementOrder/<field>: [..]` beside a list. What the schema does not
know falls back to merge patch. Neither argument is changed. Errors are StatusError, 400.

Source of the semantics: Kubernetes' community document strategic-merge-patch.md and
k8s.io/apimachinery/pkg/util/strategicpatch.
"""

from collections.abc import Iterable
from typing import Any

from wherry.meta.errors import StatusError, bad_request
from wherry.meta.patch import same
from wherry.meta.schema import FieldSchema, TypeSchema

Map = dict[str, Any]

PATCH, RETAIN_KEYS = "$patch", "$retainKeys"
DELETE_FROM, ELEMENT_ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def apply(original: Map, patch: Map, schema: TypeSchema | None) -> Map:
    """`original` with `patch` merged in, by the patch strategies of `schema` (None: none known)."""
    return _merge_map(original, patch, FieldSchema("struct", schema) if schema else None)


def _child(schema: FieldSchema | None, key: str) -> FieldSchema | None:
    """What is known of member `key` of a struct or map."""
    if schema is None or schema.type is None:
        return None
    return schema.type.fields.get(key) if schema.shape == "struct" else FieldSchema("struct", schema.type)


def _merge_map(original: Map, patch: Map, schema: FieldSchema | None) -> Map:
    if PATCH in patch:
        return _directed(original, patch, schema)
    merged = _retain(original, patch)
    done = {RETAIN_KEYS}
    for directive in [key for key in patch if key.startswith(ELEMENT_ORDER)]:
        key = directive.removeprefix(ELEMENT_ORDER)
        _merge_ordered(merged, patch, key, _child(schema, key))
        done |= {directive, key, DELETE_FROM + key}
    for key, value in patch.items():
        if key in done:
            continue
        if key.startswith(DELETE_FROM):
            _delete_primitives(merged, key.removeprefix(DELETE_FROM), value)
        elif value is None:
            merged.pop(key, None)
        elif key in merged:
            merged[key] = _merge_value(merged[key], value, _child(schema, key), key)
        else:
            merged[key] = _plain(value)
    return merged


def _directed(original: Map, patch: Map, schema: FieldSchema | None) -> Map:
    rest = {key: value for key, value in patch.items() if key != PATCH}
    match patch[PATCH]:
        case "replace":
            return dict(_plain(rest))
        case "delete":
            return {}
        case "merge":
            return _merge_map(original, rest, schema)
    raise _bad_type(patch)


def _bad_type(patch: Map) -> StatusError:
    return bad_request(f"unknown patch type: {patch[PATCH]} in map: {patch}")


def _retain(original: Map, patch: Map) -> Map:
    """A copy of `original`, without the keys that $retainKeys leaves out."""
    if RETAIN_KEYS not in patch:
        return dict(original)
    keys = patch[RETAIN_KEYS]
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise bad_request("invalid patch format of retainKeys")
    for key, value in patch.items():
        if not key.startswith("$") and value is not None and key not in keys:
            raise bad_request("invalid patch format of retainKeys")
    return {key: value for key, value in original.items() if key in keys}


def _merge_value(original: Any, patch: Any, schema: FieldSchema | None, key: str) -> Any:
    """One member that both sides have."""
    strategy = schema.patch_strategy if schema else ()
    if isinstance(original, dict) and isinstance(patch, dict):
        return _plain(patch) if "replace" in strategy else _merge_map(original, patch, schema)
    if isinstance(original, list) and isinstance(patch, list) and schema and "merge" in strategy:
        return _merge_list(original, patch, schema, key)
    return _plain(patch)


def _merge_list(original: list[Any], patch: list[Any], schema: FieldSchema, key: str) -> list[Any]:
    """A list under the merge strategy, in the patch's order among its own items and the server's among the rest."""
    if not original and not patch:
        return original
    merge_key = schema.patch_merge_key if _is_maps(original, patch) else None
    if merge_key is None:
        if _is_maps(original, patch):
            raise bad_request(f"cannot merge lists without merge key for {key}")
        merged = _unique([*original, *patch])
        return _ordered(merged, patch, original, None)
    kept, items = _special_items(original, patch, merge_key)
    if kept is None:
        return [_plain(item) for item in items]
    merged = list(kept)
    item_schema = FieldSchema("struct", schema.type) if schema.type else None
    for item in items:
        wanted = _key_of(item, merge_key)
        at = next((i for i, old in enumerate(merged) if same(_key_of(old, merge_key), wanted)), None)
        if at is None:
            merged.append(_plain(item))
        else:
            merged[at] = _merge_map(merged[at], item, item_schema)
    return _ordered(merged, items, kept, merge_key)


def _special_items(original: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any] | None, list[Any]]:
    """The original less what `$patch: delete` items name (None after `$patch: replace`), and the ordinary items."""
    kept: list[Any] | None = original
    items = []
    for item in patch:
        directive = item.get(PATCH)
        if directive is None:
            items.append(item)
        elif directive == "delete":
            gone = _key_of(item, merge_key)
            kept = kept and [old for old in kept if not same(_key_of(old, merge_key), gone)]
        elif directive == "replace":
            kept = None
        elif directive == "merge":
            items.append({key: value for key, value in item.items() if key != PATCH})
        else:
            raise _bad_type(item)
    return kept, items


def _merge_ordered(merged: Map, patch: Map, key: str, schema: FieldSchema | None) -> None:
    """Merge list `key` and put it into the order that $setElementOrder gives."""
    order = patch[ELEMENT_ORDER + key]
    original, items = merged.get(key) or [], patch.get(key, [])
    if schema is None or "merge" not in schema.patch_strategy:
        raise bad_request("invalid patch format of setElementOrder list")
    if key in patch and items is None:
        merged.pop(key, None)
        return
    if not isinstance(order, list) or not isinstance(items, list) or not isinstance(original, list):
        raise bad_request("invalid patch format of setElementOrder list")
    merge_key = schema.patch_merge_key if any(isinstance(item, dict) for item in order) else None
    _check_order(items, order, merge_key)
    _delete_primitives(merged, key, patch.get(DELETE_FROM + key, []))
    if key not in merged and not items:
        return
    combined = _merge_list(merged.get(key) or [], items, schema, key)
    merged[key] = _ordered(combined, order, original, merge_key)


def _check_order(items: list[Any], order: list[Any], merge_key: str | None) -> None:
    """The patch's items must stand in the order that it claims."""
    ordinary = [item for item in items if not (isinstance(item, dict) and PATCH in item)]
    positions = [_position(order, item, merge_key) for item in ordinary]
    if -1 in positions or positions != sorted(positions):
        raise bad_request(f"The order in patch list:\n{items}\n doesn't match {ELEMENT_ORDER[:-1]} list:\n{order}\n")


def _ordered(merged: list[Any], wanted: list[Any], server: list[Any], merge_key: str | None) -> list[Any]:
    """Items of `wanted` in that order; the others, in the server's order, stay before what they stood before."""
    ours = [item for item in merged if _position(wanted, item, merge_key) >= 0]
    ours.sort(key=lambda item: _position(wanted, item, merge_key))
    theirs = [item for item in merged if _position(wanted, item, merge_key) < 0]
    theirs.sort(key=lambda item: _position(server, item, merge_key))
    result: list[Any] = []
    while ours and theirs:
        left, right = _position(server, theirs[0], merge_key), _position(server, ours[0], merge_key)
        result.append(theirs.pop(0) if 0 <= left < right else ours.pop(0))
    return result + ours + theirs


def _position(items: list[Any], wanted: Any, merge_key: str | None) -> int:
    value = wanted if merge_key is None else _key_of(wanted, merge_key)
    for at, item in enumerate(items):
        if same(item if merge_key is None else _key_of(item, merge_key), value):
            return at
    return -1


def _key_of(item: Any, merge_key: str) -> Any:
    if not isinstance(item, dict) or merge_key not in item:
        raise bad_request(f"map: {item} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _delete_primitives(merged: Map, key: str, values: Any) -> None:
    if not isinstance(values, list) or any(isinstance(value, dict | list) for value in values):
        raise bad_request("invalid patch format of primitive list")
    if isinstance(merged.get(key), list):
        merged[key] = [item for item in merged[key] if not any(same(item, value) for value in values)]


def _is_maps(original: list[Any], patch: list[Any]) -> bool:
    kinds = {"map" if isinstance(item, dict) else "list" if isinstance(item, list) else "" for item in original + patch}
    if "list" in kinds:
        raise bad_request("lists of lists are not supported")
    if len(kinds) > 1:
        raise bad_request("list element types are not identical")
    return "map" in kinds


def _unique(items: Iterable[Any]) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if not any(same(item, other) for other in kept):
            kept.append(item)
    return kept


def _plain(value: Any) -> Any:
    """A patch value that meets nothing to merge with: without nulls in maps and without directives."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None and not _is_directive(key)}
    if isinstance(value, list):
        return [_plain(item) for item in value if not (isinstance(item, dict) and item.get(PATCH) in _NO_ITEM)]
    return value


_NO_ITEM = ("delete", "replace")


def _is_directive(key: str) -> bool:
    return key in (PATCH, RETAIN_KEYS) or key.startswith((DELETE_FROM, ELEMENT_ORDER))
