"""aggregator.go: an extension server's group served through this one."""

from tests.conformance.entry import conformance
from tests.unit.server.aggregation.sample import APISERVICES, GROUP, GROUP_VERSION, NAME, VERSION, extended

FLUNDERS = f"{GROUP_VERSION}/namespaces/default/flunders"


@conformance(
    "[sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current "
    "Aggregator [LinuxOnly] [Conformance]"
)
async def test_a_sample_api_server_is_served() -> None:
    async with extended() as world:
        await world.register()
        await world.condition("True", "Passed")
        status = await world.ok("GET", f"{APISERVICES}/{NAME}/status")
        assert status["status"]["conditions"][0]["message"] == "all checks passed"
        assert GROUP in [it["name"] for it in (await world.ok("GET", "/apis"))["groups"]]
        flunder = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Flunder", "metadata": {"name": "rest-flunder"}}
        assert await world.ok("POST", FLUNDERS, flunder) == flunder
        assert [it["metadata"]["name"] for it in (await world.ok("GET", FLUNDERS))["items"]] == ["rest-flunder"]
        await world.ok("DELETE", f"{FLUNDERS}/rest-flunder")
        assert (await world.ok("GET", FLUNDERS))["items"] == []
        item = await world.ok("GET", f"{APISERVICES}/{NAME}")
        item["metadata"]["annotations"] = {"updated": "yes"}
        assert (await world.ok("PUT", f"{APISERVICES}/{NAME}", item))["metadata"]["annotations"] == {"updated": "yes"}
        await world.ok("DELETE", APISERVICES, fieldSelector=f"metadata.name={NAME}")
        assert (await world.send("GET", FLUNDERS)).status == 404
