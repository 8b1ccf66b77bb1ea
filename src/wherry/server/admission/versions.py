"""Objects under admission as plain JSON in the version that somebody wants to see, and back.

The chain works on the stored version. Webhooks and policies may speak of any served one; what passes through a
subresource (a Binding, the options of a connection) has a kind of its own and only one version.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from wherry.meta import wire
from wherry.meta.resource import Resource
from wherry.server.admission.plugin import Attributes
from wherry.server.registry import Registry, Served

Json = dict[str, Any]
GroupVersionKind = tuple[str, str, str]
_SCALE: GroupVersionKind = ("autoscaling", "v1", "Scale")


class Versions:
    """What the registry serves, as admission sees it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._equivalents: dict[str, list[Resource]] = {}
        registry.on_change(self._equivalents.clear)

    def equivalents(self, stored: Resource) -> Sequence[Resource]:
        """Every version in which a stored kind is served."""
        prefix = stored.storage_prefix
        found = self._equivalents.get(prefix)
        if found is None:
            served = self._registry.served()
            found = self._equivalents[prefix] = [it.resource for it in served if it.stored.storage_prefix == prefix]
        return found

    def kind(self, attributes: Attributes, resource: Resource) -> GroupVersionKind:
        """Group, version and kind of the object when seen through `resource`."""
        if attributes.kind is not None:
            return attributes.kind
        if attributes.subresource == "scale":
            return _SCALE
        return resource.group, resource.version, resource.kind

    def show(self, attributes: Attributes, obj: Any, resource: Resource) -> Json | None:
        """An object of the attributes (new or old) as JSON in the version `resource`."""
        if obj is None:
            return None
        if attributes.kind is not None:
            return obj if isinstance(obj, dict) else _plain(obj, attributes.kind)
        served = self._registry.of(resource)
        if attributes.subresource == "scale":
            from wherry.server.handlers.scale import scale_of

            return _plain(scale_of(served, obj), _SCALE)
        found: Json
        if served.convert is None:
            found = _plain(obj, (resource.group, resource.version, resource.kind), served)
        else:
            found = orjson.loads(served.show(served.stored_codec.copy(obj)))
        return found

    def take(self, attributes: Attributes, value: Json, resource: Resource) -> Any:
        """JSON in the version `resource` as the object that the chain works on, defaults filled in.

        Raises msgspec.ValidationError, ValueError for what is no such object.
        """
        if attributes.kind is not None:
            return value if isinstance(attributes.object, dict) else wire.convert(value, type(attributes.object))
        served = self._registry.of(resource)
        if attributes.subresource == "scale":
            replicas = (value.get("spec") or {}).get("replicas") or 0
            if served.custom is not None:
                served.custom.set_replicas(attributes.object.content, replicas)
            else:
                attributes.object.spec.replicas = replicas
            return attributes.object
        if served.custom is not None:
            served.custom.prune(value)
        stored = served.to_stored(served.codec.from_builtins(value))
        stored.apiVersion, stored.kind = attributes.resource.api_version, attributes.resource.kind
        self._registry.of(attributes.resource).strategy.default(stored)
        return stored


def _plain(obj: Any, kind: GroupVersionKind, served: Served | None = None) -> Json:
    found = served.stored_codec.to_builtins(obj) if served is not None else orjson.loads(wire.encode(obj))
    group, version, name = kind
    return {**found, "apiVersion": f"{group}/{version}" if group else version, "kind": name}
