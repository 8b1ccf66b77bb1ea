"""How much a pod asks for: effective requests and limits over init containers, sidecars, pod level and overhead; QoS.

Amounts are whole numbers in nano-units inside, so that sums are exact; the scheduler asks for `pod_requests` (CPU in
millicores, everything else in whole units), quota and printing for quantities.

Source: KEP-753 (sidecars), KEP-2837 (pod-level resources), k8s.io/component-helpers/resource.
"""

from collections.abc import Callable, Mapping

from wherry.api.core_v1 import Container, Pod, PodSpec, ResourceRequirements
from wherry.meta.quantity import NANO, Family, Quantity
from wherry.rules import conditions
from wherry.rules.pods import is_sidecar

Amounts = dict[str, int]

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"


def pod_requests(pod: Pod) -> dict[str, int]:
    """What the scheduler reserves: CPU in millicores, every other resource in whole units."""
    return {name: in_scheduler_units(name, nanos) for name, nanos in _effective(pod, _requests).items()}


def pod_request_quantities(pod: Pod, overhead: bool = True) -> dict[str, Quantity]:
    """The same as quantities, with the overhead of its RuntimeClass or without."""
    return _as_quantities(_effective(pod, _requests, overhead), pod.spec, _requests)


def pod_limit_quantities(pod: Pod, overhead: bool = True) -> dict[str, Quantity]:
    """Effective limits; a resource that some container leaves unlimited counts what the others set."""
    return _as_quantities(_effective(pod, _limits, overhead), pod.spec, _limits)


def container_request_quantities(spec: PodSpec) -> dict[str, Quantity]:
    """What the containers ask for together, without pod-level resources and overhead."""
    return _as_quantities(container_sum(spec), spec, _requests)


def container_limit_quantities(spec: PodSpec) -> dict[str, Quantity]:
    """What the containers of a pod may use together."""
    return _as_quantities(container_sum(spec, _limits), spec, _limits)


def in_scheduler_units(name: str, nanos: int) -> int:
    """Nano-units to millicores (CPU) or whole units, rounded up."""
    return -(-nanos // (NANO // 1000 if name == "cpu" else NANO))


def _as_quantities(amounts: Amounts, spec: PodSpec, side: "_Side") -> dict[str, Quantity]:
    """Spelled as the first container that names them spells them."""
    families: dict[str, Family] = {}
    for resources in (spec.resources, *(item.resources for item in (*spec.containers, *spec.initContainers))):
        for name, quantity in side(resources).items():
            if name not in families and not quantity.is_zero():
                families[name] = quantity.family()
    return {name: Quantity.of_nanos(nanos, families.get(name, "DecimalSI")) for name, nanos in amounts.items()}


def _requests(resources: ResourceRequirements | None) -> Mapping[str, Quantity]:
    return resources.requests if resources is not None else {}


def _limits(resources: ResourceRequirements | None) -> Mapping[str, Quantity]:
    return resources.limits if resources is not None else {}


_Side = Callable[[ResourceRequirements | None], Mapping[str, Quantity]]


def _effective(pod: Pod, side: _Side, overhead: bool = True) -> Amounts:
    spec = pod.spec
    total = container_sum(spec, side, _held(pod, side))
    for name, quantity in side(spec.resources).items():
        total[name] = quantity.nanos()
    for name, quantity in spec.overhead.items() if overhead else ():
        # An overhead without a limit of its own would turn "unlimited" into a limit.
        if side is _requests or total.get(name):
            total[name] = total.get(name, 0) + quantity.nanos()
    return total


_Held = Callable[[Container, Amounts], Amounts]


def _held(pod: Pod, side: _Side) -> _Held | None:
    """What containers have while a resize is on its way (KEP-1287): the greater of that and what they ask for."""
    statuses = {item.name: item for item in pod.status.containerStatuses if item.resources is not None}
    statuses |= {item.name: item for item in pod.status.initContainerStatuses if item.resources is not None}
    if not statuses:
        return None
    pending = conditions.find(pod.status.conditions, "PodResizePending")
    infeasible = pending is not None and pending.reason == "Infeasible"

    def held(container: Container, asked: Amounts) -> Amounts:
        status = statuses.get(container.name)
        if status is None:
            return asked
        found = {} if infeasible else dict(asked)
        _raise(found, _nanos(side(status.resources)))
        if side is _requests:
            _raise(found, _nanos(status.allocatedResources))
        return found

    return held


def container_sum(spec: PodSpec, side: _Side = _requests, held: _Held | None = None) -> Amounts:
    """Containers and sidecars together, or the greatest init container with the sidecars started before it."""
    total: Amounts = {}
    for container in spec.containers:
        amounts = _nanos(side(container.resources))
        _add(total, held(container, amounts) if held else amounts)
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.initContainers:
        amounts = _nanos(side(container.resources))
        if is_sidecar(container):
            amounts = held(container, amounts) if held else amounts
            _add(total, amounts)
            _add(sidecars, amounts)
            amounts = dict(sidecars)
        else:
            _add(amounts, sidecars)
        _raise(peak, amounts)
    _raise(total, peak)
    return total


def _nanos(quantities: Mapping[str, Quantity]) -> Amounts:
    return {name: quantity.nanos() for name, quantity in quantities.items()}


def _add(total: Amounts, amounts: Amounts) -> None:
    for name, nanos in amounts.items():
        total[name] = total.get(name, 0) + nanos


def _raise(total: Amounts, amounts: Amounts) -> None:
    for name, nanos in amounts.items():
        total[name] = max(total.get(name, nanos), nanos)


def qos_class(pod: Pod) -> str:
    """Guaranteed when every CPU and memory limit equals its request; BestEffort when there are none."""
    if pod.spec.resources is not None and (pod.spec.resources.requests or pod.spec.resources.limits):
        return _class_of([pod.spec.resources])
    containers: list[Container] = [*pod.spec.initContainers, *pod.spec.containers]
    return _class_of([container.resources for container in containers])


def _class_of(all_resources: list[ResourceRequirements | None]) -> str:
    anything = False
    guaranteed = True
    for resources in all_resources:
        requests, limits = _nonzero(_requests(resources)), _nonzero(_limits(resources))
        anything = anything or bool(requests) or bool(limits)
        guaranteed = guaranteed and len(limits) == 2 and all(limits[name] == requests.get(name) for name in limits)
    if not anything:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE


def _nonzero(quantities: Mapping[str, Quantity]) -> Amounts:
    return {name: nanos for name in ("cpu", "memory") if name in quantities and (nanos := quantities[name].nanos())}
