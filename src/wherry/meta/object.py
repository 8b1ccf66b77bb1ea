"""Object and list metadata: what every Kubernetes object carries (apimachinery's meta/v1 ObjectMeta and ListMeta)."""

import msgspec

from wherry.meta.wire import Time, Wire, always


class OwnerReference(Wire):
    """Who owns an object; the garbage collector follows these."""

    apiVersion: str = always("")
    kind: str = always("")
    name: str = always("")
    uid: str = always("")
    controller: bool | None = None
    blockOwnerDeletion: bool | None = None


class ManagedFieldsEntry(Wire):
    """Which manager set which fields, through which operation."""

    manager: str | None = None
    operation: str | None = None
    apiVersion: str | None = None
    time: Time | None = None
    fieldsType: str | None = None
    fieldsV1: msgspec.Raw = msgspec.Raw()
    subresource: str | None = None


class ObjectMeta(Wire):
    """Identity, version, labels and lifecycle of one object.

    `resourceVersion` comes first: bytes at rest carry none, and the server splices it in at a fixed offset.
    """

    resourceVersion: str | None = None
    name: str | None = None
    generateName: str | None = None
    namespace: str | None = None
    selfLink: str | None = None
    uid: str | None = None
    generation: int | None = None
    creationTimestamp: Time | None = None
    deletionTimestamp: Time | None = None
    deletionGracePeriodSeconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    ownerReferences: list[OwnerReference] = []
    finalizers: list[str] = []
    managedFields: list[ManagedFieldsEntry] = []


class ListMeta(Wire):
    """Metadata of a list."""

    resourceVersion: str = always("")
    continue_: str | None = msgspec.field(default=None, name="continue")
    remainingItemCount: int | None = None
    selfLink: str | None = None


class KubernetesObject(Wire):
    """Base of every kind: apiVersion, kind and metadata, in this order, first."""

    apiVersion: str = ""
    kind: str = ""
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


class PartialObjectMetadata(KubernetesObject):
    """Any object, seen through its metadata alone; also the answer to as=PartialObjectMetadata."""
