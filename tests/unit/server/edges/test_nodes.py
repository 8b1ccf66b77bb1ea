"""What a kubelet may see: objects that its own pods refer to (KEP-1689's graph), and its own node, lease and slices."""

from collections.abc import AsyncIterator

import pytest

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount
from wherry.api.storage_v1 import VolumeAttachment
from wherry.client.client import Client
from wherry.meta.errors import StatusError
from wherry.meta.wire import convert
from wherry.server.app import Server
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.rbac.authorizer import settled
from wherry.store.local import memory_store
from wherry.testing import builders

KUBELET = UserInfo("system:node:n1", groups=["system:nodes", "system:authenticated"])
VOLUMES = [
    {"name": "a", "secret": {"secretName": "of-volume"}},
    {"name": "b", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "map"}}]}},
    {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
    {"name": "d", "csi": {"driver": "x.y", "nodePublishSecretRef": {"name": "of-driver"}}},
    {
        "name": "e",
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}
            }
        },
    },
]
ENVIRONMENT = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "of-env", "key": "k"}}}]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    made = Server(store, clock, entropy)
    await made.start()
    await fill(made.client())
    yield made
    await made.close()
    await store.close()


async def fill(client: Client) -> None:
    await client.create(builders.namespace("shop"))
    await client.create(ServiceAccount(metadata=builders.metadata("default", "shop")))
    pod = builders.pod("web", "shop")
    pod.spec.volumes = convert({"volumes": VOLUMES}, type(pod.spec)).volumes
    pod.spec.containers[0].env = convert({"env": ENVIRONMENT}, type(pod.spec.containers[0])).env
    pod.spec.nodeName = "n1"
    await client.create(pod)
    claim = {"metadata": {"name": "claim", "namespace": "shop"}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "disk"}
    await client.create(convert(claim | {"spec": spec}, PersistentVolumeClaim))
    source = {"driver": "x.y", "volumeHandle": "h", "nodeStageSecretRef": {"name": "of-disk", "namespace": "vault"}}
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": source}
    volume = convert({"metadata": {"name": "disk"}, "spec": spec}, PersistentVolume)
    volume.spec.claimRef = ObjectReference(namespace="shop", name="claim")
    await client.create(volume)
    spec = {"attacher": "x.y", "nodeName": "n1", "source": {"persistentVolumeName": "disk"}}
    await client.create(convert({"metadata": {"name": "att"}, "spec": spec}, VolumeAttachment))


def ask(verb: str, resource: str, namespace: str = "", name: str = "", group: str = "", sub: str = "") -> RequestInfo:
    return RequestInfo(verb, group, "v1", resource, sub, namespace, name, True)


async def verdict(server: Server, info: RequestInfo, user: UserInfo = KUBELET) -> tuple[bool | None, str]:
    return await settled(server.edges.authorizer.authorize(user, info))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("secrets", "of-volume"),
        ("secrets", "projected"),
        ("secrets", "of-env"),
        ("secrets", "of-driver"),
        ("configmaps", "map"),
        ("persistentvolumeclaims", "claim"),
        ("persistentvolumeclaims", "web-e"),
    ],
)
async def test_what_its_pods_refer_to_may_be_read(server: Server, kind: str, name: str) -> None:
    other = UserInfo("system:node:n2", groups=["system:nodes"])
    assert (await verdict(server, ask("get", kind, "shop", name)))[0]
    refused = None, "no relationship found between node 'n2' and this object"
    assert await verdict(server, ask("get", kind, "shop", name), other) == refused
    assert not (await verdict(server, ask("get", kind, "other", name)))[0]
    assert not (await verdict(server, ask("delete", kind, "shop", name)))[0]


