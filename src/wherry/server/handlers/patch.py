"""PATCH: JSON patch, merge patch, strategic merge patch, and server-side apply.

The current bytes become plain JSON, are patched, and become a typed object again; from there on it is an update, tried
again on newer objects when others write at the same time. Apply creates what is not there.
"""

from collections.abc import Callable
from typing import Any

import orjson

from wherry.meta import apply as server_side_apply
from wherry.meta import strategic
from wherry.meta.errors import StatusError, bad_request, invalid, invalid_value, required, unsupported_media_type
from wherry.meta.patch import json_patch, merge_patch
from wherry.server.handlers.bodies import WriteOptions, from_value, repeated_fields, repeated_keys, write_options
from wherry.server.handlers.writes import Means, check_name, check_namespace
from wherry.server.http import Request, Response
from wherry.server.json_faults import syntax_fault
from wherry.server.negotiation import BODY_BYTES_MAX, PATCH_TYPES, parse, too_large
from wherry.server.registry import Served
from wherry.server.watchcache import Entry
from wherry.server.writer import Write, Written

Patch = Callable[[dict[str, Any]], Any]


async def patch(means: Means, served: Served, request: Request) -> Response:
    """200 with the object, 201 when apply created it. Raises StatusError."""
    kind = patch_kind(request, served)
    options = write_options(request)
    write = means.write(request, options)
    if kind == "apply":
        written = await _apply(means, served, request, options, write)
    else:
        make = patcher(kind, request.body, served)
        written = await means.writer.update(served, changed_by(make, served, options, write), write)
    return means.answer(request, served, written, write.ctx.warnings)


def patch_kind(request: Request, served: Served) -> str:
    """json, merge, strategic or apply. Raises 413, 415."""
    if len(request.body) > BODY_BYTES_MAX:
        raise too_large()
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    kind = PATCH_TYPES.get(content_type)
    if kind is None or (kind == "strategic" and served.resource.type is None):
        known = [item for item, what in PATCH_TYPES.items() if what != "strategic" or served.resource.type is not None]
        raise unsupported_media_type(known)
    return kind


def patcher(kind: str, body: bytes, served: Served) -> Patch:
    """The patch as a function on plain JSON. Raises 400 for a body that is none."""
    prefix = "" if kind == "strategic" else "error decoding patch: "
    try:
        change = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"{prefix}{syntax_fault(body) or error}") from error
    wanted, go_type = (list, "[]handlers.jsonPatchOp") if kind == "json" else (dict, "map[string]interface {}")
    if not isinstance(change, wanted):
        got = {dict: "object", list: "array", str: "string", bool: "bool"}.get(type(change), "number")
        raise bad_request(f"{prefix}json: cannot unmarshal {got} into Go value of type {go_type}")
    if kind == "json":
        return lambda value: json_patch(value, change)
    if kind == "merge":
        return lambda value: merge_patch(value, change)
    assert isinstance(change, dict)
    fields: dict[str, Any] = change
    return lambda value: strategic.apply(value, fields, served.schema)


def changed_by(make: Patch, served: Served, options: WriteOptions, write: Write) -> Callable[[Any, Entry], Any]:
    """The change that a patch is, for the writer."""

    def change(_: Any, entry: Entry) -> Any:
        before = orjson.loads(served.present(entry))
        warnings: list[str] = []
        after = make(before)
        _check_identity(after, served, write)
        obj = _typed(after, served, options.field_validation, warnings, applied=write.operation == "Apply")
        write.ctx.warnings[:] = warnings
        stored = served.to_stored(obj)
        served.strategy.default(stored)
        return stored

    return change


def _typed(after: Any, served: Served, validation: str, warnings: list[str], *, applied: bool) -> Any:
    """What a patch made, as an object; 422 when the patch made no such object."""
    try:
        return from_value(after, served, validation, warnings)
    except StatusError as error:
        if applied or error.code != 400:
            raise
        _, _, why = error.message.partition(f" cannot be handled as a {served.resource.kind}: ")
        shown = orjson.dumps(after).decode()
        raise invalid("", "", [invalid_value("patch", shown, why or error.message)]) from error


