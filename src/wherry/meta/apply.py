"""Server-side apply and field ownership: who set which field, and what happens when two disagree.

`apply` merges what a manager applies into the live object: fields another manager owns with a different value are
conflicts (or taken over, by force), and fields this manager applied before but leaves out now are removed unless
somebody else owns them. `track` keeps ownership for every other write: whoever changes a field owns it. Both are pure
functions on dicts; the time is an argument. Read meta/fieldset.py for paths and sets.

Source of the semantics: KEP-555, sigs.k8s.io/structured-merge-diff and apimachinery's util/managedfields.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from wherry.meta.errors import StatusError, apply_conflict, bad_request, quote
from wherry.meta.fieldset import (
    EMPTY,
    FieldSet,
    Path,
    SchemaMismatch,
    child_schema,
    from_fields_v1,
    is_atomic,
    item_schema,
    list_elements,
    owned_whole,
    path_text,
    prefixes,
    root_schema,
    to_fields_v1,
    walk,
)
from wherry.meta.patch import same
from wherry.meta.schema import FieldSchema, TypeSchema

Map = dict[str, Any]
Entry = dict[str, Any]

UPDATE_MANAGERS_MAX = 10
"""More than these are merged into one called "ancient-changes", so that managedFields cannot grow without end."""

_NOT_TRACKED_METADATA = frozenset(
    "name namespace creationTimestamp selfLink uid clusterName generation managedFields resourceVersion".split()
)
_NOT_TRACKED: FieldSet = frozenset(
    [("f:apiVersion",), ("f:kind",), ("f:metadata",)] + [("f:metadata", f"f:{name}") for name in _NOT_TRACKED_METADATA]
)


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes, and how; one entry of managedFields. `operation` is Apply or Update."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        text = quote(self.name)
        if self.subresource:
            text += f" with subresource {quote(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(slots=True)
class _Owned:
    fields: FieldSet
    time: str | None = None


_Managers = dict[Manager, _Owned]


def apply(
    live: Map | None,
    applied: Map,
    schema: TypeSchema | None,
    manager: Manager,
    now: str,
    force: bool = False,
    reset: Sequence[Path] = (),
) -> Map:
    """The object after `manager` applied `applied`, with managedFields; `live` itself when nothing changes.

    `live` is None when the object is created. `reset` holds paths whose fields this request may not set (("f:status",)
    on the main resource). Raises StatusError: 409 with the conflicts, 400 or 500 for what cannot be applied.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    root = root_schema(schema)
    wanted = _trim(_applied_set(applied, root), reset)
    managers = _decode(live)
    if live is not None and not managers:
        managers[replace(manager, name="before-first-apply", operation="Update", subresource="")] = _Owned(
            _trim(_field_set(live, root)), now
        )
    last = managers[manager].fields if manager in managers else EMPTY
    others = {other: owned for other, owned in managers.items() if other != manager}
    merged = _prune(_merge(live or {}, applied, root, ()), root, last, wanted, others)
    changed, removed = _compare(live or {}, merged, root)
    conflicts = [(other, path) for other, owned in others.items() for path in sorted(owned.fields & changed)]
    if conflicts and not force:
        raise _conflict(conflicts)
    _give_up(others, changed | removed)
    mine = managers.get(manager)
    others[manager] = _Owned(wanted, mine.time if mine and wanted == last and not changed and not removed else now)
    entries = _encode(others)
    if (
        live is not None
        and not changed
        and not removed
        and same(entries, live.get("metadata", {}).get("managedFields"))
    ):
        return live
    return _with_entries(merged, entries)


def track(
    live: Map | None, new: Map, schema: TypeSchema | None, manager: Manager, now: str, reset: Sequence[Path] = ()
) -> list[Entry]:
    """managedFields of `new` after `manager` made it of `live` by create, update or patch.

    A client may send managedFields of its own, which then count instead of the live ones; [{}] clears them.
    """
    given = (new.get("metadata") or {}).get("managedFields")
    if given == [{}]:
        return []
    root = root_schema(schema)
    if live is None and not given:
        return _all_of(new, root, manager, now, reset)
    managers = _decode(new if given else live)
    try:
        changed, removed = _compare(live or {}, new, root)
    except SchemaMismatch:  # an item without its key: the write may stand, but nobody can say whose the fields are
        return _encode(managers)
    changed = _trim(changed, reset)
    mine = managers.pop(manager, None) or _Owned(EMPTY)
    _give_up(managers, changed | removed)
    fields = (mine.fields | changed) - removed
    if fields:
        managers[manager] = _Owned(fields, mine.time if fields == mine.fields and not changed else now)
    _cap(managers)
    return _encode(managers)


