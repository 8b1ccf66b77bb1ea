"""Definitions come, change and go: names, conditions, what is served meanwhile."""

from tests.unit.server.custom.world import BOATS, DEFINITIONS, boat, conditions, definition, spec_of, version, world

CRD = f"{DEFINITIONS}/boats.wherry.example"


async def test_a_definition_is_established_and_its_kind_served() -> None:
    async with world() as w:
        found = await w.define(definition(shortNames=["bt"], categories=["all"]))
        assert conditions(found) == {"NamesAccepted": "True", "Established": "True"}
        assert found["status"]["storedVersions"] == ["v1"]
        assert found["spec"]["names"]["singular"] == "boat"
        assert found["spec"]["names"]["listKind"] == "BoatList"
        assert found["spec"]["conversion"] == {"strategy": "None"}
        assert found["status"]["acceptedNames"] == found["spec"]["names"]
        made = await w.good("POST", BOATS, boat(spec={"crew": 2}))
        assert made["metadata"]["generation"] == 1
        listed = await w.good("GET", BOATS)
        assert (listed["kind"], [item["spec"] for item in listed["items"]]) == ("BoatList", [{"crew": 2}])


async def test_discovery_and_openapi_show_a_new_kind() -> None:
    async with world() as w:
        assert (await w.call("GET", "/apis/wherry.example/v1"))[0] == 404
        schema = spec_of(crew={"type": "integer", "minimum": 1})
        await w.define(definition(version(schema=schema, subresources={"status": {}}), shortNames=["bt"]))
        found = await w.good("GET", "/apis/wherry.example/v1")
        assert [item["name"] for item in found["resources"]] == ["boats", "boats/status"]
        assert found["resources"][0]["shortNames"] == ["bt"]
        document = await w.good("GET", "/openapi/v3/apis/wherry.example/v1")
        boats = document["components"]["schemas"]["example.wherry.v1.Boat"]
        assert boats["properties"]["spec"]["properties"]["crew"] == {"type": "integer", "minimum": 1}


async def test_names_that_are_taken_are_not_accepted_until_they_are_free() -> None:
    async with world() as w:
        await w.define(definition(shortNames=["bt"]))
        other = definition(kind="Barge", shortNames=["bt"])
        await w.good("POST", DEFINITIONS, other)
        path = f"{DEFINITIONS}/barges.wherry.example"
        found = await w.until(path, conditions)
        assert conditions(found) == {"NamesAccepted": "False", "Established": "False"}
        naming = found["status"]["conditions"][0]
        assert (naming["reason"], naming["message"]) == ("ShortNamesConflict", '"bt" is already in use')
        assert (await w.call("GET", "/apis/wherry.example/v1/barges"))[0] == 404
        await w.good("DELETE", CRD)
        await w.until(path, lambda it: conditions(it)["Established"] == "True")
        await w.served()
        await w.good("GET", "/apis/wherry.example/v1/barges")


