"""Where pods are, by what affinity and spreading ask of them: their labels and their own affinity terms.

Pods of one workload carry the same labels, so they are counted as classes: a selector is tried once for a class, not
once for a pod. A class knows how many of its pods each row of the snapshot holds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wherry.scheduler.affinity_terms import PodTerms, Term

Column = NDArray[np.int64]
ClassKey = tuple[str, frozenset[tuple[str, str]], bool]
Rows = dict[int, int]


@dataclass(slots=True)
class PodClass:
    """Pods of one namespace with the same labels, all or none of them terminating."""

    namespace: str
    labels: dict[str, str]
    terminating: bool
    rows: Rows = field(default_factory=dict)
    """Row → number of pods."""


class PodIndex:
    """Classes of pods, and the affinity terms that placed pods have."""

    def __init__(self) -> None:
        self._classes: dict[str, dict[ClassKey, PodClass]] = {}
        self.terms: dict[str, dict[Term, Rows]] = {
            kind: {} for kind in ("required", "required_anti", "preferred", "preferred_anti")
        }
        """Sort of term → term → where pods that have it are."""

    def count(self, key: ClassKey, terms: PodTerms, row: int, sign: int) -> None:
        """Add (1) or take away (-1) one pod on `row`."""
        classes = self._classes.setdefault(key[0], {})
        group = classes.get(key)
        if group is None:
            group = classes[key] = PodClass(key[0], dict(key[1]), key[2])
        if not _add(group.rows, row, sign):
            del classes[key]
            if not classes:
                del self._classes[key[0]]
        for kind, own in terms.items():
            for term in own:
                rows = self.terms[kind].setdefault(term, {})
                if not _add(rows, row, sign):
                    del self.terms[kind][term]

    def matching(self, matches: Callable[[PodClass], bool], size: int, namespace: str | None = None) -> Column | None:
        """How many pods of the classes that `matches` accepts are on each row; None when there are none."""
        classes: Iterable[PodClass]
        if namespace is None:
            classes = (group for groups in self._classes.values() for group in groups.values())
        else:
            classes = self._classes.get(namespace, {}).values()
        total: Column | None = None
        for group in classes:
            if matches(group):
                total = np.zeros(size, np.int64) if total is None else total
                add_rows(total, group.rows)
        return total


def add_rows(total: Column, rows: Rows) -> None:
    """Add counts by row to a column."""
    where = np.fromiter(rows.keys(), np.int64, len(rows))
    total[where] += np.fromiter(rows.values(), np.int64, len(rows))


def _add(rows: Rows, row: int, sign: int) -> bool:
    """Whether any row still holds a pod."""
    count = rows.get(row, 0) + sign
    if count:
        rows[row] = count
    else:
        rows.pop(row, None)
    return bool(rows)
