"""Label selectors select, print and refuse as apimachinery's labels package does."""

from types import SimpleNamespace
from typing import Any

import pytest

from wherry.meta import labels
from wherry.meta.labels import EVERYTHING, NOTHING, Selector

WEB = {"app": "web", "tier": "front", "weight": "7", "blank": ""}

SELECTED = {
    "everything": ("", True),
    "equal": ("app=web", True),
    "double equal": ("app==web", True),
    "not equal": ("app!=db", True),
    "not equal to what is absent": ("zone!=a", True),
    "equal to empty": ("blank=", True),
    "empty is not absent": ("zone=", False),
    "in": ("app in (web, db)", True),
    "not in": ("app notin (web)", False),
    "empty set holds the empty value": ("blank in ()", True),
    "exists": ("app", True),
    "absent": ("!app", False),
    "greater": ("weight>6", True),
    "less": ("weight<7", False),
    "no number": ("app>1", False),
    "all must hold": ("app=web,!zone,tier in (back)", False),
    "keywords as names": ("in notin (in)", True),
    "spaces": ("  app  =  web , tier ", True),
}


@pytest.mark.parametrize(("text", "expected"), SELECTED.values(), ids=SELECTED)
def test_parsed_selectors_select(text: str, expected: bool) -> None:
    assert labels.parse(text).matches(WEB) is expected
    assert labels.parse(str(labels.parse(text))) == labels.parse(text)


_PARSE = "unable to parse requirement: "
_KEY = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
REFUSED = {
    "no operator": ("a b", _PARSE + "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    "no list": ("a in", _PARSE + "found '' expected: '('"),
    "open list": ("a in (", _PARSE + "found '', expected: ',', ')' or identifier"),
    "list without comma": ("a in (b c)", _PARSE + "found 'c', expected: ',' or ')'"),
    "no key": ("=x", "found '=', expected: !, identifier, or 'end of string'"),
    "second equals": ("a=b=c", "found '=', expected: ',' or 'end of string'"),
    "double comma": ("a,,b", "found ',', expected: identifier after ','"),
    "trailing comma": ("a,", "found '', expected: identifier after ','"),
    "negated equality": ("!a=b", "found '=', expected: ',' or 'end of string'"),
    "bad key": ("-=x", f'{_PARSE}<nil>: Invalid value: "-": {_KEY}'),
    "not a number": (
        "x>a",
        _PARSE + "values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_malformed_selectors_are_refused_with_kubernetes_message(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        labels.parse(text)
    assert str(error.value) == message


def test_requirements_are_sorted_so_that_equal_selectors_print_alike() -> None:
    assert str(labels.parse("b,a in (y,x)")) == "a in (x,y),b"


LABEL_SELECTORS: dict[str, tuple[Any, str | None, bool]] = {
    "none selects nothing": (None, "", False),
    "empty selects everything": ({}, "", True),
    "match labels": ({"matchLabels": {"app": "web"}}, "app=web", True),
    "expressions": (
        {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]},
        "app in (db,web)",
        True,
    ),
    "absent": ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, "!app", False),
    "struct": (
        SimpleNamespace(matchLabels={}, matchExpressions=[SimpleNamespace(key="app", operator="NotIn", values=["db"])]),
        "app notin (db)",
        True,
    ),
}


@pytest.mark.parametrize(("given", "text", "selects"), LABEL_SELECTORS.values(), ids=LABEL_SELECTORS)
def test_label_selectors_of_specs(given: Any, text: str, selects: bool) -> None:
    selector = labels.from_label_selector(given)
    assert (str(selector), selector.matches(WEB)) == (text, selects)


def test_label_selectors_refuse_node_operators() -> None:
    expression = {"key": "a", "operator": "Gt", "values": ["1"]}
    with pytest.raises(ValueError, match='"Gt" is not a valid label selector operator'):
        labels.from_label_selector({"matchExpressions": [expression]})
    assert labels.node_selector_requirements([expression]).matches({"a": "2"})


def test_an_empty_map_selects_everything() -> None:
    assert labels.from_map({}) == EVERYTHING
    assert labels.from_map({"a": "b"}).matches({"a": "b", "c": "d"})


def test_nothing_is_not_everything() -> None:
    assert EVERYTHING.empty
    assert not NOTHING.empty
    assert NOTHING != EVERYTHING
    assert not NOTHING.matches({})


def test_exact_names_the_value_an_index_can_use() -> None:
    selector: Selector = labels.parse("app=web,tier in (a,b),zone in (z)")
    assert [selector.exact(key) for key in ("app", "tier", "zone", "x")] == ["web", None, "z", None]
