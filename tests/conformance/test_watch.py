"""test/e2e/apimachinery/watch.go: what watchers of ConfigMaps see."""

from tests.conformance.entry import conformance
from tests.conformance.world import Json, World

A, B, EITHER = "watch=a", "watch=b", "watch in (a, b)"


def config(name: str, label: str = "a", **data: str) -> Json:
    return {"metadata": {"name": name, "labels": {"watch": label}}, "data": data}


@conformance(
    "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps "
    "[Conformance]"
)
async def test_each_watcher_sees_what_its_selector_selects(api: World) -> None:
    maps = api.core("configmaps")
    async with (
        api.watch(maps, labelSelector=A) as a,
        api.watch(maps, labelSelector=B) as b,
        api.watch(maps, labelSelector=EITHER) as both,
    ):
        for label, watch, other in (("a", a, b), ("b", b, a)):
            await api.create(maps, config(label, label))
            await api.patch(f"{maps}/{label}", {"data": {"mutation": "1"}})
            await api.delete(f"{maps}/{label}")
            for each in (watch, both):
                seen = [await each.object(kind) for kind in ("ADDED", "MODIFIED", "DELETED")]
                assert [item.get("data") for item in seen] == [None, {"mutation": "1"}, {"mutation": "1"}]
            assert await other.silent(0.05)


@conformance(
    "[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]"
)
async def test_a_watch_starts_after_its_resource_version(api: World) -> None:
    maps = api.core("configmaps")
    await api.create(maps, config("one"))
    first = await api.patch(f"{maps}/one", {"data": {"mutation": "1"}})
    await api.patch(f"{maps}/one", {"data": {"mutation": "2"}})
    await api.delete(f"{maps}/one")
    version = first["metadata"]["resourceVersion"]
    async with api.watch(maps, labelSelector=A, resourceVersion=version) as watch:
        assert (await watch.object("MODIFIED"))["data"] == {"mutation": "2"}
        assert (await watch.object("DELETED"))["data"] == {"mutation": "2"}


@conformance(
    "[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the "
    "previous watch [Conformance]"
)
async def test_a_watch_goes_on_where_another_ended(api: World) -> None:
    maps = api.core("configmaps")
    async with api.watch(maps, labelSelector=A) as watch:
        await api.create(maps, config("one"))
        await watch.object("ADDED")
        await api.patch(f"{maps}/one", {"data": {"mutation": "1"}})
        version = (await watch.object("MODIFIED"))["metadata"]["resourceVersion"]
    await api.patch(f"{maps}/one", {"data": {"mutation": "2"}})
    await api.delete(f"{maps}/one")
    async with api.watch(maps, labelSelector=A, resourceVersion=version) as watch:
        assert (await watch.object("MODIFIED"))["data"] == {"mutation": "2"}
        await watch.object("DELETED")


@conformance(
    "[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the "
    "selector [Conformance]"
)
async def test_leaving_the_selector_is_a_deletion(api: World) -> None:
    maps = api.core("configmaps")
    async with api.watch(maps, labelSelector=A) as watch:
        await api.create(maps, config("one"))
        await watch.object("ADDED")
        await api.patch(f"{maps}/one", {"data": {"mutation": "1"}})
        await watch.object("MODIFIED")
        await api.patch(f"{maps}/one", {"metadata": {"labels": {"watch": "other"}}})
        assert (await watch.object("DELETED"))["data"] == {"mutation": "1"}
        await api.patch(f"{maps}/one", {"data": {"mutation": "2"}})
        assert await watch.silent()
        await api.patch(f"{maps}/one", {"metadata": {"labels": {"watch": "a"}}})
        assert (await watch.object("ADDED"))["data"] == {"mutation": "2"}
        await api.patch(f"{maps}/one", {"data": {"mutation": "3"}})
        await watch.object("MODIFIED")
        await api.delete(f"{maps}/one")
        assert (await watch.object("DELETED"))["data"] == {"mutation": "3"}


@conformance("[sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]")
async def test_watches_begun_at_any_event_agree_on_the_order(api: World) -> None:
    maps = api.core("configmaps")
    start = (await api.get(maps))["metadata"]["resourceVersion"]
    for number in range(40):
        await api.create(maps, config(f"config-{number % 5}", "a", number=str(number)))
        await api.patch(f"{maps}/config-{number % 5}", {"data": {"more": "1"}})
        await api.delete(f"{maps}/config-{number % 5}")
    async with api.watch(maps, resourceVersion=start) as watch:
        versions = [(await watch.next())["object"]["metadata"]["resourceVersion"] for _ in range(120)]
    assert versions == sorted(versions, key=int)
    for index in range(0, 119, 10):
        async with api.watch(maps, resourceVersion=versions[index]) as watch:
            assert (await watch.next())["object"]["metadata"]["resourceVersion"] == versions[index + 1]
