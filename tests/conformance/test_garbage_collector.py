"""test/e2e/apimachinery/garbage_collector.go: what an owner's deletion does to its dependents, by policy."""

import asyncio
from typing import Any

from tests.conformance.entry import conformance
from tests.conformance.world import Json, World, names, pod

LABELS = {"gc": "yes"}


async def controller(cluster: World, name: str, replicas: int = 5) -> Json:
    """A ReplicationController whose pods are there."""
    chosen = {"rc": name}
    template = {"metadata": {"labels": chosen}, "spec": pod("")["spec"]}
    spec = {"replicas": replicas, "selector": chosen, "template": template}
    path = cluster.core("replicationcontrollers")
    await cluster.create(path, {"metadata": {"name": name}, "spec": spec})
    return await cluster.until_object(f"{path}/{name}", lambda it: it["status"].get("readyReplicas", 0) == replicas)


async def pods(cluster: World) -> list[Json]:
    items: list[Json] = (await cluster.get(cluster.core("pods")))["items"]
    return items


def options(made: Json, policy: str) -> Json:
    return {"propagationPolicy": policy, "preconditions": {"uid": made["metadata"]["uid"]}}


async def deployment(cluster: World) -> tuple[str, Json]:
    """The path of a Deployment, and its ReplicaSet."""
    template = {"metadata": {"labels": LABELS}, "spec": pod("")["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template}
    path = cluster.path("/apis/apps/v1", "deployments")
    await cluster.create(path, {"metadata": {"name": "web"}, "spec": spec})
    await cluster.until_object(f"{path}/web", lambda it: it["status"].get("readyReplicas") == 2)
    sets = await cluster.get(cluster.path("/apis/apps/v1", "replicasets"))
    return f"{path}/web", sets["items"][0]


@conformance("[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning [Conformance]")
async def test_background_deletion_takes_the_pods_along(cluster: World) -> None:
    made = await controller(cluster, "simpletest")
    assert len(await pods(cluster)) == 5
    path = cluster.core("replicationcontrollers", "simpletest")
    await cluster.delete(path, options(made, "Background"))
    await cluster.gone(path)

    async def none_left() -> bool:
        return not await pods(cluster)

    await cluster.until(none_left)


@conformance(
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so "
    "[Serial] [Conformance]"
)
async def test_orphaned_pods_stay(cluster: World) -> None:
    made = await controller(cluster, "simpletest", 20)
    path = cluster.core("replicationcontrollers", "simpletest")
    await cluster.delete(path, options(made, "Orphan"))
    await cluster.gone(path)
    await asyncio.sleep(0.5)
    left = await pods(cluster)
    assert len(left) == 20
    assert not any(item["metadata"].get("ownerReferences") for item in left)


@conformance(
    "[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning [Conformance]"
)
async def test_background_deletion_takes_the_replica_set_along(cluster: World) -> None:
    path, replica_set = await deployment(cluster)
    await cluster.delete(path, {"propagationPolicy": "Background"})
    await cluster.gone(cluster.path("/apis/apps/v1", "replicasets", replica_set["metadata"]["name"]))


@conformance(
    "[sig-api-machinery] Garbage collector should orphan RS created by deployment when "
    "deleteOptions.PropagationPolicy is Orphan [Conformance]"
)
async def test_an_orphaned_replica_set_stays(cluster: World) -> None:
    path, replica_set = await deployment(cluster)
    await cluster.delete(path, {"propagationPolicy": "Orphan"})
    await cluster.gone(path)
    await asyncio.sleep(0.5)
    left = await cluster.get(cluster.path("/apis/apps/v1", "replicasets", replica_set["metadata"]["name"]))
    assert not left["metadata"].get("ownerReferences")


@conformance(
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted "
    "if the deleteOptions says so [Serial] [Conformance]"
)
async def test_foreground_deletion_waits_for_the_pods(cluster: World) -> None:
    made = await controller(cluster, "simpletest", 10)
    path = cluster.core("replicationcontrollers", "simpletest")
    held = (await pods(cluster))[0]["metadata"]["name"]
    await cluster.patch(cluster.core("pods", held), {"metadata": {"finalizers": ["example.com/hold"]}})
    answer = await cluster.delete(path, options(made, "Foreground"))
    assert answer["metadata"]["finalizers"] == ["foregroundDeletion"] and answer["metadata"]["deletionTimestamp"]

    async def only_the_held_one_is_left() -> bool:
        return names(await pods(cluster)) == [held]

    await cluster.until(only_the_held_one_is_left)
    assert (await cluster.get(path))["metadata"]["finalizers"] == ["foregroundDeletion"]
    await cluster.patch(cluster.core("pods", held), {"metadata": {"finalizers": None}})
    await cluster.gone(path)


@conformance(
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner "
    "that's waiting for dependents to be deleted [Serial] [Conformance]"
)
async def test_a_second_valid_owner_keeps_a_dependent(cluster: World) -> None:
    dying = await controller(cluster, "to-be-deleted", 4)
    stays = await controller(cluster, "to-stay", 0)
    reference = {
        "apiVersion": "v1", "kind": "ReplicationController", "name": "to-stay", "uid": stays["metadata"]["uid"],
    }  # fmt: skip
    shared = names(await pods(cluster))[:2]
    for name in shared:
        # Not the controller: that stays the one which is deleted.
        await cluster.patch(
            cluster.core("pods", name), {"metadata": {"ownerReferences": [reference]}}, kind="strategic"
        )
    path = cluster.core("replicationcontrollers", "to-be-deleted")
    await cluster.delete(path, options(dying, "Foreground"))
    await cluster.gone(path)
    left = await pods(cluster)
    assert sorted(names(left)) == sorted(shared)
    for item in left:
        assert "deletionTimestamp" not in item["metadata"]
        assert [owner["name"] for owner in item["metadata"]["ownerReferences"]] == ["to-stay"]


@conformance("[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]")
async def test_a_circle_of_owners_is_deleted_whole(cluster: World) -> None:
    made: list[Any] = [await cluster.create(cluster.core("pods"), pod(f"pod{number}")) for number in range(3)]
    for number, owner in enumerate(made):
        reference = {
            "apiVersion": "v1", "kind": "Pod", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
            "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        owned = made[(number + 1) % 3]["metadata"]["name"]
        await cluster.patch(cluster.core("pods", owned), {"metadata": {"ownerReferences": [reference]}})
    await cluster.delete(cluster.core("pods", "pod0"), options(made[0], "Foreground"))

    async def none_left() -> bool:
        return not await pods(cluster)

    await cluster.until(none_left)
