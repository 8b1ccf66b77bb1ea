"""Storage and ingress defaults: DefaultStorageClass, StorageObjectInUseProtection, DefaultIngressClass,
PersistentVolumeClaimResize.
"""

from wherry.api.core_v1 import PersistentVolumeClaim
from wherry.api.networking_v1 import Ingress, IngressClass
from wherry.api.storage_v1 import StorageClass
from wherry.meta.errors import forbidden
from wherry.rules.storage import BETA_STORAGE_CLASS, storage_class_of
from wherry.server.admission.kinds import writes
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

DEFAULT_STORAGE_CLASS = "storageclass.kubernetes.io/is-default-class"
BETA_DEFAULT_STORAGE_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
DEFAULT_INGRESS_CLASS = "ingressclass.kubernetes.io/is-default-class"
INGRESS_CLASS = "kubernetes.io/ingress.class"


def is_default_storage_class(item: StorageClass) -> bool:
    """Marked by the annotation, old or new."""
    annotations = item.metadata.annotations
    return "true" in (annotations.get(DEFAULT_STORAGE_CLASS), annotations.get(BETA_DEFAULT_STORAGE_CLASS))


class DefaultStorageClass(AdmissionPlugin):
    """A claim that names no class gets the newest default one."""

    name = "DefaultStorageClass"
    kinds = frozenset({("", "persistentvolumeclaims")})

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        if not writes(attributes, "", "persistentvolumeclaims"):
            return
        claim: PersistentVolumeClaim = attributes.object
        if claim.spec.storageClassName is not None or BETA_STORAGE_CLASS in claim.metadata.annotations:
            return
        defaults = [item for item in self._caches.list(StorageClass) if is_default_storage_class(item)]
        if defaults:
            # The newest wins; of those of one second, the first by name.
            defaults.sort(key=lambda item: item.metadata.name or "")
            newest = max(defaults, key=lambda item: item.metadata.creationTimestamp or "")
            claim.spec.storageClassName = newest.metadata.name


class StorageObjectInUseProtection(AdmissionPlugin):
    """Volumes and claims wait, when deleted, until nothing uses them."""

    name = "StorageObjectInUseProtection"
    kinds = frozenset({("", "persistentvolumeclaims"), ("", "persistentvolumes")})
    _FINALIZERS = {
        "persistentvolumes": "kubernetes.io/pv-protection",
        "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    }

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        finalizer = self._FINALIZERS.get(attributes.resource.plural)
        if finalizer is None or not writes(attributes, "", attributes.resource.plural):
            return
        metadata = attributes.object.metadata
        if finalizer not in metadata.finalizers:
            metadata.finalizers = [*metadata.finalizers, finalizer]


class DefaultIngressClass(AdmissionPlugin):
    """An Ingress that names no class gets the default one."""

    name = "DefaultIngressClass"
    kinds = frozenset({("networking.k8s.io", "ingresses")})

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        if not writes(attributes, "networking.k8s.io", "ingresses"):
            return
        ingress: Ingress = attributes.object
        if ingress.spec.ingressClassName is not None or INGRESS_CLASS in ingress.metadata.annotations:
            return
        defaults = [
            item
            for item in self._caches.list(IngressClass)
            if item.metadata.annotations.get(DEFAULT_INGRESS_CLASS) == "true"
        ]
        if defaults:
            defaults.sort(key=lambda item: item.metadata.name or "")
            newest = max(defaults, key=lambda item: item.metadata.creationTimestamp or "")
            ingress.spec.ingressClassName = newest.metadata.name


class PersistentVolumeClaimResize(AdmissionPlugin):
    """Only a bound claim of a class that allows it may grow."""

    name = "PersistentVolumeClaimResize"
    kinds = frozenset({("", "persistentvolumeclaims")})

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation == "UPDATE"

    async def validate(self, attributes: Attributes) -> None:
        if not writes(attributes, "", "persistentvolumeclaims", "UPDATE"):
            return
        old, new = attributes.old_object, attributes.object
        before, after = old.spec.resources.requests.get("storage"), new.spec.resources.requests.get("storage")
        if before is None or after is None or after.compare(before) <= 0:
            return
        if old.status.phase != "Bound":
            raise forbidden(
                "persistentvolumeclaims", attributes.name, "Only bound persistent volume claims can be expanded"
            )
        name = storage_class_of(new)
        chosen = self._caches.get(StorageClass, None, name) if name and name == storage_class_of(old) else None
        if chosen is None or not chosen.allowVolumeExpansion:
            text = (
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc "
                "must support resize"
            )
            raise forbidden("persistentvolumeclaims", attributes.name, text)
