"""Who owns an object: the questions controllers and the garbage collector ask of owner references."""

from typing import Any

from wherry.meta.object import KubernetesObject, ObjectMeta, OwnerReference
from wherry.meta.resource import Resource


def controller_of(metadata: ObjectMeta) -> OwnerReference | None:
    """The one owner that manages the object."""
    return next((reference for reference in metadata.ownerReferences if reference.controller), None)


def is_controlled_by(metadata: ObjectMeta, owner: ObjectMeta) -> bool:
    """Whether this owner manages the object; uids decide, for names are reused."""
    reference = controller_of(metadata)
    return reference is not None and reference.uid == owner.uid


def controller_reference(owner: KubernetesObject | Any, resource: Resource) -> OwnerReference:
    """The reference by which `owner`, of kind `resource`, claims what it makes."""
    return OwnerReference(
        apiVersion=resource.api_version,
        kind=resource.kind,
        name=owner.metadata.name or "",
        uid=owner.metadata.uid or "",
        controller=True,
        blockOwnerDeletion=True,
    )
