"""Every combination of limit, continue, resourceVersion, resourceVersionMatch and sendInitialEvents, and what it gives.

Source: kubernetes.io, "Kubernetes API Concepts" (semantics for get, list and watch); KEP-2340, KEP-3157; the
validation of ListOptions in k8s.io/apimachinery.
"""

import asyncio
import base64
from typing import Any

import orjson
import pytest

from tests.unit.server.core.conftest import MAPS, Api
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.server.app import Server
from wherry.server.features import Features
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store

UNTIL = "resourceVersionMatch is forbidden unless resourceVersion is provided"
WITH_CONTINUE = "resourceVersionMatch is forbidden when continue is provided"
EXACT_ZERO = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
BAD_MIX = "specifying resource version is not allowed when using continue"

# (limit, continue, resourceVersion, match): what is seen, "old" being the older revision's, or why nothing is.
LISTS: dict[tuple[str, str, str, str], str] = {
    ("", "", "", ""): "new",
    ("", "", "", "Exact"): UNTIL,
    ("", "", "", "NotOlderThan"): UNTIL,
    ("", "", "0", ""): "new",
    ("", "", "0", "Exact"): EXACT_ZERO,
    ("", "", "0", "NotOlderThan"): "new",
    ("", "", "old", ""): "new",
    ("", "", "old", "Exact"): "old",
    ("", "", "old", "NotOlderThan"): "new",
    ("2", "", "", ""): "new page",
    ("2", "", "", "Exact"): UNTIL,
    ("2", "", "", "NotOlderThan"): UNTIL,
    ("2", "", "0", ""): "new",
    ("2", "", "0", "Exact"): EXACT_ZERO,
    ("2", "", "0", "NotOlderThan"): "new",
    ("2", "", "old", ""): "old page",
    ("2", "", "old", "Exact"): "old page",
    ("2", "", "old", "NotOlderThan"): "new page",
    ("", "old", "", ""): "old rest",
    ("", "old", "", "Exact"): f"{UNTIL}, {WITH_CONTINUE}",
    ("", "old", "", "NotOlderThan"): f"{UNTIL}, {WITH_CONTINUE}",
    ("", "old", "0", ""): "old rest",
    ("", "old", "0", "Exact"): f"{WITH_CONTINUE}, {EXACT_ZERO}",
    ("", "old", "0", "NotOlderThan"): WITH_CONTINUE,
    ("", "old", "old", ""): BAD_MIX,
    ("", "old", "old", "Exact"): WITH_CONTINUE,
    ("", "old", "old", "NotOlderThan"): WITH_CONTINUE,
}
SEEN = {
    "new": ["m0", "m1", "m3", "m4"],
    "new page": ["m0", "m1"],
    "old": ["m0", "m1", "m2", "m3"],
    "old page": ["m0", "m1"],
    "old rest": ["m2", "m3"],
}
REMAINING = {"new page": 2, "old page": 2}


