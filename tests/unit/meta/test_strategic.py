"""Strategic merge patch: the cases of Kubernetes' strategic-merge-patch.md, on a schema like a pod's."""

from typing import Any

import pytest

from wherry.meta.errors import StatusError
from wherry.meta.schema import FieldSchema, TypeSchema
from wherry.meta.strategic import apply

SCALAR = FieldSchema("scalar")
PORT = TypeSchema("ContainerPort", {"containerPort": SCALAR, "name": SCALAR})
CONTAINER = TypeSchema(
    "Container",
    {
        "name": SCALAR,
        "image": SCALAR,
        "args": FieldSchema("list"),
        "ports": FieldSchema("list", PORT, ("merge",), "containerPort"),
    },
)
VOLUME = TypeSchema("Volume", {"name": SCALAR, "emptyDir": FieldSchema("any"), "secret": FieldSchema("any")})
SPEC = TypeSchema(
    "PodSpec",
    {
        "containers": FieldSchema("list", CONTAINER, ("merge",), "name"),
        "volumes": FieldSchema("list", VOLUME, ("merge", "retainKeys"), "name"),
        "tolerations": FieldSchema("list", TypeSchema()),
        "nodeSelector": FieldSchema("map"),
        "strategy": FieldSchema("struct", TypeSchema(), ("retainKeys",)),
        "selector": FieldSchema("struct", TypeSchema(), ("replace",)),
    },
)
META = TypeSchema("ObjectMeta", {"finalizers": FieldSchema("list", None, ("merge",)), "labels": FieldSchema("map")})
POD = TypeSchema("Pod", {"metadata": FieldSchema("struct", META), "spec": FieldSchema("struct", SPEC)})

A, B, C = {"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c", "image": "1"}

SPECS: dict[str, tuple[Any, Any, Any]] = {
    "items merge by key": (
        {"containers": [A, B]},
        {"containers": [{"name": "b", "image": "2"}]},
        {"containers": [A, {"name": "b", "image": "2"}]},
    ),
    "new items come before the server's": ({"containers": [A]}, {"containers": [B]}, {"containers": [B, A]}),
    "an item is deleted": (
        {"containers": [A, B]},
        {"containers": [{"name": "a", "$patch": "delete"}]},
        {"containers": [B]},
    ),
    "a list is replaced": ({"containers": [A, B]}, {"containers": [C, {"$patch": "replace"}]}, {"containers": [C]}),
    "a map is replaced": ({"nodeSelector": {"x": "1"}}, {"nodeSelector": {"$patch": "replace"}}, {"nodeSelector": {}}),
    "a map is emptied": ({"nodeSelector": {"x": "1"}}, {"nodeSelector": {"$patch": "delete"}}, {"nodeSelector": {}}),
    "a map merges": (
        {"nodeSelector": {"x": "1"}},
        {"nodeSelector": {"y": "2"}},
        {"nodeSelector": {"x": "1", "y": "2"}},
    ),
    "null deletes": ({"nodeSelector": {"x": "1"}}, {"nodeSelector": None}, {}),
    "null of what is not there is dropped": ({}, {"nodeSelector": {"x": None, "y": "1"}}, {"nodeSelector": {"y": "1"}}),
    "atomic lists are replaced": (
        {"tolerations": [{"key": "a"}]},
        {"tolerations": [{"key": "b"}]},
        {"tolerations": [{"key": "b"}]},
    ),
    "nested lists merge": (
        {"containers": [A | {"ports": [{"containerPort": 80}], "args": ["x"]}]},
        {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "http"}], "args": ["y"]}]},
        {"containers": [A | {"ports": [{"containerPort": 80, "name": "http"}], "args": ["y"]}]},
    ),
    "retained keys": (
        {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}},
        {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
        {"strategy": {"type": "Recreate"}},
    ),
    "retained keys of an item": (
        {"volumes": [{"name": "v", "emptyDir": {}}]},
        {"volumes": [{"name": "v", "secret": {"secretName": "s"}, "$retainKeys": ["name", "secret"]}]},
        {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
    ),
    "replace strategy": ({"selector": {"x": 1}}, {"selector": {"y": 2}}, {"selector": {"y": 2}}),
    "element order": (
        {"containers": [A, B, C]},
        {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "a", "image": "2"}]},
        {"containers": [B, C, {"name": "a", "image": "2"}]},
    ),
    "element order alone": (
        {"containers": [A, B]},
        {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]},
        {"containers": [B, A]},
    ),
    "unknown fields merge as JSON": ({"x": {"a": [1], "b": 1}}, {"x": {"a": [2], "b": None}}, {"x": {"a": [2]}}),
    "types may change": ({"nodeSelector": {"x": "1"}}, {"nodeSelector": "none"}, {"nodeSelector": "none"}),
    "directives in new parts are dropped": (
        {},
        {"containers": [{"name": "a", "$setElementOrder/ports": []}, {"name": "b", "$patch": "delete"}]},
        {"containers": [{"name": "a"}]},
    ),
}


