"""The kinds that run pods: Deployment to CronJob, autoscalers and disruption budgets."""

from datetime import datetime
from typing import Any

from wherry.meta.quantity import Quantity
from wherry.meta.time import age, format_duration, parse_time
from wherry.rules import conditions
from wherry.rules.owners import controller_of
from wherry.server.printers.table import NONE, UNKNOWN, UNSET, containers, joined, labels, printed, selector, since


def _deployment(obj: Any, now: datetime) -> list[Any]:
    spec, status = obj.spec, obj.status
    return [
        obj.metadata.name,
        f"{status.readyReplicas or 0}/{spec.replicas or 0}",
        status.updatedReplicas or 0,
        status.availableReplicas or 0,
        since(obj, now),
        *containers(spec.template),
        selector(spec.selector),
    ]


def _replicas(obj: Any, now: datetime) -> list[Any]:
    spec, status = obj.spec, obj.status
    chosen = spec.selector
    return [
        obj.metadata.name,
        spec.replicas or 0,
        status.replicas or 0,
        status.readyReplicas or 0,
        since(obj, now),
        *containers(spec.template),
        labels(chosen) if isinstance(chosen, dict) else selector(chosen),
    ]


def _daemon_set(obj: Any, now: datetime) -> list[Any]:
    spec, status = obj.spec, obj.status
    return [
        obj.metadata.name,
        status.desiredNumberScheduled,
        status.currentNumberScheduled,
        status.numberReady,
        status.updatedNumberScheduled or 0,
        status.numberAvailable or 0,
        labels(spec.template.spec.nodeSelector),
        since(obj, now),
        *containers(spec.template),
        selector(spec.selector),
    ]


def _stateful_set(obj: Any, now: datetime) -> list[Any]:
    ready = f"{obj.status.readyReplicas or 0}/{obj.spec.replicas or 0}"
    return [obj.metadata.name, ready, since(obj, now), *containers(obj.spec.template)]


def _job(obj: Any, now: datetime) -> list[Any]:
    spec, status = obj.spec, obj.status
    done = status.succeeded or 0
    if spec.completions is not None:
        completions = f"{done}/{spec.completions}"
    elif (spec.parallelism or 0) > 1:
        completions = f"{done}/1 of {spec.parallelism}"
    else:
        completions = f"{done}/1"
    duration = ""
    if status.startTime:
        end = parse_time(status.completionTime) if status.completionTime else now
        duration = format_duration(end - parse_time(status.startTime))
    return [
        obj.metadata.name,
        job_status(obj),
        completions,
        duration,
        since(obj, now),
        *containers(spec.template),
        selector(spec.selector),
    ]


def job_status(obj: Any) -> str:
    """The STATUS cell of a Job."""
    found = obj.status.conditions
    for kind, word in (("Complete", "Complete"), ("Failed", "Failed")):
        if conditions.is_true(found, kind):
            return word
    if obj.metadata.deletionTimestamp:
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if conditions.is_true(found, kind):
            return kind
    return "Running"


def _cron_job(obj: Any, now: datetime) -> list[Any]:
    spec = obj.spec
    template = spec.jobTemplate.spec
    return [
        obj.metadata.name,
        spec.schedule,
        spec.timeZone or NONE,
        "True" if spec.suspend else "False",
        len(obj.status.active),
        age(obj.status.lastScheduleTime, now) if obj.status.lastScheduleTime else NONE,
        since(obj, now),
        *containers(template.template),
        selector(template.selector),
    ]


def _autoscaler(obj: Any, now: datetime) -> list[Any]:
    spec, status = obj.spec, obj.status
    return [
        obj.metadata.name,
        f"{spec.scaleTargetRef.kind}/{spec.scaleTargetRef.name}",
        _targets(spec, status),
        UNSET if spec.minReplicas is None else str(spec.minReplicas),
        spec.maxReplicas,
        status.currentReplicas or 0,
        since(obj, now),
    ]


