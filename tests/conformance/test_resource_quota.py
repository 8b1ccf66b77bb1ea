"""test/e2e/apimachinery/resource_quota.go: a quota's status follows what its namespace uses."""

import asyncio
from typing import Any

from tests.conformance.definitions import definition, instance
from tests.conformance.entry import conformance
from tests.conformance.operations import contains
from tests.conformance.world import Json, World, pod

HARD = {
    "pods": "5", "services": "10", "services.nodeports": "1", "services.loadbalancers": "1",
    "replicationcontrollers": "10", "resourcequotas": "1", "configmaps": "10", "secrets": "10",
    "persistentvolumeclaims": "10", "requests.storage": "10Gi", "cpu": "1", "memory": "500Mi",
    "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10", "count/replicasets.apps": "5",
    "gold.storageclass.storage.k8s.io/requests.storage": "10Gi", "ephemeral-storage": "50Gi",
    "requests.example.com/dongle": "3",
}  # fmt: skip


async def make_quota(cluster: World, hard: Json | None = None, name: str = "test-quota", **spec: Any) -> Json:
    return await cluster.create(
        cluster.core("resourcequotas"), {"metadata": {"name": name}, "spec": {"hard": hard or HARD, **spec}}
    )


async def uses(cluster: World, expected: Json, name: str = "test-quota") -> None:
    """The quota comes to say so of its use."""
    await cluster.until_object(
        cluster.core("resourcequotas", name),
        lambda it: it["status"].get("hard") == it["spec"]["hard"] and contains(it["status"].get("used"), expected),
    )


def asking(name: str, requests: Json, limits: Json | None = None, **spec: Any) -> Json:
    made = pod(name, **spec)
    made["spec"]["containers"][0]["resources"] = {"requests": requests, "limits": limits or {}}
    return made


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated. "
    "[Conformance]"
)
async def test_status_is_calculated(cluster: World) -> None:
    await make_quota(cluster)
    await uses(cluster, dict.fromkeys(HARD, "0") | {"resourcequotas": "1", "configmaps": "1"})


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service. [Conformance]"
)
async def test_services(cluster: World) -> None:
    await make_quota(cluster)
    await uses(cluster, {"resourcequotas": "1", "services": "0"})
    ports = {"ports": [{"port": 80, "targetPort": 80}]}
    path = cluster.core("services")
    await cluster.create(path, {"metadata": {"name": "plain"}, "spec": {"type": "ClusterIP", **ports}})
    await cluster.create(path, {"metadata": {"name": "node"}, "spec": {"type": "NodePort", **ports}})
    balancer = {"metadata": {"name": "balancer"}, "spec": {"type": "LoadBalancer", **ports}}
    said = await cluster.refused(403, "POST", path, balancer)
    assert said["message"] == (
        'services "balancer" is forbidden: exceeded quota: test-quota, requested: services.nodeports=1, '
        "used: services.nodeports=1, limited: services.nodeports=1"
    )
    await uses(cluster, {"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"})
    await cluster.delete(f"{path}/plain")
    await cluster.delete(f"{path}/node")
    await uses(cluster, {"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"})


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret. [Conformance]"
)
async def test_secrets(cluster: World) -> None:
    await make_quota(cluster)
    await uses(cluster, {"resourcequotas": "1", "secrets": "0"})
    path = cluster.core("secrets")
    await cluster.create(path, {"metadata": {"name": "test-secret"}, "data": {"data-1": "dmFsdWUtMQo="}})
    await uses(cluster, {"secrets": "1"})
    await cluster.delete(f"{path}/test-secret")
    await uses(cluster, {"secrets": "0"})


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap. [Conformance]"
)
async def test_config_maps(cluster: World) -> None:
    path = cluster.core("configmaps")
    await cluster.until_object(path, lambda it: it["items"])
    await make_quota(cluster)
    await uses(cluster, {"resourcequotas": "1", "configmaps": "1"})
    await cluster.create(path, {"metadata": {"name": "test-config"}, "data": {"a": "b"}})
    await uses(cluster, {"configmaps": "2"})
    await cluster.delete(f"{path}/test-config")
    await uses(cluster, {"configmaps": "1"})


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod. [Conformance]"
)
async def test_pods(cluster: World) -> None:
    await make_quota(cluster)
    await uses(cluster, {"resourcequotas": "1", "pods": "0"})
    requests = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"}
    path = cluster.core("pods")
    await cluster.create(path, asking("first", requests, {"example.com/dongle": "2"}))
    used = {"pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi"}
    used["requests.example.com/dongle"] = "2"
    await uses(cluster, used)
    too_much = {"cpu": "600m", "memory": "100Mi"}
    said = await cluster.refused(403, "POST", path, asking("second", too_much))
    assert "exceeded quota: test-quota, requested: cpu=600m, used: cpu=500m, limited: cpu=1" in said["message"]
    extended = {"cpu": "500m", "memory": "100Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"}
    said = await cluster.refused(403, "POST", path, asking("third", extended, {"example.com/dongle": "2"}))
    assert "requests.example.com/dongle=2" in said["message"]
    found = await cluster.get(f"{path}/first")
    found["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "100m"
    await cluster.refused(422, "PUT", f"{path}/first", found)
    await uses(cluster, used)
    await cluster.delete(f"{path}/first", gracePeriodSeconds="0")
    zero = dict.fromkeys(used, "0")
    await uses(cluster, zero)


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller. "
    "[Conformance]"
)
async def test_replication_controllers(cluster: World) -> None:
    await make_quota(cluster)
    await uses(cluster, {"resourcequotas": "1", "replicationcontrollers": "0"})
    path = cluster.core("replicationcontrollers")
    labels = {"name": "test-rc"}
    spec = {"replicas": 0, "selector": labels, "template": pod("", labels)}
    await cluster.create(path, {"metadata": {"name": "test-rc"}, "spec": spec})
    await uses(cluster, {"replicationcontrollers": "1"})
    await cluster.delete(f"{path}/test-rc")
    await uses(cluster, {"replicationcontrollers": "0"})


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set. "
    "[Conformance]"
)
async def test_replica_sets(cluster: World) -> None:
    await make_quota(cluster)
    await uses(cluster, {"resourcequotas": "1", "count/replicasets.apps": "0"})
    path = cluster.path("/apis/apps/v1", "replicasets")
    labels = {"name": "test-rs"}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod("", labels)}
    await cluster.create(path, {"metadata": {"name": "test-rs"}, "spec": spec})
    await uses(cluster, {"count/replicasets.apps": "1"})
    await cluster.delete(f"{path}/test-rs")
    await uses(cluster, {"count/replicasets.apps": "0"})