async def test_volumes_and_their_secrets_follow_from_claims(server: Server) -> None:
    assert (await verdict(server, ask("get", "persistentvolumes", "", "disk")))[0]
    assert (await verdict(server, ask("get", "secrets", "vault", "of-disk")))[0]
    assert (await verdict(server, ask("get", "volumeattachments", "", "att", "storage.k8s.io")))[0]
    assert not (await verdict(server, ask("get", "persistentvolumes", "", "other")))[0]


async def test_a_deleted_pod_takes_its_secrets_along(server: Server) -> None:
    client = server.client()
    assert (await verdict(server, ask("create", "serviceaccounts", "shop", "default", sub="token")))[0]
    await client.delete(Pod, "web", "shop", grace_period_seconds=0)
    for info in (
        ask("get", "secrets", "shop", "of-env"),
        ask("create", "serviceaccounts", "shop", "default", sub="token"),
    ):
        assert not (await verdict(server, info))[0]


async def test_a_mirror_pod_opens_nothing(server: Server) -> None:
    pod = builders.pod("mirror", "shop")
    pod.metadata.annotations["kubernetes.io/config.mirror"] = "x"
    pod.spec.nodeName = "n1"
    pod.spec.containers[0].env = convert(
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "wanted", "key": "k"}}}]},
        type(pod.spec.containers[0]),
    ).env
    cache = server.caches.cache(Pod)
    await server.client().create(pod)
    assert cache.get("shop", "mirror") is not None
    assert not (await verdict(server, ask("get", "secrets", "shop", "wanted")))[0]


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (ask("list", "nodes"), "node 'n1' cannot read all nodes, only its own Node object"),
        (ask("get", "nodes", "", "n2"), "node 'n1' cannot read 'n2', only its own Node object"),
        (ask("list", "pods", "shop"), "can only list/watch pods with spec.nodeName field selector"),
        (ask("list", "secrets", "shop"), "No Object name found"),
        (ask("create", "secrets", "shop"), "can only read resources of this type"),
        (ask("watch", "persistentvolumes"), "can only get individual resources of this type"),
        (
            ask("update", "leases", "default", "n1", "coordination.k8s.io"),
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        (
            ask("update", "leases", "kube-node-lease", "n2", "coordination.k8s.io"),
            "can only access node lease with the same name as the requesting node",
        ),
        (
            ask("get", "csinodes", "", "n2", "storage.k8s.io"),
            "can only access CSINode with the same name as the requesting node",
        ),
        (
            ask("list", "resourceslices", group="resource.k8s.io"),
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        (ask("delete", "nodes", "", "n1"), ""),
        (ask("get", "pods", "shop", "web", sub="log"), ""),
    ],
    ids=lambda item: item if isinstance(item, str) else f"{item.verb} {item.resource}",
)
async def test_other_questions_are_refused_with_the_reason(server: Server, info: RequestInfo, reason: str) -> None:
    assert await verdict(server, info) == (None, reason)


async def test_selectors_for_the_own_node_are_enough(server: Server) -> None:
    for resource, group in (("pods", ""), ("resourceslices", "resource.k8s.io")):
        info = ask("watch", resource, group=group)
        info.field_selector = "spec.nodeName=n1"
        assert (await verdict(server, info))[0]
        info.field_selector = "spec.nodeName=n2"
        assert not (await verdict(server, info))[0]
    assert (await verdict(server, ask("update", "leases", "kube-node-lease", "n1", "coordination.k8s.io")))[0]
    assert (await verdict(server, ask("patch", "nodes", "", "n1", sub="status")))[0]


async def test_a_kubelet_s_requests_go_the_same_way(server: Server) -> None:
    kubelet = server.client("system:node:n1", ["system:nodes"])
    await kubelet.get(Pod, "web", "shop")
    with pytest.raises(StatusError) as caught:
        await kubelet.get(Pod, "else", "shop")
    assert caught.value.message == (
        'pods "else" is forbidden: User "system:node:n1" cannot get resource "pods" in API group "" in the namespace '
        "\"shop\": no relationship found between node 'n1' and this object"
    )
