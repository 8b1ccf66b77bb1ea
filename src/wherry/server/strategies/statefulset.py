"""StatefulSets: pods with names and volumes that last."""

from wherry.api.apps_v1 import (
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
)
from wherry.meta.errors import field_forbidden
from wherry.server.strategies import checks, pod_defaults, workloads
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset

_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_UPDATE_FORBIDDEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


class StatefulSetStrategy(KindStrategy):
    """apps/v1 StatefulSet."""

    generation_counts = ("spec",)

    def default(self, obj: StatefulSet) -> None:
        spec = obj.spec
        unset(spec, replicas=1, podManagementPolicy="OrderedReady", revisionHistoryLimit=10)
        unset(spec.updateStrategy, type="RollingUpdate")
        if spec.updateStrategy.type == "RollingUpdate":
            rolling = spec.updateStrategy.rollingUpdate or RollingUpdateStatefulSetStrategy()
            spec.updateStrategy.rollingUpdate = rolling
            unset(rolling, partition=0)
        retention = spec.persistentVolumeClaimRetentionPolicy or StatefulSetPersistentVolumeClaimRetentionPolicy()
        spec.persistentVolumeClaimRetentionPolicy = retention
        unset(retention, whenDeleted="Retain", whenScaled="Retain")
        pod_defaults.template(spec.template)
        for claim in spec.volumeClaimTemplates:
            unset(claim, apiVersion="v1", kind="PersistentVolumeClaim")
            unset(claim.spec, volumeMode="Filesystem")
            unset(claim.status, phase="Pending")

    def rules(self, obj: StatefulSet) -> Faults:
        spec = obj.spec
        yield from checks.one_of_required("spec.podManagementPolicy", spec.podManagementPolicy, _MANAGEMENT)
        yield from checks.one_of_required("spec.updateStrategy.type", spec.updateStrategy.type, _STRATEGIES)
        rolling = spec.updateStrategy.rollingUpdate
        if rolling is not None:
            yield from checks.non_negative("spec.updateStrategy.rollingUpdate.partition", rolling.partition)
            yield from checks.count_or_percent(
                "spec.updateStrategy.rollingUpdate.maxUnavailable", rolling.maxUnavailable
            )
        if (retention := spec.persistentVolumeClaimRetentionPolicy) is not None:
            path = "spec.persistentVolumeClaimRetentionPolicy"
            yield from checks.one_of(f"{path}.whenDeleted", retention.whenDeleted, ("Delete", "Retain"))
            yield from checks.one_of(f"{path}.whenScaled", retention.whenScaled, ("Delete", "Retain"))
        yield from workloads.replicas("spec", spec)
        if spec.ordinals is not None:
            yield from checks.non_negative("spec.ordinals.start", spec.ordinals.start)
        yield from workloads.selector("spec.selector", spec.selector, "statefulset")
        yield from workloads.template("spec.template", spec.template, spec.selector)
        yield from checks.non_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)

    def update_rules(self, new: StatefulSet, old: StatefulSet) -> Faults:
        for name in new.spec.__struct_fields__:
            if name not in _MUTABLE and getattr(new.spec, name) != getattr(old.spec, name):
                yield field_forbidden("spec", _UPDATE_FORBIDDEN)
                return


_MANAGEMENT = ("OrderedReady", "Parallel")
_STRATEGIES = ("OnDelete", "RollingUpdate")
