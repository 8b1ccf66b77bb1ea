"""x-kubernetes-validations: what definitions may say, what objects are refused, what updates are forgiven."""

from typing import Any

import pytest

from wherry.server.customresources.rule_faults import faults
from wherry.server.customresources.rules import check, compile_rules

Json = dict[str, Any]


def rule(text: str, **more: Any) -> Json:
    return {"rule": text, **more}


def a_schema(*rules: Json, **properties: Json) -> Json:
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules)}
    return {"type": "object", "properties": {"spec": spec}}


INT, TEXT = {"type": "integer"}, {"type": "string"}


def refused(schema: Json, spec: Json, old: Json | None = None) -> list[str]:
    tree = compile_rules(schema)
    assert tree is not None
    before = None if old is None else {"spec": old}
    return [str(item) for item in check(tree, {"spec": spec}, before, update=old is not None).faults]


def test_a_rule_that_fails_is_told_in_kube_apiserver_s_words() -> None:
    schema = a_schema(rule("self.min <= self.max"), min=INT, max=INT)
    assert refused(schema, {"min": 1, "max": 2}) == []
    assert refused(schema, {"min": 3, "max": 2}) == ['spec: Invalid value: "object": failed rule: self.min <= self.max']


def test_message_reason_path_and_message_expression() -> None:
    schema = a_schema(
        rule("self.a < 1", message="too much", reason="FieldValueForbidden", fieldPath=".a"),
        rule("self.a < 2", messageExpression="'not ' + string(self.a)", message="plain"),
        rule("self.a < 3", messageExpression="'a'.substring(9)", message="plain"),
        a=INT,
    )
    assert refused(schema, {"a": 5}) == [
        "spec.a: Forbidden: too much",
        'spec: Invalid value: "object": not 5',
        'spec: Invalid value: "object": plain',
    ]


def test_an_error_names_the_rule() -> None:
    schema = a_schema(rule("self.a / self.b > 0"), rule("self.c > 0"), a=INT, b=INT, c=INT)
    assert refused(schema, {"a": 1, "b": 0}) == [
        'spec: Invalid value: "object": division by zero evaluating rule: self.a / self.b > 0',
        'spec: Invalid value: "object": no such key: c evaluating rule: self.c > 0',
    ]


@pytest.mark.parametrize(
    ("text", "property_", "value"),
    [
        (
            "self.x > timestamp('2020-01-01T00:00:00Z')",
            {"type": "string", "format": "date-time"},
            "2021-01-01T00:00:00Z",
        ),
        ("self.x.getFullYear() == 2021", {"type": "string", "format": "date"}, "2021-05-01"),
        ("self.x < duration('1h')", {"type": "string", "format": "duration"}, "5m"),
        ("self.x == b'a'", {"type": "string", "format": "byte"}, "YQ=="),
        ("self.x == 3.0", {"type": "number"}, 3),
        ("type(self.x) == int ? self.x == 1 : false", {"x-kubernetes-int-or-string": True}, 1),
        ("self.x == ['b', 'a']", {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}, ["a", "b"]),
        ("self.x.all(k, self.x[k] > 0)", {"type": "object", "additionalProperties": INT}, {"a": 1}),
        (
            "self.x.metadata.name == 'n'",
            {"type": "object", "x-kubernetes-embedded-resource": True},
            {"metadata": {"name": "n"}},
        ),
    ],
)
def test_values_are_what_their_schema_says(text: str, property_: Json, value: Any) -> None:
    assert refused(a_schema(rule(text), x=property_), {"x": value}) == []


def test_names_that_expressions_cannot_spell_are_escaped() -> None:
    schema = a_schema(
        rule("self.a__dot__b == 1 && self.__if__ == 2 && self.c__dash__d == 3"), **{"a.b": INT, "if": INT, "c-d": INT}
    )
    assert refused(schema, {"a.b": 1, "if": 2, "c-d": 3}) == []


def test_the_root_sees_the_object_s_name() -> None:
    tree = compile_rules({"type": "object", "x-kubernetes-validations": [rule("self.metadata.name.startsWith('a')")]})
    assert tree is not None
    found = check(tree, {"metadata": {"name": "b"}}, None, update=False).faults
    text = "<nil>: Invalid value: \"object\": failed rule: self.metadata.name.startsWith('a')"
    assert [str(item) for item in found] == [text]


