"""OpenAPI schemas of the API types, made from the Structs and their merge keys.

`Schemas` gathers every type that is referred to while schemas are made, so that a document holds just what it needs.
The names are Kubernetes' own (io.k8s.api.apps.v1.Deployment): kubectl and code generators know them. Descriptions come
from the built package's data when it is there. What Python's types do not tell is told by names: a text called
somethingTime is a date-time.
"""

import gzip
import json
import types
from functools import cache
from importlib import resources
from typing import Any, Union, get_args, get_origin

import msgspec

from wherry.api.patch_keys import FIELDS
from wherry.meta.object import KubernetesObject
from wherry.meta.quantity import Quantity
from wherry.meta.resource import Resource
from wherry.server.openapi import texts

Schema = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_PACKAGES = {
    "object": META,
    "meta_v1": META,
    "apiextensions_v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "apiregistration_v1": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
}
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
TIME = f"{META}.Time"
RAW = f"{META}.FieldsV1"
RAW_EXTENSION = "io.k8s.apimachinery.pkg.runtime.RawExtension"
ANY_JSON = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
_VALUES = frozenset({"default", "enum", "example"})
"""Fields of a schema that hold any value; elsewhere what has no type of its own is an object."""
_FIXED: dict[str, Schema] = {
    TIME: {"type": "string", "format": "date-time"},
    RAW: {"type": "object"},
    f"{META}.Patch": {"type": "object"},
    RAW_EXTENSION: {"type": "object"},
    ANY_JSON: {"description": "JSON is whatever JSON can write: null, bool, number, text, list or object."},
}
_FIXED_BY_VERSION: dict[str, tuple[Schema, Schema]] = {
    INT_OR_STRING: (
        {"type": "string", "format": "int-or-string"},
        {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    ),
    QUANTITY: ({"type": "string"}, {"oneOf": [{"type": "string"}, {"type": "number"}]}),
}
_PATCH, _LIST_MAP = "x-kubernetes-patch-", "x-kubernetes-list-map-keys"
_GVK = "x-kubernetes-group-version-kind"


@cache
def descriptions() -> dict[str, dict[str, str]]:
    """Texts by schema name and field ("" is the type's own): a checkout has those of metadata alone."""
    file = resources.files("wherry.api") / "descriptions.json.gz"
    found: dict[str, dict[str, str]] = json.loads(gzip.decompress(file.read_bytes())) if file.is_file() else {}
    return {f"{META}.ObjectMeta": texts.OBJECT_META, f"{META}.ListMeta": texts.LIST_META} | found


def schema_name(kind: type) -> str:
    """Kubernetes' name of a type: io.k8s.api.core.v1.Pod."""
    module = kind.__module__.rpartition(".")[2]
    package = _PACKAGES.get(module)
    if package is None:
        group, _, version = module.rpartition("_")
        package = f"io.k8s.api.{group}.{version}"
    return f"{package}.{kind.__name__}"


def custom_name(resource: Resource) -> str:
    """The schema name of a custom resource: its group reversed, then version and kind."""
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


_PRESERVE = "x-kubernetes-preserve-unknown-fields"


class Schemas:
    """The schemas of one document; `version` is 2 or 3."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.made: dict[str, Schema] = {}
        self._prefix = "#/definitions/" if version == 2 else "#/components/schemas/"

    def ref(self, name: str) -> Schema:
        """A bare reference."""
        return {"$ref": self._prefix + name}

    def refer(self, kind: type) -> Schema:
        """A reference to a type, which is added to the document."""
        name = schema_name(kind)
        if name not in self.made:
            self.made[name] = {}
            self.made[name] = self._struct(kind, name)
        return self.ref(name)

    def refer_fixed(self, name: str) -> Schema:
        """A reference to a type that is no Struct: Time, Quantity, IntOrString, Patch, raw JSON."""
        if name not in self.made:
            by_version = _FIXED_BY_VERSION.get(name)
            self.made[name] = dict(by_version[self.version - 2] if by_version else _FIXED[name])
        return self.ref(name)

    def add_kind(self, kind: type, group: str, version: str, name: str) -> Schema:
        """A reference to a top-level kind, marked with its group, version and kind."""
        ref = self.refer(kind)
        marks = self.made[schema_name(kind)].setdefault(_GVK, [])
        mark = {"group": group, "kind": name, "version": version}
        if mark not in marks:
            marks.append(mark)
        return ref

    def add_custom(self, resource: Resource, schema: Schema | None) -> Schema:
        """A reference to a custom resource, from the schema of its definition (None: anything goes)."""
        from wherry.meta.object import ObjectMeta

        name = custom_name(resource)
        if name not in self.made:
            if schema is None or (self.version == 2 and schema.get(_PRESERVE)):
                made: Schema = {"type": "object"}  # kubectl takes more for a promise that there is nothing else
            else:
                made = _identified(
                    _plain(schema) if self.version == 2 else schema, self._meta(ObjectMeta, texts.OF_OBJECTS)
                )
            made[_GVK] = [{"group": resource.group, "kind": resource.kind, "version": resource.version}]
            self.made[name] = made
        return self.ref(name)

    def _meta(self, kind: type, text: str) -> Schema:
        return {"description": text, **self._reference(self.refer(kind))}

    def add_list(self, resource: Resource, item: Schema, list_kind: type | None) -> Schema:
        """A reference to the list of a kind."""
        if list_kind is not None:
            return self.add_kind(list_kind, resource.group, resource.version, resource.list_kind)
        from wherry.meta.object import ListMeta

        name = custom_name(resource) + "List"
        items = {"description": f"List of {resource.plural}. {texts.MORE}", "type": "array", "items": item}
        made = {"type": "object", "required": ["items"], "properties": {"items": items}}
        self.made[name] = {
            "description": f"{resource.list_kind} is a list of {resource.kind}",
            **_identified(made, self._meta(ListMeta, texts.OF_LISTS)),
            _GVK: [{"group": resource.group, "kind": resource.list_kind, "version": resource.version}],
        }
        return self.ref(name)

    def _struct(self, kind: type, name: str) -> Schema:
        told = descriptions().get(name, {})
        if issubclass(kind, KubernetesObject):
            told = {**texts.EVERY_KIND, "metadata": texts.OF_OBJECTS} | told
        elif {"metadata", "items"} <= set(getattr(kind, "__struct_fields__", ())):
            told = {**texts.EVERY_KIND, "metadata": texts.OF_LISTS} | told
        module = kind.__module__.rpartition(".")[2]
        keys = FIELDS.get(f"{module}.{kind.__name__}", {})
        properties: dict[str, Schema] = {}
        required = []
        for item in msgspec.structs.fields(kind):
            field = self._field(item.encode_name, item.type)
            if item.encode_name in told:
                field = {"description": told[item.encode_name], **field}
            properties[item.encode_name] = field | _extensions(keys.get(item.encode_name, ""))
            if getattr(item.default_factory, "__name__", "") == "<lambda>":  # wire.always and always_list
                required.append(item.encode_name)
        schema: Schema = {"type": "object"}
        if "" in told:
            schema = {"description": told[""], **schema}
        if properties:
            schema["properties"] = properties
        if required and not issubclass(kind, KubernetesObject):
            schema["required"] = required
        return schema

    def _field(self, name: str, annotation: Any) -> Schema:
        members = [annotation]
        if get_origin(annotation) in (Union, types.UnionType):
            members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) > 1:
            return self._reference(self.refer_fixed(INT_OR_STRING if set(members) == {int, str} else ANY_JSON))
        schema = self._type(name, members[0])
        return self._reference(schema) if "$ref" in schema else schema

    def _type(self, name: str, kind: Any) -> Schema:
        if kind is str and (name == "time" or name.endswith(("Time", "Timestamp"))):
            return self.refer_fixed(TIME)
        if kind in _SCALARS:
            return dict(_SCALARS[kind])
        if kind is Any:
            return self.refer_fixed(ANY_JSON if name in _VALUES else RAW_EXTENSION)
        if kind is Quantity:
            return self.refer_fixed(QUANTITY)
        if kind is msgspec.Raw:
            return self.refer_fixed(RAW)
        if get_origin(kind) is list:
            return {"type": "array", "items": self._field(name if name in _VALUES else "", get_args(kind)[0])}
        if get_origin(kind) is dict:
            return {"type": "object", "additionalProperties": self._field("", get_args(kind)[1])}
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.refer(kind)
        return {}

    def _reference(self, ref: Schema) -> Schema:
        """A reference beside which other keywords may stand: OpenAPI 3 needs it wrapped."""
        return ref if self.version == 2 else {"allOf": [ref], "default": {}}


_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number", "format": "double"},
    bool: {"type": "boolean"},
    dict: {"type": "object"},
}


def _identified(schema: Schema, metadata: Schema) -> Schema:
    """A kind's schema with what every kind has, and embedded resources likewise."""
    known = {name: {"description": text, "type": "string"} for name, text in texts.EVERY_KIND.items()}
    properties: Schema = {name: _embedding(item, metadata) for name, item in (schema.get("properties") or {}).items()}
    return schema | {"properties": {**known, **properties, "metadata": metadata}}


def _embedding(schema: Any, metadata: Schema) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {name: _embedding(item, metadata) for name, item in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in made:
            made[key] = _embedding(made[key], metadata)
    return _identified(made, metadata) if made.get("x-kubernetes-embedded-resource") else made


def _plain(schema: Any) -> Any:
    """A definition's schema without what OpenAPI 2 has no words for.

    Source: apiextensions-apiserver, controller/openapi/v2.
    """
    if not isinstance(schema, dict):
        return schema
    made = {key: item for key, item in schema.items() if key not in ("allOf", "anyOf", "oneOf", "not", "nullable")}
    if schema.get("nullable") or schema.get(_PRESERVE):
        made = {key: item for key, item in made.items() if key not in ("items", "properties")}
    if schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    if "properties" in made:
        made["properties"] = {name: _plain(item) for name, item in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in made:
            made[key] = _plain(made[key])
    return made


def _extensions(rules: str) -> Schema:
    """patch_keys.py's words to OpenAPI extensions."""
    found = dict(rule.split("=", 1) for rule in rules.split())
    extensions: Schema = {}
    if "list" in found:
        extensions["x-kubernetes-list-type"] = found["list"]
    if "keys" in found:
        extensions[_LIST_MAP] = found["keys"].split(",")
    if "map" in found:
        extensions["x-kubernetes-map-type"] = found["map"]
    if "key" in found:
        extensions[_PATCH + "merge-key"] = found["key"]
    if "patch" in found:
        extensions[_PATCH + "strategy"] = found["patch"]
    return extensions
