"""What a schema in a definition must be: structural (KEP-1979), with defaults that fit it and list types that hold.

Source: apiextensions-apiserver, apiserver/schema/validation.go and apis/apiextensions/validation.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from wherry.api.apiextensions_v1 import JSONSchemaProps
from wherry.meta import wire
from wherry.meta.errors import FieldError, field_forbidden, invalid_value, not_supported, required
from wherry.server.customresources.jsonpath import compile_path
from wherry.server.customresources.patterns import compile_pattern
from wherry.server.customresources.pruning import pruner
from wherry.server.customresources.validation import Fault, has_rules, validator

Json = dict[str, Any]
Faults = Iterator[FieldError]

TYPES = ("array", "boolean", "integer", "number", "object", "string")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_UNSUPPORTED = ("additionalItems", "definitions", "dependencies", "id", "patternProperties")
_NOT_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "externalDocs": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}


def faults(schema: JSONSchemaProps, path: str) -> Faults:
    """All that is wrong with the schema of a version."""
    raw: Json = wire.to_builtins(schema)
    found = [*_keywords(raw, path), *_structure(raw, path, "root"), *_complete(raw, raw, path)]
    if not found:
        found = [*_defaults(raw, path)]
    if not found and has_rules(raw):
        from wherry.server.customresources import rule_faults  # heavy, and seldom needed

        found = [*rule_faults.faults(raw, path)]
    yield from found


def _below(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Every schema right below one, value validations included."""
    for key, item in (schema.get("properties") or {}).items():
        yield f"{path}.properties[{key}]", item
    for name in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(name), dict):
            yield f"{path}.{name}", schema[name]
    for name in ("allOf", "anyOf", "oneOf"):
        for index, item in enumerate(schema.get(name) or ()):
            yield f"{path}.{name}[{index}]", item


def _keywords(schema: Json, path: str) -> Faults:
    """Words that mean nothing here, or the wrong thing, at any depth."""
    for name in _UNSUPPORTED:
        if schema.get(name):
            yield field_forbidden(f"{path}.{name}", f"{name} is not supported")
    if schema.get("$ref"):
        yield field_forbidden(f"{path}.$ref", "$ref is not supported")
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield field_forbidden(f"{path}.uniqueItems", text)
    more = schema.get("additionalProperties")
    if more is False:
        yield field_forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if isinstance(more, dict) and schema.get("properties"):
        text = "additionalProperties and properties are mutual exclusive"
        yield field_forbidden(f"{path}.additionalProperties", text)
    if isinstance(schema.get("items"), list):
        yield field_forbidden(f"{path}.items", "items must be a schema object and not an array")
    kind = schema.get("type")
    if kind == "null":
        yield field_forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    elif kind and kind not in TYPES:
        yield not_supported(f"{path}.type", kind, TYPES)
    if schema.get("pattern"):
        try:
            compile_pattern(schema["pattern"])
        except ValueError as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield invalid_value(f"{path}.pattern", schema["pattern"], text)
    yield from _list_type(schema, path)
    for here, item in _below(schema, path):
        yield from _keywords(item, here)


