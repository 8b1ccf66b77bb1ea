"""Merge rules of the types are those that Kubernetes publishes."""

import pytest

from wherry.api import apiextensions_v1 as apiextensions
from wherry.api import apps_v1 as apps
from wherry.api import core_v1 as core
from wherry.api.registry import RESOURCES
from wherry.api.schema import schema_of
from wherry.meta.schema import FieldSchema, TypeSchema


def field(kind: type, path: str) -> FieldSchema:
    """The field at a dotted path."""
    schema: TypeSchema | None = schema_of(kind)
    found = None
    for name in path.split("."):
        assert schema is not None
        found = schema.fields[name]
        schema = found.type
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "path", "strategy", "merge_key", "list_type", "map_keys"),
    [
        (core.Pod, "spec.containers", ("merge",), "name", "map", ("name",)),
        (core.Pod, "spec.containers.ports", ("merge",), "containerPort", "map", ("containerPort", "protocol")),
        (core.Pod, "spec.containers.env", ("merge",), "name", "map", ("name",)),
        (core.Pod, "spec.containers.volumeMounts", ("merge",), "mountPath", "map", ("mountPath",)),
        (core.Pod, "spec.containers.args", (), None, "atomic", ()),
        (core.Pod, "spec.volumes", ("merge", "retainKeys"), "name", "map", ("name",)),
        (core.Pod, "spec.tolerations", (), None, "atomic", ()),
        (core.Pod, "spec.imagePullSecrets", ("merge",), "name", "map", ("name",)),
        (core.Pod, "spec.hostAliases", ("merge",), "ip", "map", ("ip",)),
        (
            core.Pod,
            "spec.topologySpreadConstraints",
            ("merge",),
            "topologyKey",
            "map",
            ("topologyKey", "whenUnsatisfiable"),
        ),
        (core.Pod, "status.conditions", ("merge",), "type", "map", ("type",)),
        (core.Pod, "metadata.ownerReferences", ("merge",), "uid", "map", ("uid",)),
        (core.Pod, "metadata.finalizers", ("merge",), None, "set", ()),
        (core.Service, "spec.ports", ("merge",), "port", "map", ("port", "protocol")),
        (apps.Deployment, "spec.strategy", ("retainKeys",), None, None, ()),
        (apps.Deployment, "spec.template.spec.containers", ("merge",), "name", "map", ("name",)),
    ],
)
def test_lists_merge_by_their_published_keys(
    kind: type,
    path: str,
    strategy: tuple[str, ...],
    merge_key: str | None,
    list_type: str | None,
    map_keys: tuple[str, ...],
) -> None:
    found = field(kind, path)
    assert (found.patch_strategy, found.patch_merge_key) == (strategy, merge_key)
    assert (found.list_type, found.list_map_keys) == (list_type, map_keys)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("metadata.labels", "map"),
        ("metadata.managedFields.fieldsV1", "any"),
        ("spec", "struct"),
        ("spec.containers", "list"),
        ("spec.containers.resources.limits", "map"),
        ("spec.containers.livenessProbe.httpGet.port", "scalar"),
        ("spec.volumes.emptyDir.sizeLimit", "scalar"),
    ],
)
def test_shapes(path: str, shape: str) -> None:
    assert field(core.Pod, path).shape == shape


def test_port_protocol_has_a_default_in_its_key() -> None:
    assert field(core.Pod, "spec.containers.ports").list_map_defaults == {"protocol": "TCP"}
    assert field(core.Service, "spec.ports").list_map_defaults == {"protocol": "TCP"}


def test_atomic_structs_and_maps_have_one_owner() -> None:
    assert field(core.Pod, "spec.nodeSelector").map_type == "atomic"
    assert field(apps.Deployment, "spec.selector").map_type == "atomic"
    assert field(core.Pod, "spec.containers.env.valueFrom.secretKeyRef").map_type == "atomic"
    assert field(core.PersistentVolume, "spec.claimRef").map_type == "granular"
    assert field(core.Pod, "metadata.labels").map_type is None


def test_recursive_types_refer_to_themselves() -> None:
    schema = schema_of(apiextensions.JSONSchemaProps)
    assert schema.fields["properties"].type is schema
    assert schema.fields["x-kubernetes-list-map-keys"].shape == "list"


def test_every_kind_has_a_schema_and_it_is_made_once() -> None:
    for item in RESOURCES:
        assert item.type is not None
        assert schema_of(item.type) is schema_of(item.type)
        assert "metadata" in schema_of(item.type).fields


def test_every_keyed_list_finds_its_keys_in_its_items() -> None:
    seen: set[int] = set()

    def check(schema: TypeSchema) -> None:
        if id(schema) in seen:
            return
        seen.add(id(schema))
        for name, item in schema.fields.items():
            if item.type is None:
                continue
            keys = (*item.list_map_keys, *([item.patch_merge_key] if item.patch_merge_key else []))
            assert set(keys) <= item.type.fields.keys(), f"{schema.name}.{name}"
            check(item.type)

    for resource in RESOURCES:
        assert resource.type is not None
        check(schema_of(resource.type))
