"""Request bodies to objects, and what may be wrong with them.

Bytes become a Struct in one step. Unknown and repeated fields are looked for as fieldValidation asks: Warn (the
default) gives Warning headers, Strict refuses, Ignore does not look. Repeated ones are only looked for when the client
names a mode, for that takes a second, slow parse. Source of the messages: k8s.io/apiserver, endpoints/handlers.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from wherry.api.registry import kind_type
from wherry.meta.errors import (
    FieldError,
    StatusError,
    bad_request,
    field_forbidden,
    invalid,
    invalid_value,
    not_supported,
    too_long,
)
from wherry.meta.schema import TypeSchema
from wherry.server.http import Request
from wherry.server.json_faults import syntax_fault, type_fault
from wherry.server.negotiation import body_format, parse, unreadable
from wherry.server.registry import Served

MANAGER_MAX = 128
# What kube-apiserver's messages call its table of kinds, and the packages not named after their group.
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
_PACKAGES = {"": "core", "events.k8s.io": "core", "rbac.authorization.k8s.io": "rbac"}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What the query of a write says."""

    dry_run: bool
    field_manager: str
    field_validation: str


def write_options(request: Request) -> WriteOptions:
    """Read dryRun, fieldManager and fieldValidation. Raises 422 for other values than Kubernetes knows."""
    query = request.query
    agent = request.headers.get("user-agent", "").partition("/")[0][:MANAGER_MAX]
    if not query:
        return WriteOptions(False, agent or "unknown", "Warn")
    dry_run = query.get("dryRun") or []
    validation = request.first("fieldValidation") or "Warn"
    errors: list[FieldError] = []
    if any(item != "All" for item in dry_run):
        errors.append(not_supported("dryRun", dry_run, ["All"]))
    if validation not in ("Ignore", "Warn", "Strict"):
        errors.append(not_supported("fieldValidation", validation, ["", "Ignore", "Strict", "Warn"]))
    manager = request.first("fieldManager")
    if len(manager.encode()) > MANAGER_MAX:
        errors.append(too_long("fieldManager", MANAGER_MAX))
    for position, char in enumerate(manager):
        if not char.isprintable():
            at = len(manager[:position].encode())
            text = f"invalid character U+{ord(char):04X} (at position {at})"
            errors.append(invalid_value("fieldManager", manager, text))
    if "force" in query and "apply-patch" not in request.headers.get("content-type", ""):
        errors.append(field_forbidden("force", "may not be specified for non-apply patch"))
    if errors:
        raise invalid(f"{_options_kind(request)}.meta.k8s.io", "", errors)
    return WriteOptions("All" in dry_run, manager or agent or "unknown", validation)


def _options_kind(request: Request) -> str:
    return {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}.get(
        request.method, "DeleteOptions"
    )


def read_object(request: Request, served: Served, validation: str, warnings: list[str]) -> Any:
    """The body as an object of the served kind, defaults not filled in. Raises 400, 413, 415."""
    form = body_format(request)
    if form == "json" and served.resource.type is not None:
        return _read_typed(request, served, validation, warnings)
    value = parse(request.body, form, served.resource.kind)
    repeated: list[str] = []
    if validation != "Ignore" and "fieldValidation" in request.query:
        repeated = repeated_keys(request.body) if form == "yaml" else repeated_fields(request.body)
    return from_value(value, served, validation, warnings, repeated)


def _read_typed(request: Request, served: Served, validation: str, warnings: list[str]) -> Any:
    resource = served.resource
    try:
        obj = served.codec.decode(request.body)
    except msgspec.ValidationError as error:
        if not request.body.lstrip().startswith(b"{"):
            raise unreadable(resource.kind, _no_object(orjson.loads(request.body)), request.body) from error
        raise cannot_handle(served, type_fault(str(error), resource.type, resource.kind)) from error
    except ValueError as error:  # msgspec.DecodeError: no JSON at all
        raise unreadable(resource.kind, syntax_fault(request.body) or str(error), request.body) from error
    check_kind(served, obj.apiVersion, obj.kind)
    if validation != "Ignore":
        value = orjson.loads(request.body)
        faults = _unknown(value, served)
        if "fieldValidation" in request.query:
            faults += repeated_fields(request.body)
        report(served, faults, validation, warnings)
    return obj


def from_value(value: Any, served: Served, validation: str, warnings: list[str], repeated: Sequence[str] = ()) -> Any:
    """Plain JSON values as an object of the served kind; `repeated` says what was said twice. Raises 400."""
    resource = served.resource
    if not isinstance(value, dict):
        raise unreadable(resource.kind, _no_object(value))
    check_kind(served, value.get("apiVersion") or "", value.get("kind") or "")
    if served.custom is None and validation != "Ignore":
        report(served, [*_unknown(value, served), *repeated], validation, warnings)
    if served.custom is not None:
        pruned = served.custom.prune(value)
        if validation != "Ignore":
            report(served, [*(f'unknown field "{path}"' for path in pruned), *repeated], validation, warnings)
    try:
        return served.codec.from_builtins(value)
    except msgspec.ValidationError as error:
        raise cannot_handle(served, type_fault(str(error), resource.type, resource.kind)) from error


