"""Dropping what a structural schema does not know, compiled to one closure per schema node.

A node below which nothing is ever dropped compiles to None. Source: apiextensions-apiserver, schema/pruning.
"""

from collections.abc import Callable
from typing import Any

from wherry.server.customresources import paths
from wherry.server.customresources.paths import Path

Json = dict[str, Any]
Pruner = Callable[[Any, Path, list[str]], None]
"""Changes the value in place and adds the path of each thing dropped."""

_META = frozenset({"apiVersion", "kind", "metadata"})


def pruner(schema: Json, root: bool = True) -> Pruner | None:
    """The pruner of values of `schema`. `root` is a whole object: its apiVersion, kind and metadata stay."""
    resource = root or bool(schema.get("x-kubernetes-embedded-resource"))
    keep = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    members = {key: pruner(below, False) for key, below in (schema.get("properties") or {}).items()}
    if resource:
        members |= dict.fromkeys(_META)
    more = schema.get("additionalProperties")
    others = pruner(more, False) if isinstance(more, dict) else _everything if more else None
    items = schema.get("items")
    item = pruner(items, False) if isinstance(items, dict) else None
    if item is None and others is None and not any(members.values()) and (keep or more or not _is_object(schema, root)):
        return None

    def prune(value: Any, path: Path, removed: list[str]) -> None:
        if isinstance(value, dict):
            unknown = []
            for key, member in value.items():
                if key in members:
                    below = members[key]
                elif more:
                    below = others
                else:
                    if not keep:
                        unknown.append(key)
                    continue
                if below is not None and member:
                    below(member, (path, key), removed)
            for key in unknown:
                del value[key]
                removed.append(paths.text((path, key)))
        elif isinstance(value, list) and item is not None:
            for index, member in enumerate(value):
                item(member, (path, index), removed)

    return prune


def _is_object(schema: Json, root: bool) -> bool:
    return root or schema.get("type") == "object" or "properties" in schema


def _everything(value: Any, path: Path, removed: list[str]) -> None:
    """Of a value nothing is known of, only scalars stay (additionalProperties: true)."""
    if isinstance(value, dict):
        removed += [paths.text((path, key)) for key in value]
        value.clear()
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _everything(member, (path, index), removed)
