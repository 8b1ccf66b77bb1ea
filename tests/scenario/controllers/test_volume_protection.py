"""What is in use outlives its deletion; what is not goes at once."""

from typing import Any

from tests.scenario.controllers.test_workloads import play
from tests.scenario.controllers.world import World
from wherry.api.core_v1 import Namespace, PersistentVolume, PersistentVolumeClaim, Pod
from wherry.meta.wire import convert

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
DISK = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}


async def _claim(made: World, name: str, namespace: str = "default") -> None:
    meta = {"name": name, "namespace": namespace}
    await made.client.create(convert({"metadata": meta, "spec": CLAIM}, PersistentVolumeClaim))


async def _names(made: World, kind: Any) -> set[str | None]:
    return {item.metadata.name for item in (await made.client.list(kind)).items}


def test_a_claim_goes_with_the_last_pod_that_uses_it() -> None:
    async def scenario(made: World) -> None:
        await _claim(made, "used")
        await _claim(made, "idle")
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": "used"}}
        spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}], "volumes": [volume]}
        pod = convert({"metadata": {"name": "p", "namespace": "default"}, "spec": spec}, Pod)
        await made.client.create(pod)
        await made.settle(1)
        for name in ("used", "idle"):
            await made.client.delete(PersistentVolumeClaim, name, "default")
        await made.settle(5)
        assert await _names(made, PersistentVolumeClaim) == {"used"}
        held = await made.client.get(PersistentVolumeClaim, "used", "default")
        assert held.metadata.deletionTimestamp and held.metadata.finalizers == ["kubernetes.io/pvc-protection"]
        await made.client.delete(Pod, "p", "default", grace_period_seconds=0)
        await made.settle(5)
        assert not await _names(made, PersistentVolumeClaim)

    play(scenario)


def test_a_namespace_with_claims_can_be_deleted() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(convert({"metadata": {"name": "shop"}}, Namespace))
        await _claim(made, "data", "shop")
        await made.settle(1)
        await made.client.delete(Namespace, "shop")
        await made.settle(20)
        assert "shop" not in await _names(made, Namespace)

    play(scenario)


def test_a_bound_volume_stays_until_it_is_free() -> None:
    async def scenario(made: World) -> None:
        for name in ("bound", "free"):
            await made.client.create(convert({"metadata": {"name": name}, "spec": DISK}, PersistentVolume))
        bound = await made.client.get(PersistentVolume, "bound")
        bound.status.phase = "Bound"
        await made.client.update_status(bound)
        await made.settle(1)
        for name in ("bound", "free"):
            await made.client.delete(PersistentVolume, name)
        await made.settle(5)
        assert await _names(made, PersistentVolume) == {"bound"}
        bound = await made.client.get(PersistentVolume, "bound")
        bound.status.phase = "Released"
        await made.client.update_status(bound)
        await made.settle(5)
        assert not await _names(made, PersistentVolume)

    play(scenario)
