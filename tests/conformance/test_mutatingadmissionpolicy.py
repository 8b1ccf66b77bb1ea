"""test/e2e/apimachinery/mutatingadmissionpolicy.go: policies that change what is written."""

from typing import Any

from tests.conformance.entry import conformance
from tests.conformance.policies import GROUP, binding, deployment, policy
from tests.conformance.test_validatingadmissionpolicy import _operations
from tests.conformance.world import World

KIND = "MutatingAdmissionPolicy"
POLICIES, BINDINGS = f"{GROUP}/mutatingadmissionpolicies", f"{GROUP}/mutatingadmissionpolicybindings"


def applying(expression: str, **more: Any) -> dict[str, Any]:
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
    return policy(KIND, "p", mutations=[mutation], reinvocationPolicy="Never", **more)


@conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment [Conformance]"
)
async def test_a_policy_changes_a_deployment(api: World) -> None:
    await api.create(POLICIES, applying("Object{spec: Object.spec{replicas: object.spec.replicas + 2}}"))
    await api.create(BINDINGS, binding(KIND, "b", "p"))
    made = await api.create(api.path("/apis/apps/v1", "deployments"), deployment("web", 1))
    assert made["spec"]["replicas"] == 3
    assert made["spec"]["template"]["spec"]["containers"][0]["name"] == "c"


@conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should mutate a Deployment with annotations [Conformance]"
)
async def test_a_policy_adds_annotations(api: World) -> None:
    text = "Object{metadata: Object.metadata{annotations: {'my-annotation': 'added'}}}"
    await api.create(POLICIES, applying(text))
    await api.create(BINDINGS, binding(KIND, "b", "p"))
    path = api.path("/apis/apps/v1", "deployments")
    made = await api.create(path, deployment("web", annotations={"own": "kept"}))
    assert made["metadata"]["annotations"] == {"own": "kept", "my-annotation": "added"}


@conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should support MutatingAdmissionPolicy API operations [Conformance]"
)
async def test_policies_have_all_operations(api: World) -> None:
    first = applying("Object{spec: Object.spec{replicas: 2}}")
    change = {"mutations": applying("Object{spec: Object.spec{replicas: 3}}")["spec"]["mutations"]}
    await _operations(api, POLICIES, first, change)


@conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should support MutatingAdmissionPolicyBinding API operations [Conformance]"
)
async def test_bindings_have_all_operations(api: World) -> None:
    await _operations(api, BINDINGS, binding(KIND, "b", "p"), {"policyName": "q"})
