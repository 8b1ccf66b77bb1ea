"""All nodes at once, as columns: what numpy filters and scores in one sweep instead of node by node.

A row is a node, a column one fact about all nodes: free milli-CPU, a label's value, a taint. The snapshot is kept
current by informer events; placing a pod changes a handful of numbers in one row. Rows of deleted nodes are reused.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wherry.api.core_v1 import Node, Pod, ResourceRequirements, Taint, Toleration
from wherry.meta.quantity import Quantity
from wherry.rules.pods import all_containers, host_ports
from wherry.rules.requests import container_sum, in_scheduler_units, pod_requests
from wherry.scheduler.affinity_terms import PodTerms, terms_of
from wherry.scheduler.podindex import ClassKey, PodIndex

Mask = NDArray[np.bool_]
Column = NDArray[np.int64]

# What a container without requests is counted as when scores compare load (kube-scheduler's defaults).
NONZERO = {"cpu": Quantity.of_milli(100), "memory": Quantity.of_value(200 * 1024 * 1024)}
INITIAL_ROWS = 16
ABSENT = -1
"""Value number of a label that a node does not carry."""


@dataclass(slots=True)
class PodInfo:
    """A pod with what the scheduler computes from it once."""

    pod: Pod
    requests: dict[str, int]
    nonzero: tuple[int, int]
    ports: list[tuple[str, str, int]]
    terms: PodTerms
    class_key: ClassKey
    priority: int

    @classmethod
    def of(cls, pod: Pod) -> "PodInfo":
        """Compute the facts of `pod`."""
        requests = {name: amount for name, amount in pod_requests(pod).items() if amount}
        metadata = pod.metadata
        kind = (metadata.namespace or "", frozenset(metadata.labels.items()), metadata.deletionTimestamp is not None)
        priority = pod.spec.priority or 0
        return cls(pod, requests, _nonzero(pod, requests), host_ports(pod.spec), terms_of(pod), kind, priority)

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return self.pod.metadata.uid or ""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.pod.metadata.namespace or "", self.pod.metadata.name or "")

    @property
    def tolerations(self) -> list[Toleration]:
        """The pod's tolerations."""
        return self.pod.spec.tolerations


@dataclass(slots=True)
class Label:
    """One label key as a column of numbers; numbers stand for values."""

    column: Column
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, value: str) -> int:
        """The number of `value`, a new one if need be."""
        return self.numbers.setdefault(value, len(self.numbers))

    def compact(self) -> None:
        """Forget values that no node has any more, once they are most of what is known."""
        if len(self.numbers) > 2 * len(self.column):
            values = {number: value for value, number in self.numbers.items()}
            kept, inverse = np.unique(self.column, return_inverse=True)
            has_absent = len(kept) > 0 and int(kept[0]) == ABSENT
            self.column = inverse.astype(np.int64) - (1 if has_absent else 0)
            self.numbers = {values[int(old)]: new for new, old in enumerate(kept[1:] if has_absent else kept)}