async def test_deleting_a_definition_deletes_its_objects_first() -> None:
    async with world() as w:
        await w.define(definition())
        await w.good("POST", BOATS, boat("free"))
        await w.good("POST", BOATS, boat("held") | {"metadata": {"name": "held", "finalizers": ["wherry.example/x"]}})
        gone = await w.good("DELETE", CRD)
        assert gone["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        await w.until(CRD, lambda it: conditions(it).get("Terminating") == "True")
        await w.served()
        assert [item["metadata"]["name"] for item in (await w.good("GET", BOATS))["items"]] == ["held"]
        status, message = await w.refused("POST", BOATS, boat("late"))
        assert (status, message) == (405, "create not allowed while custom resource definition is terminating")
        patch = {"metadata": {"finalizers": None}}
        await w.good("PATCH", f"{BOATS}/held", patch, kind="application/merge-patch+json")
        await w.until(CRD, lambda it: it is None)
        await w.served()
        assert (await w.call("GET", BOATS))[0] == 404


async def test_a_definition_cannot_replace_a_built_in_kind() -> None:
    async with world() as w:
        body = definition(kind="Ingress")
        body["metadata"]["name"] = "ingresses.networking.k8s.io"
        body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
        body["spec"]["group"] = "networking.k8s.io"
        body["spec"]["names"]["plural"] = "ingresses"
        await w.define(body)
        found = await w.good("GET", "/apis/networking.k8s.io/v1")
        ingresses = next(item for item in found["resources"] if item["name"] == "ingresses")
        assert ingresses["shortNames"] == ["ing"]
        path = f"{DEFINITIONS}/ingresses.networking.k8s.io"
        await w.good("DELETE", path)
        await w.until(path, lambda it: it is None)


async def test_a_restarted_server_serves_what_was_established() -> None:
    async with world() as w:
        await w.define(definition())
        await w.good("POST", BOATS, boat(spec={"crew": 2}))
        await w.server.close()
        async with world(w.store) as again:
            assert (await again.good("GET", f"{BOATS}/b"))["spec"] == {"crew": 2}


async def test_every_version_serves_the_same_objects() -> None:
    async with world() as w:
        wide = spec_of(crew={"type": "integer"}, sail={"type": "string"})
        narrow = spec_of(crew={"type": "integer"})
        await w.define(definition(version("v1", wide), version("v2", narrow, storage=False)))
        await w.good("POST", BOATS, boat(spec={"crew": 2, "sail": "red"}))
        v2 = BOATS.replace("/v1/", "/v2/")
        found = await w.good("GET", f"{v2}/b")
        assert (found["apiVersion"], found["spec"]) == ("wherry.example/v2", {"crew": 2})
        await w.good("POST", v2, boat("c", "wherry.example/v2", spec={"crew": 3}))
        items = (await w.good("GET", BOATS))["items"]
        assert [item["apiVersion"] for item in items] == ["wherry.example/v1"] * 2
        status, message = await w.refused("POST", v2, boat("d"))
        assert status == 400
        assert "does not match the expected API version" in message


async def test_the_storage_version_may_change_under_stored_objects() -> None:
    async with world() as w:
        await w.define(definition(version("v1"), version("v1beta1", storage=False)))
        await w.good("POST", BOATS, boat(spec={"crew": 2}))
        found = await w.good("GET", CRD)
        for item in found["spec"]["versions"]:
            item["storage"] = item["name"] == "v1beta1"
        await w.good("PUT", CRD, found)
        await w.served()
        assert (await w.good("GET", CRD))["status"]["storedVersions"] == ["v1", "v1beta1"]
        for served in ("v1", "v1beta1"):
            path = f"{BOATS}/b".replace("/v1/", f"/{served}/")
            shown = await w.good("GET", path)
            assert (shown["apiVersion"], shown["spec"]) == (f"wherry.example/{served}", {"crew": 2})
        found = await w.good("GET", CRD)
        found["spec"]["versions"] = [item for item in found["spec"]["versions"] if item["name"] != "v1"]
        status, message = await w.refused("PUT", CRD, found)
        assert status == 422
        assert 'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions' in message


async def test_a_changed_schema_holds_from_then_on_and_its_defaults_show_in_old_objects() -> None:
    async with world() as w:
        await w.define(definition(version(schema=spec_of(crew={"type": "integer"}))))
        await w.good("POST", BOATS, boat(spec={"crew": 2, "sail": "red"}))
        found = await w.good("GET", CRD)
        properties = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        properties["sail"] = {"type": "string", "default": "white"}
        changed = await w.good("PUT", CRD, found)
        assert changed["metadata"]["generation"] == 2
        await w.served()
        assert (await w.good("GET", f"{BOATS}/b"))["spec"] == {"crew": 2, "sail": "white"}


async def test_watches_see_custom_objects_come_and_go() -> None:
    async with world() as w:
        await w.define(definition())
        revision = (await w.good("GET", BOATS))["metadata"]["resourceVersion"]
        await w.good("POST", BOATS, boat())
        await w.good("DELETE", f"{BOATS}/b")
        query = {"watch": "1", "resourceVersion": revision}
        seen = []
        async with w.server.client().stream(BOATS, query=query) as lines:
            async for line in lines:
                seen.append(line.split(b'"')[3])
                if len(seen) == 2:
                    break
        assert seen == [b"ADDED", b"DELETED"]


async def test_a_deprecated_version_warns_whoever_uses_it() -> None:
    async with world() as w:
        old = version("v1beta1", storage=False, deprecated=True)
        older = version("v1alpha1", storage=False, deprecated=True, deprecationWarning="sail with v1")
        await w.define(definition(version(), old, older))
        await w.good("POST", BOATS, boat())
        path = BOATS.replace("/v1/", "/{}/")
        for found, warning in (
            ("v1", None),
            ("v1beta1", '299 - "wherry.example/v1beta1 Boat is deprecated"'),
            ("v1alpha1", '299 - "sail with v1"'),
        ):
            for method, rest in (("GET", ""), ("GET", "/b"), ("GET", "/nothing")):
                headers = (await w.call(method, path.format(found) + rest))[2]
                assert headers.get("warning") == warning
