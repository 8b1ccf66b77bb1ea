"""test/e2e/instrumentation/core_events.go and events.go: events of the core group and of events.k8s.io."""

from tests.conformance.entry import conformance
from tests.conformance.world import Json, World, names

TIME = "2026-01-01T00:00:00.000000Z"


def core(api: World, name: str) -> Json:
    involved = {"kind": "Pod", "name": "a", "namespace": api.namespace}
    metadata = {"name": name, "labels": {"testevent": "true"}}
    return {"metadata": metadata, "involvedObject": involved, "reason": "Test", "message": "made", "type": "Normal"}


def new(api: World, name: str) -> Json:
    return {
        "metadata": {"name": name, "labels": {"testevent": "true"}}, "eventTime": TIME, "action": "Do",
        "regarding": {"kind": "Pod", "name": "a", "namespace": api.namespace}, "reason": "Test", "note": "made",
        "type": "Normal", "reportingController": "test-controller", "reportingInstance": "test-node",
    }  # fmt: skip


async def collection(api: World, path: str, *bodies: Json) -> None:
    for body in bodies:
        await api.create(path, body)
    assert len((await api.get(path, labelSelector="testevent=true"))["items"]) == len(bodies)
    await api.delete(path, labelSelector="testevent=true")
    assert names(await api.get(path, labelSelector="testevent=true")) == []


@conformance("[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]")
async def test_the_life_of_a_core_event(api: World) -> None:
    path = api.core("events")
    await api.create(path, core(api, "one"))
    assert names(await api.get("/api/v1/events", labelSelector="testevent=true")) == ["one"]
    await api.patch(f"{path}/one", {"message": "patched"}, "strategic")
    found = await api.get(f"{path}/one")
    assert found["message"] == "patched"
    found["series"] = {"count": 100, "lastObservedTime": TIME}
    assert (await api.replace(f"{path}/one", found))["series"]["count"] == 100
    await api.delete(f"{path}/one")
    await api.gone(f"{path}/one")


@conformance("[sig-instrumentation] Events should delete a collection of events [Conformance]")
async def test_a_collection_of_core_events(api: World) -> None:
    await collection(api, api.core("events"), *(core(api, name) for name in ("one", "two", "three")))


@conformance(
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed "
    "[Conformance]"
)
async def test_the_life_of_an_event(api: World) -> None:
    path = api.path("/apis/events.k8s.io/v1", "events")
    await api.create(path, new(api, "one"))
    assert names(await api.get("/apis/events.k8s.io/v1/events", labelSelector="testevent=true")) == ["one"]
    await api.patch(f"{path}/one", {"series": {"count": 2, "lastObservedTime": TIME}}, "strategic")
    found = await api.get(f"{path}/one")
    assert found["series"]["count"] == 2
    found["series"]["count"] = 100
    assert (await api.replace(f"{path}/one", found))["series"]["count"] == 100
    assert (await api.get(f"{api.core('events')}/one"))["message"] == "made"
    await api.delete(f"{path}/one")
    await api.gone(f"{path}/one")


@conformance("[sig-instrumentation] Events API should delete a collection of events [Conformance]")
async def test_a_collection_of_events(api: World) -> None:
    path = api.path("/apis/events.k8s.io/v1", "events")
    await collection(api, path, *(new(api, name) for name in ("one", "two", "three")))
