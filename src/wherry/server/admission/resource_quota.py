"""ResourceQuota: what a write would use, held against what its namespace may use.

Usage is added to the quota's status before the write is done, so that two writes never share the last unit: the one
whose status update meets a conflict reads the quota afresh and is held against it again. What a failed write took is
given back by the quota controller, which counts anew.
"""

from collections.abc import Callable, Mapping

from wherry.api.core_v1 import PersistentVolumeClaim, Pod, Service
from wherry.api.core_v1 import ResourceQuota as Quota
from wherry.client.client import Client
from wherry.meta.errors import StatusError, conflict, forbidden
from wherry.meta.quantity import Quantity
from wherry.rules import pods
from wherry.rules.requests import BEST_EFFORT, pod_limit_quantities, pod_request_quantities, qos_class
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

_TRIES = 3
_COUNTED = {
    "pods": "pods",
    "services": "services",
    "replicationcontrollers": "replicationcontrollers",
    "resourcequotas": "resourcequotas",
    "secrets": "secrets",
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
}
Usage = dict[str, Quantity]


class ResourceQuota(AdmissionPlugin):
    """Usage is recorded in the quota's status before the write, as kube-apiserver does; a lost race is tried again."""

    name = "ResourceQuota"

    def __init__(self, caches: Caches, client: Callable[[], Client]) -> None:
        self._caches = caches
        self._client = client

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def validate(self, attributes: Attributes) -> None:
        if attributes.subresource or not attributes.namespace or attributes.resource.plural == "events":
            return
        quotas = self._caches.list(Quota, attributes.namespace)
        if not quotas:
            return
        delta = _delta(attributes)
        for quota in quotas:
            wanted = _relevant(quota, attributes, delta)
            if wanted:
                await self._charge(quota, attributes, wanted)

    async def _charge(self, quota: Quota, attributes: Attributes, wanted: Usage) -> None:
        for attempt in range(_TRIES):
            _check(quota, attributes, wanted)
            if attributes.dry_run:
                return
            used = {name: quota.status.used.get(name, Quantity("0")).add(amount) for name, amount in wanted.items()}
            quota.status.used = {**quota.status.used, **used}
            try:
                await self._client().update_status(quota)
            except StatusError as error:
                if error.code != 409 or attempt == _TRIES - 1:
                    raise
                quota = await self._client().get(Quota, quota.metadata.name or "", quota.metadata.namespace)
            else:
                return
        raise conflict("resourcequotas", quota.metadata.name or "", "too many writers")


def usage(obj: object, plural: str, group: str) -> Usage:
    """What one object uses of every quota resource it touches."""
    used: Usage = {f"count/{plural}.{group}" if group else f"count/{plural}": Quantity("1")}
    if not group and plural in _COUNTED:
        used[plural] = Quantity("1")
    if isinstance(obj, Pod):
        used |= _pod_usage(obj)
    elif isinstance(obj, Service):
        used |= _service_usage(obj)
    elif isinstance(obj, PersistentVolumeClaim):
        used |= _claim_usage(obj)
    return used


def _pod_usage(pod: Pod) -> Usage:
    if pods.is_terminal(pod):
        return {"pods": Quantity("0")}
    used: Usage = {}
    for name, quantity in pod_request_quantities(pod).items():
        used[f"requests.{name}"] = quantity
        if name in ("cpu", "memory", "ephemeral-storage"):
            used[name] = quantity
    used |= {f"limits.{name}": quantity for name, quantity in pod_limit_quantities(pod).items()}
    return used


def _service_usage(service: Service) -> Usage:
    ports = Quantity.of_value(len(service.spec.ports), "DecimalSI")
    match service.spec.type:
        case "NodePort":
            return {"services.nodeports": ports}
        case "LoadBalancer":
            held = Quantity("0") if service.spec.allocateLoadBalancerNodePorts is False else ports
            return {"services.loadbalancers": Quantity("1"), "services.nodeports": held}
    return {}