def _all_of(new: Map, root: FieldSchema | None, manager: Manager, now: str, reset: Sequence[Path]) -> list[Entry]:
    """What `track` makes of a create: one manager owns everything, and nothing has to be compared."""
    hidden = {path[0][2:] for path in reset} | {"apiVersion", "kind", "metadata"}
    shown = {key: item for key, item in new.items() if key not in hidden}
    metadata = {key: item for key, item in (new.get("metadata") or {}).items() if key not in _NOT_TRACKED_METADATA}
    if metadata:
        shown["metadata"] = metadata
    try:
        fields = owned_whole(shown, root) if shown else None
    except SchemaMismatch:
        return []
    if fields:
        for holder in (fields, fields.get("f:metadata", {})):
            holder.pop(".", None)  # the object and its metadata are nobody's, whatever the schema knows of them
    return [_entry(manager, now, fields)] if fields else []


# Sets of objects -----------------------------------------------------------------------------------------------------


def _field_set(value: Map, root: FieldSchema | None, strict: bool = False) -> FieldSet:
    return frozenset(path for path, kind, _ in walk(value, root, (), strict) if kind != "map" and path)


def _applied_set(applied: Map, root: FieldSchema | None) -> FieldSet:
    try:
        return _field_set(applied, root, strict=True)
    except SchemaMismatch as error:
        metadata = applied.get("metadata") or {}
        name = "/".join(filter(None, (metadata.get("namespace"), metadata.get("name"))))
        kind = f"{applied.get('apiVersion')}, Kind={applied.get('kind')}"
        raise StatusError(500, "", f"failed to create typed patch object ({name}; {kind}): {error}") from error


def _trim(fields: FieldSet, reset: Sequence[Path] = ()) -> FieldSet:
    """Without what nobody owns (identity) and what this request may not set."""
    kept = fields - _NOT_TRACKED
    for prefix in reset:
        kept = frozenset(path for path in kept if path[: len(prefix)] != prefix)
    return kept


def _compare(old: Map, new: Map, root: FieldSchema | None) -> tuple[FieldSet, FieldSet]:
    """The fields added or modified, and those removed."""
    old, new = _differing(old, new, root)
    before = {path: (kind == "leaf" and value != {}, value) for path, kind, value in walk(old, root) if path}
    after = {path: (kind == "leaf" and value != {}, value) for path, kind, value in walk(new, root) if path}
    changed = {path for path, what in after.items() if path not in before or _differs(before[path], what)}
    removed = before.keys() - after.keys()
    # A map or struct that is emptied, or filled, is there all the while.
    changed -= prefixes(before) - before.keys()
    removed -= prefixes(after)
    return _trim(frozenset(changed)), _trim(frozenset(removed))


def _differing(old: Map, new: Map, schema: FieldSchema | None) -> tuple[Map, Map]:
    """Both without the members that are equal to the byte: most of an object, which nobody then has to walk."""
    one, other = dict(old), dict(new)
    for key in old.keys() & new.keys():
        before, after = old[key], new[key]
        if before == after and orjson.dumps(before) == orjson.dumps(after):
            del one[key], other[key]
        elif isinstance(before, dict) and isinstance(after, dict):
            below = child_schema(schema, key)
            if not is_atomic(below):
                one[key], other[key] = _differing(before, after, below)
    return one, other


def _differs(one: tuple[bool, Any], other: tuple[bool, Any]) -> bool:
    return one[0] != other[0] or (one[0] and not same(one[1], other[1]))


def _give_up(managers: _Managers, fields: FieldSet) -> None:
    """Take `fields` from all; who has nothing left is forgotten."""
    for other in list(managers):
        left = managers[other].fields - fields
        if left:
            managers[other] = _Owned(left, managers[other].time)
        else:
            del managers[other]


# Merging -------------------------------------------------------------------------------------------------------------


class AtomicError(Exception):
    """A configuration sets lists, maps or structs that can only be set as a whole."""


def merge_granular(live: Map, applied: Map, schema: TypeSchema | None) -> Map:
    """`live` with `applied` laid over it, nobody owning anything. Raises AtomicError."""
    root = root_schema(schema)
    atomic = list(_atomics(applied, root, ""))
    if atomic:
        raise AtomicError(f"may not mutate atomic arrays, maps or structs: {', '.join(atomic)}")
    merged: Map = _merge(live, applied, root, ())
    return merged


