"""Deployments: defaults, rolling-update bounds, an immutable selector."""

from typing import Any

from wherry.api.apps_v1 import Deployment, RollingUpdateDeployment
from wherry.meta.errors import field_forbidden, invalid_value, not_supported
from wherry.server.strategies import checks, pod_defaults, workloads
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import RequestContext


class DeploymentStrategy(KindStrategy):
    """apps/v1 Deployment. Annotations count for generation too: `kubectl rollout` reads them from the ReplicaSets."""

    generation_counts = ("spec",)

    def default(self, obj: Deployment) -> None:
        spec = obj.spec
        unset(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
        unset(spec.strategy, type="RollingUpdate")
        if spec.strategy.type == "RollingUpdate":
            spec.strategy.rollingUpdate = spec.strategy.rollingUpdate or RollingUpdateDeployment()
            unset(spec.strategy.rollingUpdate, maxUnavailable="25%", maxSurge="25%")
        pod_defaults.template(spec.template)

    def prepare_for_update(self, new: Deployment, old: Deployment, ctx: RequestContext) -> None:
        super().prepare_for_update(new, old, ctx)
        if new.spec == old.spec and new.metadata.annotations != old.metadata.annotations:
            new.metadata.generation = (old.metadata.generation or 0) + 1

    def rules(self, obj: Deployment) -> Faults:
        spec = obj.spec
        yield from workloads.replicas("spec", spec)
        yield from workloads.selector("spec.selector", spec.selector, "deployment")
        yield from workloads.template("spec.template", spec.template, spec.selector, "ReplicaSet")
        yield from _strategy("spec.strategy", spec.strategy)
        yield from checks.non_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)
        yield from checks.non_negative("spec.progressDeadlineSeconds", spec.progressDeadlineSeconds)
        if (spec.progressDeadlineSeconds or 0) <= (spec.minReadySeconds or 0):
            text = "must be greater than minReadySeconds"
            yield invalid_value("spec.progressDeadlineSeconds", spec.progressDeadlineSeconds, text)

    def update_rules(self, new: Deployment, old: Deployment) -> Faults:
        yield from checks.immutable("spec.selector", new.spec.selector, old.spec.selector)

    def status_rules(self, new: Deployment, old: Deployment) -> Faults:
        counts = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        yield from checks.status_counts(new.status, (*counts, "unavailableReplicas", "collisionCount"))
        yield from checks.not_decremented("status.collisionCount", new.status.collisionCount, old.status.collisionCount)


def _strategy(path: str, strategy: Any) -> Faults:
    if strategy.type not in ("Recreate", "RollingUpdate"):
        yield not_supported(path, strategy, ("Recreate", "RollingUpdate"))
    rolling = strategy.rollingUpdate
    if strategy.type == "Recreate" and rolling is not None:
        text = "may not be specified when strategy `type` is 'Recreate'"
        yield field_forbidden(f"{path}.rollingUpdate", text)
    elif strategy.type == "RollingUpdate" and rolling is not None:
        yield from surge_and_unavailable(f"{path}.rollingUpdate", rolling)


def surge_and_unavailable(path: str, rolling: Any) -> Faults:
    """Counts or percentages that are not both zero."""
    yield from checks.count_or_percent(f"{path}.maxUnavailable", rolling.maxUnavailable)
    yield from checks.count_or_percent(f"{path}.maxSurge", rolling.maxSurge)
    if _is_zero(rolling.maxUnavailable) and _is_zero(rolling.maxSurge):
        text = "may not be 0 when `maxSurge` is 0"
        yield invalid_value(f"{path}.maxUnavailable", rolling.maxUnavailable, text)
    yield from checks.at_most_hundred_percent(f"{path}.maxUnavailable", rolling.maxUnavailable)


def _is_zero(value: int | str | None) -> bool:
    return value in (0, "0%", None)
