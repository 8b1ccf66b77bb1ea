"""Dynamic resource allocation: claims on devices, their templates and classes, and the slices that offer devices.

Expressions are compiled where devices are chosen. Source: kubernetes pkg/apis/resource/validation.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from wherry.api import resource_v1 as dra
from wherry.meta import names
from wherry.meta.errors import field_forbidden, invalid_value, not_supported, required, too_long, too_many
from wherry.meta.object import ObjectMeta
from wherry.server.strategies import affinity_rules, checks, metadata, resource_rules, volume_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.strategy import RequestContext

REQUESTS_MAX, CONSTRAINTS_MAX, CONFIGS_MAX, SELECTORS_MAX, ALTERNATIVES_MAX = 32, 32, 32, 32, 8
RESERVED_MAX, DEVICES_MAX, COMPLEX_DEVICES_MAX, ATTRIBUTES_MAX, TAINTS_MAX = 256, 128, 64, 32, 16
COUNTER_SETS_MAX, COUNTERS_MAX, CONSUMED_MAX = 8, 32, 2
EXPRESSION_BYTES_MAX, PARAMETERS_BYTES_MAX, POOL_NAME_MAX, VALUE_MAX, ID_MAX = 10 * 1024, 10 * 1024, 253, 64, 32
_NODES = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_DEVICE_NODES = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to "
    "true in the ResourceSlice spec"
)
_NO_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)
_NOT_IN_TEMPLATE = tuple(name for name in ObjectMeta.__struct_fields__ if name not in ("annotations", "labels"))
T = TypeVar("T")
Rule = Callable[[str, Any], Faults]


def each(path: str, items: Sequence[T], limit: int, rule: Callable[[str, T], Faults], key: Any = None) -> Faults:
    """A list of at most `limit` items, each by `rule`, whose keys differ."""
    if len(items) > limit:
        yield too_many(path, len(items), limit)
        return
    for index, item in enumerate(items):
        yield from rule(f"{path}[{index}]", item)
    if key is not None:
        yield from checks.unique((f"{path}[{index}]", key(item)) for index, item in enumerate(items))


class ClaimStrategy(KindStrategy):
    """resource.k8s.io ResourceClaim: what it asks for is fixed."""

    def default(self, obj: dra.ResourceClaim) -> None:
        _default_requests(obj.spec.devices.requests)

    def rules(self, obj: dra.ResourceClaim) -> Faults:
        yield from _claim("spec.devices", obj.spec.devices)

    def changed_rules(self, new: dra.ResourceClaim, old: dra.ResourceClaim) -> Faults:
        yield from checks.immutable("spec", new.spec, old.spec)

    def status_rules(self, new: dra.ResourceClaim, old: dra.ResourceClaim) -> Faults:
        status, path = new.status, "status.reservedFor"
        yield from each(path, status.reservedFor, RESERVED_MAX, _consumer, lambda item: item.uid)
        if status.reservedFor and status.allocation is None:
            yield field_forbidden(path, "may not be specified when `allocated` is not set")
        held = [item.uid for item in old.status.reservedFor]
        if new.metadata.deletionTimestamp and any(item.uid not in held for item in status.reservedFor):
            text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            yield field_forbidden(path, text)
        allocated: set[tuple[str, str, str]] = set()
        if status.allocation is not None:
            results = status.allocation.devices.results
            allocated = {(item.driver, item.pool, item.device) for item in results}
            if old.status.allocation is not None:
                yield from checks.immutable("status.allocation", status.allocation, old.status.allocation)
            else:
                known = _request_names(new.spec.devices)
                rule = _result(known)
                yield from each("status.allocation.devices.results", results, REQUESTS_MAX, rule)
        for index, device in enumerate(status.devices):
            identity = (device.driver, device.pool, device.device)
            if identity not in allocated:
                shown = "/".join(identity)
                yield invalid_value(f"status.devices[{index}]", shown, "must be an allocated device in the claim")


class TemplateStrategy(KindStrategy):
    """resource.k8s.io ResourceClaimTemplate: fixed."""

    def default(self, obj: dra.ResourceClaimTemplate) -> None:
        _default_requests(obj.spec.spec.devices.requests)

    def rules(self, obj: dra.ResourceClaimTemplate) -> Faults:
        meta = obj.spec.metadata
        yield from metadata.annotations("spec.metadata.annotations", meta.annotations)
        yield from checks.labels("spec.metadata.labels", meta.labels)
        for name in _NOT_IN_TEMPLATE:
            if getattr(meta, name):
                yield field_forbidden(f"spec.metadata.{name}", "cannot be set")
        yield from _claim("spec.spec.devices", obj.spec.spec.devices)

    def changed_rules(self, new: dra.ResourceClaimTemplate, old: dra.ResourceClaimTemplate) -> Faults:
        yield from checks.immutable("spec", new.spec, old.spec)


class DeviceClassStrategy(KindStrategy):
    """resource.k8s.io DeviceClass."""

    generation_counts = ("spec",)

    def rules(self, obj: dra.DeviceClass) -> Faults:
        spec = obj.spec
        yield from each("spec.selectors", spec.selectors, SELECTORS_MAX, _selector)
        yield from each("spec.config", spec.config, CONFIGS_MAX, _config)
        extended = spec.extendedResourceName
        if extended is not None and not resource_rules.is_extended(extended):
            yield invalid_value("spec.extendedResourceName", extended, "must be a valid extended resource name")


class ResourceSliceStrategy(KindStrategy):
    """resource.k8s.io ResourceSlice."""

    generation_counts = ("spec",)

    def prepare_for_create(self, obj: dra.ResourceSlice, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        for device in obj.spec.devices:
            for taint in device.taints:
                taint.timeAdded = taint.timeAdded or ctx.clock_now()

    def rules(self, obj: dra.ResourceSlice) -> Faults:
        spec = obj.spec
        yield from volume_rules.driver_name("spec.driver", spec.driver)
        yield from _pool("spec.pool", spec.pool)
        yield from _slice_nodes(spec)
        if spec.sharedCounters and spec.devices:
            yield invalid_value("spec", "", "only one of `sharedCounters` or `devices` is allowed")
        simple = not any(device.taints or device.consumesCounters for device in spec.devices)
        limit = DEVICES_MAX if simple else COMPLEX_DEVICES_MAX
        per_device = bool(spec.perDeviceNodeSelection)
        rule = _device(per_device)
        yield from each("spec.devices", spec.devices, limit, rule, lambda item: item.name)
        yield from each("spec.sharedCounters", spec.sharedCounters, COUNTER_SETS_MAX, _counters, lambda item: item.name)

    def update_rules(self, new: dra.ResourceSlice, old: dra.ResourceSlice) -> Faults:
        yield from checks.immutable("spec.pool.name", new.spec.pool.name, old.spec.pool.name)
        for name in ("driver", "nodeName"):
            yield from checks.immutable(f"spec.{name}", getattr(new.spec, name), getattr(old.spec, name))

    def fields(self, obj: dra.ResourceSlice) -> dict[str, str]:
        return {"spec.nodeName": obj.spec.nodeName or "", "spec.driver": obj.spec.driver}


def _default_requests(requests: Sequence[dra.DeviceRequest]) -> None:
    for request in requests:
        wanted: list[dra.ExactDeviceRequest | dra.DeviceSubRequest] = [*request.firstAvailable]
        if request.exactly is not None:
            wanted.append(request.exactly)
        for item in wanted:
            item.allocationMode = item.allocationMode or "ExactCount"
            if item.allocationMode == "ExactCount" and not item.count:
                item.count = 1


def _request_names(claim: dra.DeviceClaim) -> set[str]:
    names_ = {request.name for request in claim.requests}
    return names_ | {f"{request.name}/{sub.name}" for request in claim.requests for sub in request.firstAvailable}


def _claim(path: str, claim: dra.DeviceClaim) -> Faults:
    known = _request_names(claim)
    yield from each(f"{path}.requests", claim.requests, REQUESTS_MAX, _request, lambda item: item.name)

    def constraint(here: str, item: dra.DeviceConstraint) -> Faults:
        yield from each(f"{here}.requests", item.requests, REQUESTS_MAX, _named_request(known), str)
        if item.matchAttribute is not None:
            yield from _qualified(f"{here}.matchAttribute", item.matchAttribute, full=True)
        elif item.distinctAttribute is not None:
            yield from _qualified(f"{here}.distinctAttribute", item.distinctAttribute, full=True)
        else:
            text = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
            yield required(here, text)

    def config(here: str, item: dra.DeviceClaimConfiguration) -> Faults:
        yield from each(f"{here}.requests", item.requests, REQUESTS_MAX, _named_request(known), str)
        yield from _config(here, item)

    yield from each(f"{path}.constraints", claim.constraints, CONSTRAINTS_MAX, constraint)
    yield from each(f"{path}.config", claim.config, CONFIGS_MAX, config)


def _request(path: str, request: dra.DeviceRequest) -> Faults:
    yield from checks.named_required(f"{path}.name", request.name, names.dns1123_label)
    which = "exactly one of `exactly` or `firstAvailable` is required"
    if request.exactly is not None and request.firstAvailable:
        yield invalid_value(path, None, f"{which}, but multiple fields are set")
    elif request.exactly is not None:
        yield from _wanted(f"{path}.exactly", request.exactly)
    elif request.firstAvailable:
        items = request.firstAvailable
        yield from each(f"{path}.firstAvailable", items, ALTERNATIVES_MAX, _alternative, lambda item: item.name)
    else:
        yield required(path, which)


def _alternative(path: str, request: dra.DeviceSubRequest) -> Faults:
    yield from checks.named_required(f"{path}.name", request.name, names.dns1123_label)
    yield from _wanted(path, request)


def _wanted(path: str, request: dra.ExactDeviceRequest | dra.DeviceSubRequest) -> Faults:
    yield from checks.named_required(f"{path}.deviceClassName", request.deviceClassName, names.dns1123_subdomain)
    yield from each(f"{path}.selectors", request.selectors, SELECTORS_MAX, _selector)
    mode, count = request.allocationMode, request.count or 0
    if mode == "All" and count:
        yield invalid_value(f"{path}.count", count, "must not be specified when allocationMode is 'All'")
    elif mode == "ExactCount" and count <= 0:
        yield invalid_value(f"{path}.count", count, "must be greater than zero")
    elif mode not in ("All", "ExactCount"):
        yield not_supported(f"{path}.allocationMode", mode, ("All", "ExactCount"))
    for index, toleration in enumerate(request.tolerations):
        yield from _toleration(f"{path}.tolerations[{index}]", toleration)


def _toleration(path: str, item: dra.DeviceToleration) -> Faults:
    if item.key:
        yield from checks.named(f"{path}.key", item.key, names.qualified_name)
    if item.operator == "Exists":
        if item.value:
            yield invalid_value(f"{path}.value", item.value, "must be empty for operator `Exists`")
    elif item.operator == "Equal":
        yield from checks.named(f"{path}.value", item.value or "", names.label_value)
    elif item.operator:
        yield not_supported(f"{path}.operator", item.operator, ("Equal", "Exists"))
    if item.effect:
        yield from checks.one_of(f"{path}.effect", item.effect, ("NoExecute", "NoSchedule", "None"))


def _selector(path: str, selector: dra.DeviceSelector) -> Faults:
    if selector.cel is None:
        yield required(f"{path}.cel")
    elif len(selector.cel.expression) > EXPRESSION_BYTES_MAX:
        yield too_long(f"{path}.cel.expression", EXPRESSION_BYTES_MAX)
    elif not selector.cel.expression:
        yield required(f"{path}.cel.expression")


def _config(path: str, config: dra.DeviceClaimConfiguration | dra.DeviceClassConfiguration) -> Faults:
    opaque = config.opaque
    if opaque is None:
        yield required(f"{path}.opaque")
        return
    yield from volume_rules.driver_name(f"{path}.opaque.driver", opaque.driver)
    here, value = f"{path}.opaque.parameters", opaque.parameters
    if value is None:
        yield required(here)
    elif len(orjson.dumps(value)) > PARAMETERS_BYTES_MAX:
        yield too_long(here, PARAMETERS_BYTES_MAX)
    elif not isinstance(value, dict):
        yield invalid_value(here, "<value omitted>", "must be a valid JSON object")


def _named_request(known: Iterable[str]) -> Callable[[str, str], Faults]:
    def rule(path: str, name: str) -> Faults:
        if name.count("/") <= 1:
            for part in name.split("/"):
                yield from checks.named_required(path, part, names.dns1123_label)
        if name not in known:
            yield invalid_value(path, name, _NO_REQUEST)

    return rule


def _result(known: Iterable[str]) -> Callable[[str, dra.DeviceRequestAllocationResult], Faults]:
    request = _named_request(known)

    def rule(path: str, result: dra.DeviceRequestAllocationResult) -> Faults:
        yield from request(f"{path}.request", result.request)
        yield from volume_rules.driver_name(f"{path}.driver", result.driver)
        yield from _pool_name(f"{path}.pool", result.pool)
        yield from checks.named(f"{path}.device", result.device, names.dns1123_label)

    return rule


def _consumer(path: str, item: dra.ResourceClaimConsumerReference) -> Faults:
    for name in ("resource", "name", "uid"):
        yield from checks.present(f"{path}.{name}", getattr(item, name))


def _pool_name(path: str, name: str) -> Faults:
    if not name:
        yield required(path)
        return
    if len(name) > POOL_NAME_MAX:
        yield too_long(path, POOL_NAME_MAX)
    for part in name.split("/"):
        yield from checks.named(path, part, names.dns1123_subdomain)


def _pool(path: str, pool: dra.ResourcePool) -> Faults:
    yield from _pool_name(f"{path}.name", pool.name)
    if pool.resourceSliceCount <= 0:
        yield invalid_value(f"{path}.resourceSliceCount", pool.resourceSliceCount, "must be greater than zero")
    if pool.generation < 0:
        yield invalid_value(f"{path}.generation", pool.generation, "must be greater than or equal to zero")


def _slice_nodes(spec: dra.ResourceSliceSpec) -> Faults:
    given = []
    if spec.nodeName is not None:
        if not spec.nodeName:
            yield invalid_value("spec.nodeName", "", "must be either unset or set to a non-empty string")
        else:
            given.append("`nodeName`")
            yield from checks.named("spec.nodeName", spec.nodeName, names.dns1123_subdomain)
    if spec.nodeSelector is not None:
        given.append("`nodeSelector`")
        yield from affinity_rules.node_selector("spec.nodeSelector", spec.nodeSelector)
        if len(spec.nodeSelector.nodeSelectorTerms) != 1:
            path, terms = "spec.nodeSelector.nodeSelectorTerms", spec.nodeSelector.nodeSelectorTerms
            yield invalid_value(path, terms, "must have exactly one node selector term")
    for name in ("allNodes", "perDeviceNodeSelection"):
        if getattr(spec, name) is False:
            yield invalid_value(f"spec.{name}", False, "must be either unset or set to true")
        elif getattr(spec, name):
            given.append(f"`{name}`")
    if not given:
        yield required("spec", _NODES)
    elif len(given) > 1:
        yield invalid_value("spec", f"{{{', '.join(given)}}}", f"{_NODES}, but multiple fields are set")


def _device(per_device: bool) -> Callable[[str, dra.Device], Faults]:
    def rule(path: str, device: dra.Device) -> Faults:
        yield from checks.named(f"{path}.name", device.name, names.dns1123_label)
        total = len(device.attributes) + len(device.capacity)
        if total > ATTRIBUTES_MAX:
            text = f"the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
            yield invalid_value(path, total, text)
        for name, attribute in device.attributes.items():
            yield from _qualified(f"{path}.attributes[{name}]", name)
            yield from _attribute(f"{path}.attributes[{name}]", attribute)
        for name, capacity in device.capacity.items():
            here = f"{path}.capacity[{name}]"
            yield from _qualified(here, name)
            if capacity.requestPolicy is not None and not device.allowMultipleAllocations:
                yield field_forbidden(f"{here}.requestPolicy", "allowMultipleAllocations must be true")
        yield from each(f"{path}.taints", device.taints, TAINTS_MAX, _taint)
        consumed = device.consumesCounters
        yield from each(f"{path}.consumesCounters", consumed, CONSUMED_MAX, _consumes, lambda item: item.counterSet)
        given = [f"`{name}`" for name in ("nodeName", "nodeSelector", "allNodes") if getattr(device, name) is not None]
        if not per_device and given:
            text = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to "
            yield invalid_value(path, None, f"{text}true in the ResourceSlice spec")
        elif per_device and not given:
            yield required(path, _DEVICE_NODES)
        elif per_device and len(given) > 1:
            yield invalid_value(path, f"{{{', '.join(given)}}}", _DEVICE_NODES)

    return rule


def _attribute(path: str, attribute: dra.DeviceAttribute) -> Faults:
    members = ("bool_", "int_", "string", "version", "bools", "ints", "strings", "versions")
    given = [name for name in members if getattr(attribute, name) not in (None, [])]
    if len(given) != 1:
        yield invalid_value(path, attribute if given else "", "exactly one value must be specified")
    if attribute.string is not None and len(attribute.string) > VALUE_MAX:
        yield too_long(f"{path}.string", VALUE_MAX)
    if attribute.version is not None:
        if not _SEMVER.fullmatch(attribute.version):
            text = "must be a string compatible with semver.org spec 2.0.0"
            yield invalid_value(f"{path}.version", attribute.version, text)
        if len(attribute.version) > VALUE_MAX:
            yield too_long(f"{path}.version", VALUE_MAX)


def _taint(path: str, taint: dra.DeviceTaint) -> Faults:
    yield from checks.named(f"{path}.key", taint.key, names.qualified_name)
    if taint.value:
        yield from checks.named(f"{path}.value", taint.value, names.label_value)
    yield from checks.one_of_required(f"{path}.effect", taint.effect, ("NoExecute", "NoSchedule", "None"))


def _counters(path: str, counters: dra.CounterSet) -> Faults:
    yield from checks.named_required(f"{path}.name", counters.name, names.dns1123_label)
    yield from _counter_names(f"{path}.counters", counters.counters)


def _consumes(path: str, item: dra.DeviceCounterConsumption) -> Faults:
    yield from checks.named_required(f"{path}.counterSet", item.counterSet, names.dns1123_label)
    yield from _counter_names(f"{path}.counters", item.counters)


def _counter_names(path: str, counters: Mapping[str, dra.Counter]) -> Faults:
    if not counters:
        yield required(path)
    elif len(counters) > COUNTERS_MAX:
        yield too_many(path, len(counters), COUNTERS_MAX)
    for name in counters:
        yield from checks.named(f"{path}[{name}]", name, names.dns1123_label)


def _qualified(path: str, name: str, *, full: bool = False) -> Faults:
    domain, slash, identifier = name.rpartition("/")
    if slash and not domain:
        yield invalid_value(path, "", "the domain must not be empty")
    elif slash:
        yield from volume_rules.driver_name(path, domain)
    elif full:
        text = "a fully qualified name must be a domain and a name separated by a slash"
        yield invalid_value(path, name, text)
    if slash and not identifier:
        yield invalid_value(path, "", "the name must not be empty")
    elif len(identifier) > ID_MAX:
        yield too_long(path, ID_MAX)
    if identifier:
        yield from checks.named(path, identifier, names.c_identifier)
