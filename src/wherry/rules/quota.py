"""What an object uses of what ResourceQuotas count, and which objects a quota's scopes speak of.

Admission (server/admission/resource_quota.py) charges by these rules and the quota controller
(controllers/resourcequota.py) counts by them.

Source: kubernetes pkg/quota/v1/evaluator.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from wherry.api.core_v1 import PersistentVolumeClaim, Pod, PodAffinityTerm, ResourceQuota, Service
from wherry.api.resource_v1 import DeviceSubRequest, ExactDeviceRequest, ResourceClaim
from wherry.meta.quantity import Quantity
from wherry.meta.time import parse_time
from wherry.rules.pods import is_terminal
from wherry.rules.requests import BEST_EFFORT, pod_limit_quantities, pod_request_quantities, qos_class
from wherry.rules.storage import storage_class_of

Usage = dict[str, Quantity]
Kind = tuple[str, str]
"""(group, plural)."""
Scope = tuple[str, str, list[str]]
"""Name, operator, values."""

ZERO, ONE = Quantity("0"), Quantity("1")
PODS, SERVICES, CLAIMS = ("", "pods"), ("", "services"), ("", "persistentvolumeclaims")
DEVICE_CLAIMS = ("resource.k8s.io", "resourceclaims")
MEASURED: dict[Kind, type[Any]] = {
    PODS: Pod, SERVICES: Service, CLAIMS: PersistentVolumeClaim, DEVICE_CLAIMS: ResourceClaim
}  # fmt: skip
"""Kinds of which more than the number of objects counts, so that changes of one count too."""

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_NAMED: dict[str, Kind] = {
    **{name: ("", name) for name in ("configmaps", "secrets", "resourcequotas", "replicationcontrollers")},
    **dict.fromkeys(("services", "services.nodeports", "services.loadbalancers"), SERVICES),
    **dict.fromkeys(("persistentvolumeclaims", "requests.storage"), CLAIMS),
    **{f"{side}{name}": PODS for side in ("", "requests.", "limits.") for name in _COMPUTE},
    "pods": PODS,
}
_ALIASES = frozenset({"configmaps", "secrets", "resourcequotas", "replicationcontrollers"})
_STORAGE_CLASS = ".storageclass.storage.k8s.io/"
_BY_STORAGE_CLASS = (f"{_STORAGE_CLASS}persistentvolumeclaims", f"{_STORAGE_CLASS}requests.storage")
_DEVICES = ".deviceclass.resource.k8s.io/devices"
_DEVICES_MAX = 32
"""Of one request that asks for all: what one claim can be given."""
_HUGE_PAGES = "hugepages-"


def kind_of(name: str) -> Kind | None:
    """The kind on whose objects a resource of a quota is counted; None for names that count nothing."""
    if name.startswith("count/"):
        plural, _, group = name[len("count/") :].partition(".")
        return group, plural
    if name in _NAMED:
        return _NAMED[name]
    if name.endswith(_BY_STORAGE_CLASS):
        return CLAIMS
    if name.endswith(_DEVICES):
        return DEVICE_CLAIMS
    if name.startswith((_HUGE_PAGES, "requests." + _HUGE_PAGES)) or (name.startswith("requests.") and _extended(name)):
        return PODS
    return None


def concerning(names: Iterable[str], kind: Kind) -> list[str]:
    """Those of a quota's resources that are counted on a kind."""
    return [name for name in names if kind_of(name) == kind]


def _extended(name: str) -> bool:
    return "/" in name and "kubernetes.io/" not in name


def add(one: Mapping[str, Quantity], other: Mapping[str, Quantity]) -> Usage:
    """The sum, resource by resource."""
    return {**one, **{name: one[name].add(amount) if name in one else amount for name, amount in other.items()}}


def usage(obj: Any, kind: Kind, now: datetime) -> Usage:
    """What one object uses of everything that a quota may count."""
    group, plural = kind
    used = {f"count/{plural}.{group}" if group else f"count/{plural}": ONE}
    if isinstance(obj, Pod):
        return used | _of_pod(obj, now)
    if isinstance(obj, Service):
        return used | _of_service(obj)
    if isinstance(obj, PersistentVolumeClaim):
        return used | _of_claim(obj)
    if isinstance(obj, ResourceClaim):
        return used | _of_device_claim(obj)
    return used | {plural: ONE} if not group and plural in _ALIASES else used


def _of_pod(pod: Pod, now: datetime) -> Usage:
    if is_terminal(pod) or _overdue(pod, now):
        return {}
    used: Usage = {"pods": ONE}
    for name, amount in pod_request_quantities(pod).items():
        if name in _COMPUTE or name.startswith(_HUGE_PAGES):
            used[name] = used[f"requests.{name}"] = amount
        elif _extended(name):
            used[f"requests.{name}"] = amount
    limits = pod_limit_quantities(pod)
    return used | {f"limits.{name}": limits[name] for name in _COMPUTE if name in limits}