def _targets(spec: Any, status: Any) -> str:
    if not hasattr(spec, "metrics"):
        return _v1_target(spec, status)
    current = dict(enumerate(status.currentMetrics))
    return joined((_metric(item, current.get(index)) for index, item in enumerate(spec.metrics)), limit=2)


def _v1_target(spec: Any, status: Any) -> str:
    if spec.targetCPUUtilizationPercentage is None:
        return NONE
    now = status.currentCPUUtilizationPercentage
    return f"cpu: {UNKNOWN if now is None else f'{now}%'}/{spec.targetCPUUtilizationPercentage}%"


def _metric(metric: Any, current: Any) -> str:
    name = {"ContainerResource": "containerResource"}.get(metric.type, metric.type.lower())
    source = getattr(metric, name, None)
    value = getattr(getattr(current, name, None), "current", None)
    if source is None:
        return "<unknown type>"
    prefix = f"{source.name}: " if name in ("resource", "containerResource") else ""
    target = source.target
    if target.averageUtilization is not None:
        now = getattr(value, "averageUtilization", None)
        return f"{prefix}{UNKNOWN if now is None else f'{now}%'}/{target.averageUtilization}%"
    if target.averageValue is not None:
        suffix = " (avg)" if name in ("external", "object") else ""
        return f"{prefix}{_shown(getattr(value, 'averageValue', None))}/{target.averageValue}{suffix}"
    return f"{prefix}{_shown(getattr(value, 'value', None))}/{target.value}"


def _shown(value: Quantity | None) -> str:
    return UNKNOWN if value is None else str(value)


def _budget(obj: Any, now: datetime) -> list[Any]:
    spec = obj.spec
    least = "N/A" if spec.minAvailable is None else str(spec.minAvailable)
    most = "N/A" if spec.maxUnavailable is None else str(spec.maxUnavailable)
    return [obj.metadata.name, least, most, obj.status.disruptionsAllowed or 0, since(obj, now)]


def _revision(obj: Any, now: datetime) -> list[Any]:
    owner = controller_of(obj.metadata)
    group = owner.apiVersion.rpartition("/")[0] if owner is not None else ""
    kind = (f"{owner.kind.lower()}.{group}" if group else owner.kind.lower()) if owner is not None else ""
    shown = f"{kind}/{owner.name}" if owner is not None else NONE
    return [obj.metadata.name, shown, obj.revision, since(obj, now)]


_TEMPLATE = "+Containers, +Images, +Selector"
_REPLICAS = printed(f"Name, #Desired, #Current, #Ready, Age, {_TEMPLATE}", _replicas)

PRINTED = {
    ("apps", "deployments"): printed(f"Name, Ready, #Up-to-date, #Available, Age, {_TEMPLATE}", _deployment),
    ("apps", "replicasets"): _REPLICAS,
    ("", "replicationcontrollers"): _REPLICAS,
    ("apps", "daemonsets"): printed(
        f"Name, #Desired, #Current, #Ready, #Up-to-date, #Available, Node Selector, Age, {_TEMPLATE}", _daemon_set
    ),
    ("apps", "statefulsets"): printed("Name, Ready, Age, +Containers, +Images", _stateful_set),
    ("apps", "controllerrevisions"): printed("Name, Controller, #Revision, Age", _revision),
    ("batch", "jobs"): printed(f"Name, Status, Completions, Duration, Age, {_TEMPLATE}", _job),
    ("batch", "cronjobs"): printed(
        f"Name, Schedule, Timezone, Suspend, #Active, Last Schedule, Age, {_TEMPLATE}", _cron_job
    ),
    ("autoscaling", "horizontalpodautoscalers"): printed(
        "Name, Reference, Targets, MinPods, #MaxPods, #Replicas, Age", _autoscaler
    ),
    ("policy", "poddisruptionbudgets"): printed(
        "Name, Min Available, Max Unavailable, #Allowed Disruptions, Age", _budget
    ),
}
