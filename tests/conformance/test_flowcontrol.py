"""test/e2e/apimachinery/flowcontrol.go: the two kinds of API priority and fairness."""

from tests.conformance.entry import conformance
from tests.conformance.operations import discovered, operations
from tests.conformance.world import World

GROUP = "/apis/flowcontrol.apiserver.k8s.io/v1"
CONDITION = {"type": "Dangling", "status": "True", "reason": "Test", "message": "set by a test"}


@conformance("[sig-api-machinery] API priority and fairness should support FlowSchema API operations [Conformance]")
async def test_flow_schemas(api: World) -> None:
    await discovered(api, "flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "flowschemas/status")
    spec = {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"}}
    status = {"conditions": [CONDITION | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    await operations(api, f"{GROUP}/flowschemas", {"spec": spec}, {"spec": {"matchingPrecedence": 9999}}, status)


@conformance(
    "[sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations "
    "[Conformance]"
)
async def test_priority_levels(api: World) -> None:
    await discovered(
        api, "flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", "prioritylevelconfigurations/status"
    )
    limited = {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}
    change = {"spec": {"limited": {"nominalConcurrencyShares": 4}}}
    status = {"conditions": [CONDITION | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    made = {"spec": {"type": "Limited", "limited": limited}}
    await operations(api, f"{GROUP}/prioritylevelconfigurations", made, change, status)
