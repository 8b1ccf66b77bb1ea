"""HorizontalPodAutoscalers and disruption budgets: how many pods there may and must be.

Source: kubernetes pkg/apis/autoscaling and pkg/apis/policy.
"""

from collections.abc import Callable
from typing import Any

from wherry.api import autoscaling_v2 as v2
from wherry.api.policy_v1 import PodDisruptionBudget
from wherry.meta import names
from wherry.meta.errors import field_forbidden, invalid_value, not_supported, required
from wherry.meta.wire import deep_copy
from wherry.server.strategies import checks, resource_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset

CPU_PERCENT = 80
_STABILIZATION_SECONDS_MAX, _PERIOD_SECONDS_MAX = 3600, 1800
_METRICS = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_PODS_4 = v2.HPAScalingPolicy(type="Pods", value=4, periodSeconds=15)
_ALL = v2.HPAScalingPolicy(type="Percent", value=100, periodSeconds=15)
_UP = v2.HPAScalingRules(stabilizationWindowSeconds=0, selectPolicy="Max", policies=[_PODS_4, _ALL])
_DOWN = v2.HPAScalingRules(selectPolicy="Max", policies=[_ALL])


def cpu_metric(percent: int = CPU_PERCENT) -> v2.MetricSpec:
    """What is scaled on where nothing else is said."""
    target = v2.MetricTarget(type="Utilization", averageUtilization=percent)
    return v2.MetricSpec(type="Resource", resource=v2.ResourceMetricSource(name="cpu", target=target))


class AutoscalerStrategy(KindStrategy):
    """autoscaling HorizontalPodAutoscaler, either version."""

    def default(self, obj: Any) -> None:
        unset(obj.spec, minReplicas=1)
        if not isinstance(obj, v2.HorizontalPodAutoscaler):
            return
        spec = obj.spec
        spec.metrics = spec.metrics or [cpu_metric()]
        if spec.behavior is not None:
            spec.behavior.scaleUp = _filled(spec.behavior.scaleUp, _UP)
            spec.behavior.scaleDown = _filled(spec.behavior.scaleDown, _DOWN)

    def rules(self, obj: v2.HorizontalPodAutoscaler) -> Faults:
        spec = obj.spec
        if spec.minReplicas is not None and spec.minReplicas < 1:
            yield invalid_value("spec.minReplicas", spec.minReplicas, "must be greater than or equal to 1")
        if spec.maxReplicas < 1:
            yield invalid_value("spec.maxReplicas", spec.maxReplicas, "must be greater than 0")
        if spec.minReplicas is not None and spec.maxReplicas < spec.minReplicas:
            text = "must be greater than or equal to `minReplicas`"
            yield invalid_value("spec.maxReplicas", spec.maxReplicas, text)
        yield from _reference("spec.scaleTargetRef", spec.scaleTargetRef)
        for index, metric in enumerate(spec.metrics):
            yield from _metric(f"spec.metrics[{index}]", metric)
        if spec.behavior is not None:
            for name in ("scaleUp", "scaleDown"):
                rules: v2.HPAScalingRules | None = getattr(spec.behavior, name)
                if rules is not None:
                    yield from _scaling(f"spec.behavior.{name}", rules)

    def status_rules(self, new: v2.HorizontalPodAutoscaler, old: v2.HorizontalPodAutoscaler) -> Faults:
        yield from checks.non_negative("status.currentReplicas", new.status.currentReplicas)
        yield from checks.non_negative("status.desiredReplicas", new.status.desiredReplicas)


def _filled(rules: v2.HPAScalingRules | None, defaults: v2.HPAScalingRules) -> v2.HPAScalingRules:
    if rules is None:
        return deep_copy(defaults)
    unset(rules, selectPolicy="Max")
    if rules.stabilizationWindowSeconds is None:
        rules.stabilizationWindowSeconds = defaults.stabilizationWindowSeconds
    rules.policies = rules.policies or deep_copy(defaults).policies
    return rules


def _reference(path: str, reference: v2.CrossVersionObjectReference) -> Faults:
    for name in ("kind", "name"):
        yield from checks.named_required(f"{path}.{name}", getattr(reference, name), names.path_segment)
    if (reference.apiVersion or "").count("/") > 1:
        text = f"unexpected GroupVersion string: {reference.apiVersion}"
        yield invalid_value(f"{path}.apiVersion", reference.apiVersion, text)


def _metric(path: str, metric: v2.MetricSpec) -> Faults:
    kinds = tuple(sorted(_METRICS))
    if not metric.type:
        yield required(f"{path}.type", "must specify a metric source type")
    given = [name for name in ("object", "external", "pods", "resource", "containerResource") if getattr(metric, name)]
    if metric.type not in _METRICS:
        yield not_supported(f"{path}.type", metric.type, kinds)
    for name in given[:1]:
        yield from _SOURCES[name](f"{path}.{name}", getattr(metric, name))
    expected = _METRICS.get(metric.type)
    if expected is not None and expected not in given:
        yield required(f"{path}.{expected}", "must populate information for the given metric source")
    if len(given) != 1:
        for name in given:
            if name != expected:
                yield field_forbidden(f"{path}.{name}", "must populate the given metric source only")


