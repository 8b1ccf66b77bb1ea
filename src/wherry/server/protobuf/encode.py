"""JSON answers turned into application/vnd.kubernetes.protobuf, which Go clients prefer for built-in kinds.

Objects stay JSON at rest; whoever asks for protobuf has them translated on the way out (filters/content.py). A message
becomes a list of encoders in the order of its numbers, made once per type from the tables of messages.py; zeros are
left out, which says the same. Lists are taken apart so that each item's bytes can be kept for the next reader.
"""

import base64
import struct
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any, get_args, get_origin

import msgspec
import orjson

from wherry.meta.object import ListMeta
from wherry.meta.quantity import Quantity
from wherry.meta.time import parse_time
from wherry.server.protobuf.fields import sized, varint
from wherry.server.protobuf.messages import (
    INT_OR_STRING,
    MAGIC,
    annotations,
    message_type,
    module_of,
    required,
    struct_of,
    tables,
)

Encoder = Callable[[Any], bytes]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT_ITEMS = 2048
_ITEMS_AT_ONCE = 50


class _Answer(msgspec.Struct):
    apiVersion: str = ""
    kind: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_ANSWER, _EVENT = msgspec.json.Decoder(_Answer), msgspec.json.Decoder(_Event)


def from_json(data: bytes) -> bytes | None:
    """A JSON answer as an enveloped message; None for what protobuf cannot carry."""
    steps = encoding(data)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: bytes | None = end.value
            return found


def encoding(data: bytes) -> Generator[None, None, bytes | None]:
    """The same in steps, for a long list must not hold up everybody else."""
    answer = _ANSWER.decode(data)
    kind = message_type(answer.apiVersion, answer.kind)
    if kind is not None:
        return envelope(answer.apiVersion, answer.kind, _encoder(kind)(orjson.loads(data)))
    kind = message_type(answer.apiVersion, answer.kind.removesuffix("List"))
    if kind is None or not answer.kind.endswith("List"):
        return None
    parts = [sized(1, _encoder(ListMeta)(orjson.loads(bytes(answer.metadata))))]
    for index, item in enumerate(answer.items or (), 1):
        parts.append(sized(2, _item(kind, bytes(item))))
        if not index % _ITEMS_AT_ONCE:
            yield
    return envelope(answer.apiVersion, answer.kind, b"".join(parts))


@lru_cache(_KEPT_ITEMS)
def _item(kind: type, data: bytes) -> bytes:
    return _encoder(kind)(orjson.loads(data))


@lru_cache(256)  # many watchers are sent the same line
def watch_frame(line: bytes) -> bytes:
    """A watch's line as a frame: length, then type and enveloped object. Raises ValueError."""
    event = _EVENT.decode(line)
    made = from_json(bytes(event.object))
    if made is None:
        raise ValueError("a watch in protobuf met a kind that has no such form")
    message = sized(1, event.type.encode()) + sized(2, sized(1, made))
    return len(message).to_bytes(4, "big") + message


def envelope(api_version: str, kind: str, message: bytes) -> bytes:
    """A message with what tells its kind."""
    names = sized(1, api_version.encode()) + sized(2, kind.encode())
    return b"".join((MAGIC, sized(1, names), sized(2, message), b"\x1a\x00\x22\x00"))


# From types to encoders -----------------------------------------------------------------------------------------------


@cache
def _encoder(kind: type) -> Encoder:
    return _message(module_of(kind), kind.__name__, annotations(kind))


def _message(module: str, name: str, types_: dict[str, Any]) -> Encoder:
    """The encoder of a message's fields, from a JSON object."""
    members: list[tuple[str, Encoder]] = []
    inlined: list[Encoder] = []

    def made() -> None:  # when first used: types may hold themselves
        for number, (field, mark) in sorted(tables()[f"{module}.{name}"].items()):
            if field.startswith(">"):
                inlined.append(_inline(number, _message(module, field[1:], types_)))
            elif field in types_:
                members.append((field, _field(number, types_[field], mark)))

    def encode(value: dict[str, Any]) -> bytes:
        if not members and not inlined:
            made()
        get = value.get
        out = [write(found) for field, write in members if (found := get(field)) is not None]
        if inlined:
            out += [write(value) for write in inlined]
        return b"".join(out)

    return encode


def _inline(number: int, encode: Encoder) -> Encoder:
    def write(value: dict[str, Any]) -> bytes:
        message = encode(value)
        return sized(number, message) if message else b""

    return write


def _field(number: int, kind: Any, mark: str) -> Encoder:
    """A whole field, tag and all."""
    origin = get_origin(kind)
    if origin is list and mark != "w":
        one = _single(number, required(get_args(kind)[0]), mark)
        return lambda value: b"".join([one(item) for item in value])
    if origin is dict and mark != "j":
        entry = _single(2, required(get_args(kind)[1]), mark)
        return lambda value: b"".join(
            [sized(number, sized(1, key.encode()) + entry(item)) for key, item in value.items()]
        )
    return _single(number, kind, mark)


def _single(number: int, kind: Any, mark: str) -> Encoder:
    if mark not in _MARKED and mark != "o":
        if kind is bool or kind is int:
            tag = varint(number << 3)
            return lambda value: tag + varint(value & 0xFFFFFFFFFFFFFFFF)
        if kind is float:
            double = varint(number << 3 | 1)
            return lambda value: double + struct.pack("<d", value)
    payload, tag = _payload(kind, mark), varint(number << 3 | 2)

    def write(value: Any) -> bytes:
        data = payload(value) if value is not None else b""
        return tag + varint(len(data)) + data

    return write


def _payload(kind: Any, mark: str) -> Encoder:
    if mark == "o":
        return _schema_or(_encoder(struct_of(kind)), 2 if bool in kind else 1)
    if mark in _MARKED:
        return _MARKED[mark]
    if kind is str:
        return str.encode
    if kind is Quantity:
        return lambda value: sized(1, str(value).encode())
    if kind == INT_OR_STRING:
        return _int_or_string
    if get_origin(kind) is list:  # the values of a map: ExtraValue
        return _wrapped
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _encoder(kind)
    return _json


def _schema_or(schema: Encoder, number: int) -> Encoder:
    """JSONSchemaPropsOrBool, -OrArray and -OrStringArray; `number` is the schema's."""

    def encode(value: Any) -> bytes:
        if isinstance(value, bool):
            return b"\x08\x01" if value else b"\x08\x00"
        if isinstance(value, list):
            return b"".join(sized(2, item.encode() if isinstance(item, str) else schema(item)) for item in value)
        return (b"\x08\x01" if number == 2 else b"") + sized(number, schema(value))

    return encode


def _wrapped(value: list[str]) -> bytes:
    return b"".join(sized(1, item.encode()) for item in value)


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01" + sized(3, value.encode())
    return b"\x08\x00\x10" + varint(value & 0xFFFFFFFFFFFFFFFF)


def _json(value: Any) -> bytes:
    return sized(1, orjson.dumps(value))


def _time(value: str) -> bytes:
    span = parse_time(value) - _EPOCH
    seconds = span // timedelta(seconds=1)
    message = b"\x08" + varint(seconds & 0xFFFFFFFFFFFFFFFF)
    nanoseconds = span.microseconds * 1000
    return message + (b"\x10" + varint(nanoseconds) if nanoseconds else b"")


_MARKED: dict[str, Encoder] = {
    "t": _time,
    "u": _time,
    "b": base64.b64decode,
    "j": _json,
    "w": _wrapped,
}
