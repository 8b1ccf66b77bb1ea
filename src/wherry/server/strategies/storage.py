"""Volumes, claims and storage classes."""

from wherry.api.core_v1 import PersistentVolume, PersistentVolumeClaim
from wherry.api.storage_v1 import CSIDriver, StorageClass
from wherry.meta.errors import field_forbidden, required
from wherry.meta.wire import deep_copy
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import RequestContext

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_POLICIES = ("Delete", "Recycle", "Retain")


class VolumeStrategy(KindStrategy):
    """v1 PersistentVolume."""

    def default(self, obj: PersistentVolume) -> None:
        unset(obj.spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
        unset(obj.status, phase="Pending")
        if obj.spec.hostPath is not None and obj.spec.hostPath.type is None:
            obj.spec.hostPath.type = ""

    def prepare_for_create(self, obj: PersistentVolume, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        obj.status.phase = "Pending"

    def rules(self, obj: PersistentVolume) -> Faults:
        spec = obj.spec
        yield from checks.present("spec.accessModes", spec.accessModes)
        for mode in spec.accessModes:
            yield from checks.one_of("spec.accessModes", mode, _MODES)
        if not spec.capacity:
            yield required("spec.capacity")
        for name, quantity in spec.capacity.items():
            yield from checks.quantity_non_negative(f"spec.capacity[{name}]", quantity)
        policy = spec.persistentVolumeReclaimPolicy
        yield from checks.one_of("spec.persistentVolumeReclaimPolicy", policy, _POLICIES)
        yield from checks.one_of("spec.volumeMode", spec.volumeMode, ("Block", "Filesystem"))
        if not any(getattr(spec, name) is not None for name in _SOURCES):
            yield required("spec", "must specify a volume type")

    def update_rules(self, new: PersistentVolume, old: PersistentVolume) -> Faults:
        if any(getattr(new.spec, name) != getattr(old.spec, name) for name in _SOURCES):
            yield field_forbidden(
                "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"
            )
        yield from checks.immutable("spec.volumeMode", new.spec.volumeMode, old.spec.volumeMode)


_SOURCES = (
    "awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk glusterfs "
    "hostPath iscsi local nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume"
).split()
_CLAIM_FORBIDDEN = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


class ClaimStrategy(KindStrategy):
    """v1 PersistentVolumeClaim."""

    def default(self, obj: PersistentVolumeClaim) -> None:
        unset(obj.spec, volumeMode="Filesystem")
        unset(obj.status, phase="Pending")

    def prepare_for_create(self, obj: PersistentVolumeClaim, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        obj.status.phase = "Pending"

    def rules(self, obj: PersistentVolumeClaim) -> Faults:
        spec = obj.spec
        if not spec.accessModes:
            yield required("spec.accessModes", "at least 1 access mode is required")
        for mode in spec.accessModes:
            yield from checks.one_of("spec.accessModes", mode, _MODES)
        storage = spec.resources.requests.get("storage")
        if storage is None:
            yield required("spec.resources[storage]")
        elif storage.nanos() <= 0:
            yield from checks.positive("spec.resources[storage]", storage.value())
        yield from checks.label_selector("spec.selector", spec.selector)

    def update_rules(self, new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Faults:
        munged = deep_copy(new.spec)
        if not old.spec.volumeName:
            munged.volumeName = old.spec.volumeName
            if old.spec.storageClassName is None:
                munged.storageClassName = old.spec.storageClassName
        before, after = old.spec.resources.requests.get("storage"), new.spec.resources.requests.get("storage")
        bound = old.status.phase == "Bound"
        if bound and before is not None and after is not None and after.compare(before) < 0:
            yield field_forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
        if bound:
            munged.resources = old.spec.resources
        munged.volumeAttributesClassName = old.spec.volumeAttributesClassName
        if munged != old.spec:
            yield field_forbidden("spec", _CLAIM_FORBIDDEN)


class StorageClassStrategy(KindStrategy):
    """storage.k8s.io StorageClass: nearly all of it is fixed."""

    def default(self, obj: StorageClass) -> None:
        unset(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")

    def rules(self, obj: StorageClass) -> Faults:
        yield from checks.present("provisioner", obj.provisioner)
        yield from checks.one_of("reclaimPolicy", obj.reclaimPolicy, ("Delete", "Retain"))
        yield from checks.one_of("volumeBindingMode", obj.volumeBindingMode, ("Immediate", "WaitForFirstConsumer"))

    def update_rules(self, new: StorageClass, old: StorageClass) -> Faults:
        for name in ("parameters", "provisioner", "reclaimPolicy"):
            yield from checks.unchanged(
                name, getattr(new, name), getattr(old, name), "updates to " + name + " are forbidden."
            )
        yield from checks.immutable("volumeBindingMode", new.volumeBindingMode, old.volumeBindingMode)


class CSIDriverStrategy(KindStrategy):
    """storage.k8s.io CSIDriver."""

    def default(self, obj: CSIDriver) -> None:
        unset(
            obj.spec,
            attachRequired=True,
            podInfoOnMount=False,
            storageCapacity=False,
            fsGroupPolicy="ReadWriteOnceWithFSType",
            requiresRepublish=False,
            seLinuxMount=False,
        )
        obj.spec.volumeLifecycleModes = obj.spec.volumeLifecycleModes or ["Persistent"]
