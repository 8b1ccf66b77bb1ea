"""What a structural schema does to an object: pruning, defaults, validation with kube-apiserver's messages."""

from typing import Any

import pytest

from tests.unit.server.custom.world import BOATS, Json, boat, definition, spec_of, version, world
from wherry.server.customresources.patterns import compile_pattern, translate
from wherry.server.customresources.pruning import pruner
from wherry.server.customresources.validation import Fault, ratchet, validator

STRING: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}


def checked(schema: Json, value: Any) -> list[str]:
    faults: list[Fault] = []
    validator(spec_of(spec=schema))({"spec": value}, None, faults)
    return [str(fault.error) for fault in faults]


def wrong(path: str, found: str, wanted: str) -> str:
    return f'{path}: Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'


FAULTS: dict[str, tuple[Json, Any, list[str]]] = {
    "a string for an integer": (INTEGER, "x", [wrong("spec", "string", "integer")]),
    "a fraction for an integer": (INTEGER, 1.5, [wrong("spec", "number", "integer")]),
    "a whole float is an integer": (INTEGER, 2.0, []),
    "an integer is a number": ({"type": "number"}, 2, []),
    "a truth value is no integer": (INTEGER, True, [wrong("spec", "boolean", "integer")]),
    "null": (STRING, None, [wrong("spec", "null", "string")]),
    "null where nullable": (STRING | {"nullable": True}, None, []),
    "int or string": ({"x-kubernetes-int-or-string": True}, "80%", []),
    "neither int nor string": (
        {"x-kubernetes-int-or-string": True},
        True,
        [wrong("spec", "boolean", "integer,string")],
    ),
    "an enumeration": (
        STRING | {"enum": ["red", "blue"]},
        "green",
        ['spec: Unsupported value: "green": supported values: "red", "blue"'],
    ),
    "a pattern": (
        STRING | {"pattern": "^[a-z]+$"},
        "A1",
        ["spec: Invalid value: \"A1\": spec in body should match '^[a-z]+$'"],
    ),
    "too long": (STRING | {"maxLength": 2}, "abc", ["spec: Too long: may not be more than 2 bytes"]),
    "too short": (
        STRING | {"minLength": 1},
        "",
        ['spec: Invalid value: "": spec in body should be at least 1 chars long'],
    ),
    "too small": (
        INTEGER | {"minimum": 1},
        0,
        ["spec: Invalid value: 0: spec in body should be greater than or equal to 1"],
    ),
    "too large": (
        INTEGER | {"maximum": 3, "exclusiveMaximum": True},
        3,
        ["spec: Invalid value: 3: spec in body should be less than 3"],
    ),
    "no multiple": (
        INTEGER | {"multipleOf": 2},
        3,
        ["spec: Invalid value: 3: spec in body should be a multiple of 2"],
    ),
    "an item": ({"type": "array", "items": STRING}, ["a", 1], [wrong("spec[1]", "integer", "string")]),
    "too many items": (
        {"type": "array", "items": STRING, "maxItems": 1},
        ["a", "b"],
        ["spec: Too many: 2: must have at most 1 item"],
    ),
    "too few items": (
        {"type": "array", "items": STRING, "minItems": 1},
        [],
        ["spec: Invalid value: 0: spec in body should have at least 1 items"],
    ),
    "a set": (
        {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
        ["a", "a"],
        ['spec[1]: Duplicate value: "a"'],
    ),
    "a list map": (
        {
            "type": "array",
            "items": spec_of(name=STRING),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        [{"name": "a"}, {"name": "a"}],
        ['spec[1]: Duplicate value: {"name":"a"}'],
    ),
    "a missing member": (spec_of(crew=INTEGER) | {"required": ["crew"]}, {}, ["spec.crew: Required value"]),
    "a map's value": (
        {"type": "object", "additionalProperties": INTEGER},
        {"a": "x"},
        [wrong("spec.a", "string", "integer")],
    ),
    "too many members": (
        {"type": "object", "additionalProperties": INTEGER, "maxProperties": 1},
        {"a": 1, "b": 2},
        ["spec: Too many: 2: must have at most 1 item"],
    ),
    "a date and time": (
        STRING | {"format": "date-time"},
        "today",
        ['spec: Invalid value: "today": spec in body must be of type date-time: "today"'],
    ),
    "an address": (STRING | {"format": "ipv4"}, "10.0.0.1", []),
    "a format that is not checked": (STRING | {"format": "whatever"}, "x", []),
    "none of oneOf": (
        spec_of(a=STRING, b=STRING) | {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {},
        [
            '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid',
            "spec.a: Required value",
        ],
    ),
    "both of oneOf": (
        spec_of(a=STRING, b=STRING) | {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"a": "", "b": ""},
        ['<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives'],
    ),
    "none of anyOf": (
        STRING | {"anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]},
        "c",
        [
            '<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)',
            "spec: Invalid value: \"c\": spec in body should match '^a'",
        ],
    ),
    "not all of allOf": (
        STRING | {"allOf": [{"minLength": 1}, {"maxLength": 2}]},
        "abc",
        [
            "spec: Too long: may not be more than 2 bytes",
            '<nil>: Invalid value: "": "spec" must validate all the schemas (allOf)',
        ],
    ),
    "what must not be": (
        STRING | {"not": {"enum": ["x"]}},
        "x",
        ['<nil>: Invalid value: "": "spec" must not validate the schema (not)'],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_values_are_checked_in_kubernetes_words(name: str) -> None:
    schema, value, faults = FAULTS[name]
    assert checked(schema, value) == faults


PRUNED: dict[str, tuple[Json, Json, Json, list[str]]] = {
    "unknown members go": (spec_of(a=STRING), {"a": "x", "b": 1}, {"a": "x"}, ["spec.b"]),
    "at any depth": (
        spec_of(l={"type": "array", "items": spec_of(a=STRING)}),
        {"l": [{"a": ""}, {"b": 1}]},
        {"l": [{"a": ""}, {}]},
        ["spec.l[1].b"],
    ),
    "unless they are to be kept": (
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": spec_of(b=STRING)}},
        {"x": {"y": 1}, "a": {"c": 1}},
        {"x": {"y": 1}, "a": {}},
        ["spec.a.c"],
    ),
    "maps keep their keys": (
        {"type": "object", "additionalProperties": spec_of(a=STRING)},
        {"k": {"b": 1}},
        {"k": {}},
        ["spec.k.b"],
    ),
    "embedded resources keep what makes them one": (
        {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": spec_of(a=STRING)}},
        {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"b": 1}, "y": 1},
        {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": {}},
        ["spec.spec.b", "spec.y"],
    ),
}


@pytest.mark.parametrize("name", PRUNED)
def test_what_the_schema_does_not_know_is_pruned(name: str) -> None:
    schema, value, kept, removed = PRUNED[name]
    prune = pruner(spec_of(spec=schema))
    assert prune is not None
    found: list[str] = []
    prune({"metadata": {"name": "x"}, "spec": value}, None, found)
    assert (value, found) == (kept, removed)


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("^[[:alpha:]]+$", "abc", True),
        ("^[^[:space:]]+$", "a b", False),
        ("^a$", "a\n", False),
        (r"^\d+\z", "٣", False),
        ("b", "abc", True),
        ("^[$]$", "$", True),
    ],
)
def test_patterns_are_read_as_go_reads_them(pattern: str, value: str, matches: bool) -> None:
    assert compile_pattern(pattern)(value) is matches, translate(pattern)


def test_an_update_answers_only_for_what_it_changes() -> None:
    items = spec_of(name=STRING, size=INTEGER | {"minimum": 5})
    listed = {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    schema = spec_of(list=listed, crew=INTEGER | {"minimum": 1})
    old = {"crew": 0, "list": [{"name": "a", "size": 1}]}
    new = {"crew": 0, "list": [{"name": "b", "size": 2}, {"name": "a", "size": 1}]}
    faults: list[Fault] = []
    validator(schema)(new, None, faults)
    assert [fault.error.field for fault in faults] == ["list[0].size", "list[1].size", "crew"]
    assert [fault.error.field for fault in ratchet(faults, new, old, schema)] == ["list[0].size"]


async def test_unknown_fields_are_pruned_with_a_warning_or_refused_when_strict() -> None:
    async with world() as w:
        await w.define(definition(version(schema=spec_of(crew=INTEGER))))
        body = boat(spec={"crew": 1, "sail": "red"})
        status, made, headers = await w.call("POST", BOATS, body)
        assert (status, made["spec"]) == (201, {"crew": 1})
        assert headers["warning"] == '299 - "unknown field \\"spec.sail\\""'
        body["metadata"]["name"] = "c"
        status, message = await w.refused("POST", BOATS, body, fieldValidation="Strict")
        assert status == 400
        assert message.endswith('strict decoding error: unknown field "spec.sail"')
        assert "warning" not in (await w.call("POST", BOATS, body, fieldValidation="Ignore"))[2]


async def test_faults_come_back_as_invalid() -> None:
    async with world() as w:
        await w.define(definition(version(schema=spec_of(crew=INTEGER) | {"required": ["crew"]})))
        status, message = await w.refused("POST", BOATS, boat(spec={"crew": "two"}))
        fault = 'spec.crew: Invalid value: "string": spec.crew in body must be of type integer: "string"'
        assert (status, message) == (422, f'Boat.wherry.example "b" is invalid: {fault}')
        status, message = await w.refused("POST", BOATS, boat(spec={}))
        assert message == 'Boat.wherry.example "b" is invalid: spec.crew: Required value'


async def test_defaults_are_filled_in_and_stray_nulls_dropped() -> None:
    schema = spec_of(
        sail=STRING | {"default": "white"},
        flag=STRING | {"nullable": True, "default": "none"},
        crew=INTEGER,
        hull=spec_of(wood=STRING | {"default": "oak"}) | {"default": {}},
        oars={"type": "array", "items": spec_of(length=INTEGER | {"default": 3})},
    )
    async with world() as w:
        await w.define(definition(version(schema=schema)))
        sent = {"sail": None, "flag": None, "crew": None, "oars": [{}, {"length": 4}]}
        made = await w.good("POST", BOATS, boat(spec=sent))
        assert made["spec"] == {
            "sail": "white",
            "flag": None,
            "hull": {"wood": "oak"},
            "oars": [{"length": 3}, {"length": 4}],
        }
