"""Persistent volumes and claims, and the kinds of storage.k8s.io.

What a claim may say is in claim_rules.py, what each volume source requires in volume_rules.py.

Source: kubernetes pkg/apis/core/validation and pkg/apis/storage/validation.
"""

import posixpath
from collections.abc import Mapping

from wherry.api.core_v1 import (
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeSpec,
    SecretReference,
    TypedLocalObjectReference,
    TypedObjectReference,
)
from wherry.api.storage_v1 import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    StorageClass,
    VolumeAttachment,
    VolumeAttributesClass,
)
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required, too_long
from wherry.meta.wire import deep_copy, to_builtins
from wherry.server.strategies import affinity_rules, checks, claim_rules, resource_rules, volume_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import RequestContext

_POLICIES = ("Delete", "Recycle", "Retain")
_SOURCES = (
    "hostPath gcePersistentDisk awsElasticBlockStore glusterfs flocker nfs rbd quobyte cephfs iscsi cinder fc "
    "flexVolume azureFile vsphereVolume photonPersistentDisk portworxVolume azureDisk scaleIO local storageos csi"
).split()
_SECRETS = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
)
_INLINE = "may not be specified in the context of inline volumes"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_CLAIM_FORBIDDEN = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_RESIZE_STATES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)
_PARAMETERS_BYTES_MAX, _PARAMETERS_MAX = 256 * 1024, 512
_ERROR_BYTES_MAX = 1024
_NODE_ID_MAX = 256


