"""LimitRanger: a namespace's defaults for requests and limits, and its bounds on them."""

from collections.abc import Iterator

from wherry.api.core_v1 import Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod
from wherry.meta.errors import forbidden
from wherry.meta.quantity import Quantity
from wherry.rules.requests import pod_limit_quantities, pod_request_quantities
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

_ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger(AdmissionPlugin):
    """Pods are looked at when made and when resized, claims when made and when changed."""

    name = "LimitRanger"
    kinds = frozenset({("", "pods"), ("", "persistentvolumeclaims")})

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def admit(self, attributes: Attributes) -> None:
        for limit_range in self._ranges(attributes):
            for item in limit_range.spec.limits:
                if item.type == "Container" and isinstance(attributes.object, Pod):
                    _default_pod(attributes.object, item)

    async def validate(self, attributes: Attributes) -> None:
        for limit_range in self._ranges(attributes):
            faults = list(dict.fromkeys(_all_faults(limit_range, attributes.object)))
            if faults:
                text = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
                raise forbidden(attributes.resource.group_resource, attributes.name, text)

    def _ranges(self, attributes: Attributes) -> list[LimitRange]:
        changes_pod = attributes.operation == "UPDATE" and attributes.resource.plural == "pods"
        if attributes.subresource != ("resize" if changes_pod else ""):
            return []
        if attributes.old_object is not None and attributes.old_object.metadata.deletionTimestamp:
            return []
        return self._caches.list(LimitRange, attributes.namespace)


def _all_faults(limit_range: LimitRange, obj: Pod | PersistentVolumeClaim) -> Iterator[str]:
    for item in limit_range.spec.limits:
        if isinstance(obj, PersistentVolumeClaim):
            if item.type == "PersistentVolumeClaim":
                yield from _minimum(item, obj.spec.resources.requests, {})
                yield from _maximum_request(item, obj.spec.resources.requests)
        elif item.type == "Container":
            for container in (*obj.spec.containers, *obj.spec.initContainers):
                yield from _faults(item, container.resources.requests, container.resources.limits)
        elif item.type == "Pod":
            amounts = pod_request_quantities(obj, overhead=False), pod_limit_quantities(obj, overhead=False)
            yield from _faults(item, *amounts)


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
        elif limit is not None and limit.compare(bound) < 0:
            yield f"{subject}, but limit is {limit}"


def _maximum(item: LimitRangeItem, requests: dict[str, Quantity], limits: dict[str, Quantity]) -> Iterator[str]:
    for name, bound in item.max.items():
        subject = f"maximum {name} usage per {item.type} is {bound}"
        request, limit = requests.get(name), limits.get(name)
        if limit is None:
            yield f"{subject}.  No limit is specified"
        elif limit.compare(bound) > 0:
            yield f"{subject}, but limit is {limit}"
        elif request is not None and request.compare(bound) > 0:
            yield f"{subject}, but request is {request}"


def _maximum_request(item: LimitRangeItem, requests: dict[str, Quantity]) -> Iterator[str]:
    for name, bound in item.max.items():
        subject, request = f"maximum {name} usage per {item.type} is {bound}", requests.get(name)
        if request is None:
            yield f"{subject}.  No request is specified"
        elif request.compare(bound) > 0:
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
