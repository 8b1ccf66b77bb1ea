"""Which kinds are served, and everything the generic path needs to know of each.

A `Served` ties one group, version and plural to the kind it is stored as, that kind's cache, strategy and codec, and
the conversion between the two where they differ (events.k8s.io/v1, autoscaling/v1; see conversions.py). Custom
resources come and go through `put`. Read writer.py for what happens to an object, watchcache.py for reading.
"""

from collections.abc import Callable, Iterable
from typing import Any

from wherry.api import registry as api
from wherry.api.schema import schema_of
from wherry.meta.resource import Resource
from wherry.meta.schema import TypeSchema
from wherry.server import conversions
from wherry.server.caches import Caches, stored_resource
from wherry.server.enablement import RuntimeConfig
from wherry.server.objects import Codec
from wherry.server.strategies.strategy import Strategy
from wherry.server.watchcache import Entry, WatchCache


class Served:
    """One kind in one version, as clients see it."""

    def __init__(self, resource: Resource, stored: Resource, cache: WatchCache, strategy: Strategy) -> None:
        self.resource = resource
        self.stored = stored
        self.cache = cache
        self.strategy = strategy
        self.codec = cache.codec if resource is stored else Codec(resource)
        """Of the served version."""
        self.stored_codec = cache.codec
        self.convert = conversions.between(resource, stored)
        self.allocates = type(strategy).allocate is not Strategy.allocate
        self.custom: Any = None
        """The compiled schema of a custom resource (customresources.py)."""
        self._schema: TypeSchema | None = None
        self.has_status = any(item.name == "status" for item in resource.subresources)
        group = resource.group
        self.group_kind = f"{resource.kind}.{group}" if group else resource.kind
        """The kind as validation errors spell it."""

    @property
    def schema(self) -> TypeSchema | None:
        """What patching must know of the served type."""
        if self._schema is None:
            if self.resource.type is not None:
                self._schema = schema_of(self.resource.type)
            elif self.custom is not None:
                self._schema = self.custom.merge_schema
        return self._schema

    def key(self, namespace: str, name: str) -> bytes:
        """The storage key of an object."""
        return self.stored.key(namespace, name).encode()

    def present(self, entry: Entry) -> bytes:
        """An entry's bytes in the served version."""
        return entry.data if self.convert is None else self.show(self.stored_codec.decode(entry.data))

    def show(self, obj: Any) -> bytes:
        """A stored-version object (with whatever resourceVersion it has) in the served version."""
        shown = obj if self.convert is None else self.convert.served(obj)
        version = obj.metadata.resourceVersion
        data = self.codec.encode(shown)
        obj.metadata.resourceVersion = version
        return self.codec.splice(data, int(version)) if version else data

    def to_stored(self, obj: Any) -> Any:
        """A served-version object as it is stored."""
        return obj if self.convert is None else self.convert.stored(obj)


class Registry:
    """All that is served."""

    def __init__(
        self, caches: Caches, strategies: dict[tuple[str, str], Strategy], enabled: RuntimeConfig | None = None
    ) -> None:
        enabled = enabled or RuntimeConfig()
        self._caches = caches
        self._served: dict[tuple[str, str, str], Served] = {}
        self._off: dict[tuple[str, str, str], Served] = {}
        """What no client finds; the server itself may still need it."""
        self._listeners: list[Callable[[], None]] = []
        stored_caches: dict[tuple[str, str, str], WatchCache] = {}
        for resource in sorted(api.RESOURCES, key=lambda item: bool(item.storage_version)):
            stored = stored_resource(resource)
            strategy = strategies.get((stored.group, stored.plural)) or Strategy()
            own = strategies.get((resource.group, resource.plural), strategy)
            key = (stored.group, stored.version, stored.plural)
            if key not in stored_caches and "get" in resource.verbs:
                stored_caches[key] = caches.add(stored, strategy)
            cache = stored_caches.get(key) or WatchCache(Codec(stored))  # reviews and bindings are never stored
            table = self._served if enabled.serves(resource) else self._off
            table[resource.group, resource.version, resource.plural] = Served(resource, stored, cache, own)

    def find(self, group: str, version: str, plural: str) -> Served | None:
        """What a URL means."""
        return self._served.get((group, version, plural))

    def of(self, resource: Resource) -> Served:
        """What stands behind a record, be it switched off. Raises KeyError."""
        key = (resource.group, resource.version, resource.plural)
        return self._served.get(key) or self._off[key]

    def hidden(self, group: str, version: str, plural: str) -> Served | None:
        """What the server itself finds though it is switched off."""
        return self._off.get((group, version, plural))

    def served(self) -> Iterable[Served]:
        """Everything."""
        return self._served.values()

    def resources(self) -> list[Resource]:
        """The records of all that is served, custom resources included: what discovery lists."""
        return [item.resource for item in self._served.values()]

    def group_served(self, group: str, version: str) -> bool:
        """Whether there is such a group version."""
        return any(key[:2] == (group, version) for key in self._served)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call when custom resources come, go or change."""
        self._listeners.append(listener)

    def put(self, items: Iterable[Served], gone: Iterable[Resource] = ()) -> None:
        """Serve `items`, in place of what was there under the same names; stop serving `gone`."""
        for resource in gone:
            self._served.pop((resource.group, resource.version, resource.plural), None)
        for item in items:
            self._served[item.resource.group, item.resource.version, item.resource.plural] = item
        for listener in self._listeners:
            listener()
