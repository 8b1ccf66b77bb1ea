"""A node falls silent: NotReady after the grace period, its pods evicted after five minutes, alike on every run."""

from tests.scenario.controllers.world import World, world
from wherry.api.coordination_v1 import Lease, LeaseSpec
from wherry.api.core_v1 import Node, Pod
from wherry.meta.object import ObjectMeta
from wherry.meta.time import format_micro_time, format_time
from wherry.rules import conditions
from wherry.sim.loop import run_virtual
from wherry.testing import builders

BEATS = 3
BEAT_SECONDS = 10.0


async def _beat(made: World) -> None:
    lease = await made.client.get(Lease, "node", "kube-node-lease")
    lease.spec.renewTime = format_micro_time(made.clock.now())
    await made.client.update(lease)


async def _node_dies() -> list[str]:
    async with world(kubelet=False) as made:
        await made.client.create(builders.node("node"))
        status = await made.client.get(Node, "node")
        status.status = builders.node("node").status
        await made.client.update_status(status)
        await made.client.create(Lease(metadata=ObjectMeta(name="node", namespace="kube-node-lease"), spec=LeaseSpec()))
        await made.client.create(builders.pod("web", spec=builders.pod_spec(node="node", grace_period_seconds=0)))
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": format_time(made.clock.now())}
        patch = {"status": {"phase": "Running", "conditions": [ready]}}
        await made.client.patch(Pod, "web", "default", patch, patch_type="strategic", subresource="status")
        for _ in range(BEATS):
            await made.settle(BEAT_SECONDS)
            await _beat(made)
        await made.settle(39)
        assert conditions.is_true((await made.client.get(Node, "node")).status.conditions, "Ready")
        await made.settle(2)
        node = await made.client.get(Node, "node")
        item = conditions.find(node.status.conditions, "Ready")
        assert item is not None
        assert (item.status, item.reason, item.message) == (
            "Unknown",
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
        )
        assert ("node.kubernetes.io/unreachable", "NoExecute") in [(t.key, t.effect) for t in node.spec.taints]
        assert not conditions.is_true((await made.client.get(Pod, "web", "default")).status.conditions, "Ready")
        await made.settle(295)
        assert made.pods.get("default", "web") is not None
        await made.settle(10)
        pod = made.pods.get("default", "web")
        assert pod is None or pod.metadata.deletionTimestamp is not None
        return await made.events()


def test_a_silent_node_loses_its_pods_after_five_minutes_of_no_time() -> None:
    first = run_virtual(_node_dies())
    assert "TaintManagerEviction: Marking for deletion Pod default/web" in first
    assert "NodeNotReady: Node node status is now: NodeNotReady" in first
    assert run_virtual(_node_dies()) == first