def _check_identity(after: Any, served: Served, write: Write) -> None:
    meta = (after.get("metadata") if isinstance(after, dict) else None) or {}
    if not isinstance(meta, dict) or meta.get("name") != write.name:
        name = meta.get("name") if isinstance(meta, dict) else ""
        raise bad_request(f"the name of the object ({name or ''}) does not match the name on the URL ({write.name})")
    if served.resource.namespaced and meta.get("namespace") != write.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


async def _apply(means: Means, served: Served, request: Request, options: WriteOptions, write: Write) -> Written:
    applied = _applied(request, served, write)
    repeated = "" if options.field_validation == "Ignore" else _repeated(request.body)
    write.operation = "Apply"
    schema = served.schema
    manager = server_side_apply.Manager(
        request.first("fieldManager"), "Apply", served.resource.api_version, write.subresource
    )
    force = request.first("force") in ("1", "true", "") and "force" in request.query
    reset = (("f:status",),) if served.has_status and write.subresource != "status" else ()

    def merged(live: dict[str, Any] | None) -> dict[str, Any]:
        made = server_side_apply.apply(live, applied, schema, manager, means.writer.now(), force, reset)
        if repeated and options.field_validation == "Strict":
            raise bad_request(f"error strict decoding YAML: {repeated}")
        return made

    written = await _merge_in(means, served, options, write, merged, applied)
    write.ctx.warnings += [repeated] if repeated else []
    return written


async def _merge_in(
    means: Means,
    served: Served,
    options: WriteOptions,
    write: Write,
    merged: Callable[[dict[str, Any] | None], dict[str, Any]],
    applied: dict[str, Any],
) -> Written:
    """Update the object, or create it; once more if it came or went meanwhile."""
    for attempt in range(2):
        entry = served.cache.get(write.namespace, write.name)
        try:
            if entry is not None:
                return await means.writer.update(served, changed_by(merged, served, options, write), write)
            if write.subresource or (applied.get("metadata") or {}).get("uid"):
                raise StatusError(404, "NotFound", f'{served.resource.group_resource} "{write.name}" not found')
            obj = from_value(merged(None), served, options.field_validation, write.ctx.warnings)
            check_namespace(served, obj, write.namespace)
            stored = served.to_stored(obj)
            served.strategy.default(stored)
            return await means.writer.create(served, stored, write)
        except StatusError as error:
            if attempt or error.reason not in ("AlreadyExists", "NotFound") or (error.code == 404 and entry is None):
                raise
    raise AssertionError("unreachable: the second attempt returns or raises")


def _repeated(body: bytes) -> str:
    """What is said of keys that come twice; JSON is looked at as JSON first, which is quicker."""
    found = repeated_keys(body) if not _is_json(body) or repeated_fields(body) else []
    return f"error converting YAML to JSON: {found[0]}" if found else ""


def _applied(request: Request, served: Served, write: Write) -> dict[str, Any]:
    if not request.first("fieldManager"):
        fault = required("fieldManager", "is required for apply patch")
        raise invalid("PatchOptions.meta.k8s.io", "", [fault])
    applied = (
        parse(request.body, "yaml", served.resource.kind) if not _is_json(request.body) else orjson.loads(request.body)
    )
    if not isinstance(applied, dict):
        raise bad_request("error decoding YAML: the body must be an object")
    for field, wanted in (("apiVersion", served.resource.api_version), ("kind", served.resource.kind)):
        if applied.get(field) != wanted:
            given = f"{applied.get('apiVersion') or ''}, Kind={applied.get('kind') or ''}"
            raise bad_request(
                f"invalid object type: {given}: must be {served.resource.api_version}, Kind={served.resource.kind}"
            )
    meta = applied.setdefault("metadata", {})
    meta.setdefault("name", write.name)
    if served.resource.namespaced:
        meta.setdefault("namespace", write.namespace)
    probe = served.codec.from_builtins({"metadata": {k: meta[k] for k in ("name", "namespace") if k in meta}})
    check_name(probe, write.name)
    check_namespace(served, probe, write.namespace)
    return applied


def _is_json(body: bytes) -> bool:
    if not body.lstrip().startswith(b"{"):
        return False
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True
