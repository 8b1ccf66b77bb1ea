"""Methods, query parameters and DeleteOptions, at their edges. Source: k8s.io/apiserver, endpoints/handlers;
k8s.io/apimachinery, apis/meta/v1/validation."""

from typing import Any

import orjson
import pytest

from tests.unit.server.core.conftest import MAPS, PODS, Api, pod

ONE = f"{MAPS}/one"


async def test_methods_that_no_resource_has_are_refused(api: Api) -> None:
    await api.ok("POST", MAPS, {"metadata": {"name": "one"}})
    for method, path in (("HEAD", ONE), ("HEAD", MAPS), ("OPTIONS", ONE), ("PUT", MAPS), ("POST", ONE)):
        answer = await api.send(method, path)
        assert answer.status == 405, (method, path, answer)
    assert (await api.send("HEAD", "/healthz")).status == 200


@pytest.mark.parametrize(
    ("agent", "accept", "query", "indented"),
    [
        ("curl/8.0", "*/*", {}, True),
        ("curl/8.0", "*/*", {"pretty": "false"}, False),
        ("curl/8.0", "application/json", {}, False),
        ("python-httpx/0.28", "*/*", {}, False),
        ("kubectl/v1.36", "application/json", {"pretty": "true"}, True),
        ("kubectl/v1.36", "application/json", {"pretty": ""}, True),
    ],
)
async def test_answers_are_indented_for_people(
    api: Api, agent: str, accept: str, query: dict[str, str], indented: bool
) -> None:
    await api.ok("POST", MAPS, {"metadata": {"name": "one"}})
    for path in (ONE, MAPS, f"{MAPS}/nothing"):
        answer = await api.transport.request("GET", path, query=query, headers={"user-agent": agent, "accept": accept})
        assert (b"\n  " in answer.body) == indented, path


async def test_parameters_that_nobody_knows_say_nothing(api: Api) -> None:
    await api.ok("POST", MAPS, {"metadata": {"name": "one"}}, sail="set")
    assert (await api.ok("GET", ONE, sail="set"))["metadata"]["name"] == "one"
    await api.ok("DELETE", ONE, sail="set")


@pytest.mark.parametrize(
    ("method", "query", "message"),
    [
        (
            "POST",
            {"fieldManager": "a\u0007"},
            'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\a": invalid character U+0007 '
            "(at position 1)",
        ),
        ("POST", {"fieldManager": "m" * 129}, "fieldManager: Too long: may not be more than 128 bytes"),
        ("POST", {"dryRun": ""}, 'dryRun: Unsupported value: [""]: supported values: "All"'),
        ("POST", {"dryRun": "Some"}, 'dryRun: Unsupported value: ["Some"]: supported values: "All"'),
        (
            "POST",
            {"fieldValidation": "Maybe"},
            'fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn"',
        ),
    ],
)
async def test_options_of_writes_that_make_no_sense(api: Api, method: str, query: dict[str, str], message: str) -> None:
    status = await api.refused(422, method, MAPS, {"metadata": {"name": "one"}}, **query)
    assert message in status["message"]


# The options, and what is wrong with them; in the body and in the query they mean the same.
DELETES: list[tuple[dict[str, Any], str]] = [
    (
        {"propagationPolicy": "Orphan", "orphanDependents": True},
        'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
    ),
    (
        {"propagationPolicy": "Sideways"},
        'propagationPolicy: Unsupported value: "Sideways": supported values: "Foreground", "Background", "Orphan", '
        '"nil"',
    ),
    ({"dryRun": "Some"}, 'dryRun: Unsupported value: ["Some"]: supported values: "All"'),
]


@pytest.mark.parametrize(("options", "message"), DELETES)
async def test_options_of_deletes_that_make_no_sense(api: Api, options: dict[str, Any], message: str) -> None:
    body = {name: [value] if name == "dryRun" else value for name, value in options.items()}
    query = {name: str(value) for name, value in options.items()}
    for path in (ONE, MAPS):
        for status in (await api.refused(422, "DELETE", path, body), await api.refused(422, "DELETE", path, **query)):
            assert status["message"] == f'DeleteOptions.meta.k8s.io "" is invalid: {message}'


