"""What belongs to a node: the objects that its pods refer to, directly or through claims and volumes.

Nothing is computed when pods change, except that each bound pod is filed under its node; that keeps writes as cheap as
without the Node authorizer. When a kubelet asks for an object, the pods of its node are read, each once until it
changes, and what a pod refers to is a set of (plural, name) in its own namespace.

Source of the relations: kubernetes plugin/pkg/auth/authorizer/node and pkg/api/v1/pod, pkg/api/v1/persistentvolume.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from wherry.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from wherry.api.resource_v1 import ResourceSlice
from wherry.api.storage_v1 import VolumeAttachment
from wherry.rules.pods import MIRROR_ANNOTATION
from wherry.server.caches import Caches
from wherry.server.watchcache import Entry

Reference = tuple[str, str]
_NODE_NAME = "spec.nodeName"
_NAMING = {
    "secretRef": "secrets",
    "secretKeyRef": "secrets",
    "nodePublishSecretRef": "secrets",
    "secret": "secrets",
    "configMapRef": "configmaps",
    "configMapKeyRef": "configmaps",
    "configMap": "configmaps",
}
"""Members of containers and volumes whose `name` names an object of the pod's namespace."""
_VOLUME_SECRETS = ("secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef")
"""Of a PersistentVolume's secrets those that the node uses; the controller's are none of its business."""


@dataclass(slots=True)
class _BoundPod:
    entry: Entry
    references: frozenset[Reference] | None = None


class NodeGraph:
    """Answers from the watch caches. `follow` must be called once they are loaded."""

    def __init__(self) -> None:
        self._caches: Caches | None = None
        self._by_node: dict[str, dict[str, _BoundPod]] = {}

    def follow(self, caches: Caches) -> None:
        """Learn which pods are where, and each later change."""
        self._caches = caches
        cache = caches.cache(Pod)
        for entry in cache.entries.values():
            self.pod_changed(None, entry)
        cache.listeners.append(self.pod_changed)

    def pod_changed(self, old: Entry | None, new: Entry | None) -> None:
        """A pod was added (no `old`), changed or deleted (no `new`)."""
        before = old.fields.get(_NODE_NAME) if old is not None else None
        node = new.fields.get(_NODE_NAME) if new is not None else None
        if before and before != node and old is not None:
            pods = self._by_node.get(before, {})
            pods.pop(old.key, None)
            if not pods:
                self._by_node.pop(before, None)
        if node and new is not None:
            self._by_node.setdefault(node, {})[new.key] = _BoundPod(new)

    def reaches(self, node: str, kind: str, namespace: str, name: str) -> bool:
        """Whether the object (`kind` is the plural) is of a pod on `node`, or of the node itself."""
        caches = self._caches
        if caches is None:
            return False
        match kind:
            case "pods":
                return f"{namespace}/{name}" in self._by_node.get(node, {})
            case "persistentvolumes":
                volume = caches.get(PersistentVolume, None, name)
                return volume is not None and self._uses_volume(node, volume)
            case "volumeattachments":
                attachment = caches.get(VolumeAttachment, None, name)
                return attachment is not None and attachment.spec.nodeName == node
            case "resourceslices":
                found = caches.get(ResourceSlice, None, name)
                return found is not None and found.spec.nodeName == node
        if self._refers(node, namespace, kind, name):
            return True
        return kind == "secrets" and self._secret_of_volume(node, namespace, name, caches)

    def _refers(self, node: str, namespace: str, kind: str, name: str) -> bool:
        wanted = kind, name
        for pod in self._by_node.get(node, {}).values():
            if pod.entry.namespace == namespace:
                if pod.references is None:
                    pod.references = frozenset(references(orjson.loads(pod.entry.data)))
                if wanted in pod.references:
                    return True
        return False

    def _uses_volume(self, node: str, volume: PersistentVolume) -> bool:
        claim = volume.spec.claimRef
        if claim is None:
            return False
        return self._refers(node, claim.namespace or "", "persistentvolumeclaims", claim.name or "")

    def _secret_of_volume(self, node: str, namespace: str, name: str, caches: Caches) -> bool:
        """A secret that the volume behind some claim of this node's pods needs."""
        for pod in self._by_node.get(node, {}).values():
            for kind, claim_name in pod.references or references(orjson.loads(pod.entry.data)):
                if kind != "persistentvolumeclaims":
                    continue
                claim = caches.get(PersistentVolumeClaim, pod.entry.namespace, claim_name)
                volume = caches.get(PersistentVolume, None, claim.spec.volumeName or "") if claim else None
                if volume is None or not self._uses_volume(node, volume):
                    continue
                if (namespace, name) in _volume_secrets(volume):
                    return True
        return False


def references(pod: dict[str, Any]) -> Iterator[Reference]:
    """What a pod (as JSON) refers to in its namespace. A mirror pod refers to nothing: its node wrote it."""
    spec, meta = pod["spec"], pod["metadata"]
    if MIRROR_ANNOTATION in meta.get("annotations", {}):
        return
    if account := spec.get("serviceAccountName"):
        yield "serviceaccounts", account
    for secret in spec.get("imagePullSecrets", ()):
        yield "secrets", secret.get("name", "")
    for member in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(member, ()):
            yield from _named([container.get("env", ()), container.get("envFrom", ())])
    for volume in spec.get("volumes", ()):
        yield from _named(volume)
        if "persistentVolumeClaim" in volume:
            yield "persistentvolumeclaims", volume["persistentVolumeClaim"].get("claimName", "")
        elif "ephemeral" in volume:
            yield "persistentvolumeclaims", f"{meta['name']}-{volume['name']}"
    yield from _resource_claims(spec, pod.get("status", {}))


def _named(value: Any) -> Iterator[Reference]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "secretName" and isinstance(item, str):
                yield "secrets", item
            elif key in _NAMING and isinstance(item, dict) and "name" in item:
                yield _NAMING[key], item["name"]
            else:
                yield from _named(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named(item)


def _resource_claims(spec: dict[str, Any], status: dict[str, Any]) -> Iterator[Reference]:
    made = {item["name"]: item.get("resourceClaimName") for item in status.get("resourceClaimStatuses", ())}
    for claim in spec.get("resourceClaims", ()):
        if name := claim.get("resourceClaimName") or made.get(claim["name"]):
            yield "resourceclaims", name
    extended = status.get("extendedResourceClaimStatus") or {}
    if name := extended.get("resourceClaimName"):
        yield "resourceclaims", name


def _volume_secrets(volume: PersistentVolume) -> set[tuple[str, str]]:
    spec = volume.spec
    namespace = spec.claimRef.namespace if spec.claimRef and spec.claimRef.namespace else ""
    found = set()
    if spec.azureFile is not None:
        found.add((spec.azureFile.secretNamespace or namespace, spec.azureFile.secretName))
    for source in (spec.csi, spec.cephfs, spec.cinder, spec.flexVolume, spec.rbd, spec.scaleIO, spec.iscsi):
        for member in _VOLUME_SECRETS:
            secret = getattr(source, member, None)
            if secret is not None and secret.name:
                found.add((secret.namespace or namespace, secret.name))
    if spec.storageos is not None and spec.storageos.secretRef is not None:
        secret = spec.storageos.secretRef
        found.add((secret.namespace or namespace, secret.name or ""))
    return found
