"""test/e2e/apimachinery/crd_watch.go: watching two objects of a custom kind."""

from tests.conformance.definitions import definition, instance
from tests.conformance.entry import conformance
from tests.conformance.world import World


@conformance(
    "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch "
    "watch on custom resource definition objects [Conformance]"
)
async def test_each_watcher_sees_the_life_of_its_object(api: World) -> None:
    await api.define(definition(scope="Cluster"))
    objects = "/apis/example.com/v1/noxus"
    async with (
        api.watch(objects, fieldSelector="metadata.name=name1") as first,
        api.watch(objects, fieldSelector="metadata.name=name2") as second,
    ):
        for name, watch in (("name1", first), ("name2", second)):
            await api.create(objects, instance(name, content={"key": "value"}))
            assert (await watch.object("ADDED"))["metadata"]["name"] == name
        for name, watch in (("name1", first), ("name2", second)):
            await api.patch(f"{objects}/{name}", {"dummy": "test"})
            assert (await watch.object("MODIFIED"))["dummy"] == "test"
        for name, watch in (("name1", first), ("name2", second)):
            await api.delete(f"{objects}/{name}")
            gone = await watch.object("DELETED")
            assert gone["metadata"]["name"] == name and gone["content"] == {"key": "value"}
        assert await first.silent() and await second.silent(0.01)
