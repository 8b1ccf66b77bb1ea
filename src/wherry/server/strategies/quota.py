"""ResourceQuotas and LimitRanges: what a namespace, and each thing in it, may use.

Source: kubernetes pkg/apis/core/validation.
"""

from collections.abc import Mapping

from wherry.api.core_v1 import LimitRange, LimitRangeItem, ResourceQuota, ResourceQuotaSpec
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, required
from wherry.meta.quantity import Quantity
from wherry.server.strategies import checks, resource_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy

SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)
_ONLY_EXISTS = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")
_CONFLICTS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
_POD_COMPUTE = frozenset(
    "pods cpu memory ephemeral-storage requests.cpu requests.memory requests.ephemeral-storage limits.cpu "
    "limits.memory limits.ephemeral-storage".split()
)
_STANDARD = _POD_COMPUTE | frozenset(
    "requests.storage resourcequotas services replicationcontrollers secrets persistentvolumeclaims configmaps "
    "services.nodeports services.loadbalancers".split()
)


class QuotaStrategy(KindStrategy):
    """v1 ResourceQuota."""

    def rules(self, obj: ResourceQuota) -> Faults:
        yield from _amounts("spec.hard", obj.spec.hard)
        yield from _scopes(obj.spec)
        if obj.spec.scopeSelector is not None:
            yield from _selector(obj.spec)

    def update_rules(self, new: ResourceQuota, old: ResourceQuota) -> Faults:
        if set(new.spec.scopes) != set(old.spec.scopes):
            yield invalid_value("spec.scopes", new.spec.scopes, checks.IMMUTABLE)

    def status_rules(self, new: ResourceQuota, old: ResourceQuota) -> Faults:
        yield from _amounts("status.hard", new.status.hard)
        yield from _amounts("status.used", new.status.used)


def _amounts(path: str, amounts: Mapping[str, Quantity]) -> Faults:
    for name, amount in amounts.items():
        here = f"{path}[{name}]"
        faults = list(resource_rules.resource_name(here, name))
        yield from faults
        if not faults and "/" not in name and name not in _STANDARD and "hugepages-" not in name:
            yield invalid_value(here, name, "must be a standard resource for quota")
        yield from resource_rules.quantity(here, name, amount)


def _fits(scope: str, resource: str) -> bool:
    """Whether a scope can speak of a resource."""
    if scope in ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"):
        return resource in _POD_COMPUTE
    if scope == "VolumeAttributesClass":
        return resource in ("persistentvolumeclaims", "requests.storage")
    return scope != "BestEffort" or resource == "pods"


def _scopes(spec: ResourceQuotaSpec) -> Faults:
    path = "spec.scopes"
    for scope in spec.scopes:
        if scope not in SCOPES:
            yield invalid_value(path, spec.scopes, "unsupported scope")
        for resource in sorted(spec.hard):
            if resource in _STANDARD and not _fits(scope, resource):
                yield invalid_value(path, spec.scopes, "unsupported scope applied to resource")
    if any(pair <= set(spec.scopes) for pair in _CONFLICTS):
        yield invalid_value(path, spec.scopes, "conflicting scopes")


def _selector(spec: ResourceQuotaSpec) -> Faults:
    assert spec.scopeSelector is not None
    path, expressions = "spec.scopeSelector.matchExpressions", spec.scopeSelector.matchExpressions
    for item in expressions:
        if item.scopeName not in SCOPES:
            yield invalid_value(f"{path}.scopeName", item.scopeName, "unsupported scope")
        for resource in sorted(spec.hard):
            if resource in _STANDARD and not _fits(item.scopeName, resource):
                yield invalid_value(path, spec.scopeSelector, "unsupported scope applied to resource")
        if item.scopeName in _ONLY_EXISTS and item.operator != "Exists":
            yield invalid_value(f"{path}.operator", item.operator, _EXISTS)
        if item.operator in ("In", "NotIn"):
            if not item.values:
                text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield required(f"{path}.values", text)
        elif item.operator in ("Exists", "DoesNotExist"):
            if item.values:
                text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                yield invalid_value(f"{path}.values", item.values, text)
        else:
            yield invalid_value(f"{path}.operator", item.operator, "not a valid selector operator")
    if any(pair <= {item.scopeName for item in expressions} for pair in _CONFLICTS):
        yield invalid_value(path, spec.scopes, "conflicting scopes")


