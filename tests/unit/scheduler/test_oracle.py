"""All nodes at once must say the same as node by node; and whatever comes and goes, the columns stay exact."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.api.core_v1 import (
    Affinity,
    ContainerPort,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    Taint,
    Toleration,
    TopologySpreadConstraint,
)
from wherry.api.meta_v1 import LabelSelector
from wherry.scheduler.cycle import feasible_nodes
from wherry.scheduler.plugins import default_profile
from wherry.scheduler.snapshot import PodInfo, Snapshot
from wherry.testing.builders import node

from . import oracle
from .worlds import pod, world

KEYS = ("zone", "disk")
VALUES = ("1", "2", "3")
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
apps = st.dictionaries(st.just("app"), st.sampled_from(("a", "b")))
taints = st.lists(
    st.builds(
        Taint,
        key=st.sampled_from(KEYS),
        value=st.sampled_from(VALUES),
        effect=st.sampled_from(("NoSchedule", "NoExecute", "PreferNoSchedule")),
    ),
    max_size=2,
    unique_by=lambda taint: (taint.key, taint.effect),
)
tolerations = st.lists(
    st.one_of(
        st.builds(Toleration, key=st.sampled_from(KEYS), operator=st.just("Exists")),
        st.builds(Toleration, key=st.sampled_from(KEYS), operator=st.just("Equal"), value=st.sampled_from(VALUES)),
    ),
    max_size=2,
)
requirements = st.one_of(
    st.builds(
        NodeSelectorRequirement,
        key=st.sampled_from(KEYS),
        operator=st.sampled_from(("In", "NotIn")),
        values=st.lists(st.sampled_from(VALUES), min_size=1, max_size=2),
    ),
    st.builds(NodeSelectorRequirement, key=st.sampled_from(KEYS), operator=st.sampled_from(("Exists", "DoesNotExist"))),
    st.builds(
        NodeSelectorRequirement,
        key=st.sampled_from(KEYS),
        operator=st.sampled_from(("Gt", "Lt")),
        values=st.lists(st.sampled_from(VALUES), min_size=1, max_size=1),
    ),
)
selectors = st.builds(LabelSelector, matchLabels=apps)
pod_terms = st.lists(
    st.builds(PodAffinityTerm, topologyKey=st.sampled_from((*KEYS, "kubernetes.io/hostname")), labelSelector=selectors),
    max_size=2,
)
constraints = st.lists(
    st.builds(
        TopologySpreadConstraint,
        topologyKey=st.sampled_from(KEYS),
        maxSkew=st.integers(1, 2),
        whenUnsatisfiable=st.sampled_from(("DoNotSchedule", "ScheduleAnyway")),
        labelSelector=selectors,
        minDomains=st.sampled_from((None, 2, 3)),
    ),
    max_size=2,
)


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    made = node(name, labels=draw(labels), taints=draw(taints), capacity={"cpu": draw(st.integers(1, 4)), "pods": 4})
    made.spec.unschedulable = draw(st.sampled_from((None, None, True)))
    return made


@st.composite
def pods(draw: st.DrawFn, name: str) -> Pod:
    made = pod(name, labels=draw(apps), requests={"cpu": draw(st.integers(0, 2))})
    made.metadata.namespace = draw(st.sampled_from(("default", "default", "other")))
    near, apart = draw(pod_terms), draw(pod_terms)
    if near or apart:
        made.spec.affinity = Affinity(
            podAffinity=PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=near) if near else None,
            podAntiAffinity=PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=apart) if apart else None,
        )
    if draw(st.booleans()):
        made.spec.containers[0].ports = [ContainerPort(containerPort=80, hostPort=draw(st.sampled_from((80, 81))))]
    if draw(st.booleans()):
        made.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    return made


@st.composite
def newcomers(draw: st.DrawFn) -> Pod:
    made = draw(pods("new"))
    made.metadata.deletionTimestamp = None
    made.spec.tolerations = draw(tolerations)
    made.spec.topologySpreadConstraints = draw(constraints)
    if draw(st.booleans()):
        made.spec.nodeSelector = draw(labels)
    if draw(st.booleans()):
        wanted = st.builds(NodeSelectorTerm, matchExpressions=st.lists(requirements, max_size=2))
        selector = NodeSelector(nodeSelectorTerms=draw(st.lists(wanted, min_size=1, max_size=2)))
        made.spec.affinity = made.spec.affinity or Affinity()
        made.spec.affinity.nodeAffinity = NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=selector)
    return made


@st.composite
def worlds(draw: st.DrawFn) -> oracle.World:
    made = [draw(nodes(f"n{number}")) for number in range(draw(st.integers(1, 5)))]
    placed: dict[str, list[Pod]] = {}
    for number in range(draw(st.integers(0, 6))):
        at = draw(st.sampled_from(made)).metadata.name or ""
        placed.setdefault(at, []).append(draw(pods(f"p{number}")))
    return oracle.World(made, placed)


@settings(max_examples=250, deadline=None)
@given(worlds(), newcomers())
def test_the_columns_say_what_node_by_node_says(place: oracle.World, new: Pod) -> None:
    snapshot = world(place.nodes, place.placed)
    feasible = feasible_nodes(default_profile(), PodInfo.of(new), snapshot).feasible
    found = {name for name, row in snapshot.rows.items() if feasible[row]}
    assert found == {each.metadata.name for each in place.nodes if oracle.fits(new, each, place)}


def facts(snapshot: Snapshot) -> dict[str, Any]:
    """Everything a snapshot knows, by node name instead of row."""
    names = {row: name for name, row in snapshot.rows.items()}

    def by_name(column: Any) -> dict[str, Any]:
        return {name: column[row].item() for row, name in names.items()}

    return {
        "allocatable": {name: by_name(column) for name, column in snapshot.allocatable.items() if column.any()},
        "requested": {name: by_name(column) for name, column in snapshot.requested.items() if column.any()},
        "nonzero": [by_name(column) for column in snapshot.nonzero],
        "pods": by_name(snapshot.pod_counts),
        "taints": {key: by_name(mask) for key, mask in snapshot.taints.items()},
        "labels": {
            (name, key, value)
            for key, label in snapshot.labels.items()
            for value, number in label.numbers.items()
            for row, name in names.items()
            if label.column[row] == number
        },
        "ports": {key: sorted((names[row], ip) for row, ip in held) for key, held in snapshot.ports.items()},
        "terms": {
            kind: {term: {names[row]: count for row, count in rows.items()} for term, rows in held.items()}
            for kind, held in snapshot.index.terms.items()
        },
        "priorities": snapshot.priorities,
    }


@settings(max_examples=100, deadline=None)
@given(worlds(), worlds())
def test_whatever_came_before_only_what_is_there_counts(before: oracle.World, after: oracle.World) -> None:
    snapshot = world(before.nodes, before.placed)
    for uid in list(snapshot.pods):
        snapshot.remove_pod(uid)
    for name in list(snapshot.rows):
        if name not in {each.metadata.name for each in after.nodes}:
            snapshot.remove_node(name)
    for name, placed in after.placed.items():
        for each in placed:
            snapshot.add_pod(PodInfo.of(each), name)
    for each_node in after.nodes:
        snapshot.set_node(each_node)
    assert facts(snapshot) == facts(world(after.nodes, after.placed))


def test_hundreds_of_nodes_come_and_go_without_a_trace() -> None:
    snapshot = world([node("stays", labels={"zone": "1"})], {"stays": [pod("p", requests={"cpu": 1})]})
    for number in range(300):
        snapshot.set_node(node(f"n{number}", labels={"zone": str(number)}))
        if number >= 40:
            snapshot.remove_node(f"n{number - 40}")
    for number in range(260, 300):
        snapshot.remove_node(f"n{number}")
    assert snapshot.count == 1 and snapshot.size == 64
    assert all(len(label.numbers) <= 2 * snapshot.size for label in snapshot.labels.values())
    assert facts(snapshot) == facts(
        world([node("stays", labels={"zone": "1"})], {"stays": [pod("p", requests={"cpu": 1})]})
    )
