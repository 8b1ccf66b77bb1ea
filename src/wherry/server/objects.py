"""Objects to bytes at rest and back, and the resourceVersion in between.

At rest an object is canonical JSON without a resourceVersion. Its bytes begin with apiVersion, kind and `"metadata":{`,
a prefix of constant length for each kind, so the resourceVersion is spliced in right after it once the store has said
which revision the write became. Built-in kinds are Structs; a custom resource is a `CustomObject`: typed metadata
around a plain dict.
"""

from typing import Any

import msgspec
import orjson

from wherry.meta import wire
from wherry.meta.object import KubernetesObject, ObjectMeta
from wherry.meta.resource import Resource


class CustomObject(KubernetesObject):
    """A custom resource. `content` is everything beside apiVersion, kind and metadata, as plain JSON."""

    content: dict[str, Any] = {}


class Codec:
    """Encodes and decodes the objects of one kind in one version."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.prefix = f'{{"apiVersion":"{resource.api_version}","kind":"{resource.kind}","metadata":{{'.encode()
        self._offset = len(self.prefix)
        self._before_version = self.prefix + b'"resourceVersion":"'

    def decode(self, data: bytes) -> Any:
        """Bytes to a Struct (or CustomObject). Raises msgspec.ValidationError or msgspec.DecodeError."""
        if self.resource.type is not None:
            return wire.decode(self.resource.type, data)
        return self.from_builtins(orjson.loads(data))

    def from_builtins(self, value: dict[str, Any]) -> Any:
        """A plain dict to a Struct (or CustomObject). Raises msgspec.ValidationError."""
        if self.resource.type is not None:
            return wire.convert(value, self.resource.type)
        content = {key: item for key, item in value.items() if key not in ("apiVersion", "kind", "metadata")}
        meta = wire.convert(value.get("metadata") or {}, ObjectMeta)
        return CustomObject(
            apiVersion=self.resource.api_version, kind=self.resource.kind, metadata=meta, content=content
        )

    def to_builtins(self, obj: Any) -> dict[str, Any]:
        """An object as a plain dict."""
        found: dict[str, Any] = orjson.loads(self._encode(obj))
        return found

    def encode(self, obj: Any) -> bytes:
        """An object to its bytes at rest."""
        obj.apiVersion, obj.kind = self.resource.api_version, self.resource.kind
        obj.metadata.resourceVersion = None
        return self._encode(obj)

    def _encode(self, obj: Any) -> bytes:
        if isinstance(obj, CustomObject):
            return wire.encode(
                {"apiVersion": obj.apiVersion, "kind": obj.kind, "metadata": obj.metadata, **obj.content}
            )
        return wire.encode(obj)

    def splice(self, at_rest: bytes, revision: int) -> bytes:
        """Bytes at rest with the resourceVersion they became."""
        return b'%b%d",%b' % (self._before_version, revision, at_rest[self._offset :])

    def at_rest(self, data: bytes, revision: int) -> bytes:
        """The inverse of `splice`."""
        return self.prefix + data[len(self._before_version) + len(str(revision)) + 2 :]

    def same(self, data: bytes, revision: int, at_rest: bytes) -> bool:
        """Whether `data` is `at_rest` under a resourceVersion: a write that would change nothing."""
        skip = len(self._before_version) + len(str(revision)) + 2
        return len(data) - skip == len(at_rest) - self._offset and data.endswith(at_rest[self._offset :])

    def copy(self, obj: Any) -> Any:
        """An independent copy."""
        return self.decode(self._encode(obj))


class _MetaFacts(msgspec.Struct):
    labels: dict[str, str] = {}


class _Facts(msgspec.Struct):
    metadata: _MetaFacts


_FACTS = msgspec.json.Decoder(_Facts)


def labels_of(data: bytes) -> dict[str, str]:
    """The labels of an encoded object, without decoding the rest."""
    return _FACTS.decode(data).metadata.labels
