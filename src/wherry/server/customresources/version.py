"""One version of one custom kind, compiled: what handlers and the strategy ask of `Served.custom`.

Made once per change of the definition, so that a write costs only calls of closures.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec

from wherry.aio.clock import Clock
from wherry.api.apiextensions_v1 import CustomResourceDefinition, CustomResourceDefinitionVersion
from wherry.meta import wire
from wherry.meta.errors import NOT_SUPPORTED, REQUIRED, TOO_LONG, TOO_MANY, TYPE_INVALID, FieldError, invalid_value
from wherry.meta.object import ObjectMeta
from wherry.meta.schema import TypeSchema
from wherry.server.customresources.defaulting import defaulter
from wherry.server.customresources.jsonpath import compile_path
from wherry.server.customresources.merging import merge_schema
from wherry.server.customresources.printing import Printer, text
from wherry.server.customresources.pruning import pruner
from wherry.server.customresources.validation import Fault, has_rules, ratchet, validator
from wherry.server.objects import CustomObject

Json = dict[str, Any]
_BLOCKING = frozenset({NOT_SUPPORTED, REQUIRED, TOO_LONG, TOO_MANY, TYPE_INVALID})
_RULES_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_METADATA = frozenset(item.encode_name for item in msgspec.structs.fields(ObjectMeta))


class Version:
    """The schema, columns, scale paths and selectable fields of a version."""

    def __init__(self, definition: CustomResourceDefinition, version: CustomResourceDefinitionVersion) -> None:
        self.name = version.name
        self.kind = definition.spec.names.kind
        raw = version.schema.openAPIV3Schema if version.schema is not None else None
        self.schema: Json = whole_numbers(wire.to_builtins(raw)) if raw is not None else {"type": "object"}
        if definition.spec.preserveUnknownFields:
            self.schema["x-kubernetes-preserve-unknown-fields"] = True
        subresources = version.subresources
        self.has_status = subresources is not None and subresources.status is not None
        self._scale = subresources.scale if subresources is not None else None
        self.has_scale = self._scale is not None
        self.warning = _deprecation(definition, version)
        self.selectable_fields = tuple(item.jsonPath.lstrip(".") for item in version.selectableFields)
        # An object is indexed once, for all versions.
        paths = {field.jsonPath for item in definition.spec.versions for field in item.selectableFields}
        self._indexed = {path.lstrip("."): compile_path(path) for path in sorted(paths)}
        self._prune = pruner(self.schema)
        self._default = defaulter(_without_metadata(self.schema))
        self._check = validator(self.schema)
        self._rules = _compiled_rules(self.schema)
        self._printer = Printer(version.additionalPrinterColumns)

    @cached_property
    def merge_schema(self) -> TypeSchema:
        """For patches and server-side apply."""
        return merge_schema(self.schema, self.kind)

    def prune(self, value: Json) -> list[str]:
        """Drop what the schema does not know from a whole object; the paths of what went."""
        removed: list[str] = []
        if self._prune is not None:
            self._prune(value, None, removed)
        meta = value.get("metadata")
        if isinstance(meta, dict):
            removed += [f"metadata.{name}" for name in meta if name not in _METADATA]
        return removed

    def default(self, content: Json) -> None:
        """Fill in defaults, in place."""
        if self._default is not None:
            self._default(content)

    def validate(
        self, new: CustomObject, old: CustomObject | None = None, warnings: list[str] | None = None
    ) -> list[FieldError]:
        """Faults of the content; on an update (`old`) only of what it changed, the others become warnings."""
        faults: list[Fault] = []
        whole = _whole(new)
        self._check(whole, None, faults)
        before = _whole(old) if old is not None and (faults or self._rules is not None) else None
        if faults and before is not None:
            faults = ratchet(faults, whole, before, self.schema)
        found = [*(fault.error for fault in faults), *self._scale_faults(new.content)]
        if self._rules is None:
            return found
        if any(fault.type in _BLOCKING for fault in found):
            return [*found, invalid_value("", None, _RULES_NOT_CHECKED)]
        kept, advice = self._rules(whole, before)
        if warnings is not None:
            warnings += advice
        return [*found, *kept]

    def _scale_faults(self, content: Json) -> list[FieldError]:
        if self._scale is None:
            return []
        replicas = _at(content, self._scale.specReplicasPath)
        if replicas is not None and not (type(replicas) is int and 0 <= replicas < 1 << 31):
            return [invalid_value(self._scale.specReplicasPath, replicas, "should be a non-negative integer")]
        return []

    def selected(self, content: Json) -> dict[str, str]:
        """The fields of an object that any version selects by."""
        found = {name: find(content) for name, find in self._indexed.items()}
        return {name: text(values[0]) if values and values[0] is not None else "" for name, values in found.items()}

    @property
    def indexed_fields(self) -> tuple[str, ...]:
        """Names of what `selected` gives."""
        return tuple(self._indexed)

    # Asked by handlers

    def printer(self, clock: Clock) -> tuple[list[Json], Callable[[Json], list[Any]]]:
        """columnDefinitions, and an object's cells."""
        now: datetime = clock.now()
        return self._printer.definitions, lambda obj: self._printer.row(obj, now)

    def scale(self, content: Json) -> tuple[int, int, str]:
        """Wanted replicas, current replicas, selector."""
        assert self._scale is not None, "the scale subresource is not served"
        selector = _at(content, self._scale.labelSelectorPath) if self._scale.labelSelectorPath else ""
        wanted, current = _at(content, self._scale.specReplicasPath), _at(content, self._scale.statusReplicasPath)
        return wanted or 0, current or 0, selector if isinstance(selector, str) else ""

    def set_replicas(self, content: Json, replicas: int) -> None:
        """Write the wanted replicas."""
        assert self._scale is not None, "the scale subresource is not served"
        *parents, last = _keys(self._scale.specReplicasPath)
        at = content
        for key in parents:
            below = at.get(key)
            if not isinstance(below, dict):
                below = at[key] = {}
            at = below
        at[last] = replicas


