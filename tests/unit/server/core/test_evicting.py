"""Evictions: which pods a budget protects, what it says, what is left behind; how pods are bound and resized."""

from typing import Any

import orjson
import pytest

from tests.unit.server.core.conftest import PODS, Api, Json, pod

BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
HEALTHY = {
    "observedGeneration": 1,
    "disruptionsAllowed": 1,
    "currentHealthy": 3,
    "desiredHealthy": 2,
    "expectedPods": 3,
}
SPENT = HEALTHY | {"disruptionsAllowed": 0, "currentHealthy": 2}


async def running(api: Api, name: str = "p", phase: str = "Running", ready: str = "True") -> Json:
    await api.ok("POST", PODS, pod(name))
    await api.ok("POST", f"{PODS}/{name}/binding", {"metadata": {"name": name}, "target": {"name": "n1"}})
    found = await api.ok("GET", f"{PODS}/{name}")
    found["status"] = {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
    return await api.ok("PUT", f"{PODS}/{name}/status", found)


async def budget(api: Api, status: Json, name: str = "b", **spec: Any) -> None:
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "a"}}} | spec
    made = await api.ok("POST", BUDGETS, {"metadata": {"name": name}, "spec": spec})
    await api.ok("PUT", f"{BUDGETS}/{name}/status", made | {"status": status})


def eviction(name: str = "p", **options: Any) -> Json:
    return {"metadata": {"name": name}, "deleteOptions": options} if options else {"metadata": {"name": name}}


async def evicted(api: Api, body: Json | None = None, **query: str) -> tuple[int, Json]:
    answer = await api.send("POST", f"{PODS}/p/eviction", body or eviction(), **query)
    return answer.status, orjson.loads(answer.body)


def condition(status: Json, type_: str) -> Json:
    return next((item for item in status.get("conditions", []) if item["type"] == type_), {})


