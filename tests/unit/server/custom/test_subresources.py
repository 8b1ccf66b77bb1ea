"""Status, scale, columns, selectable fields and server-side apply of custom resources."""

from typing import Any

from tests.unit.server.custom.world import BOATS, Json, World, boat, definition, spec_of, version, world

ONE = f"{BOATS}/b"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json"


def schema(**properties: Json) -> Json:
    found: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec_of(**properties), "status": found}}}


async def fleet(w: World, **more: Any) -> None:
    fields = {"crew": {"type": "integer"}, "color": {"type": "string"}, "selector": {"type": "string"}}
    await w.define(definition(version(subresources={"status": {}}) | {"schema": schema(**fields)} | more))


async def test_the_status_is_written_apart_and_only_the_spec_makes_generations() -> None:
    async with world() as w:
        await fleet(w)
        made = await w.good("POST", BOATS, boat(spec={"crew": 1}, status={"phase": "Built"}))
        assert "status" not in made
        made["status"] = {"phase": "Afloat"}
        made["spec"]["crew"] = 9
        made["metadata"]["labels"] = {"a": "b"}
        after = await w.good("PUT", f"{ONE}/status", made)
        assert (after["status"], after["spec"], after["metadata"]["generation"]) == (
            {"phase": "Afloat"},
            {"crew": 1},
            1,
        )
        assert "labels" not in after["metadata"]
        after = await w.good("PATCH", ONE, {"spec": {"crew": 2}, "status": {"phase": "Sunk"}}, kind=MERGE)
        assert (after["status"], after["spec"], after["metadata"]["generation"]) == (
            {"phase": "Afloat"},
            {"crew": 2},
            2,
        )
        after = await w.good("PATCH", ONE, {"metadata": {"labels": {"a": "b"}}}, kind=MERGE)
        assert after["metadata"]["generation"] == 2
        after = await w.good("PATCH", f"{ONE}/status", {"status": {"phase": "Sunk"}}, kind=MERGE)
        assert (after["status"], after["metadata"]["generation"]) == ({"phase": "Sunk"}, 2)


async def test_without_a_status_subresource_the_status_is_content_like_any_other() -> None:
    async with world() as w:
        await w.define(definition())
        made = await w.good("POST", BOATS, boat(status={"phase": "Built"}))
        assert made["status"] == {"phase": "Built"}
        after = await w.good("PATCH", ONE, {"status": {"phase": "Afloat"}}, kind=MERGE)
        assert (after["status"], after["metadata"]["generation"]) == ({"phase": "Afloat"}, 2)
        assert (await w.call("PUT", f"{ONE}/status", after))[0] == 404


async def test_scale_reads_and_writes_the_paths_that_the_definition_names() -> None:
    scale = {
        "specReplicasPath": ".spec.crew",
        "statusReplicasPath": ".status.aboard",
        "labelSelectorPath": ".spec.selector",
    }
    async with world() as w:
        await fleet(w, subresources={"status": {}, "scale": scale})
        await w.good("POST", BOATS, boat(spec={"crew": 2, "selector": "app=boat"}))
        await w.good("PATCH", f"{ONE}/status", {"status": {"aboard": 1}}, kind=MERGE)
        found = await w.good("GET", f"{ONE}/scale")
        assert (found["kind"], found["apiVersion"]) == ("Scale", "autoscaling/v1")
        assert (found["spec"], found["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "app=boat"})
        found["spec"]["replicas"] = 5
        await w.good("PUT", f"{ONE}/scale", found)
        after = await w.good("GET", ONE)
        assert (after["spec"]["crew"], after["metadata"]["generation"]) == (5, 2)


async def test_tables_have_the_columns_of_the_definition() -> None:
    columns: list[Json] = [
        {"name": "Crew", "type": "integer", "jsonPath": ".spec.crew"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Docked", "type": "date", "jsonPath": ".status.docked", "priority": 1},
        {"name": "Hold", "type": "string", "jsonPath": ".status.hold"},
        {"name": "None", "type": "string", "jsonPath": ".spec.nothing"},
    ]
    async with world() as w:
        await fleet(w, additionalPrinterColumns=columns)
        await w.good("POST", BOATS, boat(spec={"crew": 2}))
        status = {"conditions": [{"type": "Ready", "status": "True"}], "docked": "never", "hold": {"tea": 1}}
        await w.good("PATCH", f"{ONE}/status", {"status": status}, kind=MERGE)
        table = await w.good("GET", BOATS, accept=TABLE)
        assert [item["name"] for item in table["columnDefinitions"]] == ["Name", *(item["name"] for item in columns)]
        assert [item["priority"] for item in table["columnDefinitions"]] == [0, 0, 0, 1, 0, 0]
        assert table["rows"][0]["cells"] == ["b", 2, "True", "<invalid>", '{"tea":1}', None]


async def test_tables_have_an_age_when_the_definition_names_no_columns() -> None:
    async with world() as w:
        await fleet(w)
        await w.good("POST", BOATS, boat())
        table = await w.good("GET", BOATS, accept=TABLE)
        assert [(item["name"], item["type"]) for item in table["columnDefinitions"]] == [
            ("Name", "string"),
            ("Age", "date"),
        ]
        assert table["rows"][0]["cells"][1].endswith("s")


async def test_selectable_fields_select() -> None:
    async with world() as w:
        await fleet(w, selectableFields=[{"jsonPath": ".spec.color"}])
        await w.good("POST", BOATS, boat("r", spec={"color": "red"}))
        await w.good("POST", BOATS, boat("g", spec={"color": "green"}))
        found = await w.good("GET", BOATS, fieldSelector="spec.color=red")
        assert [item["metadata"]["name"] for item in found["items"]] == ["r"]
        status, message = await w.refused("GET", BOATS, fieldSelector="spec.crew=1")
        assert (status, message) == (400, "field label not supported: spec.crew")


async def test_apply_merges_lists_by_their_keys_and_keeps_owners_apart() -> None:
    item = spec_of(name={"type": "string"}, oars={"type": "integer"}) | {"required": ["name"]}
    seats = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    async with world() as w:
        await fleet(w, schema=schema(seats=seats, crew={"type": "integer"}))
        apply = "application/apply-patch+yaml"
        for manager, name in (("one", "bow"), ("two", "stern")):
            body = boat(spec={"seats": [{"name": name, "oars": 1}]})
            await w.good("PATCH", ONE, body, kind=apply, fieldManager=manager)
        found = await w.good("GET", ONE)
        assert {seat["name"] for seat in found["spec"]["seats"]} == {"bow", "stern"}
        assert [entry["manager"] for entry in found["metadata"]["managedFields"]] == ["one", "two"]
        body = boat(spec={"seats": [{"name": "bow", "oars": 2}]})
        status, message = await w.refused("PATCH", ONE, body, kind=apply, fieldManager="two")
        assert (status, message) == (
            409,
            'Apply failed with 1 conflict: conflict with "one": .spec.seats[name="bow"].oars',
        )
        found = await w.good("PATCH", ONE, boat(spec={"seats": []}), kind=apply, fieldManager="two")
        assert found["spec"]["seats"] == [{"name": "bow", "oars": 1}]


async def test_strategic_merge_patches_are_refused() -> None:
    async with world() as w:
        await fleet(w)
        await w.good("POST", BOATS, boat())
        status, _ = await w.refused("PATCH", ONE, {}, kind="application/strategic-merge-patch+json")
        assert status == 415
