"""test/e2e/apimachinery/discovery.go and aggregated_discovery.go: what is served."""

from tests.conformance.definitions import DEFINITIONS, definition
from tests.conformance.entry import conformance
from tests.conformance.world import Json, World

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
BETA = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
BUILT_IN = {
    "apps": "deployments", "batch": "jobs", "rbac.authorization.k8s.io": "roles", "networking.k8s.io": "ingresses",
    "coordination.k8s.io": "leases", "policy": "poddisruptionbudgets", "admissionregistration.k8s.io":
    "validatingwebhookconfigurations", "apiextensions.k8s.io": "customresourcedefinitions",
}  # fmt: skip


def listed(document: Json) -> dict[str, dict[str, list[str]]]:
    """{group: {version: [resources]}}"""
    return {
        item["metadata"].get("name", ""): {
            version["version"]: [resource["resource"] for resource in version.get("resources", ())]
            for version in item["versions"]
        }
        for item in document["items"]
    }


@conformance("[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]")
async def test_the_preferred_version_is_one_of_the_versions(api: World) -> None:
    for group in (await api.get("/apis"))["groups"]:
        assert group["preferredVersion"] in group["versions"]
        found = await api.get(f"/apis/{group['name']}")
        assert found["preferredVersion"]["groupVersion"].startswith(f"{group['name']}/")
        assert found["preferredVersion"] in found["versions"]


@conformance(
    "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]"
)
async def test_each_group_version_lists_its_resources(api: World) -> None:
    groups = {item["name"]: item["preferredVersion"]["groupVersion"] for item in (await api.get("/apis"))["groups"]}
    for group, resource in BUILT_IN.items():
        found = await api.get(f"/apis/{groups[group]}")
        assert found["groupVersion"] == groups[group]
        assert resource in [item["name"] for item in found["resources"]]


@conformance(
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers "
    "[Conformance]"
)
async def test_the_accept_header_chooses_the_form(api: World) -> None:
    for path in ("/api", "/apis"):
        for accept, version in ((AGGREGATED, "apidiscovery.k8s.io/v2"), (BETA, "apidiscovery.k8s.io/v2beta1")):
            found = await api.get(path, accept=accept)
            assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", version)
    assert (await api.get("/apis", accept="application/json"))["kind"] == "APIGroupList"


@conformance("[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]")
async def test_built_in_groups_are_aggregated(api: World) -> None:
    found = listed(await api.get("/apis", accept=AGGREGATED))
    for group, resource in BUILT_IN.items():
        assert resource in found[group]["v1"]
    assert "pods" in listed(await api.get("/api", accept=AGGREGATED))[""]["v1"]


async def follows_a_definition(api: World) -> None:
    await api.define(definition())
    await api.until_object("/apis", lambda it: listed(it).get("example.com") == {"v1": ["noxus"]}, accept=AGGREGATED)
    await api.delete(f"{DEFINITIONS}/noxus.example.com")
    await api.until_object("/apis", lambda it: "example.com" not in listed(it), accept=AGGREGATED)


@conformance(
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs [Conformance]"
)
async def test_a_definition_comes_and_goes(api: World) -> None:
    await follows_a_definition(api)


@conformance(
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs [Conformance]"
)
async def test_kubectl_finds_a_custom_kind(served: World) -> None:
    await served.define(definition())
    assert "noxus" in (await served.kubectl("api-resources", "--api-group=example.com")).out
    await served.delete(f"{DEFINITIONS}/noxus.example.com")
