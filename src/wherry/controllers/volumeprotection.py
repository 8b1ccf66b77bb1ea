"""Claims and volumes that are in use are not removed: their finalizers go when nothing uses them any more.

A claim is in use while a pod that has a node names it, a volume while it is bound. Admission puts the finalizers on;
objects from before that get them here. Source of the behaviour: kubernetes pkg/controller/volume/pvcprotection and
pvprotection.
"""

from typing import Any

from wherry.aio.clock import Clock
from wherry.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.meta.errors import StatusError
from wherry.meta.wire import deep_copy

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


def claims_of(pod: Pod) -> set[str]:
    """Names of the claims that a pod uses; those made for its ephemeral volumes are named after both."""
    names = set()
    for volume in pod.spec.volumes:
        if volume.persistentVolumeClaim is not None:
            names.add(volume.persistentVolumeClaim.claimName)
        elif volume.ephemeral is not None:
            names.add(f"{pod.metadata.name}-{volume.name}")
    return names


class _Protection(Controller):
    """Puts a finalizer on, and takes it off an object that is being deleted and not in use."""

    finalizer: str
    objects: Informer[Any]

    def in_use(self, obj: Any) -> bool:
        raise NotImplementedError

    async def reconcile(self, key: Key) -> None:
        obj = self.objects.get(*key)
        if obj is None:
            return
        there = self.finalizer in obj.metadata.finalizers
        ending = obj.metadata.deletionTimestamp is not None
        if there != ending or (ending and self.in_use(obj)):
            return
        changed = deep_copy(obj)
        others = [item for item in obj.metadata.finalizers if item != self.finalizer]
        changed.metadata.finalizers = others if ending else [*others, self.finalizer]
        try:
            await self.client.update(changed)
        except StatusError as error:
            if not is_missing(error):
                raise


class ClaimProtectionController(_Protection):
    """PersistentVolumeClaims."""

    name = "persistentvolumeclaim-protection-controller"
    finalizer = CLAIM_FINALIZER

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self.objects = self.watch(PersistentVolumeClaim, self.enqueue)
        self._pods = self.watch(Pod, self._pod_changed)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A pod that goes, or gives its name to another, may free what it used."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            for name in claims_of(old):
                claim = self.objects.get(old.metadata.namespace, name)
                if claim is not None:
                    self.enqueue(None, claim)

    def in_use(self, obj: PersistentVolumeClaim) -> bool:
        name = obj.metadata.name
        return any(pod.spec.nodeName and name in claims_of(pod) for pod in self._pods.list(obj.metadata.namespace))


class VolumeProtectionController(_Protection):
    """PersistentVolumes."""

    name = "persistentvolume-protection-controller"
    finalizer = VOLUME_FINALIZER

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self.objects = self.watch(PersistentVolume, self.enqueue)

    def in_use(self, obj: PersistentVolume) -> bool:
        return obj.status.phase == "Bound"