class Snapshot:
    """The columns, and which pod is counted where."""

    def __init__(self) -> None:
        self.count = 0
        """Number of nodes."""
        self.size = INITIAL_ROWS
        self.names: list[str] = [""] * INITIAL_ROWS
        self.rows: dict[str, int] = {}
        self.nodes: list[Node | None] = [None] * INITIAL_ROWS
        self.valid: Mask = np.zeros(INITIAL_ROWS, np.bool_)
        self.unschedulable: Mask = np.zeros(INITIAL_ROWS, np.bool_)
        self.allocatable: dict[str, Column] = {}
        self.requested: dict[str, Column] = {}
        self.nonzero: tuple[Column, Column] = (np.zeros(INITIAL_ROWS, np.int64), np.zeros(INITIAL_ROWS, np.int64))
        self.pod_counts: Column = np.zeros(INITIAL_ROWS, np.int64)
        self.taints: dict[tuple[str, str, str], Mask] = {}
        """(key, value, effect) → the nodes that carry it."""
        self.labels: dict[str, Label] = {}
        self.ports: dict[tuple[str, int], list[tuple[int, str]]] = {}
        """(protocol, port) → (row, host IP) of every holder."""
        self.images: dict[str, tuple[int, Mask]] = {}
        """Image name → size in bytes and the nodes that have it."""
        self.pods: dict[str, tuple[str, PodInfo]] = {}
        """Pod uid → node name and facts; assumed pods included."""
        self.pods_by_node: dict[str, dict[str, PodInfo]] = {}
        self.priorities: Counter[int] = Counter()
        """How many pods there are of each priority: whether preemption can find any victim at all."""
        self.index = PodIndex()
        self.namespaces: dict[str, dict[str, str]] = {}
        """Namespace → its labels, for affinity by namespaceSelector."""
        self.nominated: dict[str, tuple[str, PodInfo]] = {}
        """Uid → node and facts of pods that preempted others and wait for the room."""
        self._free: list[int] = list(range(INITIAL_ROWS - 1, -1, -1))

    # Nodes ------------------------------------------------------------------------------------------------------------

    def set_node(self, node: Node) -> None:
        """Add or replace a node; pods already counted on it stay counted."""
        name = node.metadata.name or ""
        row = self.rows.get(name)
        if row is None:
            row = self._new_row(name)
            self._fill(row, node)
            for info in self.pods_by_node.get(name, {}).values():
                self._count(row, info, 1)
        else:
            self._clear_facts(row)
            self._fill(row, node)

    def remove_node(self, name: str) -> None:
        """Forget a node. Its pods stay known, in case it comes back."""
        row = self.rows.pop(name, None)
        if row is None:
            return
        for info in self.pods_by_node.get(name, {}).values():
            self._count(row, info, -1)
        self._clear_facts(row)
        self.valid[row], self.nodes[row], self.names[row] = False, None, ""
        self._free.append(row)
        self.count -= 1

    def _new_row(self, name: str) -> int:
        if not self._free:
            self._grow()
        row = self._free.pop()
        self.rows[name], self.names[row], self.valid[row] = row, name, True
        self.count += 1
        return row

    def _fill(self, row: int, node: Node) -> None:
        self.nodes[row] = node
        self.unschedulable[row] = bool(node.spec.unschedulable)
        for name, quantity in (node.status.allocatable or node.status.capacity).items():
            amount = in_scheduler_units(name, quantity.nanos())
            self._resource(self.allocatable, name)[row] = amount
        for taint in node.spec.taints:
            key = (taint.key, taint.value or "", taint.effect)
            self.taints.setdefault(key, np.zeros(self.size, np.bool_))[row] = True
        for key_name, value in node.metadata.labels.items():
            label = self.labels.get(key_name)
            if label is None:
                label = self.labels[key_name] = Label(np.full(self.size, ABSENT, np.int64))
            label.column[row] = label.number(value)
        for image in node.status.images:
            for image_name in image.names:
                size, mask = self.images.get(image_name, (0, np.zeros(self.size, np.bool_)))
                mask[row] = True
                self.images[image_name] = (image.sizeBytes or size, mask)

    def _clear_facts(self, row: int) -> None:
        for column in self.allocatable.values():
            column[row] = 0
        for key in [key for key, mask in self.taints.items() if mask[row]]:
            self.taints[key][row] = False
            if not self.taints[key].any():
                del self.taints[key]
        for label in self.labels.values():
            label.column[row] = ABSENT
            label.compact()
        for name in [name for name, (_, mask) in self.images.items() if mask[row]]:
            self.images[name][1][row] = False
            if not self.images[name][1].any():
                del self.images[name]

    # Pods -------------------------------------------------------------------------------------------------------------

    def add_pod(self, info: PodInfo, node_name: str) -> None:
        """Count a pod on a node, once however often it is told."""
        uid = info.uid
        if uid in self.pods:
            self.remove_pod(uid)
        self.pods[uid] = (node_name, info)
        self.priorities[info.priority] += 1
        self.pods_by_node.setdefault(node_name, {})[uid] = info
        row = self.rows.get(node_name)
        if row is not None:
            self._count(row, info, 1)

    def remove_pod(self, uid: str) -> None:
        """Stop counting a pod."""
        known = self.pods.pop(uid, None)
        if known is None:
            return
        node_name, info = known
        self.priorities[info.priority] -= 1
        if not self.priorities[info.priority]:
            del self.priorities[info.priority]
        on_node = self.pods_by_node[node_name]
        del on_node[uid]
        if not on_node:
            del self.pods_by_node[node_name]
        row = self.rows.get(node_name)
        if row is not None:
            self._count(row, info, -1)

    def _count(self, row: int, info: PodInfo, sign: int) -> None:
        for name, amount in info.requests.items():
            self._resource(self.requested, name)[row] += sign * amount
        self.nonzero[0][row] += sign * info.nonzero[0]
        self.nonzero[1][row] += sign * info.nonzero[1]
        self.pod_counts[row] += sign
        self.index.count(info.class_key, info.terms, row, sign)
        for ip, protocol, port in info.ports:
            holders = self.ports.setdefault((protocol, port), [])
            if sign > 0:
                holders.append((row, ip))
            else:
                holders.remove((row, ip))
                if not holders:
                    del self.ports[protocol, port]

    # Columns ----------------------------------------------------------------------------------------------------------

    def resource(self, columns: Mapping[str, Column], name: str) -> Column:
        """A resource's column, zeros where no node has it."""
        column = columns.get(name)
        return column if column is not None else np.zeros(self.size, np.int64)

    def label_column(self, key: str) -> Label | None:
        """A label's column, or None when no node ever carried the key."""
        return self.labels.get(key)

    def over(self, key: str, counts: Column) -> Column:
        """For each row the sum of `counts` over all rows with its value of label `key`; 0 where it has none."""
        label = self.labels.get(key)
        if label is None:
            return np.zeros(self.size, np.int64)
        sums = np.bincount(label.column + 1, weights=counts, minlength=len(label.numbers) + 1).astype(np.int64)
        sums[0] = 0
        result: Column = sums[label.column + 1]
        return result

    def has_label(self, key: str) -> Mask:
        """The rows that carry label `key`."""
        label = self.labels.get(key)
        return np.zeros(self.size, np.bool_) if label is None else label.column != ABSENT

    def labels_of(self, namespace: str) -> dict[str, str]:
        """A namespace's labels."""
        return self.namespaces.get(namespace, {})

    def mask_of(self, names: Iterable[str]) -> Mask:
        """The nodes of these names."""
        mask = np.zeros(self.size, np.bool_)
        for name in names:
            if (row := self.rows.get(name)) is not None:
                mask[row] = True
        return mask

    def _resource(self, columns: dict[str, Column], name: str) -> Column:
        column = columns.get(name)
        if column is None:
            column = columns[name] = np.zeros(self.size, np.int64)
        return column

    def _grow(self) -> None:
        old, self.size = self.size, self.size * 2
        self.names += [""] * old
        self.nodes += [None] * old
        self._free = list(range(self.size - 1, old - 1, -1))
        self.valid, self.unschedulable = self._double(self.valid), self._double(self.unschedulable)
        self.allocatable = {name: self._double(column) for name, column in self.allocatable.items()}
        self.requested = {name: self._double(column) for name, column in self.requested.items()}
        self.nonzero = (self._double(self.nonzero[0]), self._double(self.nonzero[1]))
        self.pod_counts = self._double(self.pod_counts)
        self.taints = {key: self._double(mask) for key, mask in self.taints.items()}
        self.images = {name: (size, self._double(mask)) for name, (size, mask) in self.images.items()}
        for label in self.labels.values():
            label.column = np.concatenate((label.column, np.full(old, ABSENT, np.int64)))

    @staticmethod
    def _double(column: Any) -> Any:
        return np.concatenate((column, np.zeros(len(column), column.dtype)))


def taint_of(key: tuple[str, str, str]) -> Taint:
    """The taint behind a key of `Snapshot.taints`."""
    return Taint(key=key[0], value=key[1] or None, effect=key[2])


def _nonzero(pod: Pod, requests: dict[str, int]) -> tuple[int, int]:
    """CPU and memory with a default for every container that requests none; pod-level requests need no default."""
    level = pod.spec.resources.requests if pod.spec.resources else {}
    if all(_asks(container.resources) for container in all_containers(pod.spec)):
        return requests.get("cpu", 0), requests.get("memory", 0)
    sums = container_sum(pod.spec, _with_defaults)
    amounts = []
    for name in ("cpu", "memory"):
        nanos = level[name].nanos() if name in level else sums.get(name, 0)
        nanos += pod.spec.overhead[name].nanos() if name in pod.spec.overhead else 0
        amounts.append(in_scheduler_units(name, nanos))
    return amounts[0], amounts[1]


def _asks(resources: ResourceRequirements | None) -> bool:
    return resources is not None and "cpu" in resources.requests and "memory" in resources.requests


def _with_defaults(resources: ResourceRequirements | None) -> Mapping[str, Quantity]:
    return NONZERO if resources is None else {**NONZERO, **resources.requests}