@conformance("[sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]")
async def test_terminating(cluster: World) -> None:
    hard = {"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"}
    for name, scope in (("ending", "Terminating"), ("lasting", "NotTerminating")):
        await make_quota(cluster, hard, name, scopes=[scope])
        await uses(cluster, {"pods": "0"}, name)
    requests, limits = {"cpu": "500m", "memory": "200Mi"}, {"cpu": "1", "memory": "400Mi"}
    used = {"pods": "1", "requests.cpu": "500m", "requests.memory": "200Mi", "limits.cpu": "1"}
    used["limits.memory"] = "400Mi"
    for spec, one, other in (({}, "lasting", "ending"), ({"activeDeadlineSeconds": 3600}, "ending", "lasting")):
        await cluster.create(cluster.core("pods"), asking("test-pod", requests, limits, **spec))
        await uses(cluster, used, one)
        await uses(cluster, {"pods": "0"}, other)
        await cluster.delete(cluster.core("pods", "test-pod"), gracePeriodSeconds="0")
        await uses(cluster, dict.fromkeys(used, "0"), one)


@conformance("[sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]")
async def test_best_effort(cluster: World) -> None:
    for name, scope in (("best", "BestEffort"), ("not-best", "NotBestEffort")):
        await make_quota(cluster, {"pods": "5"}, name, scopes=[scope])
        await uses(cluster, {"pods": "0"}, name)
    requests, limits = {"cpu": "500m", "memory": "200Mi"}, {"cpu": "1", "memory": "400Mi"}
    for made, one, other in ((pod("test-pod"), "best", "not-best"),
                             (asking("test-pod", requests, limits), "not-best", "best")):  # fmt: skip
        await cluster.create(cluster.core("pods"), made)
        await uses(cluster, {"pods": "1"}, one)
        await uses(cluster, {"pods": "0"}, other)
        await cluster.delete(cluster.core("pods", "test-pod"), gracePeriodSeconds="0")
        await uses(cluster, {"pods": "0"}, one)


