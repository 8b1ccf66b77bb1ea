"""Deletion: at once, gracefully, held by finalizers; collections; and the subresources of pods and workloads."""

import asyncio
from collections.abc import Callable

from tests.unit.server.core.conftest import MAPS, PODS, Api, Json, pod

Make = Callable[..., Json]


async def bound_pod(api: Api, name: str) -> Json:
    await api.ok("POST", PODS, pod(name))
    await api.ok("POST", f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": "n1"}})
    return await api.ok("GET", f"{PODS}/{name}")


async def test_a_deletion_answers_success_with_details(api: Api, config_map: Make) -> None:
    made = await api.ok("POST", MAPS, config_map())
    status = await api.ok("DELETE", f"{MAPS}/one")
    assert status == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "one", "kind": "configmaps", "uid": made["metadata"]["uid"]},
    }
    await api.refused(404, "DELETE", f"{MAPS}/one")


async def test_preconditions_protect_the_successor(api: Api, config_map: Make) -> None:
    await api.ok("POST", MAPS, config_map())
    status = await api.refused(409, "DELETE", f"{MAPS}/one", {"preconditions": {"uid": "other"}})
    assert "the UID in the precondition (other) does not match the UID in record" in status["message"]
    await api.refused(409, "DELETE", f"{MAPS}/one", {"preconditions": {"resourceVersion": "1"}})


async def test_finalizers_hold_an_object_until_the_last_one_goes(api: Api, config_map: Make) -> None:
    made = await api.ok("POST", MAPS, config_map(metadata={"finalizers": ["example.com/hold"]}))
    marked = await api.ok("DELETE", f"{MAPS}/one")
    assert marked["metadata"]["deletionTimestamp"] and marked["metadata"]["deletionGracePeriodSeconds"] == 0
    marked["metadata"]["finalizers"] = []
    await api.ok("PUT", f"{MAPS}/one", marked)
    await api.refused(404, "GET", f"{MAPS}/one")
    assert marked["metadata"]["uid"] == made["metadata"]["uid"]


async def test_propagation_policies_become_finalizers(api: Api, config_map: Make) -> None:
    for policy, finalizer in (("Orphan", "orphan"), ("Foreground", "foregroundDeletion")):
        await api.ok("POST", MAPS, config_map(policy.lower()))
        marked = await api.ok("DELETE", f"{MAPS}/{policy.lower()}", {"propagationPolicy": policy})
        assert marked["metadata"]["finalizers"] == [finalizer]
    await api.refused(422, "DELETE", f"{MAPS}/orphan", {"propagationPolicy": "Sometimes"})


async def test_a_running_pod_gets_its_grace_period_and_is_removed_by_its_kubelet(api: Api) -> None:
    await bound_pod(api, "p")
    marked = await api.ok("DELETE", f"{PODS}/p")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = await api.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 5})
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = await api.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 60})
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
    await api.ok("DELETE", f"{PODS}/p", gracePeriodSeconds="0")
    await api.refused(404, "GET", f"{PODS}/p")


async def test_a_pod_without_a_node_goes_at_once(api: Api) -> None:
    await api.ok("POST", PODS, pod("p"))
    await api.ok("DELETE", f"{PODS}/p")
    await api.refused(404, "GET", f"{PODS}/p")


async def test_dry_run_deletes_nothing(api: Api, config_map: Make) -> None:
    await api.ok("POST", MAPS, config_map())
    await api.ok("DELETE", f"{MAPS}/one", dryRun="All")
    await api.ok("GET", f"{MAPS}/one")


async def test_a_collection_is_deleted_by_selector(api: Api, config_map: Make) -> None:
    for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
        await api.ok("POST", MAPS, config_map(name, metadata={"labels": {"l": label}}))
    deleted = await api.ok("DELETE", MAPS, labelSelector="l=x")
    assert len(deleted["items"]) == 2
    assert [item["metadata"]["name"] for item in (await api.ok("GET", MAPS))["items"]] == ["b"]


async def test_a_namespace_terminates_until_it_is_finalized(api: Api, config_map: Make) -> None:
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
    gone = await api.ok("DELETE", "/api/v1/namespaces/n")
    assert gone["status"]["phase"] == "Terminating" and gone["spec"]["finalizers"] == ["kubernetes"]
    status = await api.refused(403, "POST", "/api/v1/namespaces/n/configmaps", config_map())
    assert "because it is being terminated" in status["message"]
    gone["spec"]["finalizers"] = []
    await api.ok("PUT", "/api/v1/namespaces/n/finalize", gone)
    await api.refused(404, "GET", "/api/v1/namespaces/n")


async def test_a_pod_is_bound_once(api: Api) -> None:
    found = await bound_pod(api, "p")
    assert found["spec"]["nodeName"] == "n1"
    assert found["status"]["conditions"][0]["type"] == "PodScheduled"
    again = {"target": {"kind": "Node", "name": "n2"}}
    status = await api.refused(409, "POST", f"{PODS}/p/binding", again)
    assert 'is already assigned to node "n1"' in status["message"]


async def test_eviction_spends_a_disruption_budget_and_is_refused_when_it_is_spent(api: Api) -> None:
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    for name in ("p1", "p2"):
        found = await bound_pod(api, name)
        found["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await api.ok("PUT", f"{PODS}/{name}/status", found)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    budget = await api.ok("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
    budget["status"] = {
        "observedGeneration": 1,
        "disruptionsAllowed": 1,
        "currentHealthy": 2,
        "desiredHealthy": 1,
        "expectedPods": 2,
    }
    await api.ok("PUT", f"{budgets}/b/status", budget)
    await api.ok("POST", f"{PODS}/p1/eviction", {"metadata": {"name": "p1"}})
    status = await api.refused(429, "POST", f"{PODS}/p2/eviction", {"metadata": {"name": "p2"}})
    assert status["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert (await api.ok("GET", f"{PODS}/p1"))["metadata"]["deletionTimestamp"]


async def test_scale_reads_and_sets_replicas(api: Api) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await api.ok("POST", path, {"metadata": {"name": "d"}, "spec": spec})
    scale = await api.ok("GET", f"{path}/d/scale")
    assert scale["kind"] == "Scale" and scale["spec"] == {"replicas": 2} and scale["status"]["selector"] == "a=b"
    scaled = await api.ok(
        "PATCH", f"{path}/d/scale", {"spec": {"replicas": 5}}, content_type="application/merge-patch+json"
    )
    assert scaled["spec"]["replicas"] == 5
    found = await api.ok("GET", f"{path}/d")
    assert found["spec"]["replicas"] == 5 and found["metadata"]["generation"] == 2


async def test_many_writers_lose_nothing(api: Api, config_map: Make) -> None:
    await asyncio.gather(*(api.ok("POST", MAPS, config_map(f"m{n}")) for n in range(100)))
    assert len((await api.ok("GET", MAPS))["items"]) == 100


async def test_what_is_not_allowed_on_a_path_is_405(api: Api) -> None:
    await api.refused(405, "PUT", MAPS, {})
    await api.refused(405, "POST", "/api/v1/namespaces/default/configmaps/x", {})
