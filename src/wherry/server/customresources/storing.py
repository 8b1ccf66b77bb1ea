"""Custom resources at rest: objects written under an older storage version, and what clients see of another version.

Conversion is of strategy None: apiVersion changes and the other version's schema prunes. An object at rest keeps the
version it was written in until it is written again; readers see the current storage version.
"""

from collections.abc import Callable

import orjson

from wherry.meta.resource import Resource
from wherry.server.conversions import Conversion
from wherry.server.customresources.strategy import CustomStrategy
from wherry.server.customresources.version import Version
from wherry.server.objects import Codec, CustomObject
from wherry.server.watchcache import Entry, WatchCache


class CustomCodec(Codec):
    """The codec of a stored custom kind."""

    def splice(self, at_rest: bytes, revision: int) -> bytes:
        if not at_rest.startswith(self.prefix):  # written under another storage version
            at_rest = self.encode(self.from_builtins(orjson.loads(at_rest)))
        return super().splice(at_rest, revision)


def conversion(served: Resource, served_version: Version, stored: Resource, stored_version: Version) -> Conversion:
    """Both directions between two versions of strategy None."""

    def to(resource: Resource, version: Version) -> Callable[[CustomObject], CustomObject]:
        def convert(obj: CustomObject) -> CustomObject:
            version.prune(obj.content)
            return CustomObject(resource.api_version, resource.kind, obj.metadata, content=obj.content)

        return convert

    return Conversion(served=to(served, served_version), stored=to(stored, stored_version))


def renew(cache: WatchCache, strategy: CustomStrategy) -> None:
    """Show what is there as the current schema has it: pruned, defaults filled in. The store is not written."""
    codec, version = cache.codec, strategy.version
    for key, entry in cache.entries.items():
        obj = codec.decode(entry.data)
        version.prune(obj.content)
        version.default(obj.content)
        data = codec.splice(codec.encode(obj), entry.revision)
        fields = strategy.fields(obj)
        if data != entry.data or fields != entry.fields:
            cache.entries[key] = Entry(key, data, entry.revision, entry.labels, fields)