def _atomics(value: Any, schema: FieldSchema | None, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        if path and is_atomic(schema):
            yield path
        for key, item in value.items():
            yield from _atomics(item, child_schema(schema, key), f"{path}.{key}")
    elif isinstance(value, list) and schema is not None:
        if schema.list_type not in ("set", "map"):
            yield path
        for index, item in enumerate(value):
            yield from _atomics(item, item_schema(schema), f"{path}[{index}]")


def _merge(live: Any, applied: Any, schema: FieldSchema | None, path: Path) -> Any:
    if isinstance(live, dict) and isinstance(applied, dict) and not is_atomic(schema):
        merged = dict(live)
        for key, value in applied.items():
            merged[key] = _merge(live.get(key), value, child_schema(schema, key), (*path, f"f:{key}"))
        return merged
    if isinstance(live, list) and isinstance(applied, list) and schema and schema.list_type in ("set", "map"):
        return _merge_list(live, applied, schema, path)
    return applied


def _merge_list(live: list[Any], applied: list[Any], schema: FieldSchema, path: Path) -> list[Any]:
    """Applied items in their order; the live list's others where they stood, as far as that order leaves room.

    An item of the live list alone comes as soon as its turn has come there; one that both have waits for its turn in
    the applied list, and no longer holds its place in the live one. Source: structured-merge-diff, typed/merge.go.
    """
    old = dict(list_elements(live, schema, path))
    new = dict(list_elements(applied, schema, path))
    below = item_schema(schema)
    merged: list[Any] = []
    order = list(old)
    shared = deque(element for element in new if element in old)
    at = 0
    for element, item in new.items():
        while at < len(order) and order[at] != element:
            other = order[at]
            if other not in new:
                merged.append(old[other])
            elif shared and shared[0] == other:
                break  # the next of both: what the applied list has before it goes first
            at += 1
        if at < len(order) and order[at] == element:
            at += 1
        if shared and shared[0] == element:
            shared.popleft()
        merged.append(_merge(old[element], item, below, (*path, element)) if element in old else item)
    return merged + [old[other] for other in order[at:] if other not in new]


def _prune(merged: Map, root: FieldSchema | None, last: FieldSet, wanted: FieldSet, others: _Managers) -> Map:
    """`merged` without what the manager applied last time, leaves out now, and nobody else owns."""
    gone = prefixes(last) - prefixes(wanted)
    kept = prefixes(path for owned in others.values() for path in owned.fields)
    doomed = {path for path in gone - kept if path not in _NOT_TRACKED}
    pruned: Map = _without(merged, root, (), doomed) if doomed else merged
    return pruned


def _without(value: Any, schema: FieldSchema | None, path: Path, doomed: set[Path]) -> Any:
    if isinstance(value, dict):
        return {
            key: _without(member, child_schema(schema, key), (*path, f"f:{key}"), doomed)
            for key, member in value.items()
            if (*path, f"f:{key}") not in doomed
        }
    if isinstance(value, list) and schema and schema.list_type in ("set", "map"):
        return [
            _without(item, item_schema(schema), (*path, element), doomed)
            for element, item in list_elements(value, schema, path)
            if (*path, element) not in doomed
        ]
    return value


def _conflict(conflicts: list[tuple[Manager, Path]]) -> StatusError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {other}", "field": path_text(path)}
        for other, path in conflicts
    ]
    if len(conflicts) == 1:
        other, path = conflicts[0]
        return apply_conflict(f"Apply failed with 1 conflict: conflict with {other}: {path_text(path)}", causes)
    by_manager: dict[str, list[str]] = {}
    for other, path in conflicts:
        by_manager.setdefault(str(other), []).append(f"- {path_text(path)}")
    lines = [line for name in sorted(by_manager) for line in (f"conflicts with {name}:", *by_manager[name])]
    return apply_conflict(f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines), causes)


# managedFields -------------------------------------------------------------------------------------------------------


def _decode(value: Map | None) -> _Managers:
    managers: _Managers = {}
    for entry in ((value or {}).get("metadata") or {}).get("managedFields") or []:
        manager = Manager(
            entry.get("manager") or "",
            entry.get("operation") or "",
            entry.get("apiVersion") or "",
            entry.get("subresource") or "",
        )
        fields = _members(orjson.dumps(entry.get("fieldsV1") or {}))
        managers[manager] = _Owned(
            fields | (managers[manager].fields if manager in managers else EMPTY), entry.get("time")
        )
    return managers


def _encode(managers: _Managers) -> list[Entry]:
    ordered = sorted(managers.items(), key=lambda item: (item[0].operation, item[1].time or "", item[0].name))
    return [_entry(manager, owned.time, _spelled(owned.fields)) for manager, owned in ordered]


# Objects of one kind that one program writes have the same few sets, and most updates change values, not sets.


@lru_cache(maxsize=512)
def _members(fields_v1: bytes) -> FieldSet:
    return frozenset(from_fields_v1(orjson.loads(fields_v1)))


@lru_cache(maxsize=512)
def _spelled(fields: FieldSet) -> Map:
    """Shared by all who write this set: nobody may change it."""
    return to_fields_v1(fields)


def _entry(manager: Manager, time: str | None, fields: Map) -> Entry:
    entry: Entry = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
    entry |= {"time": time} if time else {}
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
    entry |= {"subresource": manager.subresource} if manager.subresource else {}
    return entry


def _with_entries(value: Map, entries: list[Entry]) -> Map:
    metadata = {key: item for key, item in (value.get("metadata") or {}).items() if key != "managedFields"}
    return value | {"metadata": metadata | {"managedFields": entries}}


def _cap(managers: _Managers) -> None:
    """Merge the oldest updaters into one per API version when there are too many."""
    updaters = sorted(
        (manager for manager in managers if manager.operation == "Update"), key=lambda item: managers[item].time or ""
    )
    surplus = len(updaters) - UPDATE_MANAGERS_MAX
    for manager in updaters[: surplus + 1] if surplus > 0 else ():  # one more, for what they become counts too
        owned = managers.pop(manager)
        ancient = replace(manager, name="ancient-changes", subresource="")
        before = managers.get(ancient)
        managers[ancient] = _Owned(owned.fields | (before.fields if before else EMPTY), owned.time)
