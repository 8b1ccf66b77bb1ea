"""Server-side apply: merging, ownership, conflicts and removal, as KEP-555 and kube-apiserver have them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.api.core_v1 import Pod, Service
from wherry.api.schema import schema_of
from wherry.meta import wire
from wherry.meta.apply import Manager, apply, track
from wherry.meta.errors import StatusError
from wherry.meta.schema import FieldSchema, TypeSchema
from wherry.testing import builders

SCALAR = FieldSchema("scalar")
PORT = TypeSchema("Port", {"containerPort": SCALAR, "protocol": SCALAR, "name": SCALAR})
CONTAINER = TypeSchema(
    "Container",
    {
        "name": SCALAR,
        "image": SCALAR,
        "args": FieldSchema("list", list_type="atomic"),
        "ports": FieldSchema(
            "list",
            PORT,
            list_type="map",
            list_map_keys=("containerPort", "protocol"),
            list_map_defaults={"protocol": "TCP"},
        ),
    },
)
SPEC = TypeSchema(
    "Spec",
    {
        "replicas": SCALAR,
        "containers": FieldSchema("list", CONTAINER, list_type="map", list_map_keys=("name",)),
        "selector": FieldSchema(
            "struct", TypeSchema("LabelSelector", {"matchLabels": FieldSchema("map")}, atomic=True)
        ),
    },
)
META = TypeSchema(
    "Meta",
    {
        "name": SCALAR,
        "labels": FieldSchema("map"),
        "finalizers": FieldSchema("list", list_type="set"),
        "managedFields": FieldSchema("list"),
    },
)
STATUS = TypeSchema("Status", {"ready": SCALAR})
TYPE = TypeSchema(
    "Web",
    {
        "apiVersion": SCALAR,
        "kind": SCALAR,
        "metadata": FieldSchema("struct", META),
        "spec": FieldSchema("struct", SPEC),
        "status": FieldSchema("struct", STATUS),
    },
)
ANN, BOB = Manager("ann", "Apply", "apps/v1"), Manager("bob", "Apply", "apps/v1")
EDIT = Manager("kubectl-edit", "Update", "apps/v1")
T1, T2, T3 = (f"2026-01-01T00:00:0{n}Z" for n in (1, 2, 3))


def web(spec: Any = None, **metadata: Any) -> dict[str, Any]:
    made = {"apiVersion": "apps/v1", "kind": "Web", "metadata": {"name": "web", **metadata}}
    return made if spec is None else made | {"spec": spec}


def plain(value: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: item for key, item in value["metadata"].items() if key != "managedFields"}
    return value | {"metadata": metadata}


def owners(value: dict[str, Any]) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in value["metadata"]["managedFields"]}


def test_the_first_apply_creates_and_owns() -> None:
    made = apply(None, web({"replicas": 1}, labels={"a": "b"}), TYPE, ANN, T1)
    assert plain(made) == web({"replicas": 1}, labels={"a": "b"})
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "ann",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:replicas": {}}},
        }
    ]


def test_applying_the_same_again_changes_nothing() -> None:
    wanted = web({"containers": [{"name": "a", "image": "1"}]}, finalizers=["x"])
    made = apply(None, wanted, TYPE, ANN, T1)
    assert apply(made, wanted, TYPE, ANN, T2) is made


STEPS: dict[str, tuple[Any, Any, Any, Any]] = {
    # what ann applies first, what bob applies, what ann applies next, the spec after that
    "fields left out are removed": ({"replicas": 1}, {}, {}, {}),
    "shared fields stay": ({"replicas": 1}, {"replicas": 1}, {}, {"replicas": 1}),
    "items of others stay": (
        {"containers": [{"name": "a", "image": "1"}]},
        {"containers": [{"name": "b", "image": "1"}]},
        {"containers": []},
        {"containers": [{"name": "b", "image": "1"}]},
    ),
    "parts of others within an item stay": (
        {"containers": [{"name": "a", "image": "1", "args": ["x"]}]},
        {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]},
        {"containers": [{"name": "a", "image": "1"}]},
        {"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}]},
    ),
    "atomic lists are replaced": (
        {"containers": [{"name": "a", "args": ["x", "y"]}]},
        {},
        {"containers": [{"name": "a", "args": ["z"]}]},
        {"containers": [{"name": "a", "args": ["z"]}]},
    ),
    "atomic structs are replaced": (
        {"selector": {"matchLabels": {"a": "b"}}},
        {},
        {"selector": {"matchLabels": {"c": "d"}}},
        {"selector": {"matchLabels": {"c": "d"}}},
    ),
    "ports of two protocols are two items": (
        {"containers": [{"name": "a", "ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]}]},
        {},
        {"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}]},
        {"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}]},
    ),
}


@pytest.mark.parametrize(("first", "bobs", "then", "expected"), STEPS.values(), ids=STEPS)
def test_two_appliers(first: Any, bobs: Any, then: Any, expected: Any) -> None:
    made = apply(None, web(first), TYPE, ANN, T1)
    made = apply(made, web(bobs), TYPE, BOB, T2)
    made = apply(made, web(then), TYPE, ANN, T3)
    assert {key: value for key, value in made["spec"].items() if value != []} == expected


def _conflict(live: dict[str, Any], applied: dict[str, Any]) -> StatusError:
    with pytest.raises(StatusError) as error:
        apply(live, applied, TYPE, BOB, T3)
    assert (error.value.code, error.value.reason) == (409, "Conflict")
    return error.value


def test_another_value_for_anothers_field_is_a_conflict() -> None:
    made = apply(None, web({"replicas": 1}), TYPE, ANN, T1)
    error = _conflict(made, web({"replicas": 2}))
    assert error.message == 'Apply failed with 1 conflict: conflict with "ann": .spec.replicas'
    assert error.details["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "ann"', "field": ".spec.replicas"}
    ]


def test_several_conflicts_are_listed_by_manager() -> None:
    made = apply(None, web({"containers": [{"name": "a", "image": "1"}]}), TYPE, ANN, T1)
    edited = web({"containers": [{"name": "a", "image": "1"}], "replicas": 1})
    edited["metadata"]["managedFields"] = track(made, edited, TYPE, EDIT, T2)
    error = _conflict(edited, web({"containers": [{"name": "a", "image": "2"}], "replicas": 2}))
    assert error.message == (
        'Apply failed with 2 conflicts: conflicts with "ann":\n- .spec.containers[name="a"].image\n'
        'conflicts with "kubectl-edit" using apps/v1:\n- .spec.replicas'
    )


def test_force_takes_the_field_over() -> None:
    made = apply(None, web({"replicas": 1}), TYPE, ANN, T1)
    made = apply(made, web({"replicas": 2}), TYPE, BOB, T2, force=True)
    assert made["spec"] == {"replicas": 2}
    assert owners(made) == {"bob": {"f:spec": {"f:replicas": {}}}}


def test_an_update_takes_over_what_it_changes_and_only_that() -> None:
    made = apply(None, web({"replicas": 1}, labels={"a": "1", "b": "1"}), TYPE, ANN, T1)
    edited = web({"replicas": 3}, labels={"a": "1", "b": "1"})
    edited["metadata"]["managedFields"] = track(made, edited, TYPE, EDIT, T2)
    assert owners(edited) == {
        "ann": {"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}},
        "kubectl-edit": {"f:spec": {"f:replicas": {}}},
    }
    again = track(edited, edited, TYPE, EDIT, T3)
    assert again == edited["metadata"]["managedFields"]


def test_what_an_update_removes_nobody_owns() -> None:
    made = apply(None, web({"replicas": 1}), TYPE, ANN, T1)
    assert track(made, web({}), TYPE, EDIT, T2) == []


def test_a_create_is_owned_with_its_containers() -> None:
    entries = track(None, web({"containers": [{"name": "a"}]}, labels={"x": "y"}), TYPE, EDIT, T1)
    assert entries[0]["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
        "f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}, "f:name": {}}}},
    }


def test_objects_from_before_tracking_belong_to_nobody_in_particular() -> None:
    live = web({"replicas": 1})
    error = _conflict(live, web({"replicas": 2}))
    assert 'conflict with "before-first-apply" using apps/v1: .spec.replicas' in error.message


def test_the_main_resource_cannot_own_the_status() -> None:
    made = apply(None, web() | {"status": {"ready": 1}}, TYPE, ANN, T1, reset=(("f:status",),))
    assert owners(made) == {"ann": {}}


def test_empty_managed_fields_clear_all() -> None:
    made = apply(None, web({"replicas": 1}), TYPE, ANN, T1)
    assert track(made, web({"replicas": 1}, managedFields=[{}]), TYPE, EDIT, T2) == []


def test_too_many_updaters_become_ancient_changes() -> None:
    live: dict[str, Any] = web({"replicas": 0})
    for n in range(12):
        edited = web({"replicas": 0}, labels={f"l{m}": "x" for m in range(n + 1)})
        manager = Manager(f"m{n:02}", "Update", "apps/v1")
        edited["metadata"]["managedFields"] = track(live, edited, TYPE, manager, f"2026-01-01T00:00:{n:02}Z")
        live = edited
    names = sorted(owners(live))
    assert names == ["ancient-changes", *(f"m{n:02}" for n in range(3, 12))]
    assert set(owners(live)["ancient-changes"]["f:metadata"]["f:labels"]) == {".", "f:l0", "f:l1", "f:l2"}


REFUSED: dict[str, tuple[Any, int, str]] = {
    "unknown field": (
        web({"replica": 1}),
        500,
        "failed to create typed patch object (web; apps/v1, Kind=Web): .spec.replica: field not declared in schema",
    ),
    "item without key": (web({"containers": [{"image": "x"}]}), 500, 'omits key field "name"'),
    "item twice": (
        web({"containers": [{"name": "a"}, {"name": "a"}]}),
        500,
        '.spec.containers: duplicate entries for key [name="a"]',
    ),
    "managed fields": (web(managedFields=[{"manager": "x"}]), 400, "metadata.managedFields must be nil"),
}


@pytest.mark.parametrize(("applied", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_applied(applied: Any, code: int, message: str) -> None:
    with pytest.raises(StatusError) as error:
        apply(None, applied, TYPE, ANN, T1)
    assert error.value.code == code
    assert message in error.value.message


def test_custom_resources_without_a_schema_merge_maps_and_replace_lists() -> None:
    made = apply(None, web({"a": {"x": 1}, "list": [1]}), None, ANN, T1)
    made = apply(made, web({"a": {"y": 2}, "list": [1]}), None, BOB, T2)
    assert made["spec"] == {"a": {"x": 1, "y": 2}, "list": [1]}
    error = _conflict_untyped(made, web({"list": [2]}))
    assert error.message == 'Apply failed with 1 conflict: conflict with "ann": .spec.list'


def _conflict_untyped(live: dict[str, Any], applied: dict[str, Any]) -> StatusError:
    with pytest.raises(StatusError) as error:
        apply(live, applied, None, BOB, T3)
    return error.value


FREE = st.recursive(
    st.none() | st.integers() | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=12,
)
BUILT = [builders.pod("a"), builders.node("n"), builders.deployment("d"), builders.service("s"), builders.config_map()]
CREATED = st.sampled_from([wire.to_builtins(made) for made in BUILT]) | st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": st.just("n")}, optional={"labels": FREE, "uid": st.just("u")})},
    optional={"spec": FREE, "status": FREE},
)


@given(CREATED, st.sampled_from([None, schema_of(Pod), schema_of(Service)]), st.sampled_from([(), (("f:status",),)]))
def test_a_creator_owns_what_a_comparison_with_nothing_says(created: Any, schema: Any, reset: Any) -> None:
    manager = Manager("m", "Update", "v1")
    quick = track(None, created, schema, manager, T3, reset)
    assert wire.encode(quick) == wire.encode(track({}, created, schema, manager, T3, reset))
