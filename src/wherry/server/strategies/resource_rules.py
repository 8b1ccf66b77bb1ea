"""Requests and limits: names, amounts, what may be overcommitted, and a pod's own against its containers'.

Source: kubernetes pkg/apis/core/validation and pkg/apis/core/helper.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import NOT_FOUND, FieldError, duplicate, field_forbidden, invalid_value, required
from wherry.meta.quantity import Quantity
from wherry.rules.requests import container_limit_quantities, container_request_quantities
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults

_CONTAINERS = frozenset({"cpu", "memory", "ephemeral-storage"})
_POD_LEVEL = ("cpu", "memory")
_COUNTED = frozenset(
    "pods services replicationcontrollers resourcequotas secrets configmaps persistentvolumeclaims services.nodeports "
    "services.loadbalancers".split()
)
_STANDARD = (
    _COUNTED
    | _CONTAINERS
    | frozenset(
        "requests.cpu requests.memory requests.ephemeral-storage limits.cpu limits.memory limits.ephemeral-storage "
        "storage requests.storage".split()
    )
)
HUGE_PAGES = "hugepages-"

Name = Callable[[str, str], Faults]
_NONE: frozenset[str] = frozenset()


def is_native(name: str) -> bool:
    """Kubernetes' own, with or without its domain."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """A whole number of something from another domain."""
    return not is_native(name) and not name.startswith("requests.") and not names.qualified_name(f"requests.{name}")


def may_overcommit(name: str) -> bool:
    """Requests may be below limits."""
    return is_native(name) and not name.startswith(HUGE_PAGES)


def is_standard(name: str) -> bool:
    """A name without a domain that means something anywhere."""
    return name in _STANDARD or name.startswith((HUGE_PAGES, "requests." + HUGE_PAGES))


def resource_name(path: str, name: str) -> Faults:
    """A standard resource or one with a domain."""
    faults = names.qualified_name(name)
    for text in faults:
        yield invalid_value(path, name, text)
    if not faults and "/" not in name and not is_standard(name):
        yield invalid_value(path, name, "must be a standard resource type or fully qualified")


def container_resource(path: str, name: str) -> Faults:
    """What a container can ask for."""
    if name in _CONTAINERS:
        return
    yield from resource_name(path, name)
    if "/" not in name:
        if not name.startswith(HUGE_PAGES):
            yield invalid_value(path, name, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        yield invalid_value(path, name, "doesn't follow extended resource name standard")


def _pod_resource(path: str, name: str) -> Faults:
    faults = list(resource_name(path, name))
    yield from faults
    if not faults and name not in _POD_LEVEL and not name.startswith(HUGE_PAGES):
        yield from checks.one_of(path, name, _POD_LEVEL)


def quantity(path: str, name: str, value: Quantity) -> Faults:
    """Not negative, and whole where halves make no sense."""
    nanos = value.nanos()
    if nanos < 0:
        yield invalid_value(path, str(value), checks.NEGATIVE)
    if nanos % 1_000_000_000 and (name in _COUNTED or is_extended(name)):
        yield invalid_value(path, str(value), "must be an integer")


def requirements(
    path: str,
    value: core.ResourceRequirements,
    claims: Collection[str] = _NONE,
    name_rule: Name = container_resource,
) -> Faults:
    """Names, amounts, requests within limits, claims that exist."""
    limits, requests = value.limits, value.requests
    for side, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            here = f"{path}.{side}[{name}]"
            yield from name_rule(here, name)
            yield from quantity(here, name, amount)
            if name.startswith(HUGE_PAGES) and not _divisible(name, amount):
                yield invalid_value(here, str(amount), f"{amount} is not positive integer multiple of {name}")
            if side == "requests":
                yield from _within_limit(path, name, amount, limits.get(name))
    if value.claims:
        yield from _claims(f"{path}.claims", value.claims, claims)
    given = {*limits, *requests}
    if any(name.startswith(HUGE_PAGES) for name in given) and not given & {"cpu", "memory"}:
        yield field_forbidden(path, "HugePages require cpu or memory")


def _within_limit(path: str, name: str, request: Quantity, limit: Quantity | None) -> Faults:
    if limit is None:
        if not may_overcommit(name):
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
    elif (order := request.compare(limit)) and not may_overcommit(name):
        yield invalid_value(f"{path}.requests", str(request), f"must be equal to {name} limit of {limit}")
    elif order > 0:
        yield invalid_value(f"{path}.requests", str(request), f"must be less than or equal to {name} limit of {limit}")


def _divisible(name: str, amount: Quantity) -> bool:
    try:
        size = Quantity.parse(name.removeprefix(HUGE_PAGES)).value()
    except ValueError:
        return False
    return size > 0 and amount.value() % size == 0


def _claims(path: str, items: Sequence[core.ResourceClaim], known: Collection[str]) -> Faults:
    seen: set[str] = set()
    for index, claim in enumerate(items):
        here, name = f"{path}[{index}]", claim.name
        if not name:
            yield required(here)
            continue
        key = f"{name}/{claim.request}" if claim.request else name
        if claim.request:
            yield from checks.named(f"{here}.request", claim.request, names.dns1123_label)
        overlaps = not claim.request and any(item.startswith(f"{name}/") for item in seen)
        if name in seen or key in seen or overlaps:
            yield duplicate(here, name if name in seen or overlaps else key)
        seen.add(key)
        if name not in known:
            text = "must be one of the names in pod.spec.resourceClaims"
            text += f": {', '.join(sorted(known))}" if known else " which is empty"
            yield FieldError(NOT_FOUND, here, name, text)


def pod_level(path: str, spec: core.PodSpec, value: core.ResourceRequirements) -> Faults:
    """A pod's own requests cover its containers', and no container's limit is above the pod's."""
    if spec.os is not None and spec.os.name == "windows":
        yield field_forbidden(path, "may not be set for a windows pod")
        return
    if value.claims:
        yield field_forbidden(f"{path}.claims", "claims may not be set for Resources at pod-level")
    yield from requirements(path, value, _NONE, _pod_resource)
    yield from _covered(f"{path}.requests", "container requests", container_request_quantities(spec), value.requests)
    huge = {name: total for name, total in container_limit_quantities(spec).items() if name.startswith(HUGE_PAGES)}
    yield from _covered(f"{path}.limits", "container limits", huge, value.limits)
    for index, container in enumerate(spec.containers):
        for name, limit in container.resources.limits.items():
            bound = value.limits.get(name)
            if bound is not None and limit.compare(bound) > 0:
                text = f"must be less than or equal to pod limits of {bound}"
                yield invalid_value(f"{path}.containers[{index}][{name}].limits", str(limit), text)


def _covered(path: str, what: str, totals: Mapping[str, Quantity], bounds: Mapping[str, Quantity]) -> Faults:
    for name, total in totals.items():
        bound = bounds.get(name)
        if bound is not None and total.compare(bound) > 0:
            yield invalid_value(
                f"{path}[{name}]", str(bound), f"must be greater than or equal to aggregate {what} of {total}"
            )
