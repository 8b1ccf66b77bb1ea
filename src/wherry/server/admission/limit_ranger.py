"""LimitRanger: a namespace's defaults for requests and limits, and its bounds on them."""

from collections.abc import Iterator

from wherry.api.core_v1 import Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod
from wherry.meta.errors import forbidden
from wherry.meta.quantity import Quantity
from wherry.rules import pods
from wherry.rules.requests import pod_limit_quantities, pod_request_quantities
from wherry.server.admission.kinds import writes
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

_ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger(AdmissionPlugin):
    """Pods are looked at when made, claims also when changed."""

    name = "LimitRanger"
    kinds = frozenset({("", "pods"), ("", "persistentvolumeclaims")})

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def admit(self, attributes: Attributes) -> None:
        if writes(attributes, "", "pods"):
            for item in self._items(attributes.namespace, "Container"):
                _default_pod(attributes.object, item)

    async def validate(self, attributes: Attributes) -> None:
        faults: list[str] = []
        if writes(attributes, "", "pods"):
            pod: Pod = attributes.object
            for item in self._items(attributes.namespace, "Container"):
                for container in pods.all_containers(pod.spec):
                    resources = container.resources
                    faults += _faults(item, resources.requests, resources.limits)
            for item in self._items(attributes.namespace, "Pod"):
                faults += _faults(item, pod_request_quantities(pod), pod_limit_quantities(pod))
        elif writes(attributes, "", "persistentvolumeclaims", attributes.operation):
            claim: PersistentVolumeClaim = attributes.object
            for item in self._items(attributes.namespace, "PersistentVolumeClaim"):
                faults += _faults(item, claim.spec.resources.requests, {})
        if faults:
            text = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
            raise forbidden(attributes.resource.group_resource, attributes.name, text)

    def _items(self, namespace: str, kind: str) -> Iterator[LimitRangeItem]:
        for limit_range in self._caches.list(LimitRange, namespace):
            yield from (item for item in limit_range.spec.limits if item.type == kind)


def _default_pod(pod: Pod, item: LimitRangeItem) -> None:
    notes = []
    sorts = (("container", pod.spec.containers), ("init container", pod.spec.initContainers))
    for sort, containers in sorts:
        for container in containers:
            requests, limits = _merge(container, item)
            for kind, names in (("request", requests), ("limit", limits)):
                if names:
                    notes.append(f"{', '.join(sorted(names))} {kind} for {sort} {container.name}")
    if notes:
        text = f"LimitRanger plugin set: {'; '.join(notes)}"
        pod.metadata.annotations = {**pod.metadata.annotations, _ANNOTATION: text}


def _merge(container: Container, item: LimitRangeItem) -> tuple[list[str], list[str]]:
    """Fill in what is missing; the names that were."""
    resources = container.resources
    requests = [name for name in item.defaultRequest if name not in resources.requests]
    limits = [name for name in item.default if name not in resources.limits]
    for name in limits:
        resources.limits[name] = item.default[name]
    for name in requests:
        resources.requests[name] = item.defaultRequest[name]
    return requests, limits


def _faults(item: LimitRangeItem, requests: dict[str, Quantity], limits: dict[str, Quantity]) -> list[str]:
    return [*_minimum(item, requests, limits), *_maximum(item, requests, limits), *_ratio(item, requests, limits)]


def _minimum(item: LimitRangeItem, requests: dict[str, Quantity], limits: dict[str, Quantity]) -> Iterator[str]:
    for name, bound in item.min.items():
        subject = f"minimum {name} usage per {item.type} is {bound}"
        request, limit = requests.get(name), limits.get(name)
        if request is None:
            yield f"{subject}.  No request is specified"
        elif request.compare(bound) < 0:
            yield f"{subject}, but request is {request}"
        if limit is not None and limit.compare(bound) < 0:
            yield f"{subject}, but limit is {limit}"


def _maximum(item: LimitRangeItem, requests: dict[str, Quantity], limits: dict[str, Quantity]) -> Iterator[str]:
    for name, bound in item.max.items():
        subject = f"maximum {name} usage per {item.type} is {bound}"
        request, limit = requests.get(name), limits.get(name)
        if item.type == "PersistentVolumeClaim":
            if request is not None and request.compare(bound) > 0:
                yield f"{subject}, but request is {request}"
            continue
        if limit is None:
            yield f"{subject}.  No limit is specified"
        elif limit.compare(bound) > 0:
            yield f"{subject}, but limit is {limit}"
        if request is not None and request.compare(bound) > 0:
            yield f"{subject}, but request is {request}"


def _ratio(item: LimitRangeItem, requests: dict[str, Quantity], limits: dict[str, Quantity]) -> Iterator[str]:
    for name, bound in item.maxLimitRequestRatio.items():
        subject = f"{name} max limit to request ratio per {item.type} is {bound}"
        request, limit = requests.get(name), limits.get(name)
        if request is None or request.is_zero():
            yield f"{subject}, but no request is specified or request is 0"
        elif limit is None or limit.is_zero():
            yield f"{subject}, but no limit is specified or limit is 0"
        elif limit.nanos() / request.nanos() > bound.nanos() / 1e9:
            yield f"{subject}, but provided ratio is {limit.nanos() / request.nanos():.6f}"
