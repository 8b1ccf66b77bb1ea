"""Events, leases, controller revisions, pod templates and runtime classes."""

from wherry.api.apps_v1 import ControllerRevision
from wherry.api.coordination_v1 import Lease
from wherry.api.core_v1 import Event, PodTemplate, ResourceRequirements
from wherry.api.node_v1 import RuntimeClass
from wherry.meta import names
from wherry.meta.errors import duplicate, invalid_value, required
from wherry.server.strategies import affinity_rules, checks, pod_defaults, pod_rules, resource_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy

_ELSEWHERE = "does not match event.namespace"
_NOTE_MAX = 1024


class EventStrategy(KindStrategy):
    """v1 Event, which is also how those of events.k8s.io are stored."""

    allow_create_on_update = True
    reporter = "reportingComponent"
    """What the version calls who reports."""

    def rules(self, obj: Event) -> Faults:
        target, own = obj.involvedObject.namespace or "", obj.metadata.namespace or ""
        if obj.eventTime is None:
            if own != target and not (own == "default" and not target):
                yield invalid_value("involvedObject.namespace", target, _ELSEWHERE)
            return
        if not target and own not in ("default", "kube-system"):
            yield invalid_value("involvedObject.namespace", target, _ELSEWHERE)
        if not obj.reportingComponent:
            yield required(self.reporter)
        yield from checks.named(self.reporter, obj.reportingComponent or "", names.qualified_name)
        for name, value, limit in (
            ("reportingInstance", obj.reportingInstance, 128),
            ("action", obj.action, 128),
            ("reason", obj.reason, 128),
        ):
            if not value:
                yield required(name)
            elif len(value.encode()) > limit:
                yield invalid_value(name, "", f"can have at most {limit} characters")
        if len((obj.message or "").encode()) > _NOTE_MAX:
            yield invalid_value("message", "", f"can have at most {_NOTE_MAX} characters")

    def fields(self, obj: Event) -> dict[str, str]:
        members = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        facts = {f"involvedObject.{member}": getattr(obj.involvedObject, member) or "" for member in members}
        reporter = obj.reportingComponent or ""
        facts |= {"reason": obj.reason or "", "type": obj.type or "", "reportingComponent": reporter}
        return facts | {"source": obj.source.component or reporter}


class NewEventStrategy(EventStrategy):
    """events.k8s.io Event: what was only there for the old kind is not to be used any more."""

    reporter = "reportingController"

    def create_rules(self, obj: Event) -> Faults:
        yield from _series(obj)
        if obj.eventTime is None:
            yield required("eventTime")
        if obj.type not in ("Normal", "Warning"):
            yield invalid_value("type", "", f"has invalid value: {obj.type or ''}")
        for name in ("firstTimestamp", "lastTimestamp", "count"):
            if getattr(obj, name):
                yield invalid_value(name, "", "needs to be unset")
        if obj.source.component or obj.source.host:
            yield invalid_value("source", "", "needs to be unset")

    def update_rules(self, new: Event, old: Event) -> Faults:
        if new.series != old.series:
            yield from _series(new)
        for name in _EVENT_FIXED:
            shown = "reportingController" if name == "reportingComponent" else name
            yield from checks.immutable(shown, getattr(new, name), getattr(old, name))


_EVENT_FIXED = (
    "involvedObject reason message source firstTimestamp lastTimestamp count type eventTime action related "
    "reportingComponent reportingInstance"
).split()


def _series(obj: Event) -> Faults:
    if obj.series is not None and (obj.series.count or 0) < 2:
        yield invalid_value("series.count", "", "should be at least 2")
    if obj.series is not None and not obj.series.lastObservedTime:
        yield required("series.lastObservedTime")


class LeaseStrategy(KindStrategy):
    """coordination.k8s.io Lease."""

    allow_create_on_update = True

    def rules(self, obj: Lease) -> Faults:
        yield from checks.positive("spec.leaseDurationSeconds", obj.spec.leaseDurationSeconds)
        yield from checks.non_negative("spec.leaseTransitions", obj.spec.leaseTransitions)


class RevisionStrategy(KindStrategy):
    """apps ControllerRevision: a state once kept never changes."""

    def rules(self, obj: ControllerRevision) -> Faults:
        if obj.data is None:
            yield required("data", "data is mandatory")
        yield from checks.non_negative("revision", obj.revision)

    def update_rules(self, new: ControllerRevision, old: ControllerRevision) -> Faults:
        yield from checks.immutable("data", new.data, old.data)


class PodTemplateStrategy(KindStrategy):
    """v1 PodTemplate."""

    generation_counts = ("template",)

    def default(self, obj: PodTemplate) -> None:
        pod_defaults.template(obj.template)

    def rules(self, obj: PodTemplate) -> Faults:
        yield from pod_rules.template("template", obj.template)


class RuntimeClassStrategy(KindStrategy):
    """node.k8s.io RuntimeClass."""

    def rules(self, obj: RuntimeClass) -> Faults:
        yield from checks.named("handler", obj.handler, names.dns1123_label)
        if obj.overhead is not None:
            limits = ResourceRequirements(limits=obj.overhead.podFixed)
            yield from resource_rules.requirements("overhead.podFixed", limits)
        if obj.scheduling is not None:
            given, path = obj.scheduling.tolerations, "scheduling.tolerations"
            yield from checks.labels("scheduling.nodeSelector", obj.scheduling.nodeSelector)
            yield from affinity_rules.tolerations(path, given)
            for index, item in enumerate(given):
                if item in given[:index]:
                    yield duplicate(f"{path}[{index}]", item)

    def update_rules(self, new: RuntimeClass, old: RuntimeClass) -> Faults:
        yield from checks.immutable("handler", new.handler, old.handler)
