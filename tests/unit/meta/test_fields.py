"""Field selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.meta import fields

FACTS = {"metadata.name": "web", "spec.nodeName": "", "note": "a,b=c"}

SELECTED = {
    "everything": ("", True),
    "equal": ("metadata.name=web", True),
    "double equal": ("metadata.name==web", True),
    "not equal": ("metadata.name!=web", False),
    "absent counts as empty": ("status.phase=", True),
    "escapes": (r"note=a\,b\=c", True),
    "all must hold": ("metadata.name=web,spec.nodeName!=", False),
    "empty terms are skipped": (",metadata.name=web,", True),
}


@pytest.mark.parametrize(("text", "expected"), SELECTED.values(), ids=SELECTED)
def test_field_selectors_select(text: str, expected: bool) -> None:
    assert fields.parse(text).matches(FACTS) is expected


REFUSED = {
    "no operator": ("a", "invalid selector: 'a'; can't understand 'a'"),
    "second equals": ("a=b=c", "invalid field selector: unescaped character in value: ="),
    "unknown escape": (r"a=\x", 'invalid field selector: invalid escape sequence: "\\\\x"'),
    "dangling escape": ("a=b\\", 'invalid field selector: invalid escape sequence: "\\\\"'),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_malformed_selectors_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        fields.parse(text)
    assert str(error.value) == message


def test_fields_a_kind_does_not_offer_are_refused() -> None:
    with pytest.raises(ValueError, match=r"field label not supported: spec\.x"):
        fields.parse("metadata.name=a,spec.x=b").check_supported({"metadata.name"})


def test_exact_lets_a_list_become_a_get() -> None:
    assert fields.parse("metadata.name=a").exact("metadata.name") == "a"
    assert fields.parse("metadata.name!=a").exact("metadata.name") is None


@given(st.text())
def test_any_value_survives_printing_and_parsing(value: str) -> None:
    selector = fields.FieldSelector((fields.FieldRequirement("a", value),))
    assert fields.parse(str(selector)) == selector
