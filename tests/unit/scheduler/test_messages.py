"""FailedScheduling as kube-scheduler 1.36 words it: whoever reads events and conditions compares these texts."""

from wherry.api.core_v1 import NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint
from wherry.testing.builders import node, pod_spec

from .worlds import ZONE, decided, pod, with_affinity, world

TAINT = Taint(key="node-role.kubernetes.io/control-plane", effect="NoSchedule")
TAIL = "no new claims to deallocate, preemption: 0/{0} nodes are available: {1}."


def named(made: Pod, *names: str) -> Pod:
    """As the DaemonSet controller pins its pods."""
    from wherry.api.core_v1 import Affinity, NodeAffinity, NodeSelector

    terms = [
        NodeSelectorTerm(matchFields=[NodeSelectorRequirement(key="metadata.name", operator="In", values=[name])])
        for name in names
    ]
    required = NodeSelector(nodeSelectorTerms=terms)
    made.spec.affinity = Affinity(nodeAffinity=NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=required))
    return made


def test_one_full_node_and_three_tainted_ones() -> None:
    nodes = world(
        [node("a"), *(node(name, taints=[TAINT]) for name in "bcd")], {"a": [pod("old", requests={"cpu": 3})]}
    )
    assert decided(pod(requests={"cpu": 2}), nodes).message() == (
        "0/4 nodes are available: 1 Insufficient cpu, 3 node(s) had untolerated taint(s). "
        "no new claims to deallocate, preemption: 0/4 nodes are available: "
        "1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling."
    )


def test_no_nodes_at_all() -> None:
    assert decided(pod(), world([])).message() == "no nodes available to schedule pods"


def test_a_node_counts_once_for_each_resource_it_lacks() -> None:
    nodes = world([node("a"), node("b")])
    assert decided(pod(requests={"cpu": 5, "memory": "9Gi"}), nodes).message() == (
        "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory. "
        + TAIL.format(2, "2 Preemption is not helpful for scheduling")
    )


def test_selector_cordon_and_affinity() -> None:
    cordoned = node("b")
    cordoned.spec.unschedulable = True
    new = with_affinity(pod(spec=pod_spec(node_selector={"disk": "ssd"})), {"app": "db"}, ZONE)
    nodes = world([node("a"), cordoned, node("c", labels={"disk": "ssd", ZONE: "z"})])
    assert decided(new, nodes).message() == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) didn't match pod affinity rules, 1 node(s) were unschedulable. "
        + TAIL.format(3, "3 Preemption is not helpful for scheduling")
    )


def test_a_daemon_pod_looks_only_at_its_node() -> None:
    nodes = world([node(name) for name in "abc"])
    assert decided(named(pod(requests={"cpu": 9}), "b"), nodes).message() == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. "
        + TAIL.format(3, "3 Preemption is not helpful for scheduling")
    )


def test_conflicting_node_names() -> None:
    new = named(pod(), "b")
    affinity = new.spec.affinity
    assert affinity is not None and affinity.nodeAffinity is not None
    required = affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution
    assert required is not None
    other = NodeSelectorRequirement(key="metadata.name", operator="In", values=["c"])
    required.nodeSelectorTerms[0].matchFields.append(other)
    assert decided(new, world([node("b"), node("c")])).message() == (
        "0/2 nodes are available: pod affinity terms conflict. "
        + TAIL.format(2, "2 Preemption is not helpful for scheduling")
    )


def test_preemption_policy_never_says_so() -> None:
    new = pod(requests={"cpu": 3}, priority=10)
    new.spec.preemptionPolicy = "Never"
    nodes = world([node("a")], {"a": [pod("old", requests={"cpu": 3})]})
    assert decided(new, nodes).message() == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
    )


def test_nothing_is_said_of_preemption_when_it_found_victims() -> None:
    nodes = world([node("a")], {"a": [pod("old", requests={"cpu": 3})]})
    decision = decided(pod(requests={"cpu": 3}, priority=10), nodes)
    assert decision.message() == "0/1 nodes are available: 1 Insufficient cpu."
    assert decision.help.node_name == "a"