class VolumeStrategy(KindStrategy):
    """v1 PersistentVolume."""

    def default(self, obj: PersistentVolume) -> None:
        spec = obj.spec
        unset(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
        unset(obj.status, phase="Pending")
        if spec.hostPath is not None and spec.hostPath.type is None:
            spec.hostPath.type = ""
        if spec.iscsi is not None:
            unset(spec.iscsi, iscsiInterface="default")
        if spec.rbd is not None:
            unset(spec.rbd, pool="rbd", user="admin", keyring="/etc/ceph/keyring")
        if spec.scaleIO is not None:
            unset(spec.scaleIO, storageMode="ThinProvisioned", fsType="xfs")
        if spec.azureDisk is not None:
            unset(spec.azureDisk, cachingMode="ReadWrite", kind="Shared", fsType="ext4", readOnly=False)

    def prepare_for_create(self, obj: PersistentVolume, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        obj.status.phase = "Pending"
        obj.status.lastPhaseTransitionTime = ctx.clock_now()

    def prepare_for_status_update(self, new: PersistentVolume, old: PersistentVolume, ctx: RequestContext) -> None:
        super().prepare_for_status_update(new, old, ctx)
        if new.status.phase != old.status.phase and (
            new.status.lastPhaseTransitionTime in (None, old.status.lastPhaseTransitionTime)
        ):
            new.status.lastPhaseTransitionTime = ctx.clock_now()

    def rules(self, obj: PersistentVolume) -> Faults:
        yield from volume_spec("spec", obj.spec, obj.metadata.name or "")

    def update_rules(self, new: PersistentVolume, old: PersistentVolume) -> Faults:
        after, before = new.spec, old.spec
        if any(getattr(after, name) != getattr(before, name) for name in _SOURCES if name != "csi") or _csi_changed(
            after, before
        ):
            text = "spec.persistentvolumesource is immutable after creation"
            changed = [name for name in _SOURCES if getattr(after, name) != getattr(before, name)]
            shown = "\n".join(f"  {name}" for name in changed)
            yield field_forbidden("spec.persistentvolumesource", f"{text}\n{shown}")
        yield from checks.immutable("volumeMode", after.volumeMode, before.volumeMode)
        if before.volumeAttributesClassName is not None and after.volumeAttributesClassName is None:
            yield field_forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden")
        if before.nodeAffinity is not None:
            yield from checks.immutable("nodeAffinity", after.nodeAffinity, before.nodeAffinity)


def _csi_changed(new: PersistentVolumeSpec, old: PersistentVolumeSpec) -> bool:
    """A secret for growing may come later."""
    if new.csi is None or old.csi is None or old.csi.controllerExpandSecretRef is not None:
        return new.csi != old.csi
    munged = deep_copy(new.csi)
    munged.controllerExpandSecretRef = None
    return munged != old.csi


def volume_spec(path: str, spec: PersistentVolumeSpec, name: str, *, inline: bool = False) -> Faults:
    """A volume's spec; `inline`: within a VolumeAttachment, where only CSI goes and no claim does."""
    if inline:
        for member in ("claimRef", "capacity", "nodeAffinity", "storageClassName"):
            if getattr(spec, member):
                yield field_forbidden(f"{path}.{member}", _INLINE)
        if spec.csi is None:
            yield required(f"{path}.csi", "has to be specified in the context of inline volumes")
    yield from checks.present(f"{path}.accessModes", spec.accessModes)
    yield from checks.access_modes(f"{path}.accessModes", spec.accessModes)
    if not inline:
        yield from _capacity(f"{path}.capacity", spec)
        yield from checks.one_of(f"{path}.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy, _POLICIES)
        if spec.storageClassName:
            yield from checks.named(f"{path}.storageClassName", spec.storageClassName, names.dns1123_subdomain)
        yield from checks.one_of(f"{path}.volumeMode", spec.volumeMode, ("Block", "Filesystem"))
        if spec.nodeAffinity is not None and spec.nodeAffinity.required is None:
            yield required(f"{path}.nodeAffinity.required", "must specify required node constraints")
        elif spec.nodeAffinity is not None and spec.nodeAffinity.required is not None:
            yield from affinity_rules.node_selector(f"{path}.nodeAffinity.required", spec.nodeAffinity.required)
    yield from _source(path, spec, name)
    if spec.volumeAttributesClassName is not None:
        here = f"{path}.volumeAttributesClassName"
        if not spec.volumeAttributesClassName:
            yield required(here, "an empty string is disallowed")
        else:
            yield from checks.named(here, spec.volumeAttributesClassName, names.dns1123_subdomain)
        if spec.csi is None:
            yield required(f"{path}.csi", "has to be specified when using volumeAttributesClassName")


def _capacity(path: str, spec: PersistentVolumeSpec) -> Faults:
    if not spec.capacity:
        yield required(path)
    if list(spec.capacity) != ["storage"]:
        yield not_supported(path, to_builtins(spec.capacity), ("storage",))
    for name, amount in spec.capacity.items():
        if amount.nanos() < 0:
            yield invalid_value(f"{path}[{name}]", amount.value(), "must be a valid resource quantity")
        if amount.nanos() <= 0:
            yield invalid_value(f"{path}[{name}]", str(amount), "must be greater than zero")


def _source(path: str, spec: PersistentVolumeSpec, name: str) -> Faults:
    chosen = [source for source in _SOURCES if getattr(spec, source) is not None]
    if not chosen:
        yield required(path, "must specify a volume type")
    for extra in chosen[1:]:
        yield field_forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
    for source in chosen[:1]:
        if source == "csi":
            yield from _csi(f"{path}.csi", spec)
        else:
            yield from volume_rules.source(path, source, getattr(spec, source))
    if "local" in chosen[:1] and spec.local is not None:
        yield from checks.present(f"{path}.local.path", spec.local.path)
        yield from checks.no_backsteps(f"{path}.local.path", spec.local.path)
        if spec.nodeAffinity is None:
            yield required(f"{path}.nodeAffinity", "Local volume requires node affinity")
    for source in ("cinder", "storageos"):
        reference = getattr(spec, source).secretRef if getattr(spec, source) is not None else None
        if reference is not None:
            yield from checks.present(f"{path}.{source}.secretRef.namespace", reference.namespace)
    recycled = spec.persistentVolumeReclaimPolicy == "Recycle"
    if spec.hostPath is not None and recycled and posixpath.normpath(spec.hostPath.path) == "/":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        yield field_forbidden(f"{path}.persistentVolumeReclaimPolicy", text)


def _csi(path: str, spec: PersistentVolumeSpec) -> Faults:
    assert spec.csi is not None
    yield from volume_rules.driver_name(f"{path}.driver", spec.csi.driver)
    yield from checks.present(f"{path}.volumeHandle", spec.csi.volumeHandle)
    for name in _SECRETS:
        reference: SecretReference | None = getattr(spec.csi, name)
        if reference is not None:
            yield from checks.named_required(f"{path}.{name}.name", reference.name, names.dns1123_subdomain)
            yield from checks.named_required(f"{path}.{name}.namespace", reference.namespace, names.dns1123_label)


class ClaimStrategy(KindStrategy):
    """v1 PersistentVolumeClaim."""

    def default(self, obj: PersistentVolumeClaim) -> None:
        unset(obj.spec, volumeMode="Filesystem")
        unset(obj.status, phase="Pending")

    def prepare_for_create(self, obj: PersistentVolumeClaim, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        obj.status.phase = "Pending"
        _same_source(obj)

    def prepare_for_update(self, new: PersistentVolumeClaim, old: PersistentVolumeClaim, ctx: RequestContext) -> None:
        super().prepare_for_update(new, old, ctx)
        if old.spec.dataSourceRef is not None and new.spec.dataSource == old.spec.dataSource:
            new.spec.dataSourceRef = new.spec.dataSourceRef or old.spec.dataSourceRef

    def rules(self, obj: PersistentVolumeClaim) -> Faults:
        yield from claim_rules.spec("spec", obj.spec)

    def update_rules(self, new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Faults:
        munged, bound = deep_copy(new.spec), new.status.phase == "Bound"
        before, after = old.spec.resources.requests.get("storage"), new.spec.resources.requests.get("storage")
        if not old.spec.volumeName:
            munged.volumeName = old.spec.volumeName
        yield from self._class_annotation(new, old)
        beta = old.metadata.annotations.get(_BETA_CLASS, new.spec.storageClassName)
        if old.spec.storageClassName is None and new.spec.storageClassName == beta:
            munged.storageClassName = None
        if bound:
            if before is not None and after is not None:
                munged.resources.requests["storage"] = before
            munged.volumeAttributesClassName = old.spec.volumeAttributesClassName
        if munged != old.spec:
            changed = [name for name in munged.__struct_fields__ if getattr(munged, name) != getattr(old.spec, name)]
            shown = "\n".join(f"  spec.{name}" for name in changed)
            yield field_forbidden("spec", f"{_CLAIM_FORBIDDEN}\n{shown}")
        granted = old.status.capacity.get("storage")
        shrinks = before is not None and after is not None and after.compare(before) < 0
        if shrinks and after is not None and (granted is None or after.compare(granted) <= 0):
            path = "spec.resources.requests.storage"
            yield field_forbidden(path, "field can not be less than status.capacity")
        yield from checks.immutable("volumeMode", new.spec.volumeMode, old.spec.volumeMode)
        wanted = new.spec.volumeAttributesClassName
        if old.status.currentVolumeAttributesClassName is not None and not wanted:
            what = "nil" if wanted is None else "empty string"
            text = f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
            yield field_forbidden("spec.volumeAttributesClassName", text)

    def _class_annotation(self, new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Faults:
        before, after = (item.metadata.annotations.get(_BETA_CLASS) for item in (old, new))
        moved = after is None and new.spec.storageClassName == before and old.spec.storageClassName is None
        if before != after and not moved:
            yield invalid_value(f"metadata.annotations[{_BETA_CLASS}]", after or "", checks.IMMUTABLE)

    def status_rules(self, new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Faults:
        for name, amount in new.status.capacity.items():
            if amount.nanos() < 0:
                text = "must be a valid resource quantity"
                yield invalid_value(f"status.capacity[{name}]", amount.value(), text)
        path = "status.allocatedResourceStatuses"
        for name, state in new.status.allocatedResourceStatuses.items():
            yield from _allocated(path, name)
            if state not in _RESIZE_STATES:
                yield not_supported(path, name, _RESIZE_STATES)
        path = "status.allocatedResources"
        for name, amount in new.status.allocatedResources.items():
            yield from _allocated(path, name)
            if amount.nanos() < 0:
                yield invalid_value(f"{path}[{name}]", amount.value(), "must be a valid resource quantity")


def _allocated(path: str, name: str) -> Faults:
    faults = names.qualified_name(name)
    for text in faults:
        yield invalid_value(path, name, text)
    if not faults and resource_rules.is_native(name) and name != "storage":
        yield not_supported(path, name, ("storage",))


def _same_source(claim: PersistentVolumeClaim) -> None:
    """dataSource and dataSourceRef say the same, if either says anything and no other namespace is meant."""
    spec, source, reference = claim.spec, claim.spec.dataSource, claim.spec.dataSourceRef
    if source is not None and reference is None:
        spec.dataSourceRef = TypedObjectReference(apiGroup=source.apiGroup, kind=source.kind, name=source.name)
    elif reference is not None and source is None and not reference.namespace:
        named = TypedLocalObjectReference(apiGroup=reference.apiGroup, kind=reference.kind, name=reference.name)
        if reference.apiGroup or reference.kind == "PersistentVolumeClaim":
            spec.dataSource = named


class StorageClassStrategy(KindStrategy):
    """storage.k8s.io StorageClass: nearly all of it is fixed."""

    def default(self, obj: StorageClass) -> None:
        unset(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")

    def rules(self, obj: StorageClass) -> Faults:
        yield from _provisioner("provisioner", obj.provisioner)
        yield from _parameters("parameters", obj.parameters)
        yield from checks.one_of("reclaimPolicy", obj.reclaimPolicy, ("Delete", "Retain"))
        yield from checks.one_of("volumeBindingMode", obj.volumeBindingMode, ("Immediate", "WaitForFirstConsumer"))
        yield from affinity_rules.topology_terms("allowedTopologies", obj.allowedTopologies)

    def update_rules(self, new: StorageClass, old: StorageClass) -> Faults:
        yield from _fixed(new, old, "parameters", "provisioner", "reclaimPolicy")
        yield from checks.immutable("volumeBindingMode", new.volumeBindingMode, old.volumeBindingMode)


class VolumeAttributesClassStrategy(KindStrategy):
    """storage.k8s.io VolumeAttributesClass: all of it is fixed."""

    def rules(self, obj: VolumeAttributesClass) -> Faults:
        yield from _provisioner("driverName", obj.driverName)
        yield from _parameters("parameters", obj.parameters)
        if not obj.parameters:
            yield required("parameters", "must contain at least one key/value pair")

    def update_rules(self, new: VolumeAttributesClass, old: VolumeAttributesClass) -> Faults:
        yield from _fixed(new, old, "driverName", "parameters")


def _fixed(new: object, old: object, *members: str) -> Faults:
    for name in members:
        yield from checks.unchanged(name, getattr(new, name), getattr(old, name), f"updates to {name} are forbidden.")


def _provisioner(path: str, value: str) -> Faults:
    if not value:
        yield required(path)
    for text in names.qualified_name(value.lower()) if value else ():
        yield invalid_value(path, value.lower(), text)


def _parameters(path: str, values: Mapping[str, str]) -> Faults:
    if len(values) > _PARAMETERS_MAX:
        yield too_long(path, _PARAMETERS_MAX)
        return
    if "" in values:
        yield invalid_value(path, "", "field can not be empty.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in values.items()) > _PARAMETERS_BYTES_MAX:
        yield too_long(path, _PARAMETERS_BYTES_MAX)


class CSIDriverStrategy(KindStrategy):
    """storage.k8s.io CSIDriver."""

    generation_counts = ("spec",)

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

    def rules(self, obj: CSIDriver) -> Faults:
        spec = obj.spec
        policies = ("File", "None", "ReadWriteOnceWithFSType")
        yield from checks.one_of("spec.fsGroupPolicy", spec.fsGroupPolicy, policies)
        audiences = [request.audience for request in spec.tokenRequests]
        for index, request in enumerate(spec.tokenRequests):
            path, seconds = f"spec.tokenRequests[{index}]", request.expirationSeconds
            if request.audience in audiences[:index]:
                yield duplicate(f"{path}.audience", request.audience)
            elif seconds is not None and seconds < volume_rules.TOKEN_SECONDS_MIN:
                text = "may not specify a duration less than 10 minutes"
                yield invalid_value(f"{path}.expirationSeconds", seconds, text)
            elif seconds is not None and seconds > volume_rules.TOKEN_SECONDS_MAX:
                text = "may not specify a duration larger than 2^32 seconds"
                yield invalid_value(f"{path}.expirationSeconds", seconds, text)
        for mode in spec.volumeLifecycleModes:
            if mode not in ("Persistent", "Ephemeral"):
                yield not_supported("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral"))
        period = spec.nodeAllocatableUpdatePeriodSeconds
        if period is not None and period < 10:
            text = "must be greater than or equal to 10 seconds"
            yield invalid_value("spec.nodeAllocatableUpdatePeriodSeconds", period, text)

    def update_rules(self, new: CSIDriver, old: CSIDriver) -> Faults:
        yield from checks.immutable("spec.attachedRequired", new.spec.attachRequired, old.spec.attachRequired)
        modes = new.spec.volumeLifecycleModes
        yield from checks.immutable("spec.volumeLifecycleModes", modes, old.spec.volumeLifecycleModes)


class CSINodeStrategy(KindStrategy):
    """storage.k8s.io CSINode: a driver's entry stays as it is, but for how much it can hold."""

    def rules(self, obj: CSINode) -> Faults:
        drivers = [driver.name for driver in obj.spec.drivers]
        for index, driver in enumerate(obj.spec.drivers):
            path = f"spec.drivers[{index}]"
            yield from volume_rules.driver_name(f"{path}.name", driver.name)
            if not driver.nodeID:
                yield required(f"{path}.nodeID")
            elif len(driver.nodeID) > _NODE_ID_MAX:
                text = f"must be {_NODE_ID_MAX} characters or less"
                yield invalid_value(f"{path}.nodeID", driver.nodeID, text)
            if driver.allocatable is not None:
                yield from checks.non_negative(f"{path}.allocatable.count", driver.allocatable.count)
            if driver.name in drivers[:index]:
                yield duplicate(f"{path}.name", driver.name)
            for number, key in enumerate(driver.topologyKeys):
                if not key:
                    yield required(path)
                if key in driver.topologyKeys[:number]:
                    yield duplicate(path, key)
                yield from checks.named(path, key, names.qualified_name)

    def update_rules(self, new: CSINode, old: CSINode) -> Faults:
        before = {driver.name: driver for driver in old.spec.drivers}
        for driver in new.spec.drivers:
            if driver.name in before:
                pair = [deep_copy(driver), deep_copy(before[driver.name])]
                for item in pair:
                    item.allocatable = None
                yield from checks.immutable("spec.drivers", pair[0], pair[1])


class StorageCapacityStrategy(KindStrategy):
    """storage.k8s.io CSIStorageCapacity."""

    def rules(self, obj: CSIStorageCapacity) -> Faults:
        yield from checks.label_selector("nodeTopology", obj.nodeTopology)
        yield from checks.named("storageClassName", obj.storageClassName, names.dns1123_subdomain)
        if obj.capacity is not None:
            yield from checks.quantity_non_negative("capacity", obj.capacity)

    def update_rules(self, new: CSIStorageCapacity, old: CSIStorageCapacity) -> Faults:
        yield from checks.immutable("nodeTopology", new.nodeTopology, old.nodeTopology)
        yield from checks.immutable("storageClassName", new.storageClassName, old.storageClassName)


class AttachmentStrategy(KindStrategy):
    """storage.k8s.io VolumeAttachment."""

    def rules(self, obj: VolumeAttachment) -> Faults:
        source, path = obj.spec.source, "spec.source"
        yield from volume_rules.driver_name("spec.attacher", obj.spec.attacher)
        if (source.inlineVolumeSpec is None) == (source.persistentVolumeName is None):
            fault = required if source.inlineVolumeSpec is None else field_forbidden
            yield fault(path, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        elif source.inlineVolumeSpec is not None:
            yield from volume_spec(f"{path}.inlineVolumeSpec", source.inlineVolumeSpec, "", inline=True)
        elif not source.persistentVolumeName:
            yield required(f"{path}.persistentVolumeName", "must specify non empty persistentVolumeName")
        else:
            name = source.persistentVolumeName
            yield from checks.named(f"{path}.persistentVolumeName", name, names.dns1123_subdomain)
        yield from checks.named("spec.nodeName", obj.spec.nodeName, names.dns1123_subdomain)
        yield from self.status_rules(obj, obj)

    def update_rules(self, new: VolumeAttachment, old: VolumeAttachment) -> Faults:
        yield from checks.immutable("spec", new.spec, old.spec)

    def status_rules(self, new: VolumeAttachment, old: VolumeAttachment) -> Faults:
        status = new.status
        yield from _parameters(
            "status.attachmentMetadata", {key or " ": v for key, v in status.attachmentMetadata.items()}
        )
        for name in ("attachError", "detachError"):
            error = getattr(status, name)
            if error is not None and len((error.message or "").encode()) > _ERROR_BYTES_MAX:
                yield too_long(f"status.{name}.message", _PARAMETERS_BYTES_MAX)
            if error is not None and (error.errorCode or 0) < 0:
                text = names.out_of_range(0, 2**31 - 1)
                yield invalid_value(f"status.{name}.errorCode", error.errorCode, text)
