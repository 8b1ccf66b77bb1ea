"""crd_conversion_webhook.go: custom resources converted by a webhook."""

from tests.conformance.entry import conformance
from tests.unit.server.custom.converting import V1, V2, converting, link


@conformance(
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert "
    "from CR v1 to CR v2 [Conformance]"
)
async def test_one_version_becomes_the_other() -> None:
    async with converting() as world:
        await world.ok("POST", V1, link("a", host="localhost", port="8080"))
        found = await world.ok("GET", f"{V2}/a")
    assert found["hostPort"] == "localhost:8080" and "host" not in found


@conformance(
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert "
    "a non homogeneous list of CRs [Conformance]"
)
async def test_a_list_of_both_storage_versions_is_converted() -> None:
    async with converting() as world:
        await world.ok("POST", V1, link("a", host="localhost", port="8080"))
        await world.define(stored="v2")
        await world.ok("POST", V2, link("b", hostPort="localhost:8081"))
        v1, v2 = (await world.ok("GET", V1))["items"], (await world.ok("GET", V2))["items"]
    assert [(it["host"], it["port"]) for it in v1] == [("localhost", "8080"), ("localhost", "8081")]
    assert [it["hostPort"] for it in v2] == ["localhost:8080", "localhost:8081"]
