"""Create, update, patch, apply: what is stored, what is refused, in which words."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.unit.server.core.conftest import MAPS, PODS, Api, Json, pod

Make = Callable[..., Json]
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


async def test_a_created_object_has_identity_and_is_read_back_as_replied(api: Api, config_map: Make) -> None:
    answer = await api.send("POST", MAPS, config_map())
    assert answer.status == 201
    made = orjson.loads(answer.body)
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"].endswith("Z")
    assert made["metadata"]["namespace"] == "default"
    assert (await api.send("GET", f"{MAPS}/one")).body == answer.body


async def test_bytes_at_rest_carry_no_resource_version(api: Api, config_map: Make) -> None:
    made = await api.ok("POST", MAPS, config_map())
    found = await api.store.range(b"/registry/configmaps/default/one")
    assert b"resourceVersion" not in found.kvs[0].value
    assert made["metadata"]["resourceVersion"] == str(found.kvs[0].mod_revision)


async def test_generate_name_gives_each_object_another_name(api: Api) -> None:
    body = {"metadata": {"generateName": "g-"}}
    names = {(await api.ok("POST", MAPS, body))["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20 and all(name.startswith("g-") and len(name) == 7 for name in names)


async def test_a_taken_name_is_refused(api: Api, config_map: Make) -> None:
    await api.ok("POST", MAPS, config_map())
    status = await api.refused(409, "POST", MAPS, config_map())
    assert status["reason"] == "AlreadyExists" and status["message"] == 'configmaps "one" already exists'


async def test_a_namespace_that_is_not_there_is_refused(api: Api, config_map: Make) -> None:
    status = await api.refused(404, "POST", "/api/v1/namespaces/nowhere/configmaps", config_map())
    assert status["message"] == 'namespaces "nowhere" not found'


async def test_another_namespace_in_the_body_is_refused(api: Api, config_map: Make) -> None:
    body = config_map(metadata={"namespace": "other"})
    status = await api.refused(400, "POST", MAPS, body)
    assert "does not match the namespace sent on the request" in status["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "couldn't get version/kind; json parse error"),
        (b'{"apiVersion":"apps/v1","kind":"ConfigMap"}', 'no kind "ConfigMap" is registered for version "apps/v1"'),
        (b'{"apiVersion":"v1","kind":"Secret"}', "cannot be handled as a ConfigMap"),
        (b'{"data":{"a":1}}', "json: cannot unmarshal number into Go struct field ConfigMap.data"),
        (b'{"metadata":{"name":"x","resourceVersion":"1"}}', "resourceVersion should not be set on objects"),
    ],
    ids=["no json", "other version", "other kind", "wrong type", "resource version on create"],
)
async def test_a_body_that_is_no_config_map_is_a_bad_request(api: Api, body: bytes, message: str) -> None:
    status = await api.refused(400, "POST", MAPS, body)
    assert status["reason"] == "BadRequest" and message in status["message"]


async def test_an_invalid_name_is_unprocessable_and_leaves_no_trace(api: Api) -> None:
    status = await api.refused(422, "POST", MAPS, {"metadata": {"name": "No_Good"}})
    assert status["reason"] == "Invalid" and status["details"]["causes"][0]["field"] == "metadata.name"
    assert (await api.ok("GET", MAPS))["items"] == []


async def test_unknown_media_types_are_refused(api: Api, config_map: Make) -> None:
    assert (await api.refused(415, "POST", MAPS, config_map(), content_type="text/csv"))["code"] == 415
    assert (await api.refused(406, "GET", MAPS, accept="text/csv"))["code"] == 406
    await api.ok("POST", MAPS, config_map())
    assert (await api.refused(415, "PATCH", f"{MAPS}/one", {}, content_type="application/json"))["code"] == 415


async def test_a_body_over_three_mebibytes_is_too_large(api: Api) -> None:
    body = {"metadata": {"name": "x"}, "data": {"a": "x" * (3 << 20)}}
    status = await api.refused(413, "POST", MAPS, body)
    assert status["message"] == "Request entity too large: limit is 3145728"


async def test_yaml_is_read_and_written(api: Api) -> None:
    body = b"metadata: {name: y}\ndata: {day: '2020-01-01'}\n"
    answer = await api.send("POST", MAPS, body, content_type="application/yaml", accept="application/yaml")
    assert answer.headers["content-type"] == "application/yaml" and b"day: '2020-01-01'" in answer.body


async def test_unknown_fields_warn_by_default_refuse_when_strict_and_pass_when_ignored(api: Api) -> None:
    body = {"metadata": {"name": "x", "foo": 1}, "bar": 1}
    answer = await api.send("POST", MAPS, body, dryRun="All")
    assert answer.headers["warning"] == ('299 - "unknown field \\"metadata.foo\\"", 299 - "unknown field \\"bar\\""')
    status = await api.refused(400, "POST", MAPS, body, fieldValidation="Strict")
    assert 'strict decoding error: unknown field "metadata.foo", unknown field "bar"' in status["message"]
    assert "warning" not in (await api.send("POST", MAPS, body, fieldValidation="Ignore")).headers


async def test_repeated_fields_are_refused_when_strict(api: Api) -> None:
    body = b'{"metadata":{"name":"x"},"data":{"a":"1","a":"2"}}'
    status = await api.refused(400, "POST", MAPS, body, fieldValidation="Strict")
    assert 'duplicate field "data.a"' in status["message"]


async def test_dry_run_validates_and_stores_nothing(api: Api, config_map: Make) -> None:
    revision = api.store.revision
    made = await api.ok("POST", MAPS, config_map(), dryRun="All")
    assert made["metadata"]["uid"] and "resourceVersion" not in made["metadata"]
    assert api.store.revision == revision
    await api.refused(422, "POST", MAPS, config_map(), dryRun="Some")


async def test_a_stale_update_conflicts(api: Api, config_map: Make) -> None:
    first = await api.ok("POST", MAPS, config_map())
    await api.ok("PUT", f"{MAPS}/one", first | {"data": {"a": "2"}})
    status = await api.refused(409, "PUT", f"{MAPS}/one", first | {"data": {"a": "3"}})
    assert status["message"] == (
        'Operation cannot be fulfilled on configmaps "one": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_an_update_that_changes_nothing_writes_nothing(api: Api, config_map: Make) -> None:
    first = await api.ok("POST", MAPS, config_map())
    revision = api.store.revision
    again = await api.ok("PUT", f"{MAPS}/one", first)
    assert again == first and api.store.revision == revision


async def test_an_update_under_another_uid_conflicts(api: Api, config_map: Make) -> None:
    await api.ok("POST", MAPS, config_map())
    status = await api.refused(409, "PUT", f"{MAPS}/one", config_map(metadata={"uid": "other"}))
    assert "Precondition failed: UID in precondition: other" in status["message"]


async def test_an_update_cannot_rename(api: Api, config_map: Make) -> None:
    await api.ok("POST", MAPS, config_map())
    status = await api.refused(400, "PUT", f"{MAPS}/one", config_map("two"))
    assert status["message"] == "the name of the object (two) does not match the name on the URL (one)"


@pytest.mark.parametrize(
    ("kind", "patch", "data"),
    [
        (MERGE, {"data": {"b": "2", "a": None}}, {"b": "2"}),
        (JSON_PATCH, [{"op": "add", "path": "/data/b", "value": "2"}], {"a": "1", "b": "2"}),
        (STRATEGIC, {"data": {"$patch": "replace", "b": "2"}}, {"b": "2"}),
    ],
    ids=["merge", "json", "strategic"],
)
async def test_patches_change_what_they_name(api: Api, config_map: Make, kind: str, patch: Any, data: Json) -> None:
    await api.ok("POST", MAPS, config_map())
    assert (await api.ok("PATCH", f"{MAPS}/one", patch, content_type=kind))["data"] == data


async def test_concurrent_patches_all_arrive(api: Api, config_map: Make) -> None:
    await api.ok("POST", MAPS, config_map())
    patches = [api.ok("PATCH", f"{MAPS}/one", {"data": {f"k{n}": "v"}}, content_type=MERGE) for n in range(4)]
    await asyncio.gather(*patches)
    assert len((await api.ok("GET", f"{MAPS}/one"))["data"]) == 5


async def test_malformed_patches_are_bad_requests_and_impossible_ones_unprocessable(api: Api, config_map: Make) -> None:
    await api.ok("POST", MAPS, config_map())
    await api.refused(400, "PATCH", f"{MAPS}/one", b"{", content_type=MERGE)
    missing = [{"op": "remove", "path": "/data/nothing"}]
    await api.refused(422, "PATCH", f"{MAPS}/one", missing, content_type=JSON_PATCH)
    await api.refused(404, "PATCH", f"{MAPS}/two", {}, content_type=MERGE)


async def test_apply_creates_then_owns_then_conflicts(api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}}
    made = await api.send("PATCH", f"{MAPS}/one", body, content_type=APPLY, fieldManager="first")
    assert made.status == 201
    assert orjson.loads(made.body)["metadata"]["managedFields"][0]["operation"] == "Apply"
    same = await api.send("PATCH", f"{MAPS}/one", body, content_type=APPLY, fieldManager="first")
    assert same.status == 200 and same.body == made.body
    other = body | {"data": {"a": "2"}}
    status = await api.refused(409, "PATCH", f"{MAPS}/one", other, content_type=APPLY, fieldManager="second")
    assert "conflict with" in status["message"]
    forced = await api.ok("PATCH", f"{MAPS}/one", other, content_type=APPLY, fieldManager="second", force="true")
    assert forced["data"] == {"a": "2"}


async def test_managed_fields_name_who_wrote(api: Api, config_map: Make) -> None:
    made = await api.ok("POST", MAPS, config_map(), fieldManager="maker")
    patch = {"data": {"b": "2"}}
    changed = await api.ok("PATCH", f"{MAPS}/one", patch, content_type=MERGE, fieldManager="changer")
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["maker"]
    assert {entry["manager"] for entry in changed["metadata"]["managedFields"]} == {"maker", "changer"}


async def test_status_and_spec_are_written_apart(api: Api) -> None:
    made = await api.ok("POST", PODS, pod("p"))
    assert made["status"]["phase"] == "Pending"
    status = await api.ok("PUT", f"{PODS}/p/status", made | {"status": {"phase": "Running"}})
    assert status["status"]["phase"] == "Running"
    both = status | {"status": {"phase": "Failed"}, "metadata": status["metadata"] | {"labels": {"b": "c"}}}
    changed = await api.ok("PUT", f"{PODS}/p", both)
    assert changed["status"]["phase"] == "Running" and changed["metadata"]["labels"] == {"b": "c"}
