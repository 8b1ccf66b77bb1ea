"""One scheduling decision: filters narrow the nodes down, scores rank the rest, the best wins.

Pure: a pod and the snapshot in, a `Decision` out; the caller assumes, binds and reports. The decision keeps why every
node was refused or how it scored, for events and for `wherry why` (why.py).
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from wherry.aio.entropy import Entropy
from wherry.scheduler.framework import Help, Profile, Refusal
from wherry.scheduler.snapshot import Column, Mask, PodInfo, Snapshot

NO_NODES = "no nodes available to schedule pods"
# What kube-scheduler's DynamicResources says of a pod without claims, before preemption speaks.
NO_CLAIMS = "no new claims to deallocate"


@dataclass(slots=True)
class Verdict:
    """What the filters said."""

    feasible: Mask
    unresolvable: Mask
    """Nodes that no eviction can open."""
    refused_by: set[str] = field(default_factory=set)
    """Names of the plugins that refused nodes; what the queue's hints go by."""
    refusals: list[tuple[str, str, Mask]] = field(default_factory=list)
    """(plugin, reason, nodes)."""
    message: str = ""
    """Set when the pod was refused before any filter looked at nodes."""

    def reasons(self) -> Counter[str]:
        """Reason → number of nodes."""
        counts: Counter[str] = Counter()
        for _, reason, mask in self.refusals:
            counts[reason] += int(np.count_nonzero(mask))
        return counts


@dataclass(slots=True)
class Decision:
    """What was decided, and why."""

    node_name: str | None
    verdict: Verdict
    node_count: int = 0
    scores: list[tuple[str, int, Column]] = field(default_factory=list)
    """(plugin, weight, score by row)."""
    total: Column | None = None
    help: Help = field(default_factory=Help)

    @property
    def refused_by(self) -> frozenset[str]:
        """Names of the plugins that refused the pod."""
        return frozenset(self.verdict.refused_by)

    def message(self) -> str:
        """The FailedScheduling message, as kube-scheduler words it."""
        if self.node_count == 0:
            return NO_NODES
        told = fit_error(self.node_count, self.verdict.reasons(), self.verdict.message)
        return f"{told} {NO_CLAIMS}, preemption: {self.help.message}" if self.help.message else told


def fit_error(node_count: int, reasons: Counter[str], instead: str = "") -> str:
    """ "0/4 nodes are available: 3 because of this, 1 because of that." in kube-scheduler's order."""
    listed = instead or ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items() if count))
    return f"0/{node_count} nodes are available: {listed}." if listed else f"0/{node_count} nodes are available:"


def decide(profile: Profile, info: PodInfo, nodes: Snapshot, entropy: Entropy) -> Decision:
    """Choose a node for `info`, or say why none will do and what a post filter can do about it."""
    verdict = feasible_nodes(profile, info, nodes)
    decision = Decision(None, verdict, nodes.count)
    if verdict.feasible.any():
        nominated = nodes.rows.get(info.pod.status.nominatedNodeName or "")
        if nominated is not None and verdict.feasible[nominated]:
            decision.node_name = nodes.names[nominated]
        else:
            decision.node_name = _best(profile, info, nodes, decision, entropy)
    elif nodes.count:
        for plugin in profile.post_filters:
            decision.help = plugin.post_filter(profile, info, nodes, nodes.valid & ~verdict.unresolvable)
            if decision.help.node_name:
                break
    return decision


def feasible_nodes(profile: Profile, info: PodInfo, nodes: Snapshot, within: Mask | None = None) -> Verdict:
    """Where `info` fits, of the nodes in `within`.

    Pods of its priority or more that were promised room (nominated) count as if they were there already; as an
    affinity may be to just those, the pod must fit without them too.
    """
    start = nodes.valid if within is None else within
    verdict = Verdict(start.copy(), np.zeros(nodes.size, np.bool_))
    if not _pre_filter(profile, info, nodes, verdict):
        return verdict
    promised = [
        (name, other)
        for uid, (name, other) in nodes.nominated.items()
        if other.priority >= info.priority and uid != info.uid and uid not in nodes.pods and name in nodes.rows
    ]
    if promised:
        for name, other in promised:
            nodes.add_pod(other, name)
        try:
            _filter(profile, info, nodes, verdict)
        finally:
            for _, other in promised:
                nodes.remove_pod(other.uid)
    if verdict.feasible.any():
        _filter(profile, info, nodes, verdict)
    return verdict


def _pre_filter(profile: Profile, info: PodInfo, nodes: Snapshot, verdict: Verdict) -> bool:
    """False when the pod is refused altogether."""
    narrowing = []
    allowed: Mask | None = None
    for plugin in profile.pre_filters:
        answer = plugin.pre_filter(info, nodes)
        if isinstance(answer, str):
            verdict.message = answer
            verdict.refused_by.add(plugin.name)
            verdict.unresolvable |= nodes.valid
            verdict.feasible[:] = False
            return False
        if answer is not None:
            narrowing.append(plugin.name)
            allowed = answer if allowed is None else allowed & answer
    if allowed is not None:
        names = " ".join(sorted(narrowing))
        refusal = Refusal(~allowed, f"node(s) didn't satisfy plugin(s) [{names}]", resolvable=False)
        _apply([refusal], narrowing[0], verdict)
        verdict.refused_by.update(narrowing)
    return True


def _filter(profile: Profile, info: PodInfo, nodes: Snapshot, verdict: Verdict) -> None:
    for plugin in profile.filters:
        refusals = plugin.filter(info, nodes)
        if refusals:
            _apply(refusals, plugin.name, verdict)
            if not verdict.feasible.any():
                return


def _apply(refusals: list[Refusal], name: str, verdict: Verdict) -> None:
    """Note each node's reasons from the first plugin that refuses it, and take it out."""
    refused: Mask | None = None
    for refusal in refusals:
        hit = refusal.nodes & verdict.feasible
        if not hit.any():
            continue
        verdict.refusals.append((name, refusal.reason, hit))
        refused = hit if refused is None else refused | hit
        if not refusal.resolvable:
            verdict.unresolvable |= hit
    if refused is not None:
        verdict.refused_by.add(name)
        verdict.feasible &= ~refused


def _best(profile: Profile, info: PodInfo, nodes: Snapshot, decision: Decision, entropy: Entropy) -> str:
    feasible = decision.verdict.feasible
    rows = np.flatnonzero(feasible)
    if len(rows) == 1:
        return nodes.names[int(rows[0])]
    total: Column = np.zeros(nodes.size, np.int64)
    for plugin, weight in profile.scores:
        scores = plugin.score(info, nodes, feasible)
        if scores is not None:
            decision.scores.append((plugin.name, weight, scores))
            total += scores * weight
    decision.total = total
    candidates = total[rows]
    best = rows[candidates == candidates.max()]
    # Ties are broken at random, or every pod would land on the first of equal nodes.
    return nodes.names[int(best[entropy.below(len(best))])]