class LimitRangeStrategy(KindStrategy):
    """v1 LimitRange: default limits from maxima, default requests from default limits, then from minima."""

    def default(self, obj: LimitRange) -> None:
        for item in obj.spec.limits:
            if item.type == "Container":
                item.default = {**item.max, **item.default}
                item.defaultRequest = {**item.min, **item.default, **item.defaultRequest}

    def rules(self, obj: LimitRange) -> Faults:
        seen: set[str] = set()
        for index, item in enumerate(obj.spec.limits):
            path = f"spec.limits[{index}]"
            faults = names.qualified_name(item.type)
            for text in faults:
                yield invalid_value(f"{path}.type", item.type, text)
            if not faults and "/" not in item.type and item.type not in ("Container", "PersistentVolumeClaim", "Pod"):
                yield invalid_value(f"{path}.type", item.type, "must be a standard limit type or fully qualified")
            if item.type in seen:
                yield duplicate(f"{path}.type", item.type)
            seen.add(item.type)
            yield from _limit(path, item)


def _limit(path: str, item: LimitRangeItem) -> Faults:
    of_pods = item.type in ("Pod", "Container")
    check = resource_rules.container_resource if of_pods else resource_rules.resource_name
    resources: set[str] = set()
    for side in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
        amounts: Mapping[str, Quantity] = getattr(item, side)
        if item.type == "Pod" and side.startswith("default"):
            if amounts:
                yield field_forbidden(f"{path}.{side}", "may not be specified when `type` is 'Pod'")
            continue
        for name in amounts:
            yield from check(f"{path}.{side}[{name}]", name)
            resources.add(name)
    if item.type == "PersistentVolumeClaim" and "storage" not in {*item.min, *item.max}:
        text = "either minimum or maximum storage value is required, but neither was provided"
        yield required(f"{path}.limits", text)
    for name in sorted(resources):
        yield from _order(path, item, name)


def _order(path: str, item: LimitRangeItem, name: str) -> Faults:
    low, high = item.min.get(name), item.max.get(name)
    limit, request = item.default.get(name), item.defaultRequest.get(name)
    for side, smaller, what, greater, other in (
        ("min", low, "min value", high, "max value"),
        ("defaultRequest", low, "min value", request, "default request value"),
        ("defaultRequest", request, "default request value", high, "max value"),
        ("defaultRequest", request, "default request value", limit, "default limit value"),
        ("default", low, "min value", limit, "default value"),
        ("default", limit, "default value", high, "max value"),
    ):
        if smaller is not None and greater is not None and smaller.compare(greater) > 0:
            shown = request if side == "defaultRequest" else high if smaller is limit and side == "default" else low
            text = f"{what} {smaller} is greater than {other} {greater}"
            yield invalid_value(f"{path}.{side}[{name}]", str(shown), text)
    ratio = item.maxLimitRequestRatio.get(name)
    if ratio is not None:
        here = f"{path}.maxLimitRequestRatio[{name}]"
        if ratio.nanos() < 1_000_000_000:
            yield invalid_value(here, str(ratio), f"ratio {ratio} is less than 1")
        if low is not None and high is not None and low.nanos() and ratio.nanos() / 1e9 > high.nanos() / low.nanos():
            text = f"ratio {ratio} is greater than max/min = {high.nanos() / low.nanos():f}"
            yield invalid_value(here, str(ratio), text)
    mismatch = limit is not None and request is not None and limit.compare(request)
    if mismatch and not resource_rules.may_overcommit(name):
        text = f"default value {limit} must equal to defaultRequest value {request} in {name}"
        yield invalid_value(f"{path}.defaultRequest[{name}]", str(request), text)
