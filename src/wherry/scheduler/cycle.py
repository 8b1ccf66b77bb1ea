"""One scheduling decision: filters narrow the nodes down, scores rank the rest, the best wins.

Pure: a pod and the snapshot in, a `Decision` out; the caller assumes, binds and reports. The decision keeps why every
node was refused or how it scored, for events and for `wherry why`.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from wherry.aio.entropy import Entropy
from wherry.scheduler.framework import Profile, Refusal
from wherry.scheduler.snapshot import Column, Mask, PodInfo, Snapshot

# What kube-scheduler's DynamicResources says of a pod without claims, before preemption speaks.
NO_CLAIMS = "no new claims to deallocate"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"


@dataclass(slots=True)
class Decision:
    """What was decided, and why."""

    node_name: str | None
    refused_by: frozenset[str] = frozenset()
    """Names of the plugins that refused nodes; what the queue's hints go by."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Reason → number of nodes."""
    unresolvable: int = 0
    node_count: int = 0
    scores: dict[str, Column] = field(default_factory=dict)

    def message(self) -> str:
        """The FailedScheduling message, as kube-scheduler words it."""
        if self.node_count == 0:
            return "no nodes available to schedule pods"
        head = f"0/{self.node_count} nodes are available"
        reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in self.reasons.items()))
        outcome = Counter({NOT_HELPFUL: self.unresolvable, NO_VICTIMS: self.node_count - self.unresolvable})
        helped = ", ".join(sorted(f"{count} {reason}" for reason, count in outcome.items() if count))
        return f"{head}: {reasons}. {NO_CLAIMS}, preemption: {head}: {helped}."


def decide(profile: Profile, info: PodInfo, nodes: Snapshot, entropy: Entropy) -> Decision:
    """Choose a node for `info`, or say why none will do."""
    feasible = nodes.valid.copy()
    decision = Decision(None, node_count=nodes.count)
    refused_by: set[str] = set()
    for plugin in profile.filters:
        _apply(plugin.filter(info, nodes), plugin.name, feasible, decision, refused_by)
        if not feasible.any():
            break
    decision.refused_by = frozenset(refused_by)
    if feasible.any():
        decision.node_name = _best(profile, info, nodes, feasible, decision, entropy)
    return decision


def _apply(refusals: list[Refusal], name: str, feasible: Mask, decision: Decision, refused_by: set[str]) -> None:
    """Count each node's reasons from the first plugin that refuses it, and take it out."""
    refused: Mask | None = None
    final: Mask | None = None
    for refusal in refusals:
        hit = refusal.nodes & feasible
        count = int(np.count_nonzero(hit))
        if not count:
            continue
        decision.reasons[refusal.reason] += count
        refused = hit if refused is None else refused | hit
        if not refusal.resolvable:
            final = hit if final is None else final | hit
    if refused is not None:
        refused_by.add(name)
        np.logical_and(feasible, ~refused, out=feasible)
    if final is not None:
        decision.unresolvable += int(np.count_nonzero(final))


def _best(
    profile: Profile, info: PodInfo, nodes: Snapshot, feasible: Mask, decision: Decision, entropy: Entropy
) -> str:
    rows = np.flatnonzero(feasible)
    if len(rows) == 1:
        return nodes.names[int(rows[0])]
    total: Column = np.zeros(nodes.size, np.int64)
    for plugin, weight in profile.scores:
        scores = plugin.score(info, nodes, feasible)
        if scores is not None:
            decision.scores[plugin.name] = scores
            total += scores * weight
    candidates = total[rows]
    best = rows[candidates == candidates.max()]
    # Ties are broken at random, or every pod would land on the first of equal nodes.
    return nodes.names[int(best[entropy.below(len(best))])]