def _compiled_rules(schema: Json) -> Callable[[Json, Json | None], tuple[list[FieldError], list[str]]] | None:
    """The version's rules in CEL: faults and warnings of an object and the one it replaces."""
    if not has_rules(schema):
        return None
    from wherry.server.customresources import rules  # heavy, and seldom needed

    tree = rules.compile_rules(schema)
    if tree is None:
        return None

    def run(new: Json, old: Json | None) -> tuple[list[FieldError], list[str]]:
        found = rules.check(tree, new, old, update=old is not None)
        return found.faults, found.warnings

    return run


def whole_numbers(schema: Any) -> Any:
    """Bounds that are whole numbers as such: typed decoding has made 1.0 of 1."""
    if isinstance(schema, dict):
        bounds = ("minimum", "maximum", "multipleOf")
        return {
            key: int(item) if key in bounds and isinstance(item, float) and item.is_integer() else whole_numbers(item)
            for key, item in schema.items()
        }
    return [whole_numbers(item) for item in schema] if isinstance(schema, list) else schema


def _without_metadata(schema: Json) -> Json:
    properties = schema.get("properties") or {}
    kept = {key: item for key, item in properties.items() if key not in ("apiVersion", "kind", "metadata")}
    return schema | {"properties": kept}


def _whole(obj: CustomObject) -> Json:
    meta = {name: value for name in ("name", "generateName") if (value := getattr(obj.metadata, name))}
    return {"apiVersion": obj.apiVersion, "kind": obj.kind, "metadata": meta, **obj.content}


def _keys(path: str) -> list[str]:
    return path.strip(".").split(".")


def _at(content: Json, path: str) -> Any:
    value: Any = content
    for key in _keys(path):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _deprecation(definition: CustomResourceDefinition, version: CustomResourceDefinitionVersion) -> str:
    if not version.deprecated:
        return ""
    spec = definition.spec
    return version.deprecationWarning or f"{spec.group}/{version.name} {spec.names.kind} is deprecated"
