"""test/e2e/apimachinery/validatingadmissionpolicy.go: policies that say what a write must be."""

from tests.conformance.entry import conformance
from tests.conformance.policies import GROUP, binding, deployment, policy
from tests.conformance.world import World, names

KIND = "ValidatingAdmissionPolicy"
POLICIES, BINDINGS = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/validatingadmissionpolicybindings"


@conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should validate against a Deployment [Conformance]"
)
async def test_a_policy_refuses_a_deployment(api: World) -> None:
    validations = [
        {
            "expression": "object.spec.replicas > 1",
            "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
        },
        {
            "expression": "namespaceObject.metadata.name == '" + api.namespace + "'",
            "message": "Internal error! Other namespace should not be allowed.",
        },
    ]
    await api.create(POLICIES, policy(KIND, "p", validations=validations))
    await api.create(BINDINGS, binding(KIND, "b", "p", validationActions=["Deny"]))
    path = api.path("/apis/apps/v1", "deployments")
    await api.create(path, deployment("replicated", 2))
    refused = await api.refused(422, "POST", path, deployment("lonely", 1))
    text = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: wants replicas > 1, got 1"
    assert refused["message"] == f'deployments.apps "lonely" is forbidden: {text}'
    assert refused["reason"] == "Invalid" and refused["details"]["causes"] == [{"message": text}]


@conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should allow expressions to refer variables. [Conformance]"
)
async def test_expressions_refer_to_variables(api: World) -> None:
    spec = {
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        ],
        "validations": [
            {"expression": "variables.replicas > 1"},
            {"expression": "variables.oddReplicas", "reason": "Forbidden"},
        ],
    }
    await api.create(POLICIES, policy(KIND, "p", **spec))
    await api.create(BINDINGS, binding(KIND, "b", "p", validationActions=["Deny"]))
    path = api.path("/apis/apps/v1", "deployments")
    await api.create(path, deployment("three", 3))
    refused = await api.refused(422, "POST", path, deployment("one", 1))
    assert refused["message"].endswith("denied request: failed expression: variables.replicas > 1")
    refused = await api.refused(403, "POST", path, deployment("four", 4))
    assert refused["message"].endswith("denied request: failed expression: variables.oddReplicas")
    assert refused["reason"] == "Forbidden"


async def _operations(api: World, path: str, first: dict[str, object], change: dict[str, object]) -> None:
    discovery = await api.get("/apis/admissionregistration.k8s.io")
    assert "v1" in [item["version"] for item in discovery["versions"]]
    resources = {item["name"]: item for item in (await api.get(GROUP))["resources"]}
    assert {"create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"} <= set(
        resources[path.rpartition("/")[2]]["verbs"]
    )
    name = str(first["metadata"]["name"])  # type: ignore[index]
    async with api.watch(path) as watch:
        await api.create(path, first)
        found = await api.get(f"{path}/{name}")
        assert names(await api.get(path)) == [name]
        await api.patch(f"{path}/{name}", {"metadata": {"annotations": {"patched": "true"}}})
        found = await api.get(f"{path}/{name}")
        found["spec"] |= change
        replaced = await api.replace(f"{path}/{name}", found)
        assert replaced["metadata"]["annotations"] == {"patched": "true"} and replaced["metadata"]["generation"] == 2
        await api.delete(f"{path}/{name}")
        await api.create(path, first)
        await api.delete(path)
        assert names(await api.get(path)) == []
        assert (await watch.object("ADDED"))["metadata"]["name"] == name


@conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should support ValidatingAdmissionPolicy API operations [Conformance]"
)
async def test_policies_have_all_operations(api: World) -> None:
    first = policy(KIND, "p", validations=[{"expression": "object.spec.replicas <= 100"}])
    await _operations(api, POLICIES, first, {"validations": [{"expression": "object.spec.replicas <= 5"}]})
    await api.create(POLICIES, first)
    status = f"{POLICIES}/p/status"
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "r",
        "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    found = await api.patch(status, {"status": {"conditions": [condition]}})
    assert found["status"]["conditions"][0]["type"] == "Ready"
    found["status"]["conditions"][0]["message"] = "replaced"
    assert (await api.replace(status, found))["status"]["conditions"][0]["message"] == "replaced"
    assert (await api.get(status))["status"]["conditions"][0]["message"] == "replaced"


@conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should support ValidatingAdmissionPolicyBinding API operations [Conformance]"
)
async def test_bindings_have_all_operations(api: World) -> None:
    first = binding(KIND, "b", "p", validationActions=["Deny"])
    await _operations(api, BINDINGS, first, {"validationActions": ["Warn"]})
