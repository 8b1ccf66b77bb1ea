"""test/e2e/apimachinery/table_conversion.go: no table of what has no metadata."""

from tests.conformance.entry import conformance
from tests.conformance.world import World


@conformance(
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does "
    "not implement metadata [Conformance]"
)
async def test_a_review_has_no_table(api: World) -> None:
    spec = {"nonResourceAttributes": {"path": "", "verb": "get"}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    refused = await api.refused(406, "POST", path, body, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert refused["reason"] == "NotAcceptable"
