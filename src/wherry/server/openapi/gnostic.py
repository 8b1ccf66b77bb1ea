"""/openapi/v2 in the protobuf form of gnostic's OpenAPIv2.proto: kubectl reads no other for lists and for validation.

The messages mirror the JSON document closely, so that a table per message, from JSON key to field number and form, is
all there is. What has no JSON key of its own (extensions, defaults, enums) travels as YAML text, which JSON is.
"""

import struct
from collections.abc import Callable
from typing import Any

from wherry.meta import wire

Json = dict[str, Any]
Form = Callable[[int, Any], bytes]
"""(field number, JSON value) → the encoded field."""
ACCEPTED = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
)
CONTENT_TYPE = ACCEPTED[1]


def encode(document: Json) -> bytes:
    """A whole document."""
    return _message("Document", document)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _sized(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, value: Any) -> bytes:
    return _sized(number, str(value).encode())


def _whole(number: int, value: Any) -> bytes:
    return _varint(number << 3) + _varint(int(value) & 0xFFFFFFFFFFFFFFFF)


def _double(number: int, value: Any) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _any(number: int, value: Any) -> bytes:
    return _sized(number, _sized(2, wire.encode(value) + b"\n"))


def _each(form: Form) -> Form:
    return lambda number, values: b"".join([form(number, value) for value in values])


def _one(message: str, *wrapped: int) -> Form:
    """A message, inside further ones that have only it, at these numbers from the outside in."""

    def form(number: int, value: Any) -> bytes:
        data = _message(message, value)
        for inner in reversed(wrapped):
            data = _sized(inner, data)
        return _sized(number, data)

    return form


def _named(form: Form, *wrapped: int) -> Form:
    """A map as repeated pairs of name and value, inside a message at each number of `wrapped`."""

    def pairs(number: int, values: Json) -> bytes:
        made = [_sized(1, name.encode()) + form(2, value) for name, value in values.items()]
        if not wrapped:
            return b"".join([_sized(number, pair) for pair in made])
        return _sized(number, b"".join([_sized(wrapped[0], pair) for pair in made]))

    return pairs


def _texts(number: int, value: Any) -> bytes:
    """A message that holds texts: TypeItem, StringArray."""
    return _sized(number, _each(_text)(1, value if isinstance(value, list) else [value]))


def _or_boolean(number: int, value: Any) -> bytes:
    return _sized(number, _whole(2, value) if isinstance(value, bool) else _one("Schema")(1, value))


def _items(number: int, value: Any) -> bytes:
    return _sized(number, _each(_one("Schema"))(1, value if isinstance(value, list) else [value]))


def _parameter(number: int, value: Json) -> bytes:
    """ParametersItem → Parameter → body, or not: by where it stands."""
    place = value["in"]
    if place == "body":
        return _one("BodyParameter", 1, 1)(number, value)
    numbers = {"header": 1, "formData": 2, "query": 3, "path": 4}
    # A path or header parameter has no allowEmptyValue; all that follows it stands one number earlier.
    return _one("Parameter" if place in ("query", "formData") else "PathParameter", 1, 2, numbers[place])(number, value)


_EXTENSIONS: dict[str, int] = {
    "Document": 16, "Info": 7, "Paths": 1, "PathItem": 10, "Operation": 13, "BodyParameter": 6, "Parameter": 23,
    "PathParameter": 22, "Response": 5, "Schema": 31, "ApiKey": 5,
}  # fmt: skip
_LIMITS: tuple[tuple[str, Form], ...] = (
    ("type", _text), ("format", _text), ("items", _any), ("collectionFormat", _text), ("default", _any),
    ("maximum", _double), ("exclusiveMaximum", _whole), ("minimum", _double), ("exclusiveMinimum", _whole),
    ("maxLength", _whole), ("minLength", _whole), ("pattern", _text), ("maxItems", _whole), ("minItems", _whole),
    ("uniqueItems", _whole), ("enum", _each(_any)), ("multipleOf", _double),
)  # fmt: skip
_PLACE: dict[str, tuple[int, Form]] = {
    "required": (1, _whole), "in": (2, _text), "description": (3, _text), "name": (4, _text),
}  # fmt: skip
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_MESSAGES: dict[str, dict[str, tuple[int, Form]]] = {
    "Document": {
        "swagger": (1, _text),
        "info": (2, _one("Info")),
        "paths": (8, lambda number, value: _sized(number, _named(_one("PathItem"))(2, value))),
        "definitions": (9, _named(_one("Schema"), 1)),
        "security": (12, _each(_named(_texts, 1))),
        "securityDefinitions": (13, _named(_one("ApiKey", 2), 1)),
    },
    "Info": {"title": (1, _text), "version": (2, _text), "description": (3, _text)},
    "ApiKey": {"type": (1, _text), "name": (2, _text), "in": (3, _text), "description": (4, _text)},
    "PathItem": {name: (index, _one("Operation")) for index, name in enumerate(_METHODS, 2)}
    | {"parameters": (9, _each(_parameter))},
    "Operation": {
        "tags": (1, _each(_text)), "summary": (2, _text), "description": (3, _text), "operationId": (5, _text),
        "produces": (6, _each(_text)), "consumes": (7, _each(_text)), "parameters": (8, _each(_parameter)),
        "responses": (9, _named(_one("Response", 1), 1)), "schemes": (10, _each(_text)), "deprecated": (11, _whole),
    },
    "BodyParameter": {
        "description": (1, _text), "name": (2, _text), "in": (3, _text), "required": (4, _whole),
        "schema": (5, _one("Schema")),
    },
    "Parameter": _PLACE | {name: (index, form) for index, (name, form) in enumerate(_LIMITS, 6)},
    "PathParameter": _PLACE | {name: (index, form) for index, (name, form) in enumerate(_LIMITS, 5)},
    "Response": {"description": (1, _text), "schema": (2, _one("Schema", 1))},
    "Schema": {
        "$ref": (1, _text), "format": (2, _text), "title": (3, _text), "description": (4, _text), "default": (5, _any),
        "multipleOf": (6, _double), "maximum": (7, _double), "exclusiveMaximum": (8, _whole), "minimum": (9, _double),
        "exclusiveMinimum": (10, _whole), "maxLength": (11, _whole), "minLength": (12, _whole), "pattern": (13, _text),
        "maxItems": (14, _whole), "minItems": (15, _whole), "uniqueItems": (16, _whole), "maxProperties": (17, _whole),
        "minProperties": (18, _whole), "required": (19, _each(_text)), "enum": (20, _each(_any)),
        "additionalProperties": (21, _or_boolean), "type": (22, _texts), "items": (23, _items),
        "allOf": (24, _each(_one("Schema"))), "properties": (25, _named(_one("Schema"), 1)), "readOnly": (27, _whole),
        "example": (30, _any),
    },
}  # fmt: skip


def _message(name: str, value: Json) -> bytes:
    fields, extensions = _MESSAGES[name], _EXTENSIONS[name]
    out = []
    for key, found in value.items():
        if key.startswith("x-"):
            out.append(_sized(extensions, _sized(1, key.encode()) + _any(2, found)))
        elif (field := fields.get(key)) is not None:
            out.append(field[1](field[0], found))
    return b"".join(out)