def _identifier(path: str, identifier: v2.MetricIdentifier) -> Faults:
    if not identifier.name:
        yield required(f"{path}.metric.name", "must specify a metric name")
    else:
        yield from checks.named(f"{path}.metric.name", identifier.name, names.path_segment)


def _target(path: str, target: v2.MetricTarget) -> Faults:
    if not target.type:
        yield required(f"{path}.type", "must specify a metric target type")
    if target.type not in ("Utilization", "Value", "AverageValue"):
        yield invalid_value(f"{path}.type", target.type, "must be either Utilization, Value, or AverageValue")
    for name in ("value", "averageValue"):
        amount = getattr(target, name)
        if amount is not None and amount.nanos() <= 0:
            yield invalid_value(f"{path}.{name}", str(amount), "must be positive")
    if target.averageUtilization is not None and target.averageUtilization < 1:
        yield invalid_value(f"{path}.averageUtilization", target.averageUtilization, "must be greater than 0")


def _object(path: str, source: v2.ObjectMetricSource) -> Faults:
    yield from _reference(f"{path}.describedObject", source.describedObject)
    yield from _identifier(path, source.metric)
    yield from _target(f"{path}.target", source.target)
    if source.target.value is None and source.target.averageValue is None:
        yield required(f"{path}.target.averageValue", "must set either a target value or averageValue")


def _external(path: str, source: v2.ExternalMetricSource) -> Faults:
    yield from _identifier(path, source.metric)
    yield from _target(f"{path}.target", source.target)
    both = source.target.value, source.target.averageValue
    if both == (None, None):
        text = "must set either a target value for metric or a per-pod target"
        yield required(f"{path}.target.averageValue", text)
    elif None not in both:
        text = "may not set both a target value for metric and a per-pod target"
        yield field_forbidden(f"{path}.target.value", text)


def _pods(path: str, source: v2.PodsMetricSource) -> Faults:
    yield from _identifier(path, source.metric)
    yield from _target(f"{path}.target", source.target)
    if source.target.averageValue is None:
        yield required(f"{path}.target.averageValue", "must specify a positive target averageValue")


def _resource(path: str, source: v2.ResourceMetricSource | v2.ContainerResourceMetricSource) -> Faults:
    if not source.name:
        yield required(f"{path}.name", "must specify a resource name")
    if isinstance(source, v2.ContainerResourceMetricSource):
        if source.name:
            yield from resource_rules.container_resource(f"{path}.name", source.name)
        if not source.container:
            yield required(f"{path}.container", "must specify a container")
        else:
            yield from checks.named(f"{path}.container", source.container, names.dns1123_label)
    yield from _target(f"{path}.target", source.target)
    both = source.target.averageUtilization, source.target.averageValue
    if both == (None, None):
        text = "must set either a target raw value or a target utilization"
        yield required(f"{path}.target.averageUtilization", text)
    elif None not in both:
        text = "may not set both a target raw value and a target utilization"
        yield field_forbidden(f"{path}.target.averageValue", text)


_SOURCES: dict[str, Callable[[str, Any], Faults]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _resource,
}


def _scaling(path: str, rules: v2.HPAScalingRules) -> Faults:
    window, here = rules.stabilizationWindowSeconds, f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        yield invalid_value(here, window, "must be greater than or equal to zero")
    elif window is not None and window > _STABILIZATION_SECONDS_MAX:
        yield invalid_value(here, window, f"must be less than or equal to {_STABILIZATION_SECONDS_MAX}")
    yield from checks.one_of(f"{path}.selectPolicy", rules.selectPolicy, ("Disabled", "Max", "Min"))
    if not rules.policies:
        yield required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(rules.policies):
        here = f"{path}.policies[{index}]"
        yield from checks.one_of(f"{here}.type", policy.type, ("Percent", "Pods"))
        for name in ("value", "periodSeconds"):
            if getattr(policy, name) <= 0:
                yield invalid_value(f"{here}.{name}", getattr(policy, name), "must be greater than zero")
        if policy.periodSeconds > _PERIOD_SECONDS_MAX:
            text = f"must be less than or equal to {_PERIOD_SECONDS_MAX}"
            yield invalid_value(f"{here}.periodSeconds", policy.periodSeconds, text)
    if rules.tolerance is not None:
        yield from checks.quantity_non_negative(f"{path}.tolerance", rules.tolerance)


class DisruptionBudgetStrategy(KindStrategy):
    """policy PodDisruptionBudget."""

    generation_counts = ("spec",)

    def rules(self, obj: PodDisruptionBudget) -> Faults:
        spec = obj.spec
        if spec.minAvailable is not None and spec.maxUnavailable is not None:
            yield invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set")
        for name in ("minAvailable", "maxUnavailable"):
            yield from checks.count_or_percent(f"spec.{name}", getattr(spec, name))
            yield from checks.at_most_hundred_percent(f"spec.{name}", getattr(spec, name))
        yield from checks.label_selector("spec.selector", spec.selector)
        policies = ("AlwaysAllow", "IfHealthyBudget")
        yield from checks.one_of("spec.unhealthyPodEvictionPolicy", spec.unhealthyPodEvictionPolicy, policies)

    def status_rules(self, new: PodDisruptionBudget, old: PodDisruptionBudget) -> Faults:
        for name in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
            yield from checks.non_negative(f"status.{name}", getattr(new.status, name))
