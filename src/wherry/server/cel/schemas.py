"""CEL types of OpenAPI schemas: what `self` is, with the sizes that a request can hold at most.

Parts of a schema that expressions cannot see (no type, unknown fields preserved) have no type at all.
Source: apiserver, cel/common/schemas.go and cel/escaping.go.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from wherry.server.cel import types
from wherry.server.cel.types import Field, Type
from wherry.server.cel.values import CelError, duration, timestamp

Json = Mapping[str, Any]
REQUEST_BYTES = 3 * 1024 * 1024
"""The largest request; what bounds values that the schema does not bound."""
_RESERVED = frozenset(
    "true false null in as break const continue else for function if import let loop package namespace return var void "
    "while".split()
)
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_ACCESSIBLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_./-]*")


def escape(name: str) -> str | None:
    """A property's name in expressions; None if it has none."""
    if name in _RESERVED:
        return f"__{name}__"
    if not _ACCESSIBLE.fullmatch(name):
        return None
    return re.sub(r"__|[./-]", lambda match: _ESCAPES[match[0]], name)


def schema_type(schema: Json, *, root: bool = False) -> Type | None:
    """The type of a schema's values; None if expressions cannot see them. `root`: of a whole object."""
    if schema.get("x-kubernetes-int-or-string"):
        return Type("dyn", max_size=_longest(schema))
    if root:
        schema = whole_object(schema)
    make = _MAKE.get(schema.get("type") or "")
    return make(schema) if make is not None else None


_TEXT = {"type": "string"}


def whole_object(schema: Json) -> Json:
    """With the parts of identity that every object has."""
    meta = {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}}
    identity = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": meta}
    return {**schema, "type": "object", "properties": {**(schema.get("properties") or {}), **identity}}


def _embedded(schema: Json) -> bool:
    return bool(schema.get("x-kubernetes-embedded-resource"))


def _array(schema: Json) -> Type | None:
    items = schema.get("items")
    item = schema_type(items, root=_embedded(items)) if isinstance(items, Mapping) else None
    if item is None:
        return None
    most = schema.get("maxItems")
    return Type(
        "list",
        (item,),
        max_size=max(0, most) if most is not None else (REQUEST_BYTES - 2) // (item.min_bytes + 1),
        min_bytes=2,
        convert=_of_list(item.convert),
        list_type=schema.get("x-kubernetes-list-type") or "",
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
    )


def _of_list(convert: types.Convert | None) -> types.Convert | None:
    if convert is None:
        return None
    return lambda value: [None if item is None else convert(item) for item in value]


def _of_map(convert: types.Convert | None) -> types.Convert | None:
    if convert is None:
        return None
    return lambda value: {key: None if item is None else convert(item) for key, item in value.items()}


def _object(schema: Json) -> Type | None:
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping) and more:
        value = schema_type(more, root=_embedded(more))
        if value is None:
            return None
        most = schema.get("maxProperties")
        size = max(0, most) if most is not None else (REQUEST_BYTES - 2) // (value.min_bytes + 6)
        key = Type("string", max_size=REQUEST_BYTES)
        return Type("map", (key, value), max_size=size, min_bytes=2, convert=_of_map(value.convert))
    properties = schema.get("properties") or {}
    fields = _Fields(properties)
    least = 2
    for name in schema.get("required") or ():
        kind = fields.named(name)
        if kind is not None and properties[name].get("default") is None:
            least += len(name) + kind.min_bytes + 4
    return Type("object", fields=fields, min_bytes=least)


class _Fields(Mapping[str, Field]):
    """Of an object, by their names in expressions; each is looked into when an expression first names it.

    Schemas have thousands, rules name a few.
    """

    def __init__(self, properties: Json) -> None:
        self._properties = properties
        self._kinds: dict[str, Type | None] = {}

    def named(self, name: str) -> Type | None:
        """The type of a property, by its own name."""
        if name not in self._kinds:
            below = self._properties.get(name)
            self._kinds[name] = None if below is None else schema_type(below, root=_embedded(below))
        return self._kinds[name]

    @cached_property
    def _names(self) -> dict[str, str]:
        return {escaped: name for name in self._properties if (escaped := escape(name)) is not None}

    def __getitem__(self, escaped: str) -> Field:
        name = self._names[escaped]
        kind = self.named(name)
        if kind is None:
            raise KeyError(escaped)
        return Field(name, kind)

    def __iter__(self) -> Iterator[str]:
        return (escaped for escaped, name in self._names.items() if self.named(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self._properties)


def _string(schema: Json) -> Type:
    made = _FORMATS.get(schema.get("format") or "")
    if made is None:
        return Type("string", max_size=_longest(schema), min_bytes=2)
    kind, least, convert = made
    most = schema.get("maxLength") if kind == "bytes" else None
    return Type(kind, max_size=REQUEST_BYTES - 2 if most is None else most, min_bytes=least, convert=_told(convert))


def _longest(schema: Json) -> int:
    most, allowed = schema.get("maxLength"), schema.get("enum")
    if most is not None:
        return int(max(0, most) * 4)  # characters, of up to four bytes
    if allowed:
        return max(len(item) for item in allowed if isinstance(item, str))
    return REQUEST_BYTES - 2


def _told(convert: types.Convert) -> types.Convert:
    def converted(value: Any) -> Any:
        try:
            return convert(value)
        except (ValueError, binascii.Error) as error:
            raise CelError(str(error)) from None

    return converted


_FORMATS: dict[str, tuple[str, int, types.Convert]] = {
    "byte": ("bytes", 2, base64.b64decode),
    "duration": ("duration", 4, duration),
    "date": ("timestamp", 12, lambda value: timestamp(f"{value}T00:00:00Z")),
    "date-time": ("timestamp", 22, timestamp),
}
_MAKE: dict[str, Callable[[Json], Type | None]] = {
    "array": _array,
    "object": _object,
    "string": _string,
    "boolean": lambda schema: Type("bool", min_bytes=4),
    "integer": lambda schema: types.INT,
    "number": lambda schema: Type("double", convert=float),
}
