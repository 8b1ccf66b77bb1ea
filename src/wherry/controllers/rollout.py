"""What a Deployment's rollout does next: surge and unavailability, scaling, revisions, conditions. Pure.

deployment.py performs what is decided here. Times come in as `now`; ReplicaSets are as the overlay shows them, and
sizes are changed on private copies so that each step sees the one before.

Source of the behaviour: kubernetes pkg/controller/deployment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from wherry.api.apps_v1 import Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet
from wherry.meta.time import format_time, parse_time
from wherry.meta.wire import IntOrString, deep_copy
from wherry.rules import conditions

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
_NOT_INHERITED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
    }
)
NO_DEADLINE = 2**31 - 1
AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"
TIMED_OUT, COMPLETE = "ProgressDeadlineExceeded", "NewReplicaSetAvailable"


@dataclass(slots=True, frozen=True)
class Scale:
    """Give a ReplicaSet this size."""

    rs: ReplicaSet
    replicas: int


# Sizes ---------------------------------------------------------------------------------------------------------------


def wanted(deployment: Deployment) -> int:
    """Replicas asked for."""
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def size(rs: ReplicaSet) -> int:
    """Replicas a ReplicaSet is told to have."""
    return 1 if rs.spec.replicas is None else rs.spec.replicas


def total(sets: Iterable[ReplicaSet]) -> int:
    """Sum of sizes."""
    return sum(map(size, sets))


def is_rolling(deployment: Deployment) -> bool:
    """Strategy RollingUpdate, which is also the default."""
    return deployment.spec.strategy.type != "Recreate"


def surge_and_unavailable(deployment: Deployment) -> tuple[int, int]:
    """maxSurge rounded up and maxUnavailable rounded down; if both come to 0, one may be unavailable."""
    if not is_rolling(deployment):
        return 0, 0
    rolling, replicas = deployment.spec.strategy.rollingUpdate, wanted(deployment)
    surge = _resolve(rolling.maxSurge if rolling else "25%", replicas, round_up=True)
    unavailable = _resolve(rolling.maxUnavailable if rolling else "25%", replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def _resolve(value: IntOrString | None, replicas: int, *, round_up: bool) -> int:
    if isinstance(value, str):
        scaled = int(value.rstrip("%")) * replicas
        return -(-scaled // 100) if round_up else scaled // 100
    return value or 0


def new_set_size(deployment: Deployment, sets: Sequence[ReplicaSet], new: ReplicaSet | None) -> int:
    """How large the new ReplicaSet may be now."""
    replicas = wanted(deployment)
    if not is_rolling(deployment):
        return replicas
    surge, _ = surge_and_unavailable(deployment)
    current, own = total(sets), size(new) if new else 0
    room = replicas + surge - current
    return own if room <= 0 else own + min(room, replicas - own)


def plan_rolling_update(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> list[Scale]:
    """The next step of a rolling update: the new ReplicaSet up (or down to what is asked), else the old ones down."""
    replicas = wanted(deployment)
    if size(new) != replicas:
        target = replicas if size(new) > replicas else new_set_size(deployment, [new, *old], new)
        if target != size(new):
            return [Scale(new, target)]
    return _plan_old_down(deployment, new, old)


def _plan_old_down(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> list[Scale]:
    """First replicas of old sets that are not available anyway, then as many as availability allows."""
    if total(old) == 0:
        return []
    _, unavailable = surge_and_unavailable(deployment)
    minimum = wanted(deployment) - unavailable
    new_unavailable = size(new) - (new.status.availableReplicas or 0)
    allowed = total([new, *old]) - minimum - new_unavailable
    if allowed <= 0:
        return []
    sizes = {id(rs): size(rs) for rs in old}
    oldest_first = sorted((rs for rs in old if size(rs)), key=_age_key)
    for rs in oldest_first:
        cut = min(allowed, max(0, size(rs) - (rs.status.availableReplicas or 0)))
        sizes[id(rs)] -= cut
        allowed -= cut
    available = sum(rs.status.availableReplicas or 0 for rs in [new, *old])
    room = available - minimum
    for rs in oldest_first:
        cut = max(0, min(room, sizes[id(rs)]))
        sizes[id(rs)] -= cut
        room -= cut
    return [Scale(rs, sizes[id(rs)]) for rs in oldest_first if sizes[id(rs)] != size(rs)]


def _age_key(rs: ReplicaSet) -> tuple[str, str]:
    return rs.metadata.creationTimestamp or "", rs.metadata.name or ""


def is_scaling(deployment: Deployment, sets: Sequence[ReplicaSet]) -> bool:
    """The replica count was changed since the ReplicaSets were last sized."""
    noted = (_number(rs.metadata.annotations.get(DESIRED_REPLICAS)) for rs in sets if size(rs))
    return any(number is not None and number != wanted(deployment) for number in noted)


def plan_scaling(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> list[Scale]:
    """A changed replica count, without any rollout: shared out in proportion while several sets are active.

    A Scale to the present size only refreshes the set's annotations.
    """
    replicas = wanted(deployment)
    active = [rs for rs in [*old, *([new] if new else [])] if size(rs)]
    if len(active) <= 1:
        only = active[0] if active else new or max(old, key=_age_key, default=None)
        return [] if only is None or size(only) == replicas else [Scale(only, replicas)]
    if new is not None and _is_saturated(deployment, new):
        return [Scale(rs, 0) for rs in sorted(old, key=_age_key) if size(rs)]
    return _in_proportion(deployment, active) if is_rolling(deployment) else []


def _is_saturated(deployment: Deployment, new: ReplicaSet) -> bool:
    replicas = wanted(deployment)
    noted = _number(new.metadata.annotations.get(DESIRED_REPLICAS))
    return size(new) == noted == (new.status.availableReplicas or 0) == replicas


def _in_proportion(deployment: Deployment, active: list[ReplicaSet]) -> list[Scale]:
    surge, _ = surge_and_unavailable(deployment)
    allowed = wanted(deployment) + surge if wanted(deployment) else 0
    to_add = allowed - total(active)
    # Largest first; of equals the newer gains first and the older loses first.
    active = sorted(active, key=_age_key, reverse=to_add > 0)
    active.sort(key=lambda rs: -size(rs))
    added, scales = 0, []
    for rs in active:
        share = _share(deployment, rs, surge, to_add, added)
        added += share
        scales.append(Scale(rs, size(rs) + share))
    if scales:
        scales[0] = Scale(scales[0].rs, max(0, scales[0].replicas + to_add - added))
    return scales


def _share(deployment: Deployment, rs: ReplicaSet, surge: int, to_add: int, added: int) -> int:
    left = to_add - added
    if left == 0:
        return 0
    if wanted(deployment) == 0:
        fraction = -size(rs)
    else:
        before = _number(rs.metadata.annotations.get(MAX_REPLICAS)) or deployment.status.replicas or size(rs)
        product = size(rs) * (wanted(deployment) + surge)
        fraction = (2 * product + before) // (2 * before) - size(rs)
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.lstrip("-").isdigit() else None


# Revisions -----------------------------------------------------------------------------------------------------------


def revision(obj: Deployment | ReplicaSet) -> int:
    """The revision noted on a ReplicaSet or Deployment, 0 when there is none."""
    return _number(obj.metadata.annotations.get(REVISION)) or 0


def annotations_for(deployment: Deployment, rs: ReplicaSet | None, new_revision: int) -> dict[str, str]:
    """The annotations of the new ReplicaSet: the Deployment's, the sizes, the revision and the ones it had before."""
    present = dict(rs.metadata.annotations) if rs else {}
    inherited = {k: v for k, v in deployment.metadata.annotations.items() if k not in _NOT_INHERITED}
    result = present | inherited
    before = present.get(REVISION)
    if (_number(before) or 0) < new_revision:
        result[REVISION] = str(new_revision)
        if before and before != "0":
            history = [item for item in present.get(REVISION_HISTORY, "").split(",") if item]
            if before not in history:
                history.append(before)
            result[REVISION_HISTORY] = ",".join(history)
    return result if rs else result | size_annotations(deployment)


