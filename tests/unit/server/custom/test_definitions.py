"""What a definition must be, and how its JSONPaths are read."""

from typing import Any

import pytest

from tests.unit.server.custom.world import DEFINITIONS, Json, definition, spec_of, version, world
from wherry.server.customresources.jsonpath import compile_path

STRING: Json = {"type": "string"}
SCHEMA = "spec.versions[0].schema.openAPIV3Schema"
SPEC = f"{SCHEMA}.properties[spec]"


def with_schema(**schema: Any) -> Json:
    return definition({"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}})


def with_spec(**schema: Any) -> Json:
    return definition(version(schema=schema))


def renamed(name: str) -> Json:
    made = definition()
    made["metadata"]["name"] = name
    return made


REFUSED: dict[str, tuple[Json, str]] = {
    "another name": (
        renamed("ships.wherry.example"),
        'metadata.name: Invalid value: "ships.wherry.example": must be spec.names.plural+"."+spec.group',
    ),
    "an unknown scope": (
        definition(scope="Global"),
        'spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced"',
    ),
    "two storage versions": (
        definition(version(), version("v2")),
        "must have exactly one version marked as storage version",
    ),
    "no schema": (
        definition({"name": "v1", "served": True, "storage": True}),
        f"{SCHEMA}: Required value: schemas are required",
    ),
    "no type at the root": (
        with_schema(properties={"spec": spec_of(a=STRING)}),
        f"{SCHEMA}.type: Required value: must not be empty at the root",
    ),
    "no type of a field": (
        with_spec(type="object", properties={"a": {"minLength": 1}}),
        f"{SPEC}.properties[a].type: Required value: must not be empty for specified object fields",
    ),
    "an array of nothing": (with_spec(type="array"), f"{SPEC}.items: Required value: must be specified"),
    "a type in a junctor": (
        with_spec(type="object", anyOf=[{"type": "object"}]),
        f"{SPEC}.anyOf[0].type: Forbidden: must be empty to be structural",
    ),
    "a field only in a junctor": (
        with_spec(type="object", anyOf=[{"properties": {"a": {"minLength": 1}}}]),
        f"{SPEC}.properties[a]: Required value: because it is defined in {SPEC}.anyOf[0].properties[a]",
    ),
    "unique items": (
        with_spec(type="array", items=STRING, uniqueItems=True),
        f"{SPEC}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes",
    ),
    "a map without keys": (
        with_spec(type="array", items=spec_of(a=STRING), **{"x-kubernetes-list-type": "map"}),
        f"{SPEC}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
    ),
    "a default of another type": (
        with_spec(type="object", properties={"a": STRING | {"default": 1}}),
        f'{SPEC}.properties[a].default: Invalid value: "integer":',
    ),
    "a default that is pruned": (
        with_spec(type="object", properties={"a": spec_of(b=STRING) | {"default": {"c": 1}}}),
        f'{SPEC}.properties[a].default: Invalid value: {{"c":1}}: must not have unknown fields',
    ),
    "a column of no type": (
        definition(version(additionalPrinterColumns=[{"name": "A", "type": "map", "jsonPath": ".a"}])),
        'additionalPrinterColumns[0].type: Invalid value: "map": must be one of boolean,date,integer,number,string',
    ),
    "a scale outside of the spec": (
        definition(
            version(subresources={"scale": {"specReplicasPath": ".n", "statusReplicasPath": ".status.n"}}),
        ),
        'specReplicasPath: Invalid value: ".n": should be a json path under .spec',
    ),
    "a selectable field that is none": (
        definition(version(selectableFields=[{"jsonPath": ".spec.a"}])),
        'selectableFields[0].jsonPath: Invalid value: ".spec.a": does not refer to a valid field',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_definition_is_refused(name: str) -> None:
    body, expected = REFUSED[name]
    async with world() as w:
        status, message = await w.refused("POST", DEFINITIONS, body)
        assert status == 422
        assert expected in message


async def test_a_group_of_kubernetes_needs_approval() -> None:
    body = definition()
    body["metadata"]["name"], body["spec"]["group"] = "boats.x.k8s.io", "x.k8s.io"
    async with world() as w:
        status, message = await w.refused("POST", DEFINITIONS, body)
        assert status == 422
        assert 'must have approval annotation "api-approved.kubernetes.io"' in message
        body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.org/1"}
        found = await w.define(body)
        approval = next(item for item in found["status"]["conditions"] if item["type"].startswith("Kubernetes"))
        assert (approval["status"], approval["reason"]) == ("True", "ApprovedAnnotation")


async def test_an_established_definition_keeps_its_scope() -> None:
    async with world() as w:
        found = await w.define(definition())
        found["spec"]["scope"] = "Cluster"
        status, message = await w.refused("PUT", f"{DEFINITIONS}/boats.wherry.example", found)
        assert status == 422
        assert 'spec.scope: Invalid value: "Cluster": field is immutable' in message


async def test_rules_in_cel_are_kept() -> None:
    rule = {"rule": "self.a != 'x'", "message": "not x"}
    schema = spec_of(a=STRING) | {"x-kubernetes-validations": [rule]}
    async with world() as w:
        found = await w.define(definition(version(schema=schema)))
        kept = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        assert kept["x-kubernetes-validations"] == [rule]


DOCUMENT: Json = {
    "spec": {"a": 1, "dotted.name": 2, "list": [{"t": "x", "v": 3}, {"t": "y", "v": 4}]},
    "on": True,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.a", [1]),
        (r".spec.dotted\.name", [2]),
        (".spec['dotted.name']", [2]),
        (".spec.list[0].v", [3]),
        (".spec.list[-1].v", [4]),
        (".spec.list[*].v", [3, 4]),
        ('.spec.list[?(@.t=="y")].v', [4]),
        (".spec.list[?(@.v>3)].t", ["y"]),
        (".spec.list[0:1].t", ["x"]),
        ("..v", [3, 4]),
        (".nothing.at.all", []),
        (".on", [True]),
    ],
)
def test_json_paths_find(path: str, found: list[Any]) -> None:
    assert compile_path(path)(DOCUMENT) == found
