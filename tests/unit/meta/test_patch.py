"""JSON patch (RFC 6902, examples of its appendix A) and merge patch (RFC 7386)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.meta.errors import StatusError
from wherry.meta.patch import json_patch, make_merge_patch, merge_patch, same

DONE: dict[str, tuple[Any, list[dict[str, Any]], Any]] = {
    "A.1 add a member": ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
    "A.2 add an element": ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
    "A.3 remove a member": ({"a": 1, "b": 2}, [{"op": "remove", "path": "/b"}], {"a": 1}),
    "A.4 remove an element": ({"a": [1, 2, 3]}, [{"op": "remove", "path": "/a/1"}], {"a": [1, 3]}),
    "A.5 replace": ({"a": 1}, [{"op": "replace", "path": "/a", "value": [2]}], {"a": [2]}),
    "A.6 move a member": (
        {"a": {"x": 1}, "b": {}},
        [{"op": "move", "from": "/a/x", "path": "/b/y"}],
        {"a": {}, "b": {"y": 1}},
    ),
    "A.7 move an element": ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
    "A.8 test": ({"a": [1, {"b": "c"}]}, [{"op": "test", "path": "/a/1", "value": {"b": "c"}}], {"a": [1, {"b": "c"}]}),
    "A.11 ignore unknown members": ({}, [{"op": "add", "path": "/a", "value": 1, "x": 2}], {"a": 1}),
    "A.14 escapes": ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    "A.16 append": ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": [2]}], {"a": [1, [2]]}),
    "copy is independent": (
        {"a": {"x": 1}},
        [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "replace", "path": "/b/x", "value": 2}],
        {"a": {"x": 1}, "b": {"x": 2}},
    ),
    "replace the whole": ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    "test for absence": ({}, [{"op": "test", "path": "/a", "value": None}], {}),
    "negative index": ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1]}),
    "empty key": ({}, [{"op": "add", "path": "/", "value": 1}], {"": 1}),
    "label key": (
        {"labels": {}},
        [{"op": "add", "path": "/labels/example.com~1a", "value": "b"}],
        {"labels": {"example.com/a": "b"}},
    ),
}


@pytest.mark.parametrize(("document", "patch", "expected"), DONE.values(), ids=DONE)
def test_operations(document: Any, patch: list[dict[str, Any]], expected: Any) -> None:
    assert json_patch(document, patch) == expected


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "A.9 failing test": {"op": "test", "path": "/a", "value": 2},
    "true is not 1": {"op": "test", "path": "/a", "value": True},
    "A.12 no parent": {"op": "add", "path": "/x/y", "value": 1},
    "remove what is not there": {"op": "remove", "path": "/x"},
    "replace what is not there": {"op": "replace", "path": "/x", "value": 1},
    "index past the end": {"op": "add", "path": "/list/9", "value": 1},
    "index that is none": {"op": "remove", "path": "/list/x"},
    "within a scalar": {"op": "add", "path": "/a/b", "value": 1},
    "copy from nowhere": {"op": "copy", "from": "/x", "path": "/y"},
    "move into itself": {"op": "move", "from": "/map", "path": "/map/x"},
    "unknown operation": {"op": "frobnicate", "path": "/a"},
    "no operation": {"path": "/a"},
    "no path": {"op": "remove"},
    "no value": {"op": "add", "path": "/b"},
    "path without slash": {"op": "remove", "path": "a"},
    "remove the whole": {"op": "remove", "path": ""},
}


@pytest.mark.parametrize("operation", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_be_done_answers_422_and_changes_nothing(operation: dict[str, Any]) -> None:
    document = {"a": 1, "list": [1, 2], "map": {"k": "v"}}
    with pytest.raises(StatusError) as error:
        json_patch(document, [{"op": "add", "path": "/list/0", "value": 0}, operation])
    assert error.value.code == 422
    assert error.value.message == "the server rejected our request due to an error in our request"
    assert document == {"a": 1, "list": [1, 2], "map": {"k": "v"}}


@pytest.mark.parametrize("patch", [{}, "x", None, [1], [[]]])
def test_a_patch_that_is_no_list_of_objects_answers_400(patch: Any) -> None:
    with pytest.raises(StatusError) as error:
        json_patch({}, patch)
    assert error.value.code == 400


def test_more_than_ten_thousand_operations_answer_413() -> None:
    with pytest.raises(StatusError) as error:
        json_patch({}, [{"op": "test", "path": "/a"}] * 10_001)
    assert error.value.message == (
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    )


def test_copies_may_not_swell_the_document() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(64)]
    with pytest.raises(StatusError) as error:
        json_patch({"a": {"x": "y"}}, doubling)
    assert error.value.code == 422


MERGES: dict[str, tuple[Any, Any, Any]] = {
    "replace": ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    "add": ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    "delete": ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    "lists are replaced": ({"a": ["b"]}, {"a": ["c", "d"]}, {"a": ["c", "d"]}),
    "objects merge": ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    "object over list": ({"a": [1]}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    "nested nulls vanish": ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    "no object at all": ({"a": 1}, ["c"], ["c"]),
}


@pytest.mark.parametrize(("document", "patch", "expected"), MERGES.values(), ids=MERGES)
def test_merge_patch(document: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(document, patch) == expected


SCALARS = st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner))
DOCUMENTS = st.dictionaries(st.text(max_size=2), VALUES, max_size=4)


@given(DOCUMENTS, DOCUMENTS)
def test_a_made_merge_patch_turns_the_old_into_the_new(old: Any, new: Any) -> None:
    assert same(merge_patch(old, make_merge_patch(old, new)), new)


@given(DOCUMENTS, st.text(max_size=2), VALUES)
def test_what_add_put_in_test_finds_and_remove_takes_out(document: Any, key: str, value: Any) -> None:
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    patch = [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
    assert same(json_patch(document, patch), document | {key: value})
    without = {name: item for name, item in document.items() if name != key}
    assert same(json_patch(document, [*patch, {"op": "remove", "path": path}]), without)
