"""test/e2e/apimachinery/chunking.go: lists in pieces, consistent while their revision is kept."""

from tests.conformance.entry import conformance
from tests.conformance.world import World, names

COUNT = 400


async def templates(api: World) -> str:
    path = api.core("podtemplates")
    spec = {"containers": [{"name": "test", "image": "test"}]}
    for number in range(COUNT):
        await api.create(path, {"metadata": {"name": f"template-{number:04}"}, "template": {"spec": spec}})
    return path


@conformance(
    "[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls "
    "[Conformance]"
)
async def test_chunks_are_one_list(api: World) -> None:
    path = await templates(api)
    for limit in (17, 40, 133):
        found: list[str] = []
        token, version = "", ""
        while True:
            page = await api.get(path, limit=str(limit), **({"continue": token} if token else {}))
            assert len(page["items"]) <= limit
            version = version or page["metadata"]["resourceVersion"]
            assert page["metadata"]["resourceVersion"] == version
            found += names(page)
            token = page["metadata"].get("continue", "")
            assert page["metadata"].get("remainingItemCount", 0) == COUNT - len(found)
            if not token:
                break
        assert found == [f"template-{number:04}" for number in range(COUNT)]
    assert len((await api.get(path, limit="0"))["items"]) == COUNT


@conformance(
    "[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if "
    "the original version has been compacted away, though the list is inconsistent [Slow] [Conformance]"
)
async def test_a_compacted_list_goes_on_inconsistently(api: World) -> None:
    path = await templates(api)
    first = await api.get(path, limit="100")
    await api.create(
        path,
        {
            "metadata": {"name": "template-9999"},
            "template": {"spec": {"containers": [{"name": "test", "image": "test"}]}},
        },
    )
    await api.server.store.compact(api.server.caches.revision)
    refused = await api.refused(410, "GET", path, limit="100", **{"continue": first["metadata"]["continue"]})
    assert refused["reason"] == "Expired"
    token = refused["metadata"]["continue"]
    rest = await api.get(path, **{"continue": token})
    assert names(rest) == [f"template-{number:04}" for number in [*range(100, COUNT), 9999]]