@conformance("[sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]")
async def test_update_and_delete(cluster: World) -> None:
    path = cluster.core("resourcequotas", "test-quota")
    made = await make_quota(cluster, {"cpu": "1", "memory": "500Mi"})
    assert (await cluster.get(path))["spec"]["hard"] == made["spec"]["hard"]
    await uses(cluster, {"cpu": "0"})
    found = await cluster.get(path)
    found["spec"]["hard"] = {"cpu": "2", "memory": "1Gi"}
    assert (await cluster.replace(path, found))["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    assert (await cluster.get(path))["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    await cluster.delete(path)
    await cluster.refused(404, "GET", path)


@conformance("[sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]")
async def test_lifecycle(cluster: World) -> None:
    path = cluster.core("resourcequotas", "life")
    body = {"metadata": {"name": "life", "labels": {"e2e": "life"}}, "spec": {"hard": {"cpu": "1", "memory": "500Mi"}}}
    await cluster.create(cluster.core("resourcequotas"), body)
    assert (await cluster.get(path))["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
    assert len((await cluster.get("/api/v1/resourcequotas", labelSelector="e2e=life"))["items"]) == 1
    change = {"metadata": {"labels": {"life": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}}
    patched = await cluster.patch(path, change, "strategic")
    assert patched["metadata"]["labels"]["life"] == "patched"
    assert patched["spec"]["hard"] == {"cpu": "1", "memory": "750Mi"}
    await cluster.delete(cluster.core("resourcequotas"), labelSelector="e2e=life")
    await cluster.refused(404, "GET", path)


@conformance("[sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]")
async def test_status(cluster: World) -> None:
    path = cluster.core("resourcequotas", "test-quota")
    hard, more, most = ({"cpu": cpu, "memory": size} for cpu, size in (("500m", "500Mi"), ("1", "1Gi"), ("2", "2Gi")))
    async with cluster.watch(cluster.core("resourcequotas")) as watch:
        await make_quota(cluster, hard)

        async def update() -> bool:
            found = await cluster.get(path)
            found["status"] = {"hard": hard}
            return (await cluster.send("PUT", f"{path}/status", found)).status == 200

        await cluster.until(update)
        await watch.until(lambda event: contains(event["object"], {"status": {"hard": hard}}))
        await cluster.patch(path, {"spec": {"hard": more}}, "strategic")
        await cluster.patch(f"{path}/status", {"status": {"hard": more}}, "strategic")
        await watch.until(lambda event: contains(event["object"], {"status": {"hard": more}}))
        assert (await cluster.get(f"{path}/status"))["status"]["hard"] == more
        patched = await cluster.patch(f"{path}/status", {"status": {"hard": most}}, "strategic")
        assert patched["status"]["hard"] == most
        await watch.until(lambda event: contains(event["object"], {"status": {"hard": most}}))
    found = await cluster.until_object(path, lambda it: it["status"]["hard"] == more)
    assert found["spec"]["hard"] == more


async def test_nobody_gets_the_last_unit_twice(cluster: World) -> None:
    await make_quota(cluster, {"configmaps": "6", "count/secrets": "5"})
    await uses(cluster, {"configmaps": "1", "count/secrets": "0"})
    for _ in range(2):
        sent = [
            cluster.send("POST", cluster.core(kind), {"metadata": {"name": f"made-{number}"}})
            for number in range(20)
            for kind in ("configmaps", "secrets")
        ]
        assert sorted(answer.status for answer in await asyncio.gather(*sent)) == [201] * 10 + [403] * 30
        for kind in ("configmaps", "secrets"):
            await cluster.delete(cluster.core(kind), fieldSelector="metadata.name!=kube-root-ca.crt")
        await uses(cluster, {"configmaps": "1", "count/secrets": "0"})


async def test_custom_resources_are_counted_and_kubectl_shows_it(served: World) -> None:
    await served.kubectl("create", "quota", "test-quota", "--hard=pods=2,memory=1G,count/widgets.example.com=1")
    await uses(served, {"pods": "0", "memory": "0"})
    await served.define(definition(kind="Widget"))
    await uses(served, {"count/widgets.example.com": "0"})
    path = served.path("/apis/example.com/v1", "widgets")
    await served.create(path, instance("one", "Widget"))
    said = await served.refused(403, "POST", path, instance("two", "Widget"))
    assert "exceeded quota: test-quota, requested: count/widgets.example.com=1, used: count" in said["message"]
    assert "limited: count/widgets.example.com=1" in said["message"]
    await served.create(served.core("pods"), asking("one", {"memory": "100M"}))
    await uses(served, {"memory": "100M"})
    shown = (await served.kubectl("describe", "quota", "test-quota")).out
    assert [line.split() for line in shown.splitlines()[2:]] == [
        ["Resource", "Used", "Hard"],
        ["--------", "----", "----"],
        ["count/widgets.example.com", "1", "1"],
        ["memory", "100M", "1G"],
        ["pods", "1", "2"],
    ]
    await served.delete(f"{path}/one")
    await uses(served, {"count/widgets.example.com": "0"})
