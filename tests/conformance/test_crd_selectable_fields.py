"""test/e2e/apimachinery/crd_selectable_fields.go: list, watch and delete by a definition's selectable fields."""

from tests.conformance.definitions import definition, instance, version
from tests.conformance.entry import conformance
from tests.conformance.world import Json, World, names

SHIRTS = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"color": {"type": "string"}, "quantity": {"type": "integer"}}}
    },
}


def shirt(name: str, version_: str = "v1", **spec: object) -> Json:
    return instance(name, "Shirt", f"stable.example.com/{version_}", spec=spec)


@conformance(
    "[sig-api-machinery] CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors MUST list "
    "and watch custom resources matching the field selector [Conformance]"
)
async def test_selectable_fields_select_in_lists_watches_and_deletions(api: World) -> None:
    fields = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.quantity"}]
    versions = [
        version("v1", SHIRTS, selectableFields=fields),
        version("v2", SHIRTS, storage=False, selectableFields=fields[:1]),
    ]
    await api.define(definition(*versions, kind="Shirt", group="stable.example.com"))
    paths = {name: api.path(f"/apis/stable.example.com/{name}", "shirts") for name in ("v1", "v2")}
    async with (
        api.watch(paths["v1"], fieldSelector="spec.color=blue,spec.quantity=1") as first,
        api.watch(paths["v2"], fieldSelector="spec.color=blue") as second,
    ):
        for name, color, quantity in (("one", "blue", 1), ("two", "blue", 2), ("three", "green", 1)):
            await api.create(paths["v1"], shirt(name, color=color, quantity=quantity))
        for name, path in paths.items():
            listed = await api.get(path, fieldSelector="spec.color=blue")
            assert sorted(names(listed)) == ["one", "two"]
            assert {item["apiVersion"] for item in listed["items"]} == {f"stable.example.com/{name}"}
            assert names(await api.get(path, fieldSelector="spec.color!=blue")) == ["three"]
        assert names(await api.get(paths["v1"], fieldSelector="spec.color=blue,spec.quantity=1")) == ["one"]
        refused = await api.refused(400, "GET", paths["v2"], fieldSelector="spec.quantity=1")
        assert "field label not supported: spec.quantity" in refused["message"]
        assert (await first.object("ADDED"))["metadata"]["name"] == "one"
        assert [(await second.object("ADDED"))["metadata"]["name"] for _ in range(2)] == ["one", "two"]
        await api.patch(f"{paths['v2']}/three", {"spec": {"color": "blue"}})
        assert (await first.object("ADDED"))["metadata"]["name"] == "three"
        assert (await second.object("ADDED"))["apiVersion"] == "stable.example.com/v2"
        await api.delete(paths["v2"], fieldSelector="spec.color=blue")
        assert {(await first.object("DELETED"))["metadata"]["name"] for _ in range(2)} == {"one", "three"}
        assert len([await second.object("DELETED") for _ in range(3)]) == 3
    assert names(await api.get(paths["v1"])) == []