async def fill(api: Api) -> tuple[str, str]:
    """The older revision, and a token that goes on from it."""
    for number in range(4):
        made = await api.ok("POST", MAPS, {"metadata": {"name": f"m{number}", "labels": {"n": str(number % 2)}}})
    first = await api.ok("GET", MAPS, limit="2")
    await api.ok("POST", MAPS, {"metadata": {"name": "m4"}})
    await api.ok("DELETE", f"{MAPS}/m2")
    assert first["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    return made["metadata"]["resourceVersion"], first["metadata"]["continue"]


async def test_every_list(api: Api) -> None:
    old, token = await fill(api)
    for (limit, after, version, match), wanted in LISTS.items():
        query = {"limit": limit, "continue": after and token, "resourceVersionMatch": match}
        query["resourceVersion"] = old if version == "old" else version
        found = await api.json("GET", MAPS, **{name: value for name, value in query.items() if value})
        if wanted not in SEEN:
            assert found["code"] == (400 if wanted == BAD_MIX else 422), (query, found)
            assert all(text in found["message"] for text in wanted.split(", resource")), (query, found["message"])
            continue
        names = [item["metadata"]["name"] for item in found["items"]]
        assert names == SEEN[wanted], (query, names)
        meta = found["metadata"]
        assert (meta["resourceVersion"] == old) == wanted.startswith("old"), query
        assert meta.get("remainingItemCount") == REMAINING.get(wanted) and bool(meta.get("continue")) == (
            wanted in REMAINING
        )


async def test_what_remains_is_not_counted_under_a_selector(api: Api) -> None:
    await fill(api)
    for selector in ({"labelSelector": "n=0"}, {"fieldSelector": "metadata.name!=m0"}):
        meta = (await api.ok("GET", MAPS, limit="1", **selector))["metadata"]
        assert ("continue" in meta, "remainingItemCount" in meta) == ("labelSelector" not in selector, False)


async def test_a_revision_that_is_not_there_yet_is_waited_for_and_then_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.server.caches.FRESH_WAIT_SECONDS", 0.01)
    for query in ({}, {"resourceVersionMatch": "NotOlderThan"}, {"resourceVersionMatch": "Exact"}, {"limit": "1"}):
        status = await api.refused(504, "GET", MAPS, resourceVersion="1000000", **query)
        assert status["reason"] == "Timeout" and "Too large resource version: 1000000, current:" in status["message"]
        assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    initial = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    (frame,) = await frames(api, 1, resourceVersion="1000000", **initial)
    assert frame["type"] == "ERROR" and frame["object"]["code"] == 504


def token(**value: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("!", ": illegal base64 data"),
        (base64.b64encode(b"{").decode(), ": unexpected end of JSON input"),
        (token(v="meta.k8s.io/v2", rv=1, start="a"), ": server does not recognize this encoded version meta.k8s.io/v2"),
        (token(v="meta.k8s.io/v1", start="a"), ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
        (token(v="meta.k8s.io/v1", rv=1), ": encoded start key empty (version meta.k8s.io/v1)"),
        (token(v="meta.k8s.io/v1", rv=1, start="../secrets/x"), ": ../secrets/x"),
    ],
)
async def test_tokens_that_are_none_are_refused(api: Api, text: str, why: str) -> None:
    status = await api.refused(400, "GET", MAPS, **{"continue": text})
    assert status["message"] == f"invalid continue token: continue key is not valid{why}"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"limit": "many"}, 'strconv.ParseInt: parsing "many": invalid syntax'),
        ({"limit": "1" * 20}, f'strconv.ParseInt: parsing "{"1" * 20}": value out of range'),
        ({"timeoutSeconds": "1.5"}, 'strconv.ParseInt: parsing "1.5": invalid syntax'),
        (
            {"resourceVersion": "-1"},
            'invalid resource version: resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": '
            "invalid syntax",
        ),
    ],
)
async def test_figures_that_are_none_are_refused(api: Api, query: dict[str, str], why: str) -> None:
    assert (await api.refused(400, "GET", MAPS, **query))["message"] == why


# (sendInitialEvents, resourceVersion, match): what the watch begins with, or why it does not.
NEEDS = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
ALONE = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
WATCHES: dict[tuple[str, str, str], str] = {
    ("", "", ""): "all, marked",
    ("", "0", ""): "all, marked",
    ("", "old", ""): "changes",
    ("", "", "NotOlderThan"): ALONE,
    ("", "old", "NotOlderThan"): ALONE,
    ("", "old", "Exact"): f'{ALONE}, resourceVersionMatch: Unsupported value: "Exact"',
    ("true", "", ""): NEEDS,
    ("true", "old", "Exact"): NEEDS,
    ("true", "", "NotOlderThan"): "all, marked",
    ("true", "0", "NotOlderThan"): "all, marked",
    ("true", "old", "NotOlderThan"): "all, marked",
    ("false", "", ""): NEEDS,
    ("false", "", "NotOlderThan"): "nothing",
    ("false", "0", "NotOlderThan"): "nothing",
    ("false", "old", "NotOlderThan"): "changes",
}


async def frames(api: Api, count: int, change: str = "", **query: str) -> list[Any]:
    """The first frames of a watch; `change` is made to m0 once the watch is open."""
    found: list[Any] = []
    async with asyncio.timeout(5), api.transport.stream("GET", MAPS, query={"watch": "1", **query}) as lines:
        if change:
            patch = orjson.dumps({"data": {"n": change}})
            await api.ok("PATCH", f"{MAPS}/m0", patch, content_type="application/merge-patch+json")
        async for line in lines:
            found.append(orjson.loads(line))
            if len(found) == count:
                break
    return found


