"""Events, leases, quotas, limit ranges and autoscalers."""

from typing import Any

from wherry.api.coordination_v1 import Lease
from wherry.api.core_v1 import LimitRange, ResourceQuota
from wherry.meta.errors import invalid_value, required
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset


class EventStrategy(KindStrategy):
    """v1 and events.k8s.io Event; the two spell the same facts differently."""

    allow_create_on_update = True

    def rules(self, obj: Any) -> Faults:
        target = obj.involvedObject if hasattr(obj, "involvedObject") else obj.regarding
        namespace = target.namespace or ""
        if (obj.metadata.namespace or "") != (namespace or "default"):
            yield invalid_value("involvedObject.namespace", namespace, "does not match event.namespace")

    def fields(self, obj: Any) -> dict[str, str]:
        core = hasattr(obj, "involvedObject")
        name, target = ("involvedObject", obj.involvedObject) if core else ("regarding", obj.regarding)
        members = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        facts = {f"{name}.{member}": getattr(target, member) or "" for member in members}
        source = (obj.source if core else obj.deprecatedSource).component
        reporter = (obj.reportingComponent if core else obj.reportingController) or ""
        facts |= {"reason": obj.reason or "", "type": obj.type or "", "reportingComponent": reporter}
        return facts | {"source": source or reporter, "reportingController": reporter}


class LeaseStrategy(KindStrategy):
    """coordination.k8s.io Lease."""

    allow_create_on_update = True

    def rules(self, obj: Lease) -> Faults:
        yield from checks.positive("spec.leaseDurationSeconds", obj.spec.leaseDurationSeconds)
        yield from checks.non_negative("spec.leaseTransitions", obj.spec.leaseTransitions)


class QuotaStrategy(KindStrategy):
    """v1 ResourceQuota."""

    def rules(self, obj: ResourceQuota) -> Faults:
        for name, quantity in obj.spec.hard.items():
            yield from checks.quantity_non_negative(f"spec.hard[{name}]", quantity)

    def update_rules(self, new: ResourceQuota, old: ResourceQuota) -> Faults:
        yield from checks.immutable("spec.scopes", new.spec.scopes, old.spec.scopes)


class LimitRangeStrategy(KindStrategy):
    """v1 LimitRange: default limits from maxima, default requests from default limits, then from minima."""

    def default(self, obj: LimitRange) -> None:
        for item in obj.spec.limits:
            if item.type == "Container":
                item.default = {**item.max, **item.default}
                item.defaultRequest = {**item.min, **item.default, **item.defaultRequest}

    def rules(self, obj: LimitRange) -> Faults:
        for index, item in enumerate(obj.spec.limits):
            path = f"spec.limits[{index}]"
            yield from checks.present(f"{path}.type", item.type)
            for name, low in item.min.items():
                high = item.max.get(name)
                if high is not None and low.compare(high) > 0:
                    text = f"min value {low} is greater than max value {high}"
                    yield invalid_value(f"{path}.min[{name}]", str(low), text)


class AutoscalerStrategy(KindStrategy):
    """autoscaling HorizontalPodAutoscaler, either version."""

    def default(self, obj: Any) -> None:
        unset(obj.spec, minReplicas=1)
        behavior = getattr(obj.spec, "behavior", None)
        for name, rules in (("Up", getattr(behavior, "scaleUp", None)), ("Down", getattr(behavior, "scaleDown", None))):
            if rules is not None:
                unset(rules, selectPolicy="Max")
                if name == "Up":
                    unset(rules, stabilizationWindowSeconds=0)

    def rules(self, obj: Any) -> Faults:
        spec = obj.spec
        if spec.minReplicas is not None and spec.minReplicas < 1:
            yield invalid_value("spec.minReplicas", spec.minReplicas, "must be greater than or equal to 1")
        if spec.maxReplicas < 1:
            yield invalid_value("spec.maxReplicas", spec.maxReplicas, "must be greater than 0")
        elif spec.minReplicas is not None and spec.maxReplicas < spec.minReplicas:
            text = "must be greater than or equal to `minReplicas`"
            yield invalid_value("spec.maxReplicas", spec.maxReplicas, text)
        for name in ("kind", "name"):
            if not getattr(spec.scaleTargetRef, name):
                yield required(f"spec.scaleTargetRef.{name}")


class ResourceSliceStrategy(KindStrategy):
    """resource.k8s.io ResourceSlice."""

    generation_counts = ("spec",)

    def fields(self, obj: Any) -> dict[str, str]:
        return {"spec.nodeName": obj.spec.nodeName or "", "spec.driver": obj.spec.driver}


class SpecGenerationStrategy(KindStrategy):
    """Kinds of which only the generation is counted (IngressClass, …)."""

    generation_counts = ("spec",)
