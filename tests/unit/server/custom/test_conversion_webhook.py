"""Conversion webhooks: every verb in every version, and what a webhook that lies is told."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.unit.server.custom.converting import V1, V2, Json, converting, link
from wherry.server.app import SELF


async def test_an_object_is_read_in_either_version() -> None:
    async with converting() as world:
        made = await world.ok("POST", V1, link("a", host="h", port="1"))
        seen = await world.ok("GET", f"{V2}/a")
        assert seen["hostPort"] == "h:1" and "host" not in seen
        assert seen["apiVersion"] == "example.test/v2"
        assert seen["metadata"]["uid"] == made["metadata"]["uid"]
        assert seen["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_write_in_another_version_is_stored_in_the_storage_version() -> None:
    async with converting() as world:
        made = await world.ok("POST", V2, link("a", hostPort="h:1"))
        assert made["hostPort"] == "h:1"
        assert (await world.ok("GET", f"{V1}/a"))["port"] == "1"
        made["hostPort"] = "h:2"
        assert (await world.ok("PUT", f"{V2}/a", made))["hostPort"] == "h:2"
        assert (await world.ok("PATCH", f"{V2}/a", {"hostPort": "h:3"}, "merge"))["hostPort"] == "h:3"
        assert (await world.ok("PATCH", f"{V1}/a", {"host": "g"}, "merge"))["host"] == "g"
        assert (await world.ok("GET", f"{V2}/a"))["hostPort"] == "g:3"
        applied = await world.ok("PATCH", f"{V2}/b", link("b", hostPort="x:1"), "apply", fieldManager="me")
        assert applied["hostPort"] == "x:1"
        assert (await world.send("DELETE", f"{V2}/a")).status == 200


async def test_what_is_sent_must_fit_the_version_it_is_sent_in() -> None:
    async with converting() as world:
        answer = await world.send("POST", V2, link("a", hostPort="nonsense"))
        assert answer.status == 422
        assert "hostPort" in orjson.loads(answer.body)["message"]


async def test_a_list_is_converted_at_once_and_only_once() -> None:
    async with converting() as world:
        for index in range(5):
            await world.ok("POST", V1, link(f"a{index}", host="h", port=str(index)))
        world.conversions = 0
        reviews = len(world.party.asked)
        listed = await world.ok("GET", V2)
        assert [item["hostPort"] for item in listed["items"]] == [f"h:{index}" for index in range(5)]
        await world.ok("GET", V2)
        assert (world.conversions, len(world.party.asked) - reviews) == (5, 1)


async def test_a_watch_speaks_its_own_version() -> None:
    async with converting() as world:
        await world.ok("POST", V1, link("a", host="h", port="1"))
        async with world.server.transport(SELF).stream("GET", V2, query={"watch": "1"}) as lines:
            first = orjson.loads(await anext(lines))
            await world.ok("POST", V1, link("b", host="h", port="2"))
            second = orjson.loads(await anext(lines))
    assert (first["type"], first["object"]["hostPort"]) == ("ADDED", "h:1")
    assert (second["object"]["apiVersion"], second["object"]["hostPort"]) == ("example.test/v2", "h:2")


async def test_objects_of_an_older_storage_version_are_shown_converted() -> None:
    async with converting() as world:
        await world.ok("POST", V1, link("a", host="h", port="1"))
        await world.define(stored="v2")
        await world.ok("POST", V2, link("b", hostPort="h:2"))
        assert [item["hostPort"] for item in (await world.ok("GET", V2))["items"]] == ["h:1", "h:2"]
        assert [item["port"] for item in (await world.ok("GET", V1))["items"]] == ["1", "2"]


def _rename(response: Json) -> None:
    response["convertedObjects"][0]["metadata"]["name"] = "other"


def _lose(response: Json) -> None:
    response["convertedObjects"].clear()


def _drop_metadata(response: Json) -> None:
    del response["convertedObjects"][0]["metadata"]


def _keep_version(response: Json) -> None:
    response["convertedObjects"][0]["apiVersion"] = "example.test/v1"


def _fail(response: Json) -> None:
    response["result"] = {"status": "Failure", "message": "cannot do that"}


def _another_uid(response: Json) -> None:
    response["uid"] = "other"


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (_rename, "returned invalid converted object: must have the same name: a != other"),
        (_lose, "returned 0 objects, expected 1"),
        (_drop_metadata, "returned invalid converted object: missing metadata in converted object"),
        (_keep_version, "invalid groupVersion (expected example.test/v2, received example.test/v1)"),
        (_fail, "failed: cannot do that"),
        (_another_uid, "failed: expected response.uid="),
    ],
)
async def test_a_webhook_that_lies_fails_the_request(lie: Callable[[Json], Any], says: str) -> None:
    async with converting() as world:
        await world.ok("POST", V1, link("a", host="h", port="1"))
        world.lie = lie
        answer = await world.send("GET", f"{V2}/a")
        message = orjson.loads(answer.body)["message"]
        assert answer.status == 500
        assert message.startswith("conversion webhook for example.test/v1, Kind=Link ") and says in message
        assert (await world.ok("GET", f"{V1}/a"))["host"] == "h"  # its own version needs nobody
        world.lie = lambda response: None
        assert (await world.ok("GET", f"{V2}/a"))["hostPort"] == "h:1"


async def test_metadata_other_than_labels_and_annotations_stays() -> None:
    def meddle(response: Json) -> None:
        meta = response["convertedObjects"][0]["metadata"]
        meta["labels"] = {"from": "webhook"}
        meta["finalizers"] = ["never.test/asked"]

    async with converting() as world:
        await world.ok("POST", V1, link("a", host="h", port="1"))
        world.lie = meddle
        meta = (await world.ok("GET", f"{V2}/a"))["metadata"]
        assert meta["labels"] == {"from": "webhook"} and "finalizers" not in meta


async def test_a_write_is_done_once_even_if_its_answer_cannot_be_converted() -> None:
    async with converting() as world:

        def only_to_stored(response: Json) -> None:
            if response["convertedObjects"][0]["apiVersion"].endswith("v2"):
                response["convertedObjects"].clear()

        world.lie = only_to_stored
        assert (await world.send("POST", V2, link("a", hostPort="h:1"))).status == 500
        assert (await world.ok("GET", f"{V1}/a"))["host"] == "h"
