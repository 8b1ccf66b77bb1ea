"""Why a pod is where it is, or pending: the last decisions, kept for `wherry why`.

A record is made of what the decision computed anyway and holds names, not columns, so that it stays true and small
when nodes come and go. The book holds a fixed number of pods, those decided last.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from wherry.scheduler.cycle import Decision
from wherry.scheduler.snapshot import Snapshot

PODS_MAX = 2000
NODES_NAMED_MAX = 10
"""Nodes named for each reason."""
NODES_SCORED_MAX = 3
"""Nodes kept with their scores: the chosen one and those it beat; each costs microseconds in every decision."""

Key = tuple[str, str]


@dataclass(slots=True)
class Reason:
    """One reason of one plugin, and the nodes it kept the pod from."""

    plugin: str
    text: str
    node_count: int
    some_nodes: list[str]


@dataclass(slots=True)
class NodeScore:
    """A node that would have done, with each plugin's weighted score."""

    node_name: str
    total: int
    by_plugin: dict[str, int]


@dataclass(slots=True)
class Explanation:
    """One decision."""

    decided_at: datetime
    node_name: str | None
    node_count: int
    feasible_count: int
    message: str
    """The FailedScheduling message; "" when the pod was placed."""
    reasons: list[Reason] = field(default_factory=list)
    best: list[NodeScore] = field(default_factory=list)
    """The best nodes in order; empty when there was no choice."""
    attempts: int = 1


class Book:
    """The last explanation of each pod."""

    def __init__(self, pods_max: int = PODS_MAX) -> None:
        self._pods_max = pods_max
        self._pages: OrderedDict[Key, Explanation] = OrderedDict()

    def record(self, key: Key, decision: Decision, nodes: Snapshot, now: datetime) -> None:
        """Keep `decision`, in place of an earlier one about the same pod."""
        earlier = self._pages.pop(key, None)
        page = explain(decision, nodes, now)
        page.attempts = earlier.attempts + 1 if earlier is not None else 1
        self._pages[key] = page
        while len(self._pages) > self._pods_max:
            self._pages.popitem(last=False)

    def forget(self, key: Key) -> None:
        """The pod is gone."""
        self._pages.pop(key, None)

    def about(self, key: Key) -> Explanation | None:
        """The last decision about a pod."""
        return self._pages.get(key)

    def __len__(self) -> int:
        return len(self._pages)


def explain(decision: Decision, nodes: Snapshot, now: datetime) -> Explanation:
    """The record of one decision; must be made before the snapshot changes."""
    verdict = decision.verdict
    feasible = int(np.count_nonzero(verdict.feasible))
    placed = decision.node_name is not None
    return Explanation(
        decided_at=now,
        node_name=decision.node_name,
        node_count=decision.node_count,
        feasible_count=feasible,
        message="" if placed else decision.message(),
        reasons=[
            Reason(plugin, text, int(np.count_nonzero(mask)), _names(nodes, mask))
            for plugin, text, mask in verdict.refusals
        ],
        best=_best(decision, nodes),
    )


def _names(nodes: Snapshot, mask: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> list[str]:
    return [nodes.names[row] for row in np.flatnonzero(mask)[:NODES_NAMED_MAX].tolist()]


def _best(decision: Decision, nodes: Snapshot) -> list[NodeScore]:
    total = decision.total
    if total is None:
        return []
    rows = np.flatnonzero(decision.verdict.feasible)
    if len(rows) > NODES_SCORED_MAX:
        rows = rows[np.argpartition(-total[rows], NODES_SCORED_MAX - 1)[:NODES_SCORED_MAX]]
    chosen = nodes.rows[decision.node_name or ""]
    others = sorted((row for row in rows.tolist() if row != chosen), key=lambda row: -int(total[row]))
    order = [chosen, *others[: NODES_SCORED_MAX - 1]]
    return [
        NodeScore(
            nodes.names[row], int(total[row]), {name: int(column[row]) * w for name, w, column in decision.scores}
        )
        for row in order
    ]
