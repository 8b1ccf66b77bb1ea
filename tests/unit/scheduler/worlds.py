"""Snapshots made of few words, and the decision about one pod in them."""

from collections.abc import Iterable, Mapping
from typing import Any

from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Affinity, Node, Pod, PodAffinity, PodAffinityTerm, PodAntiAffinity
from wherry.api.meta_v1 import LabelSelector
from wherry.api.policy_v1 import PodDisruptionBudget
from wherry.scheduler.cycle import Decision, decide
from wherry.scheduler.framework import Profile, Refusal
from wherry.scheduler.plugins import default_profile
from wherry.scheduler.plugins.default_preemption import DefaultPreemption
from wherry.scheduler.snapshot import PodInfo, Snapshot
from wherry.testing import builders

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def pod(name: str = "new", *, priority: int | None = None, started: str | None = None, **options: Any) -> Pod:
    """A pod whose uid is its name."""
    made = builders.pod(name, **options)
    made.metadata.uid = name
    made.spec.priority = priority
    made.status.startTime = started
    return made


def world(nodes: Iterable[Node], placed: Mapping[str, Iterable[Pod]] | None = None) -> Snapshot:
    """A snapshot of these nodes, and of pods by the name of their node."""
    snapshot = Snapshot()
    for node in nodes:
        snapshot.set_node(node)
    for name, pods in (placed or {}).items():
        for each in pods:
            snapshot.add_pod(PodInfo.of(each), name)
    return snapshot


def refused(refusals: list[Refusal], nodes: Snapshot) -> dict[str, str]:
    """Node → reasons, joined by "; ", of the nodes that are refused."""
    found: dict[str, list[str]] = {}
    for refusal in refusals:
        for name, row in nodes.rows.items():
            if refusal.nodes[row]:
                found.setdefault(name, []).append(refusal.reason)
    return {name: "; ".join(sorted(set(reasons))) for name, reasons in found.items()}


def profile(budgets: Iterable[PodDisruptionBudget] = ()) -> Profile:
    """The default profile with preemption."""
    return default_profile(preemption=DefaultPreemption(Entropy(1), lambda: budgets))


def decided(new: Pod, nodes: Snapshot, budgets: Iterable[PodDisruptionBudget] = ()) -> Decision:
    """The decision about `new`."""
    return decide(profile(budgets), PodInfo.of(new), nodes, Entropy(1))


def with_affinity(made: Pod, labels: Mapping[str, str], key: str = HOST, *, anti: bool = False) -> Pod:
    """`made`, which must (or, with `anti`, must not) be where pods with `labels` are."""
    term = PodAffinityTerm(topologyKey=key, labelSelector=LabelSelector(matchLabels=dict(labels)))
    affinity = made.spec.affinity or Affinity()
    if anti:
        affinity.podAntiAffinity = PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term])
    else:
        affinity.podAffinity = PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term])
    made.spec.affinity = affinity
    return made