async def test_every_watch(api: Api) -> None:
    old, _ = await fill(api)
    changes = 0
    for (initial, version, match), wanted in WATCHES.items():
        query = {"sendInitialEvents": initial, "resourceVersionMatch": match, "allowWatchBookmarks": "true"}
        query["resourceVersion"] = old if version == "old" else version
        query = {name: value for name, value in query.items() if value}
        if wanted.startswith(("resource", "send")):
            status = await api.refused(422, "GET", MAPS, watch="1", **query)
            assert all(text in status["message"] for text in wanted.split(", resource")), (query, status)
            continue
        begin = {
            "all, marked": ["ADDED m0", "ADDED m1", "ADDED m3", "ADDED m4", "BOOKMARK end"],
            "changes": ["ADDED m4", "DELETED m2", *["MODIFIED m0"] * changes],
            "nothing": [],
        }[wanted]
        changes += 1
        seen = [shown(frame) for frame in await frames(api, len(begin) + 1, str(changes), **query)]
        assert seen == [*begin, "MODIFIED m0"], (query, seen)


def shown(frame: Any) -> str:
    meta = frame["object"]["metadata"]
    if frame["type"] == "BOOKMARK":
        return "BOOKMARK end" if meta["annotations"] == {"k8s.io/initial-events-end": "true"} else "BOOKMARK"
    return f"{frame['type']} {meta['name']}"


async def test_a_watch_of_one_name_may_not_select_another(api: Api) -> None:
    path = "/api/v1/watch/namespaces/default/configmaps/m0"
    status = await api.refused(400, "GET", path, fieldSelector="metadata.name=m1")
    assert status["message"] == "fieldSelector metadata.name doesn't match requested name"


async def test_without_the_gate_there_are_no_watch_lists() -> None:
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy, ServerOptions(features=Features(["WatchList=false"])))
    await server.start()
    api = Api(server, store)
    await api.ok("POST", MAPS, {"metadata": {"name": "m"}})
    query = {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    status = await api.refused(422, "GET", MAPS, **query)
    text = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
    assert text in status["message"]
    found = [shown(frame) for frame in await frames(api, 1, fieldSelector="metadata.name=m")]
    assert found == ["ADDED m"]
    await server.close()
    await store.close()


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        (MAPS, "application/json", "v1 ConfigMap"),
        (MAPS, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "meta.k8s.io/v1 PartialObjectMetadata"),
        (MAPS, "application/json;as=Table;g=meta.k8s.io;v=v1", "meta.k8s.io/v1 Table"),
        ("/apis/events.k8s.io/v1/events", "application/json", "events.k8s.io/v1 Event"),
        ("/apis/autoscaling/v1/horizontalpodautoscalers", "application/json", "autoscaling/v1 HorizontalPodAutoscaler"),
    ],
)
async def test_bookmarks_come_in_the_version_and_shape_of_the_other_events(
    api: Api, path: str, accept: str, kind: str
) -> None:
    query = {"watch": "1", "allowWatchBookmarks": "true"}
    async with asyncio.timeout(5), api.transport.stream("GET", path, query=query, headers={"accept": accept}) as lines:
        seen = []
        async for line in lines:
            seen.append(orjson.loads(line))
            if len(seen) == 1:
                cache = api.server.registry.find(*place(path))
                assert cache is not None
                for watcher in cache.cache.watchers():
                    watcher.bookmark(api.store.revision + 1)
            else:
                break
    end, later = (item["object"] for item in seen)
    assert [f"{item['apiVersion']} {item['kind']}" for item in (end, later)] == [kind, kind]
    marked = end["rows"][0]["object"] if kind.endswith("Table") else end
    assert marked["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert later["metadata"]["resourceVersion"] == str(api.store.revision + 1)


def place(path: str) -> tuple[str, str, str]:
    parts = path.strip("/").split("/")
    return ("", "v1", parts[-1]) if parts[0] == "api" else (parts[1], parts[2], parts[-1])
