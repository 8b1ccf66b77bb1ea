"""Conditions of any kind: find one, ask one, set one with Kubernetes' rules for the transition time.

Every condition Struct has `type`, `status` and `lastTransitionTime`; these functions ask for no more.
"""

from collections.abc import Iterable, MutableSequence
from typing import Any, TypeVar

C = TypeVar("C")


def find(conditions: Iterable[C], kind: str) -> C | None:
    """The condition of this type."""
    return next((item for item in conditions if item.type == kind), None)  # type: ignore[attr-defined]


def status(conditions: Iterable[Any], kind: str) -> str:
    """ "True", "False" or "Unknown"; "" when there is no such condition."""
    condition = find(conditions, kind)
    return "" if condition is None else condition.status or ""


def is_true(conditions: Iterable[Any], kind: str) -> bool:
    """Whether the condition of this type is "True"."""
    return status(conditions, kind) == "True"


def put(conditions: MutableSequence[C], condition: C) -> bool:
    """Add or replace the condition of the same type; True when anything changed.

    The transition time of an unchanged status is kept: it says when the status became what it is.
    """
    for index, present in enumerate(conditions):
        if present.type == condition.type:  # type: ignore[attr-defined]
            if present.status == condition.status:  # type: ignore[attr-defined]
                condition.lastTransitionTime = present.lastTransitionTime  # type: ignore[attr-defined]
            if present == condition:
                return False
            conditions[index] = condition
            return True
    conditions.append(condition)
    return True


def remove(conditions: MutableSequence[Any], kind: str) -> bool:
    """Drop the condition of this type; True when there was one."""
    for index, present in enumerate(conditions):
        if present.type == kind:
            del conditions[index]
            return True
    return False