async def test_figures_of_deletes_that_are_none(api: Api) -> None:
    status = await api.refused(400, "DELETE", ONE, gracePeriodSeconds="soon")
    assert status["message"] == 'strconv.ParseInt: parsing "soon": invalid syntax'
    status = await api.refused(400, "DELETE", ONE, {"kind": "Pod", "apiVersion": "v1"})
    assert 'no kind "Pod"' in status["message"]


@pytest.mark.parametrize("where", ["body", "query"])
async def test_preconditions_hold_wherever_they_stand(api: Api, where: str) -> None:
    made = await api.ok("POST", MAPS, {"metadata": {"name": "one"}})
    for name, value, why in (
        ("uid", "other", f"the UID in the precondition (other) does not match the UID in record ({made_uid(made)})"),
        ("resourceVersion", "1", "the ResourceVersion in the precondition (1) does not match the ResourceVersion"),
    ):
        sent = {"preconditions": {name: value}} if where == "body" else None
        query = {} if where == "body" else {name: value}
        status = await api.refused(409, "DELETE", ONE, sent, **query)
        assert why in status["message"] and status["message"].startswith(
            'Operation cannot be fulfilled on ConfigMap "one"'
        )
    await api.ok("DELETE", ONE, uid=made_uid(made))


def made_uid(obj: Any) -> str:
    uid: str = obj["metadata"]["uid"]
    return uid


async def test_the_body_counts_and_the_query_does_not(api: Api) -> None:
    await api.ok("POST", PODS, pod("p", nodeName="n", terminationGracePeriodSeconds=30))
    gone = await api.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 20}, gracePeriodSeconds="0", dryRun="All")
    assert gone["metadata"]["deletionGracePeriodSeconds"] == 20
    assert (await api.ok("GET", f"{PODS}/p"))["metadata"]["deletionGracePeriodSeconds"] == 20
    kept = await api.ok("DELETE", f"{PODS}/p", gracePeriodSeconds="25")
    assert kept["metadata"]["deletionGracePeriodSeconds"] == 20
    negative = await api.ok("DELETE", f"{PODS}/p", gracePeriodSeconds="-5")
    assert negative["metadata"]["deletionGracePeriodSeconds"] == 1


async def test_a_collection_is_deleted_as_the_query_selects_and_the_options_say(api: Api) -> None:
    for number in range(4):
        body = {"metadata": {"name": f"m{number}", "labels": {"n": str(number % 2)}, "finalizers": ["x/y"]}}
        await api.ok("POST", MAPS, body)
    dry = await api.ok("DELETE", MAPS, labelSelector="n=0", dryRun="All")
    assert names(dry) == ["m0", "m2"]
    gone = await api.ok("DELETE", MAPS, {"propagationPolicy": "Foreground"}, labelSelector="n=0", limit="1")
    assert names(gone) == ["m0"]
    left = {item["metadata"]["name"]: item["metadata"] for item in (await api.ok("GET", MAPS))["items"]}
    assert left["m0"]["finalizers"] == ["x/y", "foregroundDeletion"] and "deletionTimestamp" in left["m0"]
    assert all("deletionTimestamp" not in left[name] for name in ("m1", "m2", "m3"))
    one = await api.ok("DELETE", MAPS, fieldSelector="metadata.name=m3")
    assert names(one) == ["m3"]
    status = await api.refused(422, "DELETE", MAPS, resourceVersionMatch="Exact")
    assert "ListOptions" in status["message"]


def names(found: Any) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]


async def test_202_only_for_who_asked_to_wait_for_dependents(api: Api) -> None:
    await api.ok("POST", MAPS, {"metadata": {"name": "one", "finalizers": ["x/y"]}})
    assert (await api.send("DELETE", ONE, orphanDependents="false")).status == 202
    assert (await api.send("DELETE", ONE)).status == 200
    answer = await api.send("GET", "/api/v1/watch/namespaces/default/configmaps/one", timeoutSeconds="1")
    assert [orjson.loads(line)["type"] for line in answer.body.splitlines()] == ["ADDED"]