@pytest.mark.parametrize(("original", "patch", "expected"), SPECS.values(), ids=SPECS)
def test_patches_of_a_spec(original: Any, patch: Any, expected: Any) -> None:
    before = repr((original, patch))
    assert apply({"spec": original}, {"spec": patch}, POD) == {"spec": expected}
    assert repr((original, patch)) == before


METADATA: dict[str, tuple[Any, Any, Any]] = {
    "primitives unite": ({"finalizers": ["a", "b"]}, {"finalizers": ["b", "c"]}, {"finalizers": ["a", "b", "c"]}),
    "primitives are deleted": (
        {"finalizers": ["a", "b"]},
        {"$deleteFromPrimitiveList/finalizers": ["a"]},
        {"finalizers": ["b"]},
    ),
    "deleted and ordered": (
        {"finalizers": ["a", "b", "c"]},
        {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"]},
        {"finalizers": ["c", "b"]},
    ),
}


@pytest.mark.parametrize(("original", "patch", "expected"), METADATA.values(), ids=METADATA)
def test_patches_of_metadata(original: Any, patch: Any, expected: Any) -> None:
    assert apply({"metadata": original}, {"metadata": patch}, POD) == {"metadata": expected}


REFUSED: dict[str, tuple[Any, str]] = {
    "unknown directive": ({"nodeSelector": {"$patch": "x"}}, "unknown patch type: x in map: {'$patch': 'x'}"),
    "unknown item directive": ({"containers": [{"name": "a", "$patch": "x"}]}, "unknown patch type: x in map:"),
    "item without its key": ({"containers": [{"image": "2"}]}, "does not contain declared merge key: name"),
    "mixed items": ({"containers": ["a"]}, "list element types are not identical"),
    "list of lists": ({"containers": [[]]}, "lists of lists are not supported"),
    "retain keys are no names": ({"nodeSelector": {"$retainKeys": 1}}, "invalid patch format of retainKeys"),
    "retain keys leave out a change": (
        {"nodeSelector": {"$retainKeys": [], "x": "2"}},
        "invalid patch format of retainKeys",
    ),
    "order of what does not merge": (
        {"$setElementOrder/nodeSelector": []},
        "invalid patch format of setElementOrder list",
    ),
    "order that the list breaks": (
        {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]},
        "doesn't match $setElementOrder list",
    ),
    "deletions that are no primitives": (
        {"$deleteFromPrimitiveList/containers": [{}]},
        "invalid patch format of primitive list",
    ),
}


@pytest.mark.parametrize(("patch", "message"), REFUSED.values(), ids=REFUSED)
def test_malformed_patches_answer_400(patch: Any, message: str) -> None:
    with pytest.raises(StatusError) as error:
        apply({"spec": {"containers": [A], "nodeSelector": {"x": "1"}}}, {"spec": patch}, POD)
    assert error.value.code == 400
    assert message in error.value.message


def test_without_a_schema_it_is_a_merge_patch_with_directives() -> None:
    assert apply({"a": {"b": [1], "c": 1}}, {"a": {"b": [2], "c": None}}, None) == {"a": {"b": [2]}}