def _no_object(value: Any) -> str:
    kinds = {str: "string", int: "number", float: "number", bool: "bool", list: "array"}
    return f"json: cannot unmarshal {kinds.get(type(value), 'null')} into Go value of type {_VERSION_KIND}"


_VERSION_KIND = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'


def check_kind(served: Served, api_version: str, kind: str) -> None:
    """Raise 400 when a body says that it is something else; silence is taken for consent."""
    resource = served.resource
    api_version, kind = api_version or resource.api_version, kind or resource.kind
    if (api_version, kind) == (resource.api_version, resource.kind):
        return
    version = api_version.rpartition("/")[2]
    if resource.type is not None and kind_type(api_version, kind) is None:
        why = f'no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
    elif kind == resource.kind:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    else:
        package = _PACKAGES.get(resource.group) or resource.group.partition(".")[0]
        why = f"converting ({version}.{kind}) to ({package}.{resource.kind}): unknown conversion"
    raise bad_request(f'{kind} in version "{version}" cannot be handled as a {resource.kind}: {why}')


def cannot_handle(served: Served, why: str) -> StatusError:
    """400 of a body that is JSON, but not this kind."""
    resource = served.resource
    return bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


def report(served: Served, faults: list[str], validation: str, warnings: list[str]) -> None:
    """Warn of unknown and repeated fields, or refuse them."""
    if not faults:
        return
    if validation == "Strict":
        raise cannot_handle(served, f"strict decoding error: {', '.join(faults)}")
    warnings += faults


def _unknown(value: dict[str, Any], served: Served) -> list[str]:
    schema = served.schema
    return [] if schema is None or _known(value, schema) else list(unknown_fields(value, schema))


def _known(value: dict[str, Any], schema: TypeSchema) -> bool:
    """Whether `unknown_fields` would find nothing; a quarter of its time, without paths."""
    fields = schema.fields
    if not value.keys() <= fields.keys():
        return False
    for key, member in value.items():
        field = fields[key]
        inner = field.type
        if not member or inner is None or not inner.fields:
            continue
        if isinstance(member, dict):
            if field.shape == "struct":
                if not _known(member, inner):
                    return False
                continue
            members: Iterable[Any] = member.values()
        else:
            members = member if isinstance(member, list) else ()
        if not all(_known(item, inner) for item in members if isinstance(item, dict)):
            return False
    return True


def unknown_fields(value: dict[str, Any], schema: TypeSchema, path: str = "") -> Iterator[str]:
    """Members that the type has no field for."""
    fields = schema.fields
    for key, member in value.items():
        field = fields.get(key)
        here = f"{path}.{key}" if path else key
        if field is None:
            yield f'unknown field "{here}"'
        elif field.type is None or not field.type.fields or not member:
            continue
        elif field.shape == "struct":
            if isinstance(member, dict):
                yield from unknown_fields(member, field.type, here)
        elif field.shape == "list" and isinstance(member, list):
            for index, item in enumerate(member):
                if isinstance(item, dict):
                    yield from unknown_fields(item, field.type, f"{here}[{index}]")
        elif field.shape == "map" and isinstance(member, dict):
            for name, item in member.items():
                if isinstance(item, dict):
                    yield from unknown_fields(item, field.type, f"{here}.{name}")


def repeated_keys(data: bytes) -> list[str]:
    """What a YAML parser says of keys that one mapping has twice: one text, a line for each; nothing where none is."""
    import yaml

    lines = []
    root = yaml.compose(data, Loader=yaml.CSafeLoader)
    waiting, looked_at = [root], {id(None)}
    while waiting:
        node = waiting.pop()
        if id(node) in looked_at:  # an alias: what it stands for counts once
            continue
        looked_at.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    lines.append((key.start_mark.line + 1, key.value))
                seen.add(key.value)
                waiting.append(value)
    said = "".join(f'\n  line {line}: key "{key}" already set in map' for line, key in sorted(lines))
    return [f"yaml: unmarshal errors:{said}"] if said else []


def repeated_fields(data: bytes) -> list[str]:
    """Members that one JSON object has twice."""
    found: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in members:
            if key in made:
                found.append(key)
            made[key] = value
        return made

    def locate(value: Any, path: str) -> None:
        if isinstance(value, _Object):
            located.extend(f'duplicate field "{path}{key}"' for key in value.repeated)
            for key, member in value.items():
                locate(member, f"{path}{key}.")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                locate(item, f"{path[:-1]}[{index}].")

    json.loads(data, object_pairs_hook=pairs)
    located: list[str] = []
    if found:  # rare: parse once more, keeping where
        locate(json.loads(data, object_pairs_hook=_Object), "")
    return located


class _Object(dict[str, Any]):
    """A JSON object that remembers repeated members."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        seen: set[str] = set()
        self.repeated = [key for key, _ in members if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
