"""test/e2e/apimachinery/namespace.go: a namespace's life, and that its contents go with it, pods first."""

from tests.conformance.entry import conformance
from tests.conformance.world import World, condition, pod

NAMESPACES = "/api/v1/namespaces"


async def removed_with_its_namespace(cluster: World, plural: str, body: dict[str, object]) -> None:
    """Delete and make again a namespace: what was in the first is not in the second."""
    path = f"{NAMESPACES}/short-lived"
    await cluster.create(NAMESPACES, {"metadata": {"name": "short-lived"}})
    accounts = cluster.core("serviceaccounts", namespace="short-lived")
    await cluster.until_object(accounts, lambda it: it["items"])
    await cluster.create(cluster.core(plural, namespace="short-lived"), body)
    await cluster.delete(path)
    await cluster.gone(path)
    await cluster.create(NAMESPACES, {"metadata": {"name": "short-lived"}})
    assert (await cluster.get(cluster.core(plural, namespace="short-lived")))["items"] == []


@conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted "
    "[Conformance]"
)
async def test_pods_go_with_their_namespace(cluster: World) -> None:
    await removed_with_its_namespace(cluster, "pods", pod("test-pod"))


@conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted "
    "[Conformance]"
)
async def test_services_go_with_their_namespace(cluster: World) -> None:
    spec = {"selector": {"foo": "bar"}, "ports": [{"port": 80}]}
    await removed_with_its_namespace(cluster, "services", {"metadata": {"name": "test-service"}, "spec": spec})


@conformance("[sig-api-machinery] Namespaces [Serial] should patch a Namespace [Conformance]")
async def test_a_namespace_is_patched(api: World) -> None:
    await api.create(NAMESPACES, {"metadata": {"name": "patched"}})
    await api.patch(f"{NAMESPACES}/patched", {"metadata": {"labels": {"testLabel": "testValue"}}}, "strategic")
    found = await api.get(f"{NAMESPACES}/patched")
    assert found["metadata"]["labels"] == {"testLabel": "testValue", "kubernetes.io/metadata.name": "patched"}


@conformance("[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status [Conformance]")
async def test_a_namespace_status_is_patched_and_updated(api: World) -> None:
    path = f"{NAMESPACES}/status-test"
    await api.create(NAMESPACES, {"metadata": {"name": "status-test"}})
    assert (await api.get(f"{path}/status"))["status"] == {"phase": "Active"}
    patched = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
    found = await api.patch(
        f"{path}/status",
        {"metadata": {"annotations": {"e2e": "patched"}}, "status": {"conditions": [patched]}},
    )
    assert condition(found, "StatusPatch") == patched
    updated = patched | {"type": "StatusUpdate", "message": "Updated by an e2e test"}
    found["status"]["conditions"].append(updated)
    found = await api.replace(f"{path}/status", found)
    assert condition(found, "StatusUpdate") == updated
    assert condition(await api.get(path), "StatusPatch") == patched


@conformance("[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace [Conformance]")
async def test_a_namespace_is_updated(api: World) -> None:
    path = f"{NAMESPACES}/{api.namespace}"
    found = await api.get(path)
    found["metadata"].setdefault("labels", {})[api.namespace] = "updated"
    await api.replace(path, found)
    assert (await api.get(path))["metadata"]["labels"][api.namespace] == "updated"


@conformance("[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace [Conformance]")
async def test_a_finalizer_is_added_and_removed_by_the_finalize_subresource(api: World) -> None:
    path = f"{NAMESPACES}/finalized"
    found = await api.create(NAMESPACES, {"metadata": {"name": "finalized"}})
    assert found["spec"]["finalizers"] == ["kubernetes"]
    found["spec"]["finalizers"].append("example.com/e2e")
    found = await api.replace(f"{path}/finalize", found)
    assert found["spec"]["finalizers"] == ["kubernetes", "example.com/e2e"]
    found["spec"]["finalizers"].remove("example.com/e2e")
    found = await api.replace(f"{path}/finalize", found)
    assert found["spec"]["finalizers"] == ["kubernetes"]
    assert (await api.get(path))["status"]["phase"] == "Active"


@conformance("[sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first [Conformance]")
async def test_pods_are_deleted_before_anything_else(cluster: World) -> None:
    path = f"{NAMESPACES}/ordered"
    await cluster.create(NAMESPACES, {"metadata": {"name": "ordered"}})
    pods, maps = (cluster.core(plural, namespace="ordered") for plural in ("pods", "configmaps"))
    await cluster.until_object(cluster.core("serviceaccounts", namespace="ordered"), lambda it: it["items"])
    held = pod("held")
    held["metadata"]["finalizers"] = ["e2e.example.com/finalizer"]
    await cluster.create(pods, held)
    await cluster.create(maps, {"metadata": {"name": "config"}, "data": {"key": "value"}})
    await cluster.delete(path)
    found = await cluster.until_object(
        path, lambda it: condition(it, "NamespaceDeletionContentFailure") and condition(it, "NamespaceContentRemaining")
    )
    assert condition(found, "NamespaceDeletionContentFailure")["status"] == "False"
    assert (await cluster.get(f"{pods}/held"))["metadata"]["deletionTimestamp"]
    assert "deletionTimestamp" not in (await cluster.get(f"{maps}/config"))["metadata"]
    await cluster.patch(f"{pods}/held", {"metadata": {"finalizers": None}})
    await cluster.gone(path)
