"""Pod templates: the hash that names a revision, and whether two templates are the same but for it.

Kubernetes hashes Go's own dump of the struct, which nothing outside Go can repeat; what counts is that equal templates
hash alike, that a collision count changes the result, and that the text is safe within a name.
"""

from collections.abc import Mapping

from wherry.aio.entropy import NAME_ALPHABET
from wherry.api.core_v1 import PodTemplateSpec
from wherry.meta.wire import deep_copy, encode

POD_TEMPLATE_HASH = "pod-template-hash"
CONTROLLER_REVISION_HASH = "controller-revision-hash"

_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619


def template_hash(template: PodTemplateSpec, collision_count: int | None = None) -> str:
    """The value of the pod-template-hash label."""
    number = fnv1a(encode(template))
    if collision_count is not None:
        number = fnv1a(collision_count.to_bytes(8, "little"), number)
    return safe_encode(str(number))


def same_template(one: PodTemplateSpec, other: PodTemplateSpec) -> bool:
    """Equal but for the pod-template-hash label."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: PodTemplateSpec) -> PodTemplateSpec:
    if POD_TEMPLATE_HASH not in template.metadata.labels:
        return template
    copied = deep_copy(template)
    del copied.metadata.labels[POD_TEMPLATE_HASH]
    return copied


def with_label(labels: Mapping[str, str], key: str, value: str) -> dict[str, str]:
    """A copy of `labels` with one more."""
    return {**labels, key: value}


def fnv1a(data: bytes, number: int = _FNV_OFFSET) -> int:
    """The 32-bit FNV-1a hash, as Kubernetes uses for short suffixes."""
    for byte in data:
        number = ((number ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return number


def safe_encode(text: str) -> str:
    """`text` in the alphabet of generated names: no vowels, so no words."""
    return "".join(NAME_ALPHABET[ord(char) % len(NAME_ALPHABET)] for char in text)