async def test_an_eviction_says_why_and_charges_the_budget(api: Api) -> None:
    await running(api)
    await budget(api, HEALTHY)
    assert await evicted(api) == (
        201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201},
    )  # fmt: skip
    gone = await api.ok("GET", f"{PODS}/p")
    assert gone["metadata"]["deletionTimestamp"]
    target = condition(gone["status"], "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "EvictionByEvictionAPI")
    assert target["message"] == "Eviction API: evicting"
    status = (await api.ok("GET", f"{BUDGETS}/b"))["status"]
    assert status["disruptionsAllowed"] == 0 and list(status["disruptedPods"]) == ["p"]
    allowed = condition(status, "DisruptionAllowed")
    assert (allowed["status"], allowed["reason"]) == ("False", "InsufficientPods")
    assert (await evicted(api))[0] == 201, "a pod that goes already is not protected"


SAID: dict[str, tuple[Json, int | None, str]] = {
    "spent": (SPENT, None, "The disruption budget b needs 2 healthy pods and has 2 currently"),
    "not seen yet": (
        HEALTHY | {"observedGeneration": 0}, 10, "The disruption budget b is still being processed by the server.",
    ),
    "failed": (
        SPENT | {"conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "m",
                                 "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        None, "The disruption budget b does not allow evicting pods currently because it failed sync: m",
    ),
    "for a reason": (
        SPENT | {"currentHealthy": 4,
                 "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "R", "message": "m",
                                 "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        None, "The disruption budget b does not allow evicting pods currently (R): m",
    ),
    "for none": (SPENT | {"currentHealthy": 4}, None, "The disruption budget b does not allow evicting pods currently"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
async def test_a_budget_refuses(api: Api, name: str) -> None:
    status, retry_seconds, why = SAID[name]
    await running(api)
    await budget(api, status)
    answer = await api.send("POST", f"{PODS}/p/eviction", eviction())
    said = orjson.loads(answer.body)
    assert (answer.status, said["reason"], said["message"]) == (
        429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.",
    )  # fmt: skip
    assert said["details"]["causes"] == [{"reason": "DisruptionBudget", "message": why}]
    assert said["details"].get("retryAfterSeconds") == retry_seconds
    assert answer.headers.get("retry-after") == (str(retry_seconds) if retry_seconds else None)
    assert not condition((await api.ok("GET", f"{PODS}/p"))["status"], "DisruptionTarget")


async def test_several_budgets_are_one_too_many(api: Api) -> None:
    await running(api)
    await budget(api, HEALTHY)
    await budget(api, HEALTHY, "c", selector={})
    code, said = await evicted(api)
    assert code == 500 and "reason" not in said
    assert said["message"] == (
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    )


async def test_a_budget_that_is_off_the_rails_forbids(api: Api) -> None:
    await running(api)
    many = {f"p{number}": "2026-01-01T00:00:00Z" for number in range(2001)}
    await budget(api, HEALTHY | {"disruptedPods": many})
    code, said = await evicted(api)
    assert code == 403
    assert said["message"] == (
        'poddisruptionbudget.policy "b" is forbidden: DisruptedPods map too big - too many evictions not confirmed by '
        "PDB controller"
    )


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_no_budget_protects_what_does_not_run(api: Api, phase: str) -> None:
    await running(api, phase=phase, ready="False")
    await budget(api, SPENT)
    assert (await evicted(api))[0] == 201
    answer = await api.send("GET", f"{PODS}/p")
    assert answer.status == 404 or orjson.loads(answer.body)["metadata"]["deletionTimestamp"]
    assert (await api.ok("GET", f"{BUDGETS}/b"))["status"]["disruptionsAllowed"] == 0


@pytest.mark.parametrize(
    "policy, status, code",
    [
        (None, SPENT, 201),
        ("IfHealthyBudget", SPENT | {"currentHealthy": 1}, 429),
        ("IfHealthyBudget", SPENT | {"desiredHealthy": 0}, 429),
        ("AlwaysAllow", SPENT | {"currentHealthy": 1}, 201),
    ],
)
async def test_unhealthy_pods_go_as_the_policy_says(api: Api, policy: str | None, status: Json, code: int) -> None:
    await running(api, ready="False")
    await budget(api, status, **({"unhealthyPodEvictionPolicy": policy} if policy else {}))
    assert (await evicted(api))[0] == code


async def test_a_dry_run_changes_nothing(api: Api) -> None:
    await running(api)
    await budget(api, HEALTHY)
    before = [(await api.ok("GET", path))["metadata"]["resourceVersion"] for path in (f"{PODS}/p", f"{BUDGETS}/b")]
    assert (await evicted(api, dryRun="All"))[0] == 201
    assert (await evicted(api, eviction(dryRun=["All"])))[0] == 201
    after = [(await api.ok("GET", path))["metadata"]["resourceVersion"] for path in (f"{PODS}/p", f"{BUDGETS}/b")]
    assert after == before
    await budget(api, HEALTHY, "c")
    assert (await evicted(api, dryRun="All"))[0] == 500


async def test_preconditions_hold(api: Api) -> None:
    found = await running(api)
    version = found["metadata"]["resourceVersion"]
    code, said = await evicted(api, eviction(preconditions={"uid": "other"}))
    assert code == 409 and "the UID in the precondition (other) does not match the UID in record" in said["message"]
    code, said = await evicted(api, eviction(preconditions={"resourceVersion": "1"}))
    assert code == 409
    assert f"(1) does not match the ResourceVersion in record ({version})" in said["message"]
    assert not condition((await api.ok("GET", f"{PODS}/p"))["status"], "DisruptionTarget")
    exact = {"uid": found["metadata"]["uid"], "resourceVersion": version}
    assert (await evicted(api, eviction(preconditions=exact, gracePeriodSeconds=0)))[0] == 201
    assert (await evicted(api))[0] == 404


async def test_the_eviction_names_the_pod_of_the_path(api: Api) -> None:
    await running(api)
    code, said = await evicted(api, eviction("other"))
    assert (code, said["message"]) == (400, "name in URL does not match name in Eviction object")


# Bindings


def binding(name: str = "p", target: Json | None = None, **meta: Any) -> Json:
    return {"metadata": {"name": name, **meta}, "target": target or {"kind": "Node", "name": "n1"}}


async def test_a_binding_brings_labels_and_annotations(api: Api) -> None:
    await api.ok("POST", PODS, pod("p"))
    made = binding(annotations={"a": "1"}, labels={"topology.kubernetes.io/zone": "z"})
    await api.ok("POST", "/api/v1/namespaces/default/bindings", made)
    found = await api.ok("GET", f"{PODS}/p")
    assert found["spec"]["nodeName"] == "n1" and found["metadata"]["annotations"] == {"a": "1"}
    assert found["metadata"]["labels"] == {"app": "a", "topology.kubernetes.io/zone": "z"}
    assert condition(found["status"], "PodScheduled")["observedGeneration"] == 1


async def test_what_a_binding_refuses(api: Api) -> None:
    await api.ok("POST", PODS, pod("gated", schedulingGates=[{"name": "g"}]))
    await api.ok("POST", PODS, pod("leaving") | {"metadata": {"name": "leaving", "finalizers": ["a/b"]}})
    await api.ok("DELETE", f"{PODS}/leaving")
    free = await api.ok("POST", PODS, pod("free"))
    stale = "StorageError: invalid object, Code: 4, Key: /registry/pods/default/free, ResourceVersion: 0, "
    uid, version = free["metadata"]["uid"], free["metadata"]["resourceVersion"]
    for name, body, code, message in (
        ("gated", binding("gated"), 409,
         'Operation cannot be fulfilled on pods/binding "gated": pod gated has non-empty .spec.schedulingGates'),
        ("leaving", binding("leaving"), 409,
         'Operation cannot be fulfilled on pods/binding "leaving": '
         "pod leaving is being deleted, cannot be assigned to a host"),
        ("free", binding("free", uid="other"), 409,
         f'Operation cannot be fulfilled on pods "free": {stale}AdditionalErrorMsg: Precondition failed: '
         f"UID in precondition: other, UID in object meta: {uid}"),
        ("free", binding("free", resourceVersion="1"), 409,
         f'Operation cannot be fulfilled on pods "free": {stale}AdditionalErrorMsg: Precondition failed: '
         f"ResourceVersion in precondition: 1, ResourceVersion in object meta: {version}"),
        ("free", binding("other"), 400, "name in URL does not match name in Binding object"),
        ("free", binding("free", {"kind": "Node"}), 500, "target.name: Required value"),
        ("free", binding("free", {"kind": "Pod", "name": "x"}), 500,
         'target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"'),
        ("none", binding("none"), 404, 'pods "none" not found'),
    ):  # fmt: skip
        said = await api.refused(code, "POST", f"{PODS}/{name}/binding", body)
        assert said["message"] == message
    await api.ok("POST", f"{PODS}/free/binding", binding("free", uid=uid, resourceVersion=version))
    said = await api.refused(409, "POST", f"{PODS}/free/binding", binding("free"))
    assert said["message"] == (
        'Operation cannot be fulfilled on pods/binding "free": pod free is already assigned to node "n1"'
    )


async def test_a_resize_changes_resources_and_nothing_else(api: Api) -> None:
    made = pod("p")
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    await api.ok("POST", PODS, made)
    container = {"name": "main", "image": "other", "resources": {"requests": {"cpu": "2"}}}
    change = {"metadata": {"labels": {"app": "b"}}, "spec": {"containers": [container]}}
    merge = "application/strategic-merge-patch+json"
    found = await api.ok("PATCH", f"{PODS}/p/resize", change, content_type=merge)
    [resized] = found["spec"]["containers"]
    assert resized["resources"] == {"requests": {"cpu": "2"}} and resized["image"] == "image"
    assert found["metadata"]["generation"] == 2 and found["metadata"]["labels"] == {"app": "a"}
    best_effort = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": None}}}]}}
    said = await api.refused(422, "PATCH", f"{PODS}/p/resize", best_effort, content_type=merge)
    assert "Pod QOS Class may not change as a result of resizing" in said["message"]
    assert "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed" in said["message"]
    assert (await api.ok("GET", f"{PODS}/p/resize"))["kind"] == "Pod"
    ephemeral = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}], "hostname": "h"}}
    found = await api.ok("PATCH", f"{PODS}/p/ephemeralcontainers", ephemeral, content_type=merge)
    assert found["spec"]["ephemeralContainers"][0]["name"] == "e" and "hostname" not in found["spec"]
