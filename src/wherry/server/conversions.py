"""Kinds that are served in a version other than the one they are stored in.

Events are stored as v1 and autoscalers as autoscaling/v2. Conversion is at the edge only: the store, the caches,
admission and strategies see the stored version alone.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from wherry.api import autoscaling_v1 as v1
from wherry.api import autoscaling_v2 as v2
from wherry.api import core_v1 as core
from wherry.api import events_v1 as events
from wherry.meta import wire
from wherry.meta.resource import Resource
from wherry.server.strategies.autoscaler import cpu_metric

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"

# events.k8s.io/v1 name: v1 name, where they differ.
_EVENT_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedCount": "count",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedSource": "source",
}
_EVENT_FIELDS = {
    "reportingController": "reportingComponent",
    **{
        f"regarding.{name}": f"involvedObject.{name}"
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
}
_SAME_NAMES = ("metadata", "action", "eventTime", "reason", "related", "reportingInstance", "type")


@dataclass(frozen=True, slots=True)
class Conversion:
    """Both directions between a served and a stored Struct."""

    served: Callable[[Any], Any]
    stored: Callable[[Any], Any]
    ahead: Callable[[Iterable[Any]], Awaitable[None]] | None = None
    """Where conversion is somebody else's work: have these entries of the cache converted before they are shown."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What the stored version calls the fields that selectors may name."""


class ConversionNeededError(Exception):
    """Somebody else has to convert an object first: await `fill`, then begin again, or `resume` if it is set."""

    resume: Callable[[], Any] | None = None

    def __init__(self, fill: Callable[[], Awaitable[None]]) -> None:
        super().__init__("an object has to be converted first")
        self.fill = fill


def between(served: Resource, stored: Resource) -> Conversion | None:
    """How to convert; None when the versions are one."""
    if served.api_version == stored.api_version:
        return None
    return _CONVERSIONS.get((served.api_version, served.kind))


def _event_served(obj: core.Event) -> events.Event:
    found = events.Event(**{name: getattr(obj, name) for name in _SAME_NAMES})
    for theirs, ours in _EVENT_NAMES.items():
        setattr(found, theirs, getattr(obj, ours))
    if obj.series is not None:
        found.series = events.EventSeries(
            count=obj.series.count or 0, lastObservedTime=obj.series.lastObservedTime or ""
        )
    return found


def _event_stored(obj: events.Event) -> core.Event:
    found = core.Event(**{name: getattr(obj, name) for name in _SAME_NAMES})
    for theirs, ours in _EVENT_NAMES.items():
        setattr(found, ours, getattr(obj, theirs))
    if obj.series is not None:
        found.series = core.EventSeries(count=obj.series.count, lastObservedTime=obj.series.lastObservedTime)
    return found


def _scaler_served(obj: v2.HorizontalPodAutoscaler) -> v1.HorizontalPodAutoscaler:
    plain = wire.to_builtins(obj)
    spec, status = plain.get("spec") or {}, plain.get("status") or {}
    annotations = dict(obj.metadata.annotations)
    others = []
    for metric in spec.pop("metrics", ()):
        target = (metric.get("resource") or {}).get("target") or {}
        if (
            metric.get("type") == "Resource"
            and metric["resource"].get("name") == "cpu"
            and "averageUtilization" in target
        ):
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
        else:
            others.append(metric)
    for metric in status.get("currentMetrics") or ():
        current = (metric.get("resource") or {}).get("current") or {}
        if metric.get("type") == "Resource" and metric["resource"].get("name") == "cpu":
            status["currentCPUUtilizationPercentage"] = current.get("averageUtilization")
    for name, value in (
        (_METRICS, others),
        (_BEHAVIOR, spec.pop("behavior", None)),
        (_CONDITIONS, status.pop("conditions", None)),
        (_CURRENT, status.pop("currentMetrics", None)),
    ):
        if value:
            annotations[name] = orjson.dumps(value).decode()
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    found = wire.convert({"spec": spec, "status": status}, v1.HorizontalPodAutoscaler)
    found.metadata = wire.deep_copy(obj.metadata)
    found.metadata.annotations = annotations
    return found


def _scaler_stored(obj: v1.HorizontalPodAutoscaler) -> v2.HorizontalPodAutoscaler:
    plain = wire.to_builtins(obj)
    spec, status = plain.get("spec") or {}, plain.get("status") or {}
    annotations = dict(obj.metadata.annotations)
    metrics = _json(annotations.pop(_METRICS, None), [])
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    elif not metrics:
        metrics.append(wire.to_builtins(cpu_metric()))
    status.pop("currentCPUUtilizationPercentage", None)
    spec["metrics"] = metrics
    spec["behavior"] = _json(annotations.pop(_BEHAVIOR, None), None)
    status["conditions"] = _json(annotations.pop(_CONDITIONS, None), [])
    status["currentMetrics"] = _json(annotations.pop(_CURRENT, None), [])
    found = wire.convert({"spec": spec, "status": status}, v2.HorizontalPodAutoscaler)
    found.metadata = wire.deep_copy(obj.metadata)
    found.metadata.annotations = annotations
    return found


def _json(text: str | None, default: Any) -> Any:
    return orjson.loads(text) if text else default


_CONVERSIONS = {
    ("events.k8s.io/v1", "Event"): Conversion(_event_served, _event_stored, fields=_EVENT_FIELDS),
    ("autoscaling/v1", "HorizontalPodAutoscaler"): Conversion(_scaler_served, _scaler_stored),
}
