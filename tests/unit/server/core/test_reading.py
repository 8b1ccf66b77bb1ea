"""GET, LIST and WATCH: what is seen, in which order, from which revision on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest

from tests.unit.server.core.conftest import MAPS, PODS, Api, Json, pod
from wherry.meta.errors import StatusError

Make = Callable[..., Json]
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


async def fill(api: Api, config_map: Make, count: int) -> str:
    for number in range(count):
        made = await api.ok("POST", MAPS, config_map(f"m{number}", metadata={"labels": {"n": str(number % 2)}}))
    version: str = made["metadata"]["resourceVersion"]
    return version


async def events(lines: AsyncIterator[bytes], count: int) -> list[tuple[str, Json]]:
    found = []
    async with asyncio.timeout(5):
        async for line in lines:
            event = orjson.loads(line)
            found.append((event["type"], event["object"]))
            if len(found) == count:
                break
    return found


async def test_what_is_not_there_is_not_found(api: Api) -> None:
    status = await api.refused(404, "GET", f"{MAPS}/nothing")
    assert status["message"] == 'configmaps "nothing" not found'
    assert status["details"] == {"name": "nothing", "kind": "configmaps"}
    assert (await api.send("GET", "/apis/no.such.group/v1/things")).status == 404


async def test_lists_are_in_key_order_and_bear_the_current_revision(api: Api, config_map: Make) -> None:
    version = await fill(api, config_map, 12)
    found = await api.ok("GET", MAPS)
    names = [item["metadata"]["name"] for item in found["items"]]
    assert names == sorted(names) and len(names) == 12
    assert found["kind"] == "ConfigMapList" and found["metadata"]["resourceVersion"] == version


async def test_pages_show_the_state_of_the_first_page(api: Api, config_map: Make) -> None:
    version = await fill(api, config_map, 5)
    first = await api.ok("GET", MAPS, limit="2")
    assert first["metadata"]["remainingItemCount"] == 3
    await api.ok("DELETE", f"{MAPS}/m4")
    await api.ok("POST", MAPS, config_map("m3a"))
    names, token = [item["metadata"]["name"] for item in first["items"]], first["metadata"]["continue"]
    while token:
        page = await api.ok("GET", MAPS, **{"limit": "2", "continue": token})
        assert page["metadata"]["resourceVersion"] == version
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue")
    assert names == ["m0", "m1", "m2", "m3", "m4"]


async def test_selectors_restrict_lists(api: Api, config_map: Make) -> None:
    await fill(api, config_map, 4)
    by_label = await api.ok("GET", MAPS, labelSelector="n=1")
    assert [item["metadata"]["name"] for item in by_label["items"]] == ["m1", "m3"]
    by_field = await api.ok("GET", MAPS, fieldSelector="metadata.name=m2")
    assert [item["metadata"]["name"] for item in by_field["items"]] == ["m2"]
    await api.refused(400, "GET", MAPS, labelSelector="!!")
    status = await api.refused(400, "GET", MAPS, fieldSelector="data.a=1")
    assert '"data.a" is not a known field selector: only "metadata.name"' in status["message"]


async def test_an_exact_revision_shows_the_past(api: Api, config_map: Make) -> None:
    version = await fill(api, config_map, 3)
    await api.ok("DELETE", f"{MAPS}/m0")
    found = await api.ok("GET", MAPS, resourceVersion=version, resourceVersionMatch="Exact")
    assert len(found["items"]) == 3 and found["metadata"]["resourceVersion"] == version


async def test_a_compacted_revision_is_gone(api: Api, config_map: Make) -> None:
    version = await fill(api, config_map, 2)
    page = await api.ok("GET", MAPS, limit="1")
    await api.ok("DELETE", f"{MAPS}/m0")
    await api.store.compact(api.store.revision)
    status = await api.refused(410, "GET", MAPS, resourceVersion=version, resourceVersionMatch="Exact")
    assert status["reason"] == "Expired"
    await api.refused(410, "GET", MAPS, **{"limit": "1", "continue": page["metadata"]["continue"]})


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"resourceVersion": "abc"}, 400),
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersion": "0", "resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersion": "1", "resourceVersionMatch": "Nearly"}, 422),
        ({"continue": "%%%"}, 400),
        ({"limit": "x"}, 400),
    ],
)
async def test_list_options_that_do_not_fit_are_refused(api: Api, query: Json, code: int) -> None:
    await api.refused(code, "GET", MAPS, **query)


async def test_a_list_as_table_has_columns_and_metadata(api: Api, config_map: Make) -> None:
    await fill(api, config_map, 1)
    table = await api.ok("GET", MAPS, accept=TABLE)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["m0", 1]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_a_list_of_metadata_leaves_the_rest_out(api: Api, config_map: Make) -> None:
    await fill(api, config_map, 1)
    found = await api.ok("GET", MAPS, accept=PARTIAL)
    assert found["kind"] == "PartialObjectMetadataList" and "data" not in found["items"][0]
    assert found["items"][0]["metadata"]["name"] == "m0"


async def test_a_watch_from_a_revision_sees_each_change_once(api: Api, config_map: Make) -> None:
    version = (await api.ok("GET", MAPS))["metadata"]["resourceVersion"]
    made = await api.ok("POST", MAPS, config_map())
    query = {"watch": "1", "resourceVersion": version}
    async with api.transport.stream("GET", MAPS, query=query) as lines:
        await api.ok("PUT", f"{MAPS}/one", made | {"data": {"a": "2"}})
        await api.ok("DELETE", f"{MAPS}/one")
        seen = await events(lines, 3)
    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in seen]
    assert versions == sorted(set(versions)) and seen[2][1]["data"] == {"a": "2"}


async def test_a_watch_without_a_revision_begins_with_what_there_is(api: Api, config_map: Make) -> None:
    await fill(api, config_map, 2)
    async with api.transport.stream("GET", MAPS, query={"watch": "true"}) as lines:
        await api.ok("DELETE", f"{MAPS}/m0")
        seen = await events(lines, 3)
    assert [(kind, obj["metadata"]["name"]) for kind, obj in seen] == [
        ("ADDED", "m0"),
        ("ADDED", "m1"),
        ("DELETED", "m0"),
    ]


async def test_initial_events_end_with_an_annotated_bookmark(api: Api, config_map: Make) -> None:
    await fill(api, config_map, 1)
    query = {
        "watch": "1",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    async with api.transport.stream("GET", MAPS, query=query) as lines:
        seen = await events(lines, 2)
    assert [kind for kind, _ in seen] == ["ADDED", "BOOKMARK"]
    assert seen[1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_entering_and_leaving_a_selection_is_being_added_and_deleted(api: Api, config_map: Make) -> None:
    made = await api.ok("POST", MAPS, config_map())
    query = {"watch": "1", "labelSelector": "x=y", "resourceVersion": made["metadata"]["resourceVersion"]}
    async with api.transport.stream("GET", MAPS, query=query) as lines:
        for labels in ({"x": "y"}, {"x": "y", "z": "1"}, {}):
            made["metadata"] = {"name": "one", "labels": labels}
            await api.ok("PUT", f"{MAPS}/one", made)
        seen = await events(lines, 3)
    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[2][1]["metadata"]["labels"] == {"x": "y", "z": "1"}


async def test_watchers_of_one_node_see_its_pods_only(api: Api) -> None:
    version = (await api.ok("GET", PODS))["metadata"]["resourceVersion"]
    query = {"watch": "1", "fieldSelector": "spec.nodeName=n1", "resourceVersion": version}
    async with api.transport.stream("GET", "/api/v1/pods", query=query) as lines:
        await api.ok("POST", PODS, pod("other"))
        await api.ok("POST", PODS, pod("mine"))
        await api.ok("POST", f"{PODS}/mine/binding", {"target": {"kind": "Node", "name": "n1"}})
        seen = await events(lines, 1)
    assert (seen[0][0], seen[0][1]["metadata"]["name"]) == ("ADDED", "mine")


async def test_a_watch_from_before_history_is_gone(api: Api, config_map: Make) -> None:
    await fill(api, config_map, 1)
    api.server.registry.find("", "v1", "configmaps").cache.horizon = api.store.revision  # type: ignore[union-attr]
    async with api.transport.stream("GET", MAPS, query={"watch": "1", "resourceVersion": "1"}) as lines:
        ((kind, status),) = await events(lines, 1)
    assert kind == "ERROR" and status["code"] == 410 and status["reason"] == "Expired"
    assert status["message"] == f"too old resource version: 1 ({api.store.revision})"


async def test_a_watch_ends_in_time(api: Api) -> None:
    query = {"watch": "1", "timeoutSeconds": "1", "resourceVersion": str(api.store.revision)}
    async with api.transport.stream("GET", MAPS, query=query) as lines:
        assert [line async for line in lines] == []


async def test_a_watcher_that_does_not_read_is_cut_off(api: Api, config_map: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr("wherry.server.watchcache.WATCHER_EVENTS_MAX", 3)
    query = {"watch": "1", "resourceVersion": str(api.store.revision)}
    async with api.transport.stream("GET", MAPS, query=query) as lines:
        await fill(api, config_map, 5)
        seen = await events(lines, 1)
    assert seen[0][0] == "ERROR" and seen[0][1]["code"] == 410


async def test_a_client_without_grants_is_refused(api: Api) -> None:
    with pytest.raises(StatusError) as refusal:
        await api.server.client("nobody", []).transport.stream("GET", MAPS, query={"watch": "1"}).__aenter__()
    assert refusal.value.code == 403


async def test_events_are_one_object_in_two_groups(api: Api) -> None:
    body = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "message": "hello",
        "reason": "Greeting",
        "type": "Normal",
    }
    await api.ok("POST", "/api/v1/namespaces/default/events", body)
    found = await api.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
    assert found["note"] == "hello" and found["regarding"]["name"] == "p"
    listed = await api.ok("GET", "/apis/events.k8s.io/v1/events")
    assert listed["apiVersion"] == "events.k8s.io/v1" and listed["items"][0]["note"] == "hello"


NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"


def new_event(name: str = "n", **more: Any) -> Json:
    return {
        "metadata": {"name": name}, "eventTime": "2026-01-01T00:00:00.000001Z", "action": "Do", "reason": "Greeting",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "note": "hello", "type": "Normal",
        "reportingController": "example.com/c", "reportingInstance": "c-1", **more,
    }  # fmt: skip


async def test_an_event_of_the_new_kind_comes_back_as_the_old_one(api: Api) -> None:
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:02.000000Z"}
    made = await api.ok("POST", NEW_EVENTS, new_event(series=series))
    old = await api.ok("GET", "/api/v1/namespaces/default/events/n")
    assert (old["message"], old["reportingComponent"], old["series"]) == ("hello", "example.com/c", series)
    assert old["involvedObject"] == made["regarding"] and old["source"] == {}
    assert made["series"] == series and made["deprecatedSource"] == {}


async def test_each_kind_of_event_is_selected_by_its_own_names(api: Api) -> None:
    await api.ok("POST", NEW_EVENTS, new_event("one"))
    await api.ok("POST", NEW_EVENTS, new_event("two", reportingController="example.com/d"))
    old = "/api/v1/namespaces/default/events"
    for path, selector, expected in (
        (NEW_EVENTS, "reportingController=example.com/c", ["one"]),
        (NEW_EVENTS, "regarding.name=p,reportingController!=example.com/c,type=Normal", ["two"]),
        (NEW_EVENTS, "regarding.kind=Node", []),
        (old, "involvedObject.name=p,reportingComponent=example.com/d", ["two"]),
        (old, "source=example.com/c", ["one"]),
    ):
        listed = await api.ok("GET", path, fieldSelector=selector)
        assert [item["metadata"]["name"] for item in listed["items"]] == expected, selector
    for path, label in ((NEW_EVENTS, "involvedObject.name"), (old, "regarding.name"), (old, "reportingController")):
        said = await api.refused(400, "GET", path, fieldSelector=f"{label}=p")
        assert said["message"] == f"field label not supported: {label}"


async def test_the_new_kind_of_event_wants_nothing_of_the_old(api: Api) -> None:
    late = {"count": 1, "lastObservedTime": "2026-01-01T00:00:02.000000Z"}
    said = await api.refused(
        422, "POST", NEW_EVENTS,
        new_event(type="Odd", deprecatedCount=3, deprecatedSource={"component": "c"}, series=late),
    )  # fmt: skip
    assert [(item["field"], item["message"]) for item in said["details"]["causes"]] == [
        ("series.count", 'Invalid value: "": should be at least 2'),
        ("type", 'Invalid value: "": has invalid value: Odd'),
        ("count", 'Invalid value: "": needs to be unset'),
        ("source", 'Invalid value: "": needs to be unset'),
    ]
    missing = new_event(regarding={"kind": "Pod", "namespace": "default", "name": "p"}, reportingController="")
    said = await api.refused(422, "POST", NEW_EVENTS, missing)
    assert said["details"]["causes"][0]["field"] == "reportingController"
    made = await api.ok("POST", NEW_EVENTS, new_event())
    said = await api.refused(422, "PUT", f"{NEW_EVENTS}/n", made | {"note": "other"})
    assert [item["field"] for item in said["details"]["causes"]] == ["message"]
    found = await api.ok("GET", "/api/v1/namespaces/default/events/n")
    await api.ok("PUT", "/api/v1/namespaces/default/events/n", found | {"message": "other"})
