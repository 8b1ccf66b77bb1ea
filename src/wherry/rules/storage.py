"""What a claim says of its storage."""

from wherry.api.core_v1 import PersistentVolumeClaim

BETA_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
"""The annotation from before the field; it still wins."""


def storage_class_of(claim: PersistentVolumeClaim) -> str:
    """The name of its class; empty when there is none."""
    annotated = claim.metadata.annotations.get(BETA_STORAGE_CLASS)
    return (annotated if annotated is not None else claim.spec.storageClassName) or ""
