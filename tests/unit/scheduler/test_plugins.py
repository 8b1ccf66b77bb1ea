"""Each plugin's table: what it refuses, how it scores. Numbers are worked out from kube-scheduler's formulas."""

from typing import Any

import numpy as np
import pytest

from wherry.api.core_v1 import (
    Affinity,
    ContainerImage,
    ContainerPort,
    Node,
    NodeAffinity,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodAffinityTerm,
    PodAntiAffinity,
    PreferredSchedulingTerm,
    Taint,
    Toleration,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from wherry.api.meta_v1 import LabelSelector
from wherry.meta.labels import from_map
from wherry.scheduler.framework import Score
from wherry.scheduler.plugins.image_locality import ImageLocality
from wherry.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from wherry.scheduler.plugins.node_affinity import NodeAffinity as NodeAffinityPlugin
from wherry.scheduler.plugins.node_name import NodeName
from wherry.scheduler.plugins.node_ports import NodePorts
from wherry.scheduler.plugins.node_resources import BalancedAllocation, NodeResourcesFit
from wherry.scheduler.plugins.node_unschedulable import NodeUnschedulable
from wherry.scheduler.plugins.pod_topology_spread import PodTopologySpread
from wherry.scheduler.plugins.scheduling_gates import SchedulingGates
from wherry.scheduler.plugins.taint_toleration import TaintToleration
from wherry.scheduler.snapshot import PodInfo, Snapshot
from wherry.testing.builders import container, node, pod_spec

from .worlds import HOST, ZONE, pod, refused, with_affinity, world

MIB = 1024 * 1024


def scores(plugin: Score, new: Pod, nodes: Snapshot) -> dict[str, int] | None:
    column = plugin.score(PodInfo.of(new), nodes, nodes.valid)
    return None if column is None else {name: int(column[row]) for name, row in sorted(nodes.rows.items())}


def empty(name: str, cpu: int, memory: str) -> Node:
    return node(name, capacity={"cpu": cpu, "memory": memory})


@pytest.mark.parametrize(
    ("requests", "wanted"),
    [
        pytest.param({"cpu": 3, "memory": "5000"}, {"a": 37, "b": 50}, id="the-emptier-by-share"),
        pytest.param({"cpu": 6, "memory": "1"}, {"a": 49, "b": 49}, id="more-than-there-is-counts-as-none-left"),
    ],
)
def test_fit_prefers_the_least_allocated(requests: dict[str, Any], wanted: dict[str, int]) -> None:
    nodes = world([empty("a", 4, "10000"), empty("b", 6, "10000")])
    assert scores(NodeResourcesFit(), pod(requests=requests), nodes) == wanted


def test_fit_scores_a_pod_without_requests_as_if_it_asked_for_a_little() -> None:
    nodes = world([node("a", capacity={"cpu": 1, "memory": 2000 * MIB})])
    assert scores(NodeResourcesFit(), pod(), nodes) == {"a": 90}
    assert PodInfo.of(pod()).nonzero == (100, 200 * MIB) and PodInfo.of(pod()).requests == {}


def test_fit_counts_pods_and_extended_resources() -> None:
    nodes = world(
        [node("full", capacity={"pods": 1}), node("bare"), node("gpu", capacity={"example.com/gpu": 1})],
        {"full": [pod("old")]},
    )
    new = pod(requests={"example.com/gpu": 1})
    assert refused(NodeResourcesFit().filter(PodInfo.of(new), nodes), nodes) == {
        "full": "Insufficient example.com/gpu; Too many pods",
        "bare": "Insufficient example.com/gpu",
    }


@pytest.mark.parametrize(
    ("used", "wanted"),
    [
        pytest.param({"cpu": 2, "memory": "4Gi"}, 100, id="both-half-full"),
        pytest.param({"cpu": 4, "memory": "4Gi"}, 75, id="one-full-one-half"),
        pytest.param({"cpu": 1, "memory": "8Gi"}, 62, id="a-quarter-and-full"),
    ],
)
def test_balanced_allocation_prefers_even_use(used: dict[str, Any], wanted: int) -> None:
    nodes = world([node("a", capacity={"cpu": 4, "memory": "8Gi"})])
    assert scores(BalancedAllocation(), pod(requests=used), nodes) == {"a": wanted}
    assert scores(BalancedAllocation(), pod(), nodes) is None


def test_taints_refuse_or_only_discourage() -> None:
    nodes = world(
        [
            node("free"),
            node("soft", taints=[Taint(key="x", value="1", effect="PreferNoSchedule")]),
            node("hard", taints=[Taint(key="x", value="1", effect="NoExecute")]),
        ]
    )
    stranger = PodInfo.of(pod())
    assert refused(TaintToleration().filter(stranger, nodes), nodes) == {"hard": "node(s) had untolerated taint(s)"}
    assert scores(TaintToleration(), pod(), nodes) == {"free": 100, "hard": 100, "soft": 0}
    friend = pod(spec=pod_spec(tolerations=[Toleration(operator="Exists")]))
    assert TaintToleration().filter(PodInfo.of(friend), nodes) == []
    assert set((scores(TaintToleration(), friend, nodes) or {}).values()) == {100}


def test_cordoned_nodes_take_those_who_tolerate_it() -> None:
    cordoned = node("a")
    cordoned.spec.unschedulable = True
    nodes = world([cordoned, node("b")])
    assert refused(NodeUnschedulable().filter(PodInfo.of(pod()), nodes), nodes) == {"a": "node(s) were unschedulable"}
    toleration = Toleration(key="node.kubernetes.io/unschedulable", operator="Exists")
    assert NodeUnschedulable().filter(PodInfo.of(pod(spec=pod_spec(tolerations=[toleration]))), nodes) == []


def test_a_named_node_is_the_only_one() -> None:
    nodes = world([node("a"), node("b")])
    reason = "node(s) didn't match the requested node name"
    assert refused(NodeName().filter(PodInfo.of(pod(node="b")), nodes), nodes) == {"a": reason}


@pytest.mark.parametrize(
    ("held", "wanted", "free"),
    [
        pytest.param(("", "TCP"), ("", "TCP"), False, id="same"),
        pytest.param(("", "TCP"), ("", "UDP"), True, id="other-protocol"),
        pytest.param(("127.0.0.1", "TCP"), ("127.0.0.2", "TCP"), True, id="other-address"),
        pytest.param(("127.0.0.1", "TCP"), ("0.0.0.0", "TCP"), False, id="every-address-wanted"),
        pytest.param(("0.0.0.0", "TCP"), ("127.0.0.1", "TCP"), False, id="every-address-held"),
    ],
)
def test_host_ports(held: tuple[str, str], wanted: tuple[str, str], free: bool) -> None:
    def holder(name: str, ip: str, protocol: str) -> Pod:
        one = container()
        one.ports = [ContainerPort(containerPort=80, hostPort=8080, hostIP=ip or None, protocol=protocol)]
        return pod(name, spec=pod_spec(containers=[one]))

    nodes = world([node("a")], {"a": [holder("old", *held)]})
    refusals = NodePorts().filter(PodInfo.of(holder("new", *wanted)), nodes)
    reason = "node(s) didn't have free ports for the requested pod ports"
    assert refused(refusals, nodes) == ({} if free else {"a": reason})


def test_preferred_node_affinity_scales_to_the_best_node() -> None:
    def prefers(key: str, weight: int) -> PreferredSchedulingTerm:
        term = NodeSelectorTerm(matchExpressions=[NodeSelectorRequirement(key=key, operator="Exists")])
        return PreferredSchedulingTerm(weight=weight, preference=term)

    new = pod()
    preferred = [prefers("ssd", 60), prefers("gpu", 20)]
    new.spec.affinity = Affinity(nodeAffinity=NodeAffinity(preferredDuringSchedulingIgnoredDuringExecution=preferred))
    nodes = world([node("a", labels={"ssd": "1", "gpu": "1"}), node("b", labels={"gpu": "1"}), node("c")])
    assert scores(NodeAffinityPlugin(), new, nodes) == {"a": 100, "b": 25, "c": 0}


def test_images_at_hand_count_by_their_bytes_and_by_how_many_nodes_have_them() -> None:
    holding = node("a")
    holding.status.images = [ContainerImage(names=["registry.test/app:1"], sizeBytes=600 * MIB)]
    nodes = world([holding, node("b")])
    assert scores(ImageLocality(), pod(), nodes) == {"a": (300 - 23) * 100 // (1000 - 23), "b": 0}


def test_gates_are_named() -> None:
    from wherry.api.core_v1 import PodSchedulingGate

    gated = pod()
    gated.spec.schedulingGates = [PodSchedulingGate(name="a"), PodSchedulingGate(name="b")]
    assert SchedulingGates().pre_enqueue(PodInfo.of(gated)) == "waiting for scheduling gates: [a b]"
    assert SchedulingGates().pre_enqueue(PodInfo.of(pod())) is None


def zoned(*names: str) -> list[Node]:
    """Nodes a1, a2, b1 …: the zone is the first letter."""
    return [node(name, labels={ZONE: name[0]}) for name in names]


def test_affinity_reasons() -> None:
    web = {"app": "web"}
    nodes = world([*zoned("a1", "b1", "c1")], {"a1": [pod("old", labels=web)]})
    plugin = InterPodAffinity()
    near = PodInfo.of(with_affinity(pod(), web, ZONE))
    reason = "node(s) didn't match pod affinity rules"
    assert refused(plugin.filter(near, nodes), nodes) == {"b1": reason, "c1": reason}
    apart = PodInfo.of(with_affinity(pod(), web, ZONE, anti=True))
    assert refused(plugin.filter(apart, nodes), nodes) == {"a1": "node(s) didn't match pod anti-affinity rules"}
    hermit = with_affinity(pod("hermit"), {"app": "new"}, ZONE, anti=True)
    nodes.add_pod(PodInfo.of(hermit), "b1")
    disturbing = PodInfo.of(pod(labels={"app": "new"}))
    reason = "node(s) didn't satisfy existing pods anti-affinity rules"
    assert refused(plugin.filter(disturbing, nodes), nodes) == {"b1": reason}


def test_the_first_pod_of_a_group_that_wants_its_own_kind_may_go_anywhere_labelled() -> None:
    first = PodInfo.of(with_affinity(pod(labels={"app": "web"}), {"app": "web"}, ZONE))
    nodes = world([*zoned("a1"), node("bare")])
    reason = "node(s) didn't match pod affinity rules"
    assert refused(InterPodAffinity().filter(first, nodes), nodes) == {"bare": reason}


def test_namespace_selectors_reach_into_other_namespaces() -> None:
    new = with_affinity(pod(), {"app": "web"}, ZONE)
    affinity = new.spec.affinity
    assert affinity is not None and affinity.podAffinity is not None
    term = affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]
    term.namespaceSelector = LabelSelector(matchLabels={"team": "x"})
    nodes = world(zoned("a1", "b1"), {"a1": [pod("old", namespace="theirs", labels={"app": "web"})]})
    assert len(refused(InterPodAffinity().filter(PodInfo.of(new), nodes), nodes)) == 2
    nodes.namespaces["theirs"] = {"team": "x"}
    assert list(refused(InterPodAffinity().filter(PodInfo.of(new), nodes), nodes)) == ["b1"]


def test_preferred_company_and_distance_score() -> None:
    term = PodAffinityTerm(topologyKey=ZONE, labelSelector=LabelSelector(matchLabels={"app": "web"}))
    weighted = [WeightedPodAffinityTerm(weight=5, podAffinityTerm=term)]
    shy = pod()
    shy.spec.affinity = Affinity(
        podAntiAffinity=PodAntiAffinity(preferredDuringSchedulingIgnoredDuringExecution=weighted)
    )
    web = [pod(f"w{number}", labels={"app": "web"}) for number in range(3)]
    nodes = world(zoned("a1", "a2", "b1", "c1"), {"a1": web[:2], "b1": web[2:]})
    assert scores(InterPodAffinity(), shy, nodes) == {"a1": 0, "a2": 0, "b1": 50, "c1": 100}
    assert scores(InterPodAffinity(), pod(), nodes) is None
    nodes.add_pod(PodInfo.of(with_affinity(pod("fan"), {"app": "idol"}, ZONE)), "c1")
    assert scores(InterPodAffinity(), pod(labels={"app": "idol"}), nodes) == {"a1": 0, "a2": 0, "b1": 0, "c1": 100}


def constrained(key: str = ZONE, max_skew: int = 1, when: str = "DoNotSchedule", **more: Any) -> Pod:
    made = pod(labels={"app": "web"})
    selector = LabelSelector(matchLabels={"app": "web"})
    made.spec.topologySpreadConstraints = [
        TopologySpreadConstraint(
            topologyKey=key, maxSkew=max_skew, whenUnsatisfiable=when, labelSelector=selector, **more
        )
    ]
    return made


SKEWED = "node(s) didn't match pod topology spread constraints"


@pytest.mark.parametrize(
    ("new", "wanted"),
    [
        pytest.param(constrained(), {"a1": SKEWED, "a2": SKEWED}, id="the-fuller-zone-is-closed"),
        pytest.param(constrained(max_skew=2), {"a1": SKEWED, "a2": SKEWED}, id="two-ahead-would-be-three"),
        pytest.param(constrained(max_skew=3), {}, id="three-ahead-is-allowed"),
        pytest.param(
            constrained(max_skew=1, minDomains=3),
            {"a1": SKEWED, "a2": SKEWED},
            id="too-few-domains-make-the-least-zero",
        ),
    ],
)
def test_hard_spreading(new: Pod, wanted: dict[str, str]) -> None:
    web = [pod(f"w{number}", labels={"app": "web"}) for number in range(2)]
    leaving = pod("leaving", labels={"app": "web"})
    leaving.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    nodes = world([*zoned("a1", "a2", "b1"), node("bare")], {"a1": web[:1], "a2": web[1:], "b1": [leaving]})
    missing = {"bare": f"{SKEWED} (missing required label)"}
    assert refused(PodTopologySpread().filter(PodInfo.of(new), nodes), nodes) == wanted | missing


def test_soft_spreading_prefers_the_emptier_domain() -> None:
    web = [pod(f"w{number}", labels={"app": "web"}) for number in range(3)]
    nodes = world(zoned("a1", "b1"), {"a1": web})
    assert scores(PodTopologySpread(), constrained(when="ScheduleAnyway"), nodes) == {"a1": 0, "b1": 100}


def test_pods_of_a_service_spread_by_default_over_nodes_and_zones() -> None:
    plugin = PodTopologySpread(lambda _: from_map({"app": "web"}))
    nodes = world(zoned("a1", "a2", "b1"), {"a1": [pod("w", labels={"app": "web"})]})
    # crowding: a1 = 1·ln 5 + 2 + 1·ln 4 + 4 = 9, a2 = 2 + 1·ln 4 + 4 = 7, b1 = 2 + 4 = 6
    assert scores(plugin, pod(labels={"app": "web"}), nodes) == {"a1": 66, "a2": 88, "b1": 100}
    assert scores(PodTopologySpread(), pod(labels={"app": "web"}), nodes) is None


def test_match_label_keys_narrow_spreading_to_one_revision() -> None:
    new = constrained(HOST, matchLabelKeys=["revision"])
    new.metadata.labels["revision"] = "2"
    old = pod("old", labels={"app": "web", "revision": "1"})
    nodes = world(zoned("a1", "b1"), {"a1": [old]})
    assert refused(PodTopologySpread().filter(PodInfo.of(new), nodes), nodes) == {}


def test_scores_stay_within_bounds_for_rows_that_hold_no_node() -> None:
    nodes = world(zoned("a1", "b1"))
    column = PodTopologySpread().score(PodInfo.of(constrained(when="ScheduleAnyway")), nodes, nodes.valid)
    assert column is not None and np.all((column >= 0) & (column <= 100))