def _list_type(schema: Json, path: str) -> Faults:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
    here = f"{path}.x-kubernetes-list-type"
    if kind is not None:
        if schema.get("type") != "array":
            yield invalid_value(
                f"{path}.type", schema.get("type", ""), "must be array if x-kubernetes-list-type is specified"
            )
        if kind not in ("atomic", "set", "map"):
            yield not_supported(here, kind, ["atomic", "set", "map"])
    if keys and kind != "map":
        yield invalid_value(here, kind or "", "must be map if x-kubernetes-list-map-keys is non-empty")
    if kind == "map":
        yield from _list_map(schema, path, keys)
    items = schema.get("items")
    if kind == "set" and isinstance(items, dict):
        if items.get("nullable"):
            text = "cannot be nullable when x-kubernetes-list-type is set"
            yield field_forbidden(f"{path}.items.nullable", text)
        loose_map = items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic"
        if loose_map or (items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic")):
            which = "x-kubernetes-map-type" if loose_map else "x-kubernetes-list-type"
            text = "items of a list of type set must be atomic as x-kubernetes-list-type is set"
            yield invalid_value(f"{path}.items.{which}", items.get(which), text)
    if schema.get("x-kubernetes-map-type") not in (None, "atomic", "granular"):
        yield not_supported(f"{path}.x-kubernetes-map-type", schema["x-kubernetes-map-type"], ["atomic", "granular"])


def _list_map(schema: Json, path: str, keys: Sequence[str]) -> Faults:
    here = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield required(here, "must not be empty if x-kubernetes-list-type is map")
    items: Json = schema.get("items") or {}
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid_value(f"{path}.items.type", items.get("type", ""), text)
    properties: Mapping[str, Json] = items.get("properties") or {}
    for index, key in enumerate(keys):
        below = properties.get(key)
        if below is None:
            yield invalid_value(f"{here}[{index}]", key, "must be the name of a property of the items")
        elif below.get("type") in ("object", "array"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid_value(f"{path}.items.properties[{key}].type", below["type"], text)
        elif "default" not in below and key not in (items.get("required") or ()):
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{path}.items.properties[{key}].default", text)


def _structure(schema: Json, path: str, level: str) -> Faults:
    """The invariants of the structural part (type, items, properties, additionalProperties)."""
    kind = schema.get("type")
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
    if kind == "array" and not isinstance(schema.get("items"), dict):
        yield required(f"{path}.items", "must be specified")
    if level == "root" and schema.get("additionalProperties"):
        yield field_forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if embedded and kind != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    elif not kind and not int_or_string and not preserve:
        where = {"root": "at the root", "items": "for specified array items"}.get(level, "for specified object fields")
        yield required(f"{path}.type", f"must not be empty {where}")
    if level == "root" and kind and kind != "object":
        yield invalid_value(f"{path}.type", kind, "must be object at the root")
    for name, what in (
        ("x-kubernetes-preserve-unknown-fields", preserve),
        ("x-kubernetes-embedded-resource", embedded),
    ):
        if int_or_string and what:
            yield invalid_value(f"{path}.{name}", True, "must be false if x-kubernetes-int-or-string is true")
    if embedded and not preserve and not schema.get("properties"):
        text = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        yield required(f"{path}.properties", text)
    if level == "root" or embedded:
        yield from _identity(schema, path, level)
    yield from _value_validations(schema, path, int_or_string)
    for key, item in (schema.get("properties") or {}).items():
        if not (key == "metadata" and (level == "root" or embedded)):
            yield from _structure(item, f"{path}.properties[{key}]", "field")
    for name, below in (("items", "items"), ("additionalProperties", "field")):
        if isinstance(schema.get(name), dict):
            yield from _structure(schema[name], f"{path}.{name}", below)


def _identity(schema: Json, path: str, level: str) -> Faults:
    properties: Json = schema.get("properties") or {}
    for name in ("apiVersion", "kind"):
        if name in properties and properties[name].get("type") != "string":
            yield invalid_value(f"{path}.properties[{name}].type", properties[name].get("type", ""), "must be string")
    meta = properties.get("metadata")
    if meta is None:
        return
    here = f"{path}.properties[metadata]"
    if meta.get("type") != "object":
        yield invalid_value(f"{here}.type", meta.get("type", ""), "must be object")
    if level == "root" and (
        set(meta.get("properties") or ()) - {"name", "generateName"}
        or set(meta) - {"type", "properties", "description"}
    ):
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield field_forbidden(here, text)


def _value_validations(schema: Json, path: str, int_or_string: bool) -> Faults:
    for name in ("anyOf", "allOf", "oneOf"):
        items = schema.get(name) or []
        if name == "anyOf" and int_or_string and items == _INT_OR_STRING:
            continue
        for index, item in enumerate(items):
            first = name == "allOf" and index == 0 and int_or_string
            yield from _nested(item, f"{path}.{name}[{index}]", first and item.get("anyOf") == _INT_OR_STRING)
    if schema.get("not") is not None:
        yield from _nested(schema["not"], f"{path}.not", False)


def _nested(schema: Json, path: str, skip_any_of: bool) -> Faults:
    for name, text in _NOT_NESTED.items():
        if schema.get(name) not in (None, False, "", [], {}):
            yield field_forbidden(f"{path}.{name}", text)
    if "metadata" in (schema.get("properties") or {}):
        yield field_forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")
    for here, item in _below(schema, path):
        if not (skip_any_of and ".anyOf[" in here.removeprefix(path)):
            yield from _nested(item, here, False)


def _complete(whole: Json, schema: Json, path: str) -> Faults:
    """Whatever a value validation speaks of must be specified outside of it, too."""
    for name in ("allOf", "anyOf", "oneOf"):
        for index, item in enumerate(schema.get(name) or ()):
            yield from _covered(schema, item, f"{path}.{name}[{index}]", path)
    if isinstance(schema.get("not"), dict):
        yield from _covered(schema, schema["not"], f"{path}.not", path)
    for key, item in (schema.get("properties") or {}).items():
        yield from _complete(whole, item, f"{path}.properties[{key}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from _complete(whole, schema[name], f"{path}.{name}")


def _covered(schema: Json, nested: Json, path: str, outside: str) -> Faults:
    text = f"because it is defined in {path}"
    for key, item in (nested.get("properties") or {}).items():
        below = (schema.get("properties") or {}).get(key)
        if below is None:
            yield required(f"{outside}.properties[{key}]", f"{text}.properties[{key}]")
        else:
            yield from _covered(below, item, f"{path}.properties[{key}]", f"{outside}.properties[{key}]")
    if isinstance(nested.get("items"), dict):
        if isinstance(schema.get("items"), dict):
            yield from _covered(schema["items"], nested["items"], f"{path}.items", f"{outside}.items")
        else:
            yield required(f"{outside}.items", f"{text}.items")
    for name in ("allOf", "anyOf", "oneOf"):
        for index, item in enumerate(nested.get(name) or ()):
            yield from _covered(schema, item, f"{path}.{name}[{index}]", outside)
    if isinstance(nested.get("not"), dict):
        yield from _covered(schema, nested["not"], f"{path}.not", outside)


def _defaults(schema: Json, path: str) -> Faults:
    """A default must be what its own schema accepts, with nothing that would be pruned."""
    default = schema.get("default")
    if default is not None:
        here = f"{path}.default"
        prune = pruner(schema, root=False)
        if prune is not None and isinstance(default, dict | list):
            copy, removed = orjson.loads(orjson.dumps(default)), list[str]()
            prune(copy, None, removed)
            if removed:
                yield invalid_value(here, default, "must not have unknown fields")
        found: list[Fault] = []
        validator(schema)(default, None, found)
        for fault in found:
            yield FieldError(
                fault.error.type, _join(here, fault.error.field), fault.error.bad_value, fault.error.detail
            )
    for key, item in (schema.get("properties") or {}).items():
        yield from _defaults(item, f"{path}.properties[{key}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from _defaults(schema[name], f"{path}.{name}")


def _join(path: str, below: str) -> str:
    return path + below if below.startswith("[") else f"{path}.{below}" if below else path


def column_path(path: str, value: str) -> Faults:
    """The JSONPath of a printer column."""
    if not value.startswith("."):
        yield invalid_value(path, value, "must be a simple json path starting with .")
        return
    try:
        compile_path(value)
    except ValueError as error:
        yield invalid_value(path, value, f"must be a valid json path: {error}")


def selectable(path: str, value: str, schema: JSONSchemaProps | None) -> Faults:
    """The JSONPath of a selectable field: a scalar that the schema has."""
    if not value:
        yield required(path)
        return
    if not value.startswith(".") or "[" in value:
        yield invalid_value(path, value, "must be a simple json path starting with .")
        return
    at = schema
    for key in value.strip(".").split("."):
        at = at.properties.get(key) if at is not None else None
    if value.startswith(".metadata"):
        yield invalid_value(path, value, "must not point to fields in metadata")
    elif at is None:
        yield invalid_value(path, value, "does not refer to a valid field")
    elif at.type not in ("boolean", "integer", "string"):
        text = "must point to a field of type boolean, string or integer. Enums and formats are allowed."
        yield invalid_value(path, value, text)
