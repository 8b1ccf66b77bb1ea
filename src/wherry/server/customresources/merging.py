"""What patching and server-side apply must know of a custom resource, from its schema's list and map types."""

from typing import Any

from wherry.api.schema import schema_of
from wherry.meta.object import ObjectMeta
from wherry.meta.schema import FieldSchema, Shape, TypeSchema

Json = dict[str, Any]


class _Open(dict[str, FieldSchema]):
    """Fields of a struct that keeps unknown ones: every name is declared, and free JSON if nothing else is known."""

    def __contains__(self, name: object) -> bool:
        return True


def merge_schema(schema: Json, kind: str) -> TypeSchema:
    """The merge rules of whole objects."""
    made = _struct(schema, kind)
    made.fields["metadata"] = FieldSchema("struct", schema_of(ObjectMeta))
    for name in ("apiVersion", "kind"):
        made.fields[name] = FieldSchema("scalar")
    return made


def _struct(schema: Json, name: str = "") -> TypeSchema:
    fields = {key: _field(below) for key, below in (schema.get("properties") or {}).items()}
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        fields = _Open(fields)
    if schema.get("x-kubernetes-embedded-resource"):
        meta = {name: FieldSchema("scalar") for name in ("apiVersion", "kind")}
        fields |= meta | {"metadata": FieldSchema("struct", schema_of(ObjectMeta))}
    return TypeSchema(name, fields, schema.get("x-kubernetes-map-type") == "atomic")


def _field(schema: Json) -> FieldSchema:
    shape = _shape(schema)
    if shape == "struct":
        return FieldSchema(shape, _struct(schema), map_type=schema.get("x-kubernetes-map-type"))
    if shape == "map":
        values = schema.get("additionalProperties")
        below = _struct(values) if isinstance(values, dict) and values.get("properties") else None
        return FieldSchema(shape, below, map_type=schema.get("x-kubernetes-map-type"))
    if shape == "list":
        return _list(schema)
    return FieldSchema(shape)


def _list(schema: Json) -> FieldSchema:
    items: Json = schema.get("items") or {}
    properties: Json = items.get("properties") or {}
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    return FieldSchema(
        "list",
        _struct(items) if properties else None,
        list_type=schema.get("x-kubernetes-list-type") or "atomic",
        list_map_keys=keys,
        list_map_defaults={key: properties[key]["default"] for key in keys if "default" in properties.get(key, {})},
    )


def _shape(schema: Json) -> Shape:
    if schema.get("properties"):
        return "struct"
    kind = schema.get("type")
    if kind == "array":
        return "list"
    if kind == "object":
        return "map"
    return "any" if schema.get("x-kubernetes-preserve-unknown-fields") else "scalar"
