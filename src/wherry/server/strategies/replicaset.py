"""ReplicaSets and ReplicationControllers: so many pods that match a selector."""

from wherry.api.apps_v1 import ReplicaSet
from wherry.api.core_v1 import ReplicationController
from wherry.api.meta_v1 import LabelSelector
from wherry.meta.errors import required
from wherry.server.strategies import checks, pod_defaults, workloads
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset

_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")


class ReplicaSetStrategy(KindStrategy):
    """apps/v1 ReplicaSet."""

    generation_counts = ("spec",)

    def default(self, obj: ReplicaSet) -> None:
        unset(obj.spec, replicas=1)
        pod_defaults.template(obj.spec.template)

    def rules(self, obj: ReplicaSet) -> Faults:
        yield from workloads.replicas("spec", obj.spec)
        yield from workloads.selector("spec.selector", obj.spec.selector, "deployment")
        yield from workloads.template("spec.template", obj.spec.template, obj.spec.selector, "ReplicaSet")

    def update_rules(self, new: ReplicaSet, old: ReplicaSet) -> Faults:
        yield from checks.immutable("spec.selector", new.spec.selector, old.spec.selector)

    def status_rules(self, new: ReplicaSet, old: ReplicaSet) -> Faults:
        yield from checks.status_counts(new.status, _COUNTS)

    def fields(self, obj: ReplicaSet) -> dict[str, str]:
        return {"status.replicas": str(obj.status.replicas or 0)}


class ReplicationControllerStrategy(KindStrategy):
    """v1 ReplicationController: labels and selector come from the template where they are not given."""

    generation_counts = ("spec",)

    def default(self, obj: ReplicationController) -> None:
        spec = obj.spec
        labels = spec.template.metadata.labels if spec.template is not None else {}
        spec.selector = spec.selector or dict(labels)
        obj.metadata.labels = obj.metadata.labels or dict(labels)
        unset(spec, replicas=1)
        pod_defaults.template(spec.template)

    def rules(self, obj: ReplicationController) -> Faults:
        spec = obj.spec
        yield from workloads.replicas("spec", spec)
        if not spec.selector:
            yield required("spec.selector")
        if spec.template is None:
            yield required("spec.template")
            return
        wanted = LabelSelector(matchLabels=spec.selector)
        yield from workloads.template("spec.template", spec.template, wanted, "ReplicationController")

    def status_rules(self, new: ReplicationController, old: ReplicationController) -> Faults:
        yield from checks.status_counts(new.status, _COUNTS)

    def fields(self, obj: ReplicationController) -> dict[str, str]:
        return {"status.replicas": str(obj.status.replicas or 0)}