def _claim_usage(claim: PersistentVolumeClaim) -> Usage:
    used: Usage = {}
    storage = claim.spec.resources.requests.get("storage")
    if storage is not None:
        used["requests.storage"] = storage
    if claim.spec.storageClassName:
        prefix = f"{claim.spec.storageClassName}.storageclass.storage.k8s.io"
        used[f"{prefix}/persistentvolumeclaims"] = Quantity("1")
        if storage is not None:
            used[f"{prefix}/requests.storage"] = storage
    return used


def _delta(attributes: Attributes) -> Usage:
    plural, group = attributes.resource.plural, attributes.resource.group
    new = usage(attributes.object, plural, group)
    if attributes.operation != "UPDATE":
        return new
    old = usage(attributes.old_object, plural, group)
    changes = {name: quantity.sub(old.get(name, Quantity("0"))) for name, quantity in new.items()}
    return {name: quantity for name, quantity in changes.items() if quantity.nanos() > 0}


def _relevant(quota: Quota, attributes: Attributes, delta: Usage) -> Usage:
    hard = quota.status.hard or quota.spec.hard
    if not in_scope(quota, attributes.object):
        return {}
    if isinstance(attributes.object, Pod) and attributes.operation == "CREATE":
        _check_specified(quota, attributes, hard, delta)
    return {name: quantity for name, quantity in delta.items() if name in hard and not quantity.is_zero()}


def _check_specified(quota: Quota, attributes: Attributes, hard: Mapping[str, Quantity], delta: Usage) -> None:
    """A quota on CPU or memory demands that every pod says what it needs."""
    kinds = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
    missing = sorted(name for name in kinds if name in hard and name not in delta)
    if missing:
        containers = ",".join(item.name for item in pods.all_containers(attributes.object.spec))
        shown = "; ".join(f"{name} for: {containers}" for name in missing)
        text = f"failed quota: {quota.metadata.name}: must specify {shown}"
        raise forbidden(attributes.resource.group_resource, attributes.name, text)


def in_scope(quota: Quota, obj: object) -> bool:
    """Whether the quota's scopes hold for this object; scopes speak of pods only."""
    selector = quota.spec.scopeSelector
    scopes = [(name, "Exists", list[str]()) for name in quota.spec.scopes]
    scopes += [(item.scopeName, item.operator, item.values) for item in (selector.matchExpressions if selector else ())]
    if not scopes:
        return True
    return isinstance(obj, Pod) and all(_pod_in_scope(obj, *scope) for scope in scopes)


def _pod_in_scope(pod: Pod, scope: str, operator: str, values: list[str]) -> bool:
    match scope:
        case "Terminating":
            return pod.spec.activeDeadlineSeconds is not None
        case "NotTerminating":
            return pod.spec.activeDeadlineSeconds is None
        case "BestEffort":
            return qos_class(pod) == BEST_EFFORT
        case "NotBestEffort":
            return qos_class(pod) != BEST_EFFORT
        case "PriorityClass":
            name = pod.spec.priorityClassName or ""
            matches = {"In": name in values, "NotIn": name not in values, "Exists": bool(name)}
            return matches.get(operator, not name)
    return False


def _check(quota: Quota, attributes: Attributes, wanted: Usage) -> None:
    hard, used = quota.status.hard or quota.spec.hard, quota.status.used
    zero = Quantity("0")
    over = sorted(name for name, amount in wanted.items() if used.get(name, zero).add(amount).compare(hard[name]) > 0)
    if not over:
        return
    requested = ",".join(f"{name}={wanted[name]}" for name in over)
    held = ",".join(f"{name}={used.get(name, zero)}" for name in over)
    limited = ",".join(f"{name}={hard[name]}" for name in over)
    text = f"exceeded quota: {quota.metadata.name}, requested: {requested}, used: {held}, limited: {limited}"
    raise forbidden(attributes.resource.group_resource, attributes.name, text)
