"""How objects look on the wire: the Struct base of every API type, and JSON in and out.

Attributes are spelled as Kubernetes spells them (`clusterIP`, `podIPs`), so there is no renaming table between the
code, the documentation and the bytes. Optional fields are None (or an empty list or dict) and are then left out when
encoding; fields that Kubernetes requires are always written, because typed clients refuse objects without them.

Decoding is strict and fast first. Kubernetes also accepts `null` for any field (Helm charts and client-go emit it);
when the strict pass fails, the bytes are parsed as plain JSON, nulls are dropped, and the result converted once more,
so the error that reaches the user names the real fault.
"""

from typing import Any, TypeVar

import msgspec
import orjson

from wherry.meta.quantity import Quantity

T = TypeVar("T")

Time = str
"""RFC 3339 in UTC, whole seconds: 2026-01-01T00:00:00Z (see meta/time.py)."""
MicroTime = str
"""RFC 3339 in UTC with exactly six decimals: client-go's parser insists on them."""
IntOrString = int | str
"""A port number or name, a count or percentage."""


class Wire(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of every API type. Unknown fields are dropped on decode, as Kubernetes' typed decoder does."""


def always(default: Any) -> Any:
    """A field that is written even when it holds its default (Kubernetes marks it required)."""
    return msgspec.field(default_factory=lambda: default)


def always_list() -> Any:
    """A required list: written as [] when empty."""
    return msgspec.field(default_factory=lambda: [])  # noqa: PIE807 - `list` itself would be omitted when empty


def decode(kind: type[T], data: bytes | bytearray | memoryview) -> T:
    """JSON bytes to `kind`. Raises msgspec.ValidationError (wrong type, with a path) or msgspec.DecodeError."""
    try:
        return _decoder(kind).decode(data)
    except msgspec.ValidationError:  # perhaps only for nulls, which clients send for "not set"
        return _decoder(kind).decode(_ENCODER.encode(drop_nulls(msgspec.json.decode(data))))


def convert(value: Any, kind: type[T]) -> T:
    """Plain dicts and lists to `kind`, nulls meaning "not set". Raises msgspec.ValidationError."""
    # Through bytes: as fast as msgspec.convert, and fields kept as raw JSON (managedFields) come through.
    return decode(kind, _ENCODER.encode(value))


def encode(value: Any) -> bytes:
    """A typed object, or plain dicts and lists, to JSON bytes in declaration (or insertion) order."""
    return _ENCODER.encode(value)


def to_builtins(value: Any) -> Any:
    """A typed object to plain dicts and lists, as its JSON reads."""
    return orjson.loads(_ENCODER.encode(value))


def deep_copy(value: T) -> T:
    """An independent copy of a typed object."""
    return _decoder(type(value)).decode(_ENCODER.encode(value))


def drop_nulls(value: Any) -> Any:
    """`value` without null members of objects, recursively; nulls in lists stay."""
    if isinstance(value, dict):
        return {key: drop_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [drop_nulls(item) for item in value]
    return value


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind, dec_hook=_decode_custom)
    return decoder


def _decode_custom(kind: type, value: Any) -> Any:
    if kind is Quantity:
        return Quantity.parse(value)
    raise NotImplementedError(f"no decoder for {kind}")


def _encode_custom(value: Any) -> Any:
    if isinstance(value, Quantity):
        return str(value)
    raise NotImplementedError(f"no encoder for {type(value)}")


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_custom)
