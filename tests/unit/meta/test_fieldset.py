"""fieldsV1 and the paths of messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.meta.fieldset import FieldSet, Path, from_fields_v1, path_text, to_fields_v1

TEXTS: dict[str, tuple[Path, str]] = {
    "fields": (("f:spec", "f:replicas"), ".spec.replicas"),
    "keyed item": (("f:containers", 'k:{"name":"a"}', "f:image"), '.containers[name="a"].image'),
    "two keys": (('k:{"containerPort":80,"protocol":"TCP"}',), '[containerPort=80,protocol="TCP"]'),
    "set member": (("f:finalizers", 'v:"x"'), '.finalizers[="x"]'),
    "index": (("f:a", "i:0"), ".a[0]"),
}


@pytest.mark.parametrize(("path", "text"), TEXTS.values(), ids=TEXTS)
def test_paths_in_messages(path: Path, text: str) -> None:
    assert path_text(path) == text


def test_a_member_with_parts_is_marked_with_a_dot() -> None:
    fields = frozenset({("f:a",), ("f:a", "f:b"), ("f:c", "f:d")})
    assert to_fields_v1(fields) == {"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}}


ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"n":"x"}', "v:1"])


@given(st.frozensets(st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple)))
def test_fields_v1_reads_back_as_the_same_set(fields: FieldSet) -> None:
    assert frozenset(from_fields_v1(to_fields_v1(fields))) == fields
