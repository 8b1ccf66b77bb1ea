"""test/e2e/apimachinery/custom_resource_definition.go: definitions as objects, and defaults in requests and storage."""

import copy

from tests.conformance.definitions import DEFINITIONS, definition, instance, version
from tests.conformance.entry import conformance
from tests.conformance.world import Json, World, condition, names


@conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition "
    "creating/deleting custom resource definition objects works [Conformance]"
)
async def test_a_definition_is_created_and_deleted(api: World) -> None:
    await api.define(definition())
    await api.create(api.path("/apis/example.com/v1", "noxus"), instance("one"))
    await api.delete(f"{DEFINITIONS}/noxus.example.com")
    await api.gone(f"{DEFINITIONS}/noxus.example.com")
    await api.gone(api.path("/apis/example.com/v1", "noxus"))


@conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition "
    "listing custom resource definition objects works [Conformance]"
)
async def test_definitions_are_listed_by_label_and_deleted_as_a_collection(api: World) -> None:
    for number in range(10):
        made = definition(kind=f"Kind{number}")
        made["metadata"]["labels"] = {"e2e-list-test-uuid": "a"}
        await api.define(made)
    await api.define(definition(kind="Other"))
    assert len((await api.get(DEFINITIONS, labelSelector="e2e-list-test-uuid=a"))["items"]) == 10
    await api.delete(DEFINITIONS, labelSelector="e2e-list-test-uuid=a")
    await api.until_object(DEFINITIONS, lambda it: names(it) == ["others.example.com"])


@conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition "
    "getting/updating/patching custom resource definition status sub-resource works [Conformance]"
)
async def test_the_status_of_a_definition_is_read_updated_and_patched(api: World) -> None:
    await api.define(definition())
    path = f"{DEFINITIONS}/noxus.example.com/status"
    found = await api.get(path)
    assert condition(found, "Established")["status"] == "True"
    added = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    found["status"]["conditions"].append(added)
    found["spec"]["names"]["shortNames"] = ["nx"]
    found = await api.replace(path, found)
    assert condition(found, "StatusUpdate")["reason"] == "E2E"
    assert "shortNames" not in found["spec"]["names"]
    found = await api.patch(path, {"metadata": {"annotations": {"foo": "bar"}}, "status": found["status"]})
    assert condition(found, "StatusUpdate")["status"] == "True"
    assert (await api.get(f"{DEFINITIONS}/noxus.example.com"))["metadata"]["annotations"] == {"foo": "bar"}


@conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource "
    "definition resources in discovery documents [Conformance]"
)
async def test_definitions_are_in_the_discovery_documents(api: World) -> None:
    groups = {item["name"]: item for item in (await api.get("/apis"))["groups"]}
    group = groups["apiextensions.k8s.io"]
    assert {"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"} in group["versions"]
    versions = (await api.get("/apis/apiextensions.k8s.io"))["versions"]
    assert {"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"} in versions
    resources = (await api.get("/apis/apiextensions.k8s.io/v1"))["resources"]
    assert "customresourcedefinitions" in [item["name"] for item in resources]


@conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for "
    "requests and from storage works [Conformance]"
)
async def test_defaults_are_set_in_requests_and_for_what_is_stored(api: World) -> None:
    schema: Json = {
        "type": "object",
        "properties": {"a": {"type": "string", "default": "A"}, "b": {"type": "string"}},
    }
    await api.define(definition(version(schema=schema), scope="Cluster"))
    objects = "/apis/example.com/v1/noxus"
    made = await api.create(objects, instance("one"))
    assert made["a"] == "A" and "b" not in made
    later = copy.deepcopy(schema)
    later["properties"]["b"]["default"] = "B"
    replaced = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": later}]
    await api.patch(f"{DEFINITIONS}/noxus.example.com", replaced, "json")
    found = await api.until_object(f"{objects}/one", lambda it: "b" in it)
    assert found["a"] == "A" and found["b"] == "B"
    del later["properties"]["a"]["default"]
    await api.patch(f"{DEFINITIONS}/noxus.example.com", replaced, "json")

    async def made_without_a() -> bool:
        made = await api.create(objects, instance("", metadata={"generateName": "two-"}))
        return made.get("b") == "B" and "a" not in made

    await api.until(made_without_a)
    # What the first object was given when it was written is stored with it; the other default was only ever read.
    found = await api.get(f"{objects}/one")
    assert found["a"] == "A" and found["b"] == "B"
