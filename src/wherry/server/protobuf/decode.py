"""Request bodies in application/vnd.kubernetes.protobuf, turned into the JSON that clients could have sent.

The body is an envelope (magic bytes, then apiVersion, kind and the message). Messages are read with the field numbers
of numbers.py and the types of the Structs; whatever is not known is skipped, as protobuf wants. Zeros that Go's JSON
would have left out are left out. Everything behind filters/protobuf.py sees JSON only.
"""

import base64
import struct
import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec
import orjson

from wherry.api.meta_v1 import DeleteOptions
from wherry.api.registry import kind_type
from wherry.meta.quantity import Quantity
from wherry.meta.time import format_micro_time, format_time
from wherry.server.protobuf.numbers import MESSAGES

_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Table = dict[int, tuple[str, str]]
"""By field number: JSON name (or ">Message") and mark."""
Value = int | bytes


def to_json(body: bytes) -> bytes:
    """An enveloped message as JSON. Raises ValueError for what is none, or is of no known kind."""
    if not body.startswith(_MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    envelope = _by_number(body[len(_MAGIC) :])
    names = _by_number(_last_bytes(envelope, 1))
    api_version, name = _last_bytes(names, 1).decode(), _last_bytes(names, 2).decode()
    kind = DeleteOptions if name == "DeleteOptions" else kind_type(api_version, name)
    if kind is None:
        raise ValueError(f'no kind "{name}" is registered for version "{api_version}"')
    content = _message(_module(kind), kind.__name__, _annotations(kind), _last_bytes(envelope, 2))
    return orjson.dumps({"apiVersion": api_version, "kind": name} | content)


# Messages ------------------------------------------------------------------------------------------------------------


@cache
def _tables() -> dict[str, Table]:
    tables: dict[str, Table] = {}
    table: Table = {}
    number = 0
    for line in MESSAGES.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            table = tables[words.pop(0)] = {}
            number = 1
        for word in words:
            if word.isdigit():
                number = int(word)
                continue
            name, _, mark = word.partition("~")
            table[number] = (name.rstrip("*"), mark or name[len(name.rstrip("*")) :])
            number += 1
    return tables


@cache
def _annotations(kind: type) -> dict[str, Any]:
    return {field.encode_name: _required(field.type) for field in msgspec.structs.fields(kind)}


def _required(annotation: Any) -> Any:
    """The annotation without None."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    members = [member for member in get_args(annotation) if member is not type(None)]
    return members[0] if len(members) == 1 else frozenset(members)


def _module(kind: type) -> str:
    return kind.__module__.rpartition(".")[2]


def _message(module: str, name: str, annotations: dict[str, Any], data: bytes) -> dict[str, Any]:
    table = _tables().get(f"{module}.{name}", {})
    made: dict[str, Any] = {}
    for number, value in _fields(data):
        field, mark = table.get(number, ("", ""))
        if field.startswith(">") and isinstance(value, bytes):
            made |= _message(module, field[1:], annotations, value)
        elif field in annotations:
            _put(made, field, annotations[field], mark, value)
    return made


def _put(made: dict[str, Any], field: str, annotation: Any, mark: str, value: Value) -> None:
    origin = get_origin(annotation)
    if origin is list:
        item = _required(get_args(annotation)[0])
        made.setdefault(field, []).extend(_items(item, mark, value))
    elif origin is dict and mark != "j":
        entry = _by_number(_bytes(value))
        key = _last_bytes(entry, 1).decode()
        kind = _required(get_args(annotation)[1])
        made.setdefault(field, {})[key] = _value(kind, mark, entry[2][-1] if 2 in entry else b"")
    else:
        found = _value(annotation, mark, value)
        if found is not None and (found or mark == "*" or isinstance(found, dict)):
            made[field] = found


def _items(kind: Any, mark: str, value: Value) -> list[Any]:
    if kind is int and isinstance(value, bytes):  # packed
        position, items = 0, []
        while position < len(value):
            item, position = _varint(value, position)
            items.append(_signed(item))
        return items
    return [_value(kind, mark, value)]


def _value(kind: Any, mark: str, value: Value) -> Any:
    if mark in _MARKED:
        return _MARKED[mark](_bytes(value))
    if isinstance(value, int):
        return bool(value) if kind is bool else _signed(value)
    if kind is str:
        return value.decode()
    if kind is float:
        return struct.unpack("<d", value)[0]
    if kind is Quantity:
        return _last_bytes(_by_number(value), 1).decode() or "0"
    if kind == frozenset({int, str}):
        return _int_or_string(value)
    if get_origin(kind) is list:  # the values of a map, wrapped: ExtraValue
        item = get_args(kind)[0]
        return [_value(item, "", found) for found in _by_number(value).get(1, [])]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _message(_module(kind), kind.__name__, _annotations(kind), value)
    return _json(value)


def _int_or_string(data: bytes) -> int | str:
    fields = _by_number(data)
    if fields.get(1, [0])[-1]:
        return _last_bytes(fields, 3).decode()
    number = fields.get(2, [0])[-1]
    return _signed(number) if isinstance(number, int) else 0


def _json(data: bytes) -> Any:
    raw = _last_bytes(_by_number(data), 1)
    return orjson.loads(raw) if raw else None


def _instant(data: bytes) -> datetime | None:
    fields = _by_number(data)
    seconds, nanoseconds = fields.get(1, [0])[-1], fields.get(2, [0])[-1]
    if not fields or not isinstance(seconds, int) or not isinstance(nanoseconds, int):
        return None
    return _EPOCH + timedelta(seconds=_signed(seconds), microseconds=nanoseconds // 1000)


def _time(data: bytes) -> str | None:
    when = _instant(data)
    return format_time(when) if when else None


def _micro_time(data: bytes) -> str | None:
    when = _instant(data)
    return format_micro_time(when) if when else None


def _duration(data: bytes) -> str:
    nanoseconds = _by_number(data).get(1, [0])[-1]
    return f"{_signed(nanoseconds) / 1e9:g}s" if isinstance(nanoseconds, int) else "0s"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_MARKED = {"t": _time, "u": _micro_time, "b": _base64, "j": _json, "d": _duration}

# The wire format -----------------------------------------------------------------------------------------------------


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if wire_type == _BYTES:
            length, position = _varint(data, position)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"proto: illegal wireType {wire_type}")
        if position + length > len(data):
            raise ValueError("unexpected EOF")
        yield tag >> 3, data[position : position + length]
        position += length


def _by_number(data: bytes) -> dict[int, list[Value]]:
    found: dict[int, list[Value]] = {}
    for number, value in _fields(data):
        found.setdefault(number, []).append(value)
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("proto: integer overflow" if shift > 63 else "unexpected EOF")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("proto: wrong wireType = 0")
    return value


def _last_bytes(fields: dict[int, list[Value]], number: int) -> bytes:
    return _bytes(fields[number][-1]) if number in fields else b""
