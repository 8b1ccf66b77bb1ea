"""Rollout arithmetic, as tables."""

import pytest

from wherry.api.apps_v1 import Deployment, DeploymentStrategy, ReplicaSet, ReplicaSetStatus, RollingUpdateDeployment
from wherry.controllers import rollout
from wherry.meta.wire import IntOrString
from wherry.testing import builders


def _deployment(replicas: int, surge: IntOrString = "25%", unavailable: IntOrString = "25%") -> Deployment:
    deployment = builders.deployment(replicas=replicas)
    rolling = RollingUpdateDeployment(maxSurge=surge, maxUnavailable=unavailable)
    deployment.spec.strategy = DeploymentStrategy(type="RollingUpdate", rollingUpdate=rolling)
    return deployment


def _set(name: str, size: int, available: int | None = None) -> ReplicaSet:
    rs = builders.replica_set(name, replicas=size)
    rs.metadata.creationTimestamp = f"2026-01-01T00:00:0{len(name)}Z"
    rs.status = ReplicaSetStatus(replicas=size, availableReplicas=size if available is None else available)
    return rs


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (3, 0, "25%", (0, 1)),
        (4, 1, 0, (1, 0)),
        (2, 1, 5, (1, 2)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    replicas: int, surge: IntOrString, unavailable: IntOrString, expected: tuple[int, int]
) -> None:
    assert rollout.surge_and_unavailable(_deployment(replicas, surge, unavailable)) == expected


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        pytest.param(_set("nn", 0), _set("o", 10), {"nn": 3}, id="the new set first takes the surge"),
        pytest.param(_set("nn", 3, 0), _set("o", 10), {"o": 8}, id="the old give what may be unavailable"),
        pytest.param(_set("nn", 5, 0), _set("o", 8), {}, id="nothing moves until the new are available"),
        pytest.param(_set("nn", 3, 0), _set("o", 10, 4), {"o": 8}, id="unavailable old ones go first, within bounds"),
        pytest.param(_set("nn", 10), _set("o", 2), {"o": 0}, id="the rest of the old goes at the end"),
    ],
)
def test_a_rolling_update_makes_one_step(new: ReplicaSet, old: ReplicaSet, expected: dict[str, int]) -> None:
    steps = rollout.plan_rolling_update(_deployment(10), new, [old])
    assert {step.rs.metadata.name: step.replicas for step in steps} == expected


def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion() -> None:
    sets = [_set("o", 8), _set("nn", 5, 3)]
    for rs in sets:
        rs.metadata.annotations = {rollout.DESIRED_REPLICAS: "10", rollout.MAX_REPLICAS: "13"}
    deployment = _deployment(20)
    assert rollout.is_scaling(deployment, sets)
    steps = rollout.plan_scaling(deployment, sets[1], [sets[0]])
    assert {step.rs.metadata.name: step.replicas for step in steps} == {"o": 15, "nn": 10}


def test_history_is_cut_from_the_oldest_revision() -> None:
    old = [_set(name, 0) for name in ("a", "bb", "ccc")]
    for number, rs in enumerate(old):
        rs.metadata.annotations = {rollout.REVISION: str(number + 1)}
    deployment = _deployment(1)
    deployment.spec.revisionHistoryLimit = 1
    assert [rs.metadata.name for rs in rollout.plan_cleanup(deployment, old)] == ["a", "bb"]
