"""What patching and server-side apply must know of a type: which lists merge, and by which keys.

The tables themselves are made from the API types (api/schema.py) or from a custom resource's OpenAPI schema; this
module only gives their shape, so that meta/strategic.py and meta/apply.py need neither. Read those two next.
"""

from dataclasses import dataclass, field
from typing import Literal

Shape = Literal["scalar", "struct", "list", "map", "any"]


@dataclass(slots=True)
class FieldSchema:
    """One field of a type."""

    shape: Shape
    type: "TypeSchema | None" = None
    """The struct itself, or the items of the list or map when those are structs; None for scalars and free JSON."""
    patch_strategy: tuple[str, ...] = ()
    """x-kubernetes-patch-strategy split at commas: "merge", "replace", "retainKeys"."""
    patch_merge_key: str | None = None
    list_type: Literal["atomic", "set", "map"] | None = None
    """x-kubernetes-list-type; None counts as atomic."""
    list_map_keys: tuple[str, ...] = ()
    list_map_defaults: dict[str, object] = field(default_factory=dict)
    """Defaults of keys in `list_map_keys` (ports: {"protocol": "TCP"})."""
    map_type: Literal["atomic", "granular"] | None = None
    """x-kubernetes-map-type of a map or struct field; None counts as granular."""


@dataclass(slots=True)
class TypeSchema:
    """One struct. Not frozen, so that recursive types can be tied together after they are made."""

    name: str = ""
    fields: dict[str, FieldSchema] = field(default_factory=dict, repr=False)
    atomic: bool = False
    """The whole struct has one owner (LabelSelector, SecretKeySelector, ObjectReference, ...)."""
