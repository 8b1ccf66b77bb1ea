"""DaemonSets: one pod on every node that suits."""

from wherry.api.apps_v1 import DaemonSet, RollingUpdateDaemonSet
from wherry.meta.errors import invalid_value, not_supported, required
from wherry.server.strategies import checks, pod_defaults, workloads
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset


class DaemonSetStrategy(KindStrategy):
    """apps/v1 DaemonSet."""

    generation_counts = ("spec",)

    def default(self, obj: DaemonSet) -> None:
        spec = obj.spec
        unset(spec, revisionHistoryLimit=10)
        unset(spec.updateStrategy, type="RollingUpdate")
        if spec.updateStrategy.type == "RollingUpdate":
            spec.updateStrategy.rollingUpdate = spec.updateStrategy.rollingUpdate or RollingUpdateDaemonSet()
            unset(spec.updateStrategy.rollingUpdate, maxUnavailable=1, maxSurge=0)
        pod_defaults.template(spec.template)

    def rules(self, obj: DaemonSet) -> Faults:
        spec = obj.spec
        yield from workloads.selector("spec.selector", spec.selector, "daemonset")
        yield from workloads.template("spec.template", spec.template, spec.selector, "DaemonSet")
        yield from checks.non_negative("spec.minReadySeconds", spec.minReadySeconds)
        yield from checks.non_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)
        strategy = spec.updateStrategy
        if strategy.type not in ("RollingUpdate", "OnDelete"):
            yield not_supported("spec.updateStrategy", strategy, ("RollingUpdate", "OnDelete"))
        if strategy.type == "RollingUpdate":
            yield from _rolling("spec.updateStrategy.rollingUpdate", strategy.rollingUpdate)

    def update_rules(self, new: DaemonSet, old: DaemonSet) -> Faults:
        yield from checks.immutable("spec.selector", new.spec.selector, old.spec.selector)

    def status_rules(self, new: DaemonSet, old: DaemonSet) -> Faults:
        for name in _COUNTS:
            yield from checks.non_negative(f"status.{name}", getattr(new.status, name))
        yield from checks.not_decremented("status.collisionCount", new.status.collisionCount, old.status.collisionCount)


_COUNTS = (
    "currentNumberScheduled numberMisscheduled desiredNumberScheduled numberReady observedGeneration "
    "updatedNumberScheduled numberAvailable numberUnavailable collisionCount".split()
)


def _rolling(path: str, rolling: RollingUpdateDaemonSet | None) -> Faults:
    if rolling is None:
        yield required(path)
        return
    for name in ("maxUnavailable", "maxSurge"):
        yield from checks.count_or_percent(f"{path}.{name}", getattr(rolling, name))
        yield from checks.at_most_hundred_percent(f"{path}.{name}", getattr(rolling, name))
    surge = rolling.maxSurge not in (0, "0%", None)
    unavailable = rolling.maxUnavailable not in (0, "0%", None)
    if surge and unavailable:
        yield invalid_value(f"{path}.maxSurge", rolling.maxSurge, "may not be set when maxUnavailable is non-zero")
    elif not surge and not unavailable:
        yield required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")