def _overdue(pod: Pod, now: datetime) -> bool:
    """Its node is lost, perhaps: nobody shall wait for it to make room."""
    meta = pod.metadata
    if meta.deletionTimestamp is None or meta.deletionGracePeriodSeconds is None:
        return False
    return now > parse_time(meta.deletionTimestamp) + timedelta(seconds=meta.deletionGracePeriodSeconds)


def _of_service(service: Service) -> Usage:
    spec = service.spec
    ports = len(spec.ports) if spec.type in ("NodePort", "LoadBalancer") else 0
    if spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is False:
        ports = sum(bool(port.nodePort) for port in spec.ports)
    return {
        "services": ONE,
        "services.nodeports": _count(ports),
        "services.loadbalancers": ONE if spec.type == "LoadBalancer" else ZERO,
    }


def _of_claim(claim: PersistentVolumeClaim) -> Usage:
    used: Usage = {"persistentvolumeclaims": ONE}
    storage = claim.spec.resources.requests.get("storage")
    if storage is not None:
        granted = claim.status.allocatedResources.get("storage", storage)
        storage = granted if granted.compare(storage) > 0 else storage
        used["requests.storage"] = Quantity.of_value(storage.value(), storage.family())
    storage_class = storage_class_of(claim)
    if storage_class:
        used |= {f"{storage_class}{_STORAGE_CLASS}{name}": amount for name, amount in used.items()}
    return used


def _of_device_claim(claim: ResourceClaim) -> Usage:
    used: Usage = {}
    for request in claim.spec.devices.requests:
        worst: Usage = {}  # of alternatives, the one that takes most of a class
        choices: Iterable[DeviceSubRequest | ExactDeviceRequest] = request.firstAvailable
        for choice in choices or filter(None, [request.exactly]):
            number = _DEVICES_MAX if choice.allocationMode == "All" else choice.count or 0
            name = f"{choice.deviceClassName}{_DEVICES}"
            worst[name] = max(worst.get(name, ZERO), _count(number), key=Quantity.nanos)
        used = add(used, worst)
    return used


def _count(number: int) -> Quantity:
    return Quantity.of_value(number, "DecimalSI")


# Scopes


def scopes_of(quota: ResourceQuota) -> list[Scope]:
    """Of both fields that name them."""
    selector = quota.spec.scopeSelector
    scopes: list[Scope] = [(name, "Exists", []) for name in quota.spec.scopes]
    return scopes + [(it.scopeName, it.operator, it.values) for it in (selector.matchExpressions if selector else ())]


def in_scopes(quota: ResourceQuota, obj: Any) -> bool:
    """Whether all scopes of a quota hold of an object."""
    return all(matches(scope, obj) for scope in scopes_of(quota))


def matches(scope: Scope, obj: Any) -> bool:
    """Whether a scope holds of an object. Scopes speak of pods, and one of volume claims; none holds of other kinds."""
    name, operator, values = scope
    if isinstance(obj, PersistentVolumeClaim):
        return name == "VolumeAttributesClass" and _selects(operator, values, set(_attributes_classes(obj)))
    if not isinstance(obj, Pod):
        return False
    match name:
        case "Terminating" | "NotTerminating":
            limited = obj.spec.activeDeadlineSeconds is not None and obj.spec.activeDeadlineSeconds >= 0
            return limited == (name == "Terminating")
        case "BestEffort" | "NotBestEffort":
            return (qos_class(obj) == BEST_EFFORT) == (name == "BestEffort")
        case "PriorityClass":
            return _selects(operator, values, {obj.spec.priorityClassName} - {None, ""})
        case "CrossNamespacePodAffinity":
            return any(term.namespaces or term.namespaceSelector is not None for term in _affinity_terms(obj))
    return False


def _selects(operator: str, values: list[str], names: set[str | None]) -> bool:
    match operator:
        case "In":
            return any(name in values for name in names)
        case "NotIn":
            return not names or any(name not in values for name in names)
    return bool(names) == (operator == "Exists")


def _attributes_classes(claim: PersistentVolumeClaim) -> Iterator[str]:
    """What it has, wants, and is on its way to."""
    modified = claim.status.modifyVolumeStatus
    wanted = modified.targetVolumeAttributesClassName if modified else None
    yield from filter(
        None, (claim.spec.volumeAttributesClassName, claim.status.currentVolumeAttributesClassName, wanted)
    )


def _affinity_terms(pod: Pod) -> Iterator[PodAffinityTerm]:
    affinity = pod.spec.affinity
    for side in (affinity.podAffinity, affinity.podAntiAffinity) if affinity else ():
        if side is not None:
            yield from side.requiredDuringSchedulingIgnoredDuringExecution
            yield from (item.podAffinityTerm for item in side.preferredDuringSchedulingIgnoredDuringExecution)