def size_annotations(deployment: Deployment) -> dict[str, str]:
    """The sizes a ReplicaSet was last scaled for."""
    replicas = wanted(deployment)
    return {
        DESIRED_REPLICAS: str(replicas),
        MAX_REPLICAS: str(replicas + surge_and_unavailable(deployment)[0]),
    }


def plan_cleanup(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Old ReplicaSets beyond the history limit, the oldest revisions first, those with pods never."""
    limit = deployment.spec.revisionHistoryLimit
    if limit is None or limit == NO_DEADLINE:
        return []
    alive = sorted(
        (rs for rs in old if rs.metadata.deletionTimestamp is None), key=lambda rs: (revision(rs), *_age_key(rs))
    )
    return [rs for rs in alive[: max(0, len(alive) - limit)] if _is_empty(rs)]


def _is_empty(rs: ReplicaSet) -> bool:
    seen = (rs.status.observedGeneration or 0) >= (rs.metadata.generation or 0)
    return seen and size(rs) == 0 and rs.status.replicas == 0


# Status --------------------------------------------------------------------------------------------------------------


def has_deadline(deployment: Deployment) -> bool:
    """Whether progress is watched at all."""
    return deployment.spec.progressDeadlineSeconds not in (None, NO_DEADLINE)


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """All replicas updated and available, none of the old left."""
    replicas = wanted(deployment)
    counts = (status.updatedReplicas or 0, status.replicas or 0, status.availableReplicas or 0)
    return counts == (replicas,) * 3 and (status.observedGeneration or 0) >= (deployment.metadata.generation or 0)


def condition(kind: str, status: str, reason: str, message: str, now: datetime) -> DeploymentCondition:
    """A condition that changed just now."""
    text = format_time(now)
    return DeploymentCondition(
        type=kind, status=status, reason=reason, message=message, lastUpdateTime=text, lastTransitionTime=text
    )


def put_condition(status: DeploymentStatus, item: DeploymentCondition) -> bool:
    """As conditions.put, but the same status and reason leave the old one as it is."""
    present = conditions.find(status.conditions, item.type)
    if present is not None and (present.status, present.reason) == (item.status, item.reason):
        return False
    return conditions.put(status.conditions, item)


def plan_counts(
    deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet], now: datetime
) -> DeploymentStatus:
    """Counts and the Available condition."""
    status = deep_copy(deployment.status)
    available = sum(rs.status.availableReplicas or 0 for rs in sets)
    status.observedGeneration = deployment.metadata.generation
    status.replicas = sum(rs.status.replicas for rs in sets) or None
    status.updatedReplicas = (new.status.replicas if new else 0) or None
    status.readyReplicas = sum(rs.status.readyReplicas or 0 for rs in sets) or None
    status.availableReplicas = available or None
    status.unavailableReplicas = max(0, total(sets) - available) or None
    status.terminatingReplicas = sum(rs.status.terminatingReplicas or 0 for rs in sets)
    if available >= wanted(deployment) - surge_and_unavailable(deployment)[1]:
        text = "Deployment has minimum availability."
        put_condition(status, condition(AVAILABLE, "True", "MinimumReplicasAvailable", text, now))
    else:
        text = "Deployment does not have minimum availability."
        put_condition(status, condition(AVAILABLE, "False", "MinimumReplicasUnavailable", text, now))
    return status


def plan_status(
    deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet], now: datetime
) -> DeploymentStatus:
    """The whole status during a rollout: counts, progress and the failures of its ReplicaSets."""
    status = plan_counts(deployment, new, sets, now)
    if has_deadline(deployment):
        _judge_progress(deployment, status, new, now)
    else:
        conditions.remove(status.conditions, PROGRESSING)
    failing = [*([new] if new else []), *(rs for rs in sets if rs is not new)]
    failures = (item for rs in failing for item in rs.status.conditions if item.type == REPLICA_FAILURE)
    failure = next(failures, None)
    if failure is None:
        conditions.remove(status.conditions, REPLICA_FAILURE)
    else:
        reason, message = failure.reason or "", failure.message or ""
        put_condition(status, condition(REPLICA_FAILURE, failure.status, reason, message, now))
    return status


def _judge_progress(deployment: Deployment, status: DeploymentStatus, new: ReplicaSet | None, now: datetime) -> None:
    present = conditions.find(deployment.status.conditions, PROGRESSING)
    all_updated = (status.replicas or 0) == (status.updatedReplicas or 0)
    if all_updated and present is not None and present.reason == COMPLETE:
        return
    about = f'ReplicaSet "{new.metadata.name}"' if new else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        text = f"{about} has successfully progressed."
        put_condition(status, condition(PROGRESSING, "True", COMPLETE, text, now))
    elif _has_progressed(deployment.status, status):
        item = condition(PROGRESSING, "True", "ReplicaSetUpdated", f"{about} is progressing.", now)
        if present is not None and present.status == "True":
            item.lastTransitionTime = present.lastTransitionTime
        conditions.remove(status.conditions, PROGRESSING)
        status.conditions.append(item)
    elif _is_timed_out(deployment, now):
        put_condition(status, condition(PROGRESSING, "False", TIMED_OUT, f"{about} has timed out progressing.", now))


def _has_progressed(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    old_rest = (old.replicas or 0) - (old.updatedReplicas or 0)
    new_rest = (new.replicas or 0) - (new.updatedReplicas or 0)
    return (
        (new.updatedReplicas or 0) > (old.updatedReplicas or 0)
        or new_rest < old_rest
        or (new.readyReplicas or 0) > (old.readyReplicas or 0)
        or (new.availableReplicas or 0) > (old.availableReplicas or 0)
    )


def _is_timed_out(deployment: Deployment, now: datetime) -> bool:
    present = conditions.find(deployment.status.conditions, PROGRESSING)
    if present is None or present.reason == COMPLETE:
        return False
    if present.reason == TIMED_OUT:
        return True
    deadline = _deadline(deployment, present)
    return deadline is not None and deadline < now


def _deadline(deployment: Deployment, present: DeploymentCondition) -> datetime | None:
    if not present.lastUpdateTime:
        return None
    return parse_time(present.lastUpdateTime) + timedelta(seconds=deployment.spec.progressDeadlineSeconds or 0)


def seconds_until_stuck(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """When to look again whether the rollout is stuck; None when it cannot become so."""
    present = conditions.find(status.conditions, PROGRESSING)
    if not has_deadline(deployment) or present is None or present.reason in (TIMED_OUT, COMPLETE):
        return None
    if present.status == "Unknown" or is_complete(deployment, status):
        return None
    deadline = _deadline(deployment, present)
    return None if deadline is None else max(0.0, (deadline - now).total_seconds()) + 1
