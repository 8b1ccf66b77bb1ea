"""The small rules that every kind's validation is made of, in Kubernetes' words.

A rule yields the faults of one value at one path; a kind's validation is a chain of them (`yield from`). Paths are
plain strings, made as they are needed: "spec.containers[0].name". Rules that several kinds share and that know their
Structs stand here too (label selectors, counts, percentages); the metadata rules are in metadata.py.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from wherry.api.meta_v1 import LabelSelector
from wherry.meta import names
from wherry.meta.errors import (
    FieldError,
    duplicate,
    field_forbidden,
    invalid_value,
    not_supported,
    required,
)
from wherry.meta.quantity import Quantity

Faults = Iterator[FieldError]
NameCheck = Callable[[str], list[str]]

IMMUTABLE = "field is immutable"
NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than 0"


def named(path: str, value: str, check: NameCheck) -> Faults:
    """`value` passes `check` (one of meta.names)."""
    for text in check(value):
        yield invalid_value(path, value, text)


def named_required(path: str, value: str | None, check: NameCheck) -> Faults:
    """`value` is there and passes `check`."""
    if value:
        yield from named(path, value, check)
    else:
        yield required(path)


def present(path: str, value: Any, detail: str = "") -> Faults:
    """`value` is not empty."""
    if value is None or value == "" or value == [] or value == {}:
        yield required(path, detail)


def one_of(path: str, value: str | None, allowed: Sequence[str]) -> Faults:
    """`value` is of an enumeration; unset is fine."""
    if value is not None and value not in allowed:
        yield not_supported(path, value, sorted(allowed))


def one_of_required(path: str, value: str | None, allowed: Sequence[str]) -> Faults:
    """`value` is there and of an enumeration."""
    if not value:
        yield required(path)
    else:
        yield from one_of(path, value, allowed)


def non_negative(path: str, value: int | None) -> Faults:
    """0 or more."""
    if value is not None and value < 0:
        yield invalid_value(path, value, NEGATIVE)


def positive(path: str, value: int | None) -> Faults:
    """1 or more."""
    if value is not None and value <= 0:
        yield invalid_value(path, value, NOT_POSITIVE)


def within(path: str, value: int | None, low: int, high: int) -> Faults:
    """Within bounds, both included."""
    if value is not None and not low <= value <= high:
        yield invalid_value(path, value, names.out_of_range(low, high))


def port(path: str, value: int | str | None) -> Faults:
    """A port number, or where the field allows it a port name."""
    if isinstance(value, str):
        yield from named(path, value, names.port_name)
    elif value is not None:
        yield from within(path, value, 1, 65535)


def immutable(path: str, new: Any, old: Any) -> Faults:
    """A field that may not change after creation."""
    if new != old:
        yield invalid_value(path, new, IMMUTABLE)


def unchanged(path: str, new: Any, old: Any, detail: str) -> Faults:
    """A field that is forbidden to change, with words of its own."""
    if new != old:
        yield field_forbidden(path, detail)


def unique(items: Iterable[tuple[str, Any]]) -> Faults:
    """(path, value) pairs whose values differ from each other."""
    seen = set()
    for path, value in items:
        if value in seen:
            yield duplicate(path, value)
        seen.add(value)


def count_or_percent(path: str, value: int | str | None) -> Faults:
    """A non-negative count, or a percentage."""
    if isinstance(value, str):
        for text in names.percent(value):
            yield invalid_value(path, value, text)
    else:
        yield from non_negative(path, value)


def at_most_hundred_percent(path: str, value: int | str | None) -> Faults:
    """A percentage of no more than all."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdecimal() and int(value[:-1]) > 100:
        yield invalid_value(path, value, "must not be greater than 100%")


def quantity_non_negative(path: str, value: Quantity) -> Faults:
    """An amount of 0 or more."""
    if value.nanos() < 0:
        yield invalid_value(path, str(value), NEGATIVE)


def labels(path: str, values: Mapping[str, str]) -> Faults:
    """Label keys and values."""
    for key, value in values.items():
        yield from named(path, key, names.qualified_name)
        yield from named(path, value, names.label_value)


_SELECTOR_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def label_selector(path: str, selector: LabelSelector | None) -> Faults:
    """A LabelSelector that can be compiled."""
    if selector is None:
        return
    yield from labels(f"{path}.matchLabels", selector.matchLabels)
    for index, expression in enumerate(selector.matchExpressions):
        yield from _selector_expression(f"{path}.matchExpressions[{index}]", expression)


def _selector_expression(path: str, expression: Any) -> Faults:
    operator = expression.operator
    if operator in ("In", "NotIn"):
        if not expression.values:
            yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if expression.values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield field_forbidden(f"{path}.values", text)
    else:
        yield invalid_value(f"{path}.operator", operator, "not a valid selector operator")
    yield from named(f"{path}.key", expression.key, names.qualified_name)
    for index, value in enumerate(expression.values):
        yield from named(f"{path}.values[{index}]", value, names.label_value)


def selects_nothing_named(selector: LabelSelector | None) -> bool:
    """A selector without any requirement."""
    return selector is None or not (selector.matchLabels or selector.matchExpressions)


def no_backsteps(path: str, value: str) -> Faults:
    """A path that never goes up."""
    if ".." in value.split("/"):
        yield invalid_value(path, value, "must not contain '..'")


def descending(path: str, value: str) -> Faults:
    """A relative path that stays within its root."""
    if value.startswith("/"):
        yield invalid_value(path, value, "must be a relative path")
    yield from no_backsteps(path, value)


def not_reserved(path: str, value: str) -> Faults:
    """A relative path within its root whose first element is no hidden twin of "..": those are the kubelet's."""
    yield from descending(path, value)
    if value.startswith("..") and not value.startswith("../"):
        yield invalid_value(path, value, "must not start with '..'")


def domain_prefixed_path(path: str, value: str) -> Faults:
    """acme.io/foo."""
    domain, slash, rest = value.partition("/")
    if not value:
        yield required(path)
    elif not (domain and slash and rest):
        yield invalid_value(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        yield from named(path, domain, names.dns1123_subdomain)
        yield from named(path, rest, names.http_path)


def access_modes(path: str, modes: Sequence[str]) -> Faults:
    """How a volume may be mounted."""
    for mode in modes:
        yield from one_of(path, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and any(mode in ACCESS_MODES and mode != "ReadWriteOncePod" for mode in modes):
        yield field_forbidden(path, "may not use ReadWriteOncePod with other access modes")


ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def status_counts(status: Any, members: Sequence[str]) -> Faults:
    """Counts of pods: none negative, none of a part above the whole."""
    for name in members:
        yield from non_negative(f"status.{name}", getattr(status, name))
    whole = status.replicas or 0
    for name in members:
        count = getattr(status, name) or 0
        if name in _PARTS and count > whole:
            yield invalid_value(f"status.{name}", count, "cannot be greater than status.replicas")
    if "availableReplicas" in members and (status.availableReplicas or 0) > (status.readyReplicas or 0):
        text = "cannot be greater than readyReplicas"
        yield invalid_value("status.availableReplicas", status.availableReplicas, text)


_PARTS = ("updatedReplicas", "readyReplicas", "availableReplicas", "fullyLabeledReplicas", "currentReplicas")


def not_decremented(path: str, new: int | None, old: int | None) -> Faults:
    """A counter that only grows."""
    if old is not None and (new or 0) < old:
        yield invalid_value(path, new or 0, "cannot be decremented")
