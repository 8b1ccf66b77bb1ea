"""StatefulSets: pods with names and volumes that last."""

from wherry.api.apps_v1 import (
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetUpdateStrategy,
)
from wherry.meta import names
from wherry.meta.errors import field_forbidden, invalid_value, not_supported
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
    name_check = staticmethod(names.dns1123_label)

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
        if spec.podManagementPolicy not in ("OrderedReady", "Parallel"):
            text = "must be 'OrderedReady' or 'Parallel'"
            yield invalid_value("spec.podManagementPolicy", spec.podManagementPolicy, text)
        yield from _update_strategy("spec.updateStrategy", spec.updateStrategy)
        if (retention := spec.persistentVolumeClaimRetentionPolicy) is not None:
            path = "spec.persistentVolumeClaimRetentionPolicy"
            for name in ("whenDeleted", "whenScaled"):
                if getattr(retention, name) not in ("Retain", "Delete"):
                    yield not_supported(f"{path}.{name}", getattr(retention, name), ("Retain", "Delete"))
        yield from workloads.replicas("spec", spec)
        if spec.ordinals is not None:
            yield from checks.non_negative("spec.ordinals.start", spec.ordinals.start)
        yield from workloads.selector("spec.selector", spec.selector, "statefulset")
        yield from workloads.template("spec.template", spec.template, spec.selector, "StatefulSet", whole=False)
        yield from checks.non_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)

    def create_rules(self, obj: StatefulSet) -> Faults:
        if obj.spec.serviceName:
            yield from checks.named("spec.serviceName", obj.spec.serviceName, names.dns1123_subdomain)

    def update_rules(self, new: StatefulSet, old: StatefulSet) -> Faults:
        for name in new.spec.__struct_fields__:
            if name not in _MUTABLE and getattr(new.spec, name) != getattr(old.spec, name):
                yield field_forbidden("spec", _UPDATE_FORBIDDEN)
                return

    def status_rules(self, new: StatefulSet, old: StatefulSet) -> Faults:
        counts = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
        yield from checks.status_counts(new.status, (*counts, "observedGeneration", "collisionCount"))
        yield from checks.not_decremented("status.collisionCount", new.status.collisionCount, old.status.collisionCount)


def _update_strategy(path: str, strategy: StatefulSetUpdateStrategy) -> Faults:
    rolling = strategy.rollingUpdate
    if strategy.type == "OnDelete":
        if rolling is not None:
            text = "only allowed for updateStrategy 'RollingUpdate'"
            yield invalid_value(f"{path}.rollingUpdate", rolling, text)
    elif strategy.type != "RollingUpdate":
        yield invalid_value(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")
    elif rolling is not None:
        here, unavailable = f"{path}.rollingUpdate", rolling.maxUnavailable
        yield from checks.non_negative(f"{here}.partition", rolling.partition)
        if unavailable is not None:
            yield from checks.count_or_percent(f"{here}.maxUnavailable", unavailable)
            if unavailable in (0, "0%"):
                yield invalid_value(f"{here}.maxUnavailable", unavailable, "cannot be 0")
            yield from checks.at_most_hundred_percent(f"{here}.maxUnavailable", unavailable)
