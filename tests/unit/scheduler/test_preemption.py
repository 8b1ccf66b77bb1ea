"""Whom preemption evicts, and where: as few, as unimportant, and as few broken budgets as will do."""

import pytest

from wherry.api.core_v1 import Pod, PodCondition
from wherry.api.meta_v1 import LabelSelector
from wherry.api.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from wherry.meta.object import ObjectMeta
from wherry.scheduler.snapshot import PodInfo, Snapshot
from wherry.testing.builders import node

from .worlds import decided, pod, with_affinity, world


def victims(new: Pod, nodes: Snapshot, budgets: list[PodDisruptionBudget] | None = None) -> tuple[str | None, set[str]]:
    decision = decided(new, nodes, budgets or [])
    return decision.help.node_name, {victim.uid for victim in decision.help.victims}


def old(name: str, cpu: int, priority: int = 0, started: str | None = None, **labels: str) -> Pod:
    return pod(name, requests={"cpu": cpu}, priority=priority, started=started, labels=labels)


def new(cpu: int, priority: int = 10) -> Pod:
    return pod(requests={"cpu": cpu}, priority=priority)


@pytest.mark.parametrize(
    ("placed", "wanted"),
    [
        pytest.param({"a": [old("x", 1), old("y", 2)]}, ("a", {"y"}), id="those-that-need-not-go-stay"),
        pytest.param({"a": [old("x", 2, 1), old("y", 2, 5)]}, ("a", {"x"}), id="the-least-important-goes"),
        pytest.param(
            {"a": [old("x", 2, 1, "2026-01-01T00:00:00Z"), old("y", 2, 1, "2026-01-02T00:00:00Z")]},
            ("a", {"y"}),
            id="of-equals-the-youngest-goes",
        ),
        pytest.param({"a": [old("x", 4, 5)], "b": [old("y", 4, 1)]}, ("b", {"y"}), id="the-lower-highest-victim"),
        pytest.param(
            {"a": [old("x", 1, 1), old("y", 3, 1)], "b": [old("z", 4, 1)]}, ("a", {"y"}), id="equal-cost-any-node"
        ),
        pytest.param(
            {"a": [old("x", 2, 1), old("y", 2, 1)], "b": [old("z", 4, 1)]},
            ("a", {"x"}),
            id="one-victim-of-two-suffices",
        ),
        pytest.param(
            {"a": [old("x", 4, 1, "2026-01-01T00:00:00Z")], "b": [old("y", 4, 1, "2026-01-02T00:00:00Z")]},
            ("b", {"y"}),
            id="the-node-whose-victim-started-last",
        ),
        pytest.param({"a": [old("x", 4, 10)], "b": [old("y", 4, 11)]}, (None, set()), id="nobody-of-lower-priority"),
    ],
)
def test_who_goes(placed: dict[str, list[Pod]], wanted: tuple[str | None, set[str]]) -> None:
    nodes = world([node("a"), node("b", capacity={"cpu": 4 if "b" in placed else 1})], placed)
    name, gone = victims(new(2), nodes)
    if wanted == ("a", {"y"}) and "b" in placed:
        assert (name, gone) in [("a", {"y"}), ("b", {"z"})]
    elif wanted == ("a", {"x"}) and "b" in placed:
        assert (name, len(gone)) in [("a", 1), ("b", 1)]
    else:
        assert (name, gone) == wanted


def test_a_disruption_budget_is_broken_only_when_it_must_be() -> None:
    budget = PodDisruptionBudget(
        metadata=ObjectMeta(name="guard", namespace="default"),
        spec=PodDisruptionBudgetSpec(selector=LabelSelector(matchLabels={"app": "guarded"})),
        status=PodDisruptionBudgetStatus(disruptionsAllowed=0),
    )
    placed = {"a": [old("x", 4, 1, app="guarded")], "b": [old("y", 4, 5)]}
    nodes = world([node("a"), node("b")], placed)
    assert victims(new(2), nodes, [budget]) == ("b", {"y"})
    assert victims(new(2), nodes) == ("a", {"x"})
    assert victims(new(2), world([node("a")], {"a": placed["a"]}), [budget]) == ("a", {"x"})


def test_a_node_is_opened_by_evicting_whom_the_pod_cannot_bear() -> None:
    placed = {"a": [old("x", 1, app="noisy")], "b": [old("y", 1, 20, app="noisy")]}
    shy = with_affinity(new(1), {"app": "noisy"}, anti=True)
    assert victims(shy, world([node("a"), node("b")], placed)) == ("a", {"x"})


def test_the_snapshot_is_left_as_it_was() -> None:
    nodes = world([node(name) for name in "abc"], {name: [old(name + "1", 2), old(name + "2", 2)] for name in "abc"})
    before = (dict(nodes.rows), nodes.requested["cpu"].tolist(), nodes.pod_counts.tolist(), sorted(nodes.pods))
    assert victims(new(3), nodes)[0] is not None
    after = (dict(nodes.rows), nodes.requested["cpu"].tolist(), nodes.pod_counts.tolist(), sorted(nodes.pods))
    assert after == before


def test_a_pod_waits_for_its_victims_to_leave() -> None:
    going = old("x", 4)
    going.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    going.status.conditions = [PodCondition(type="DisruptionTarget", status="True", reason="PreemptionByScheduler")]
    waiting = new(2)
    waiting.status.nominatedNodeName = "a"
    decision = decided(waiting, world([node("a"), node("b")], {"a": [going], "b": [old("y", 4)]}))
    assert decision.help.victims == [] and decision.help.keep_nomination
    assert "not eligible due to a terminating pod on the nominated node." in decision.message()


def test_room_that_is_promised_to_a_pod_is_not_given_to_a_lesser_one() -> None:
    nodes = world([node("a")])
    nodes.nominated["important"] = ("a", PodInfo.of(pod("important", requests={"cpu": 3}, priority=10)))
    assert decided(pod("lesser", requests={"cpu": 2}, priority=5), nodes).node_name is None
    assert decided(pod("greater", requests={"cpu": 2}, priority=11), nodes).node_name == "a"
    assert decided(pod("important", requests={"cpu": 3}, priority=10), nodes).node_name == "a"
    assert nodes.pods == {}


def test_a_nominated_pod_takes_its_node_even_where_another_scores_higher() -> None:
    promised = new(1)
    promised.status.nominatedNodeName = "small"
    nodes = world([node("small", capacity={"cpu": 1}), node("large", capacity={"cpu": 64})])
    assert decided(promised, nodes).node_name == "small"
    assert decided(new(1), nodes).node_name == "large"
