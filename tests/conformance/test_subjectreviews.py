"""test/e2e/auth/subjectreviews.go: asking what a service account may do, in the cluster and in a namespace."""

from tests.conformance.entry import conformance
from tests.conformance.world import World, names

AUTHORIZATION = "/apis/authorization.k8s.io/v1"


@conformance("[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]")
async def test_subject_access_reviews(api: World) -> None:
    await api.create(api.core("serviceaccounts"), {"metadata": {"name": "e2e-subject"}})
    found = await api.get(api.core("serviceaccounts"))
    assert "e2e-subject" in names(found)
    user = f"system:serviceaccount:{api.namespace}:e2e-subject"
    wanted = {"namespace": api.namespace, "verb": "list", "resource": "configmaps", "version": "v1"}
    spec = {"user": user, "groups": [user], "resourceAttributes": wanted}
    review = await api.create(f"{AUTHORIZATION}/subjectaccessreviews", {"spec": spec})
    assert review["kind"] == "SubjectAccessReview" and review["status"]["allowed"] is False
    path = api.path(AUTHORIZATION, "localsubjectaccessreviews")
    local = await api.create(path, {"metadata": {"namespace": api.namespace}, "spec": spec})
    assert local["kind"] == "LocalSubjectAccessReview"
    assert local["status"]["allowed"] == review["status"]["allowed"]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    subjects = [{"kind": "ServiceAccount", "name": "e2e-subject"}]
    bindings = api.path("/apis/rbac.authorization.k8s.io/v1", "rolebindings")
    await api.create(bindings, {"metadata": {"name": "view"}, "roleRef": role, "subjects": subjects})
    assert (await api.create(path, {"spec": spec}))["status"]["allowed"] is True


async def test_reviews_are_read_strictly(api: World) -> None:
    path = f"{AUTHORIZATION}/subjectaccessreviews"
    spec = {"user": "ann", "resourceAttributes": {"verb": "get", "resource": "pods"}}
    refusal = await api.refused(422, "POST", path, {"metadata": {"name": "x"}, "spec": spec})
    assert refusal["message"].endswith("must be empty")
    both = {"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}
    spec = {"user": "ann", "resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": both}}
    refusal = await api.refused(422, "POST", path, {"spec": spec})
    assert "may not specified at the same time as requirements" in refusal["message"]


async def test_selectors_count_in_reviews(api: World) -> None:
    path = f"{AUTHORIZATION}/subjectaccessreviews"
    chosen = {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]}
    wanted = {"verb": "list", "resource": "pods", "version": "v1"}
    for selector, allowed in ((chosen, True), ({"rawSelector": "spec.nodeName=n2"}, False)):
        attributes = wanted | {"fieldSelector": selector}
        spec = {"user": "system:node:n1", "groups": ["system:nodes"], "resourceAttributes": attributes}
        assert (await api.create(path, {"spec": spec}))["status"]["allowed"] is allowed
