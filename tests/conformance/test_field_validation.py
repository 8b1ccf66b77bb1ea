"""test/e2e/apimachinery/field_validation.go: what fieldValidation=Strict finds, and how it says so."""

from typing import Any

from tests.conformance.definitions import definition, version
from tests.conformance.entry import conformance
from tests.conformance.world import PATCHES, Json, World

STRICT = {"fieldManager": "field_validation_mgr", "fieldValidation": "Strict"}
DEPLOYMENT = """{"apiVersion": "apps/v1", "kind": "Deployment",
  "metadata": {"name": "my-dep", %s "labels": {"app": "nginx"}},
  "spec": {%s "selector": {"matchLabels": {"app": "nginx"}}, "template": {"metadata": {"labels": {"app": "nginx"}},
  "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}}}"""
PORT: Json = {
    "type": "object",
    "required": ["containerPort", "protocol"],
    "properties": {
        "containerPort": {"type": "integer", "format": "int32"},
        "hostIP": {"type": "string"},
        "hostPort": {"type": "integer", "format": "int32"},
        "name": {"type": "string"},
        "protocol": {"type": "string"},
    },
}
FIELDS: Json = {
    "foo": {"type": "string"},
    "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
    "ports": {
        "type": "array",
        "items": PORT,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    },
}
EMBEDDED: Json = {
    "type": "object",
    "x-kubernetes-embedded-resource": True,
    "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": {"type": "object"},
    },
}
REST = """
  cronSpec: "* * * * */5"
  ports:
  - name: x
    containerPort: 80
    protocol: TCP"""


def schema(**more: Any) -> Json:
    """A spec with these fields and keywords."""
    keywords = {key: value for key, value in more.items() if key.startswith("x-")}
    fields = FIELDS | {key: value for key, value in more.items() if not key.startswith("x-")}
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": fields} | keywords}}


async def applied(api: World, given: Json | None, root: str, spec: str, code: int, metadata: str = "") -> str:
    """Apply a custom resource to a definition with this schema; the body of the answer, which has this code."""
    await api.define(definition(version("v1beta1", given), scope="Cluster"))
    body = f"\napiVersion: example.com/v1beta1\nkind: Noxu\nmetadata:\n  name: mytest\n{metadata}"
    body += f"  finalizers:\n  - test-finalizer\n{root}spec:\n{spec}{REST}"
    path = "/apis/example.com/v1beta1/noxus/mytest"
    answer = await api.send("PATCH", path, body.encode(), content_type=PATCHES["apply"], **STRICT)
    assert answer.status == code, answer.body
    return answer.body.decode()


@conformance(
    "[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object [Conformance]"
)
async def test_unknown_and_repeated_fields(api: World) -> None:
    body = DEPLOYMENT % ("", '"unknownField": "foo", "replicas": 2, "replicas": 3,')
    refused = await api.refused(400, "POST", api.path("/apis/apps/v1", "deployments"), body.encode(), **STRICT)
    wanted = 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"'
    assert wanted in refused["message"]


@conformance(
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object [Conformance]"
)
async def test_unknown_metadata(api: World) -> None:
    body = DEPLOYMENT % ('"unknownMeta": "foo",', "")
    refused = await api.refused(400, "POST", api.path("/apis/apps/v1", "deployments"), body.encode(), **STRICT)
    assert 'strict decoding error: unknown field "metadata.unknownMeta"' in refused["message"]


@conformance(
    "[sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema [Conformance]"
)
async def test_a_valid_object_is_taken(api: World) -> None:
    await applied(api, schema(), "", "  foo: foo1", 201)


@conformance(
    "[sig-api-machinery] FieldValidation should "
    "create/apply a CR with unknown fields for CRD with no validation schema [Conformance]"
)
async def test_without_a_schema_nothing_is_unknown(api: World) -> None:
    await applied(api, None, "", "  unknown: uk1", 201)


@conformance(
    "[sig-api-machinery] FieldValidation should "
    "create/apply an invalid CR with extra properties for CRD with validation schema [Conformance]"
)
async def test_a_property_too_many(api: World) -> None:
    said = await applied(api, schema(), "unknownField: unknown\n", "  foo: foo1", 500)
    assert ".unknownField: field not declared in schema" in said


@conformance(
    "[sig-api-machinery] FieldValidation should "
    "detect unknown metadata fields in both the root and embedded object of a CR [Conformance]"
)
async def test_unknown_metadata_of_embedded_objects(api: World) -> None:
    template = "  template:\n    apiversion: foo/v1\n    kind: Sub\n    metadata:\n        unknownSubMeta: unknown\n"
    template += "        name: subobject\n        namespace: conformance\n  foo: foo1"
    given = schema(template=EMBEDDED, **{"x-kubernetes-preserve-unknown-fields": True})
    said = await applied(api, given, "", template, 500, "  unknownMeta: unknown\n")
    root, embedded = "metadata.unknownMeta", "spec.template.metadata.unknownSubMeta"
    assert any(f".{path}: field not declared in schema" in said for path in (root, embedded))


@conformance(
    "[sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields [Conformance]"
)
async def test_repeated_fields_of_yaml(api: World) -> None:
    given = schema(**{"x-kubernetes-preserve-unknown-fields": True})
    said = await applied(api, given, "", "  unknown: uk1\n  foo: foo1\n  foo: foo2", 400)
    assert r"line 11: key \"foo\" already set in map" in said
