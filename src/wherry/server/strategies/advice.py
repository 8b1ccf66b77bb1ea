"""What writers of each kind are warned of, by group and plural: the Warning headers that kubectl shows.

Advice never refuses anything. `ADVICE` holds a function per kind of the new object and the one it replaces (None on
create); strategies/table.py hands each to its strategy, which asks it once the object is found valid. Source:
Kubernetes, the WarningsOnCreate and WarningsOnUpdate of pkg/registry and what they call in pkg/api.
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

from wherry.api.batch_v1 import CronJob, Job, JobSpec
from wherry.api.core_v1 import (
    Endpoints,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodTemplate,
    Secret,
    Service,
    ServiceAccount,
)
from wherry.api.discovery_v1 import EndpointSlice
from wherry.api.networking_v1 import Ingress, NetworkPolicy
from wherry.api.node_v1 import RuntimeClass
from wherry.api.storage_v1 import CSIStorageCapacity, StorageClass
from wherry.meta.errors import quote
from wherry.server.strategies import pod_advice
from wherry.server.strategies.addresses import cidr_advice, ip_advice
from wherry.server.strategies.pod_advice import NODE_LABELS, VOLUMES

Advice = Iterator[str]

_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_BETA_MOUNT_OPTIONS = "volume.beta.kubernetes.io/mount-options"
_BETA_CLASS_TEXT = 'deprecated since v1.8; use "storageClassName" attribute instead'
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_VOLUMES = {"storageos": "storageOS"} | {
    kind: kind for kind in ("cephfs", "photonPersistentDisk", "rbd", "scaleIO", "glusterfs")
}
_INDEXED_COMPLETIONS, _INDEXED_PARALLELISM = 100_000, 10_000
_IN_POD_NAMES = "Pod names and hostnames"


def _pod(new: Pod, old: Pod | None) -> Advice:
    if old is None:
        yield from pod_advice.pod(new)


def _pod_template(new: PodTemplate, old: PodTemplate | None) -> Advice:
    if old is None or new.template != old.template:
        yield from pod_advice.template("template", new.template)


def _workload(new: Any, old: Any) -> Advice:
    """Kinds whose pods are named after them."""
    if old is None:
        yield from pod_advice.pod_name(new.metadata.name or "", _IN_POD_NAMES)
    yield from _daemon_set(new, old)


def _daemon_set(new: Any, old: Any) -> Advice:
    if (old is None or new.metadata.generation != old.metadata.generation) and new.spec.template is not None:
        yield from pod_advice.template("spec.template", new.spec.template)


def _stateful_set(new: Any, old: Any) -> Advice:
    yield from _daemon_set(new, old)
    for index, claim in enumerate(new.spec.volumeClaimTemplates):
        yield from pod_advice.claim_spec(f"spec.volumeClaimTemplates[{index}]", claim.spec)
    if (new.spec.revisionHistoryLimit or 0) < 0:
        text = "a negative value retains all historical revisions; a value >= 0 is recommended"
        yield f"spec.revisionHistoryLimit: {text}"


def _job(new: Job, old: Job | None) -> Advice:
    if old is None:
        yield from pod_advice.pod_name(new.metadata.name or "", _IN_POD_NAMES)
    if old is None or new.metadata.generation != old.metadata.generation:
        yield from _job_spec("spec", new.spec)


def _cron_job(new: CronJob, old: CronJob | None) -> Advice:
    if old is None:
        yield from pod_advice.pod_name(new.metadata.name or "", _IN_POD_NAMES)
    if old is None or new.metadata.generation != old.metadata.generation:
        yield from _job_spec("spec.jobTemplate.spec", new.spec.jobTemplate.spec)
    if "TZ" in new.spec.schedule:
        page = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"
        yield f"CRON_TZ or TZ used in spec.spec.schedule is not officially supported, see {page} for more details"


def _job_spec(path: str, spec: JobSpec) -> Advice:
    many = (spec.completions or 0) > _INDEXED_COMPLETIONS and (spec.parallelism or 0) > _INDEXED_PARALLELISM
    if spec.completionMode == "Indexed" and many:
        yield (
            f"{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than "
            "10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    yield from pod_advice.template(f"{path}.template", spec.template)


# Network


def _service(new: Service, old: Service | None) -> Advice:
    spec = new.spec
    if new.metadata.annotations and _HINTS in new.metadata.annotations:
        yield f"annotation {_HINTS} is deprecated, please use {_MODE} instead"
    headless = spec.type == "ClusterIP" and spec.clusterIP == "None"
    external = spec.type == "ExternalName"
    if spec.clusterIP and not headless:
        for index, address in enumerate(spec.clusterIPs):
            yield from ip_advice(f"spec.clusterIPs[{index}]", address)
    if headless:
        if spec.loadBalancerIP:
            yield "spec.loadBalancerIP is ignored for headless services"
        if spec.externalIPs:
            yield "spec.externalIPs is ignored for headless services"
        if spec.sessionAffinity != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    for index, address in enumerate(spec.externalIPs):
        yield from ip_advice(f"spec.externalIPs[{index}]", address)
    if spec.externalIPs and not headless and not external:
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if spec.loadBalancerIP:
        yield from ip_advice("spec.loadBalancerIP", spec.loadBalancerIP)
    for index, block in enumerate(spec.loadBalancerSourceRanges):
        yield from cidr_advice(f"spec.loadBalancerSourceRanges[{index}]", block)
    if external and spec.externalIPs:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if not external and spec.externalName:
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.trafficDistribution == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _endpoints(new: Endpoints, old: Endpoints | None) -> Advice:
    if new.metadata.labels.get("endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return
    for index, subset in enumerate(new.subsets):
        for part in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(getattr(subset, part)):
                yield from ip_advice(f"subsets[{index}].{part}[{number}].ip", address.ip)


def _endpoint_slice(new: EndpointSlice, old: EndpointSlice | None) -> Advice:
    if old is None and new.addressType == "FQDN":
        yield "spec.addressType: FQDN endpoints are deprecated"
    if new.addressType == "FQDN" or new.metadata.labels.get(_SLICE_MANAGER) == "endpointslice-controller.k8s.io":
        return
    for index, endpoint in enumerate(new.endpoints):
        for number, address in enumerate(endpoint.addresses):
            yield from ip_advice(f"endpoints[{index}].addresses[{number}]", address)


_SLICE_MANAGER = "endpointslice.kubernetes.io/managed-by"


def _ingress(new: Ingress, old: Ingress | None) -> Advice:
    if old is None and new.spec.ingressClassName is None and _INGRESS_CLASS in new.metadata.annotations:
        yield f"annotation {quote(_INGRESS_CLASS)} is deprecated, please use 'spec.ingressClassName' instead"


def _network_policy(new: NetworkPolicy, old: NetworkPolicy | None) -> Advice:
    sides = [(f"spec.ingress[{i}].from", rule.from_) for i, rule in enumerate(new.spec.ingress)]
    sides += [(f"spec.egress[{i}].to", rule.to) for i, rule in enumerate(new.spec.egress)]
    for path, peers in sides:
        for index, peer in enumerate(peers):
            if peer.ipBlock is not None:
                yield from cidr_advice(f"{path}[{index}].ipBlock.cidr", peer.ipBlock.cidr)
                for number, block in enumerate(peer.ipBlock.except_):
                    yield from cidr_advice(f"{path}[{index}].ipBlock.except[{number}]", block)


# Nodes and storage


def _node(new: Node, old: Node | None) -> Advice:
    if new.spec.configSource is not None:
        yield "spec.configSource: the feature is no longer available"
    if new.spec.externalID:
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"
    for index, block in enumerate(new.spec.podCIDRs):
        yield from cidr_advice(f"spec.podCIDRs[{index}]", block)


def _runtime_class(new: RuntimeClass, old: RuntimeClass | None) -> Advice:
    for key in new.scheduling.nodeSelector if new.scheduling is not None else ():
        if key in NODE_LABELS:
            yield f"scheduling.nodeSelector: {NODE_LABELS[key]}"


def _volume(new: PersistentVolume, old: PersistentVolume | None) -> Advice:
    annotations, spec = new.metadata.annotations, new.spec
    if _BETA_CLASS in annotations:
        yield f"metadata.annotations[{_BETA_CLASS}]: {_BETA_CLASS_TEXT}"
    if _BETA_MOUNT_OPTIONS in annotations:
        text = 'deprecated since v1.31; use "mountOptions" attribute instead'
        yield f"metadata.annotations[{_BETA_MOUNT_OPTIONS}]: {text}"
    if spec.persistentVolumeReclaimPolicy == "Recycle":
        text = "Instead, the recommended approach is to use dynamic provisioning."
        yield f"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. {text}"
    required = spec.nodeAffinity.required if spec.nodeAffinity is not None else None
    for index, term in enumerate(required.nodeSelectorTerms if required is not None else ()):
        yield from pod_advice.node_term(f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]", term)
    for kind, shown in _VOLUMES.items():
        if getattr(spec, kind) is not None:
            yield f"spec.{shown}: {VOLUMES[kind]}"


def _claim(new: PersistentVolumeClaim, old: PersistentVolumeClaim | None) -> Advice:
    if _BETA_CLASS in new.metadata.annotations:
        yield f"metadata.annotations[{_BETA_CLASS}]: {_BETA_CLASS_TEXT}"
    yield from pod_advice.claim_spec("spec", new.spec)


def _storage_class(new: StorageClass, old: StorageClass | None) -> Advice:
    for index, topology in enumerate(new.allowedTopologies):
        for number, expression in enumerate(topology.matchLabelExpressions):
            if expression.key in NODE_LABELS:
                path = f"allowedTopologies[{index}].matchLabelExpressions[{number}].key"
                yield f"{path}: {NODE_LABELS[expression.key]}"


def _capacity(new: CSIStorageCapacity, old: CSIStorageCapacity | None) -> Advice:
    topology = new.nodeTopology
    if topology is None:
        return
    for index, expression in enumerate(topology.matchExpressions):
        if expression.key in NODE_LABELS:
            path = f"nodeTopology.matchExpressions[{index}].key"
            yield f"{path}: {expression.key} is {NODE_LABELS[expression.key]}"
    for key in topology.matchLabels:
        if key in NODE_LABELS:
            yield f"nodeTopology.matchLabels.{key}: {NODE_LABELS[key]}"


# Accounts and secrets


def _service_account(new: ServiceAccount, old: ServiceAccount | None) -> Advice:
    if _MOUNTABLE in new.metadata.annotations and (old is None or _MOUNTABLE not in old.metadata.annotations):
        text = "prefer separate namespaces to isolate access to mounted secrets"
        yield f"metadata.annotations[{_MOUNTABLE}]: deprecated in v1.32+; {text}"


def _secret(new: Secret, old: Secret | None) -> Advice:
    if new.type == "kubernetes.io/tls" and (fault := _pair_fault(new)):
        yield f"tls: {fault}"


def _pair_fault(secret: Secret) -> str:
    """Why certificate and key are no pair, in Go's words; "" for a pair."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pair: list[bytes] = []
    for name, what in (("tls.crt", "certificate"), ("tls.key", "key")):
        try:
            pem = base64.b64decode(secret.data.get(name) or "")
        except binascii.Error:
            return ""
        if b"-----BEGIN " not in pem:
            return f"failed to find any PEM data in {what} input"
        pair.append(pem)
    try:
        certificate = x509.load_pem_x509_certificate(pair[0])
    except ValueError:
        return "failed to parse certificate"
    try:
        key = load_pem_private_key(pair[1], None)
    except (ValueError, TypeError):
        return "failed to parse private key"
    return "" if key.public_key() == certificate.public_key() else "private key does not match public key"


ADVICE: dict[tuple[str, str], Callable[[Any, Any], Advice]] = {
    ("", "endpoints"): _endpoints,
    ("", "nodes"): _node,
    ("", "persistentvolumeclaims"): _claim,
    ("", "persistentvolumes"): _volume,
    ("", "pods"): _pod,
    ("", "podtemplates"): _pod_template,
    ("", "replicationcontrollers"): _workload,
    ("", "secrets"): _secret,
    ("", "serviceaccounts"): _service_account,
    ("", "services"): _service,
    ("apps", "daemonsets"): _daemon_set,
    ("apps", "deployments"): _workload,
    ("apps", "replicasets"): _workload,
    ("apps", "statefulsets"): _stateful_set,
    ("batch", "cronjobs"): _cron_job,
    ("batch", "jobs"): _job,
    ("discovery.k8s.io", "endpointslices"): _endpoint_slice,
    ("networking.k8s.io", "ingresses"): _ingress,
    ("networking.k8s.io", "networkpolicies"): _network_policy,
    ("node.k8s.io", "runtimeclasses"): _runtime_class,
    ("storage.k8s.io", "csistoragecapacities"): _capacity,
    ("storage.k8s.io", "storageclasses"): _storage_class,
}
