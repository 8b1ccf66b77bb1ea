"""The scheduler's plugin points, over columns: a filter looks at all nodes at once and says which it refuses and why.

Kubernetes' extension points keep their names and meaning (kube-scheduler's framework); only the shape differs: where
Filter there is asked node by node, here it returns masks. Plugins hold no state between pods but the snapshot's.
Built-in plugins come in by the same door as anybody's: plugins/__init__.py lists them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, runtime_checkable

import numpy as np

from wherry.api.core_v1 import Node
from wherry.scheduler.snapshot import Column, Mask, PodInfo, Snapshot

MAX_NODE_SCORE = 100
DEFAULT_SCHEDULER = "default-scheduler"


class ClusterEvent(Enum):
    """What can make an unschedulable pod schedulable."""

    NODE_ADD = auto()
    NODE_UPDATE = auto()
    NODE_DELETE = auto()
    ASSIGNED_POD_ADD = auto()
    ASSIGNED_POD_UPDATE = auto()
    ASSIGNED_POD_DELETE = auto()
    POD_UPDATE = auto()


@dataclass(frozen=True, slots=True)
class Change:
    """One event with the objects it is about."""

    event: ClusterEvent
    old_node: Node | None = None
    new_node: Node | None = None
    pod: PodInfo | None = None
    old_pod: PodInfo | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nodes that a filter refuses, with its reason."""

    nodes: Mask
    reason: str
    resolvable: bool = True
    """Whether removing pods could help (Unschedulable), or nothing would (UnschedulableAndUnresolvable)."""


class Plugin(Protocol):
    """Every plugin has a name, and says which events may help a pod that it refused."""

    name: str

    def helps(self, info: PodInfo, change: Change) -> bool:
        """Whether `change` may make a pod that this plugin refused schedulable (the queueing hint, KEP-4247)."""


@runtime_checkable
class PreEnqueue(Plugin, Protocol):
    """Keeps pods out of the queue."""

    def pre_enqueue(self, info: PodInfo) -> str | None:
        """Why the pod may not be queued yet, or None."""


class QueueSort(Plugin, Protocol):
    """Orders the pods that wait."""

    def rank(self, info: PodInfo, since: float) -> tuple[float, ...]:
        """Lower goes first; `since` is when the pod last entered the queue."""


@runtime_checkable
class PreFilter(Plugin, Protocol):
    """Narrows the nodes before any filter looks at them."""

    def pre_filter(self, info: PodInfo, nodes: Snapshot) -> Mask | str | None:
        """The only nodes worth a look; a reason to refuse all; None for no opinion."""


@runtime_checkable
class Filter(Plugin, Protocol):
    """Says which nodes cannot run a pod."""

    def filter(self, info: PodInfo, nodes: Snapshot) -> list[Refusal]:
        """Refusals; nodes in none of them are fine. Rows that hold no node may be in any."""

    def across_nodes(self, info: PodInfo, nodes: Snapshot) -> bool:
        """Whether pods on one node can change what this filter says of another."""


@runtime_checkable
class Score(Plugin, Protocol):
    """Says which nodes are better, 0 to MAX_NODE_SCORE."""

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        """A score per row, normalized; None when the plugin has no preference for this pod."""


@dataclass(slots=True)
class Help:
    """What came of helping a pod that no node can run."""

    message: str = ""
    """Why nothing was done; "" when something was."""
    node_name: str | None = None
    """The node that is being made room on."""
    victims: list[PodInfo] = field(default_factory=list)
    keep_nomination: bool = False
    """Whether what was promised to the pod earlier still holds."""


class PostFilter(Plugin, Protocol):
    """Tries to help a pod that no node can run (preemption)."""

    def post_filter(self, profile: "Profile", info: PodInfo, nodes: Snapshot, resolvable: Mask) -> Help:
        """Decides, and changes nothing: the scheduler evicts. `resolvable` are the nodes that fewer pods may open."""


class Reserve(Plugin, Protocol):
    """Holds what a pod needs on the node it was placed on, until it is bound or given up."""

    def reserve(self, info: PodInfo, node_name: str) -> str | None:
        """Why it cannot be held, or None."""

    def unreserve(self, info: PodInfo, node_name: str) -> None:
        """Give it back; must not fail."""


class Permit(Plugin, Protocol):
    """May delay or refuse binding."""

    async def permit(self, info: PodInfo, node_name: str) -> str | None:
        """Returns when binding may go on; a reason refuses it."""


class PreBind(Plugin, Protocol):
    """Does what must be done before binding, such as binding volumes."""

    async def pre_bind(self, info: PodInfo, node_name: str) -> None:
        """Raises StatusError when the pod cannot be bound."""


class Bind(Plugin, Protocol):
    """Binds a pod to a node."""

    async def bind(self, info: PodInfo, node_name: str) -> bool:
        """True when this plugin has bound the pod; False leaves it to the next. Raises StatusError."""


class PostBind(Plugin, Protocol):
    """Told after a pod was bound."""

    def post_bind(self, info: PodInfo, node_name: str) -> None:
        """Must not fail."""


@dataclass(slots=True)
class Profile:
    """The plugins of one scheduler name, by point, in the order they are asked."""

    scheduler_name: str = DEFAULT_SCHEDULER
    pre_enqueue: list[PreEnqueue] = field(default_factory=list)
    queue_sort: QueueSort | None = None
    pre_filters: list[PreFilter] = field(default_factory=list)
    filters: list[Filter] = field(default_factory=list)
    post_filters: list[PostFilter] = field(default_factory=list)
    scores: list[tuple[Score, int]] = field(default_factory=list)
    """With their weights."""
    reserves: list[Reserve] = field(default_factory=list)
    permits: list[Permit] = field(default_factory=list)
    pre_binds: list[PreBind] = field(default_factory=list)
    binds: list[Bind] = field(default_factory=list)
    post_binds: list[PostBind] = field(default_factory=list)

    def by_name(self) -> dict[str, Plugin]:
        """Plugins that can refuse a pod, by name, for the queue's hints."""
        groups: Iterable[Iterable[Plugin]] = (
            self.pre_enqueue,
            self.pre_filters,
            self.filters,
            self.reserves,
            self.permits,
        )
        return {plugin.name: plugin for group in groups for plugin in group}


def default_normalize(scores: Column, feasible: Mask, *, reverse: bool = False) -> Column | None:
    """Scale raw scores to 0..MAX_NODE_SCORE over the feasible nodes; None when they are all zero and not reversed."""
    highest = int(scores[feasible].max(initial=0))
    if highest == 0:
        return None
    scaled = scores * MAX_NODE_SCORE // highest
    result: Column = MAX_NODE_SCORE - scaled if reverse else scaled
    return result


def none_of(nodes: Snapshot) -> Mask:
    """A mask of no node."""
    return np.zeros(nodes.size, np.bool_)
