"""Finding the record of a built-in kind: by apiVersion and kind, by URL parts, by Struct.

Custom resources are not here: the server keeps their records. The records themselves stand in resources.py.
"""

import sys
from typing import Any

from wherry.api.resources import RESOURCES, SUBRESOURCE_KINDS
from wherry.meta.object import KubernetesObject
from wherry.meta.resource import Resource

__all__ = [
    "RESOURCES",
    "RESOURCES_BY_KEY",
    "RESOURCES_BY_KIND",
    "group_versions",
    "kind_type",
    "list_type",
    "resource",
    "resource_for",
]

RESOURCES_BY_KEY: dict[tuple[str, str, str], Resource] = {
    (item.group, item.version, item.plural): item for item in RESOURCES
}
"""By group, version and plural, as a URL gives them."""
RESOURCES_BY_KIND: dict[tuple[str, str], Resource] = {(item.api_version, item.kind): item for item in RESOURCES}
"""By apiVersion and kind, as an object gives them."""

_BY_TYPE = {item.type: item for item in RESOURCES}


def resource(group_version: str, kind: str) -> Resource:
    """The record of `kind` in `group_version` ("v1", "apps/v1"). Raises KeyError."""
    return RESOURCES_BY_KIND[group_version, kind]


def resource_for(kind_type: type[KubernetesObject]) -> Resource:
    """The record of a Struct (core.Pod). Raises KeyError for kinds that are only subresources."""
    return _BY_TYPE[kind_type]


def kind_type(group_version: str, kind: str) -> type[KubernetesObject] | None:
    """The Struct of any built-in kind, those of subresources included (Scale, Eviction, TokenRequest)."""
    found = RESOURCES_BY_KIND.get((group_version, kind))
    return found.type if found else SUBRESOURCE_KINDS.get((group_version, kind))


def list_type(resource: Resource) -> type[Any] | None:
    """The Struct of a list (core.PodList); None where nothing is ever listed (TokenReview) or the kind is custom."""
    if resource.type is None:
        return None
    found: type[Any] | None = getattr(sys.modules[resource.type.__module__], resource.list_kind, None)
    return found


def group_versions() -> dict[str, list[str]]:
    """Versions by group in order of preference, groups as /apis lists them; the core group ("") first."""
    versions: dict[str, list[str]] = {}
    for item in RESOURCES:
        if item.version not in versions.setdefault(item.group, []):
            versions[item.group].append(item.version)
    return versions