def test_a_transition_rule_runs_where_there_is_something_to_compare() -> None:
    schema = a_schema(rule("self.a == oldSelf.a"), a=INT)
    assert refused(schema, {"a": 1}) == []
    assert refused(schema, {"a": 1}, {"a": 2}) == ['spec: Invalid value: "object": failed rule: self.a == oldSelf.a']


def test_an_optional_old_value_runs_always() -> None:
    schema = a_schema(rule("oldSelf.hasValue() || self.a == 1", optionalOldSelf=True), a=INT)
    assert refused(schema, {"a": 2}) != []
    assert refused(schema, {"a": 2}, {"a": 2}) == []


def test_items_of_a_keyed_list_find_their_old_selves() -> None:
    item = {
        "type": "object",
        "properties": {"k": TEXT, "v": INT},
        "x-kubernetes-validations": [rule("self.v >= oldSelf.v")],
    }
    listed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    old = {"l": [{"k": "a", "v": 1}, {"k": "b", "v": 5}]}
    new = {"l": [{"k": "b", "v": 4}, {"k": "c", "v": 0}, {"k": "a", "v": 2}]}
    assert refused(a_schema(l=listed), new, old) == [
        'spec.l[0]: Invalid value: "object": failed rule: self.v >= oldSelf.v'
    ]


def test_an_update_is_forgiven_what_it_left_alone() -> None:
    part = {"type": "object", "properties": {"n": INT}, "x-kubernetes-validations": [rule("self.n < 5")]}
    tree = compile_rules(a_schema(part=part, other=INT))
    assert tree is not None
    run = check(tree, {"spec": {"part": {"n": 9}, "other": 2}}, {"spec": {"part": {"n": 9}, "other": 1}}, update=True)
    assert run.faults == [] and run.warnings == ['spec.part: Invalid value: "object": failed rule: self.n < 5']


def wrong(schema: Json) -> list[str]:
    return [str(item) for item in faults(schema, "schema")]


@pytest.mark.parametrize(
    ("item", "at", "text"),
    [
        (rule(""), ".rule", "Required value: rule is not specified"),
        (rule("self.a == 1", message="x\ny"), ".message", "message must not contain line breaks"),
        (rule("self.a ==\n1"), ".message", "Required value: message must be specified if rule contains line breaks"),
        (rule("self.a"), ".rule", "cel expression must evaluate to a bool"),
        (rule("self.b == 1"), ".rule", "compilation failed: ERROR: <input>:1:5: undefined field 'b'"),
        (
            rule("self.a == 1", messageExpression="1"),
            ".messageExpression",
            "messageExpression must evaluate to a string",
        ),
        (rule("self.a == 1", reason="x"), ".reason", "Unsupported value"),
        (
            rule("self.a == 1", fieldPath=".b"),
            ".fieldPath",
            "fieldPath must be a valid path: does not refer to a valid field",
        ),
        (
            rule("self.a == 1", optionalOldSelf=True),
            ".optionalOldSelf",
            "may not be set if oldSelf is not used in rule",
        ),
    ],
)
def test_a_definition_s_rule_is_looked_at_when_it_is_written(item: Json, at: str, text: str) -> None:
    found = wrong(a_schema(item, a=INT))
    assert found[0].startswith(f"schema.properties[spec].x-kubernetes-validations[0]{at}: ") and text in found[0]


def test_old_values_of_items_without_keys_cannot_be_spoken_of() -> None:
    listed = {"type": "array", "maxItems": 5, "items": {**INT, "x-kubernetes-validations": [rule("self > oldSelf")]}}
    where = "schema.properties[spec].properties[l]"
    text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {where}"
    assert wrong(a_schema(l=listed))[0].endswith(text)


def test_a_rule_that_may_cost_too_much_is_refused() -> None:
    texts = {"type": "array", "items": TEXT}
    found = wrong(a_schema(rule("self.l.all(a, self.l.all(b, a == b))"), l=texts))
    assert "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying" in found[0]
    assert "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget" in found[-1]
    bounded = {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 20}}
    assert wrong(a_schema(rule("self.l.all(a, self.l.all(b, a == b))"), l=bounded)) == []
