"""The life that most "should support … API operations" entries ask of a kind: discovery, every verb, a watch."""

from typing import Any

from tests.conformance.world import Json, World, names

LABEL = {"special-label": "operations"}


async def discovered(api: World, group: str, version: str, *resources: str) -> None:
    """The group, its version and its resources are in the three documents of discovery."""
    groups = {
        item["name"]: [found["version"] for found in item["versions"]] for item in (await api.get("/apis"))["groups"]
    }
    assert version in groups[group]
    assert version in [item["version"] for item in (await api.get(f"/apis/{group}"))["versions"]]
    found = [item["name"] for item in (await api.get(f"/apis/{group}/{version}"))["resources"]]
    assert set(resources) <= set(found)


async def operations(api: World, path: str, made: Json, change: Json, status: Json | None = None) -> None:
    """Create three, then get, list, watch, patch, update, status, delete, delete as a collection.

    `change` is a merge patch of the spec (or of what the kind has instead), `status` one of the status subresource.
    """
    bodies = [made | {"metadata": {"name": name, "labels": LABEL}} for name in ("first", "second", "third")]
    objects = [await api.create(path, body) for body in bodies]
    first = f"{path}/first"
    assert (await api.get(first))["metadata"]["uid"] == objects[0]["metadata"]["uid"]
    listed = await api.get(path, labelSelector="special-label=operations")
    assert names(listed) == ["first", "second", "third"]
    query = {"labelSelector": "special-label=operations", "resourceVersion": listed["metadata"]["resourceVersion"]}
    async with api.watch(path, **query) as watch:
        patched = await api.patch(first, {"metadata": {"annotations": {"patched": "true"}}})
        assert patched["metadata"]["annotations"] == {"patched": "true"}
        await watch.until(lambda event: contains(event, seen("MODIFIED", {"patched": "true"})))
        patched["metadata"]["annotations"]["updated"] = "true"
        updated = await api.replace(first, patched)
        assert updated["metadata"]["annotations"]["updated"] == "true"
        await watch.until(lambda event: contains(event, seen("MODIFIED", {"patched": "true", "updated": "true"})))
        if change:
            assert contains(await api.patch(first, change), change)
        if status is not None:
            await with_status(api, first, status)
            await watch.until(lambda event: contains(event["object"].get("status"), status))
        await api.delete(first)
        await api.gone(first)
        await watch.until(lambda event: event["type"] == "DELETED" and names([event["object"]]) == ["first"])
    assert names(await api.get(path, labelSelector="special-label=operations")) == ["second", "third"]
    await api.delete(path, labelSelector="special-label=operations")
    await api.until_object(path, lambda it: not it["items"], labelSelector="special-label=operations")


def seen(type_: str, annotations: dict[str, str]) -> Json:
    """What an event must hold."""
    return {"type": type_, "object": {"metadata": {"annotations": annotations}}}


async def with_status(api: World, path: str, status: Json) -> None:
    """Patch, read and update the status."""
    found = await api.patch(f"{path}/status", {"metadata": {"annotations": {"status": "true"}}, "status": status})
    assert contains(found["status"], status)
    found = await api.get(f"{path}/status")
    assert contains(found["status"], status)
    assert contains((await api.replace(f"{path}/status", found))["status"], status)


def contains(found: Any, wanted: Any) -> bool:
    """All of a merge patch is there."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(contains(found.get(key), value) for key, value in wanted.items())
    return bool(found == wanted)
