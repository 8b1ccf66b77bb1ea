"""Request bodies in application/vnd.kubernetes.protobuf, turned into the JSON that clients could have sent.

The body is an envelope (magic bytes, then apiVersion, kind and the message). Messages are read with the field numbers
of numbers.py and the types of the Structs; whatever is not known is skipped, as protobuf wants. Zeros that Go's JSON
would have left out are left out. Everything behind filters/content.py sees JSON only.
"""

import base64
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_origin

import msgspec
import orjson

from wherry.meta.quantity import Quantity
from wherry.meta.time import format_micro_time, format_time
from wherry.server.protobuf.fields import Value, as_bytes, by_number, last_bytes, read_fields, read_varint, signed
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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_json(body: bytes) -> bytes:
    """An enveloped message as JSON. Raises ValueError for what is none, or is of no known kind."""
    if not body.startswith(MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    envelope = by_number(body[len(MAGIC) :])
    names = by_number(last_bytes(envelope, 1))
    api_version, name = last_bytes(names, 1).decode(), last_bytes(names, 2).decode()
    kind = message_type(api_version, name)
    if kind is None:
        raise ValueError(f'no kind "{name}" is registered for version "{api_version}"')
    content = _message(module_of(kind), kind.__name__, annotations(kind), last_bytes(envelope, 2))
    return orjson.dumps({"apiVersion": api_version, "kind": name} | content)


# Messages ------------------------------------------------------------------------------------------------------------


def _message(module: str, name: str, annotations: dict[str, Any], data: bytes) -> dict[str, Any]:
    table = tables().get(f"{module}.{name}", {})
    made: dict[str, Any] = {}
    for number, value in read_fields(data):
        field, mark = table.get(number, ("", ""))
        if field.startswith(">") and isinstance(value, bytes):
            made |= _message(module, field[1:], annotations, value)
        elif field in annotations:
            _put(made, field, annotations[field], mark, value)
    return made


def _put(made: dict[str, Any], field: str, annotation: Any, mark: str, value: Value) -> None:
    origin = get_origin(annotation)
    if origin is list and mark != "w":
        item = required(get_args(annotation)[0])
        made.setdefault(field, []).extend(_items(item, mark, value))
    elif origin is dict and mark != "j":
        entry = by_number(as_bytes(value))
        key = last_bytes(entry, 1).decode()
        kind = required(get_args(annotation)[1])
        made.setdefault(field, {})[key] = _value(kind, mark, entry[2][-1] if 2 in entry else b"")
    else:
        found = _value(annotation, mark, value)
        if found is not None and (found or mark == "*" or isinstance(found, dict)):
            made[field] = found


def _items(kind: Any, mark: str, value: Value) -> list[Any]:
    if kind is int and isinstance(value, bytes):  # packed
        position, items = 0, []
        while position < len(value):
            item, position = read_varint(value, position)
            items.append(signed(item))
        return items
    return [_value(kind, mark, value)]


def _value(kind: Any, mark: str, value: Value) -> Any:
    if mark in _MARKED:
        return _MARKED[mark](as_bytes(value))
    if mark == "o":
        return _schema_or(kind, as_bytes(value))
    if isinstance(value, int):
        return bool(value) if kind is bool else signed(value)
    if kind is str:
        return value.decode()
    if kind is float:
        return struct.unpack("<d", value)[0]
    if kind is Quantity:
        return last_bytes(by_number(value), 1).decode() or "0"
    if kind == INT_OR_STRING:
        return _int_or_string(value)
    if get_origin(kind) is list:  # the values of a map, wrapped: ExtraValue
        item = get_args(kind)[0]
        return [_value(item, "", found) for found in by_number(value).get(1, [])]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _message(module_of(kind), kind.__name__, annotations(kind), value)
    return _json(value)


def _int_or_string(data: bytes) -> int | str:
    fields = by_number(data)
    if fields.get(1, [0])[-1]:
        return last_bytes(fields, 3).decode()
    number = fields.get(2, [0])[-1]
    return signed(number) if isinstance(number, int) else 0


def _schema_or(union: Any, data: bytes) -> Any:
    """JSONSchemaPropsOrBool, -OrArray or -OrStringArray: what is not one schema is a bool or a list."""
    fields, schema = by_number(data), struct_of(union)
    number = 2 if bool in union else 1
    if number in fields:
        return _value(schema, "", fields[number][-1])
    if bool in union:
        return bool(fields.get(1, [0])[-1])
    text = any(get_args(member) == (str,) for member in union)
    return [_value(str if text else schema, "", item) for item in fields.get(2, [])]


def _json(data: bytes) -> Any:
    raw = last_bytes(by_number(data), 1)
    return orjson.loads(raw) if raw else None


def _instant(data: bytes) -> datetime | None:
    fields = by_number(data)
    seconds, nanoseconds = fields.get(1, [0])[-1], fields.get(2, [0])[-1]
    if not fields or not isinstance(seconds, int) or not isinstance(nanoseconds, int):
        return None
    return _EPOCH + timedelta(seconds=signed(seconds), microseconds=nanoseconds // 1000)


def _time(data: bytes) -> str | None:
    when = _instant(data)
    return format_time(when) if when else None


def _micro_time(data: bytes) -> str | None:
    when = _instant(data)
    return format_micro_time(when) if when else None


def _wrapped(data: bytes) -> list[str]:
    return [as_bytes(item).decode() for item in by_number(data).get(1, [])]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_MARKED = {"t": _time, "u": _micro_time, "b": _base64, "j": _json, "w": _wrapped}
