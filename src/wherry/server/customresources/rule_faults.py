"""What is wrong with the rules of a definition: words, types, and what they may cost at worst.

A rule costs its own estimate times how often it can run: once for each element of the lists and maps around it, as many
as their bounds allow or as a request can hold. Source: apiextensions-apiserver, apis/apiextensions/validation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wherry.meta.errors import FieldError, field_forbidden, invalid_value, not_supported, required
from wherry.server.cel.cost import INFINITE
from wherry.server.cel.schemas import REQUEST_BYTES, schema_type
from wherry.server.cel.types import Type
from wherry.server.customresources.rules import Rule, compile_rule
from wherry.server.customresources.validation import has_rules

Json = Mapping[str, Any]
Faults = Iterator[FieldError]
RULE_COST_MAX = 10_000_000
SCHEMA_COST_MAX = 100_000_000
EXPENSIVE_SHOWN = 4
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_HINT = (
    "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared"
)


@dataclass(slots=True)
class Costs:
    """Of all rules of a schema."""

    total: int = 0
    by_path: list[tuple[int, str]] = field(default_factory=list)

    def add(self, path: str, cost: int) -> None:
        """One expression's."""
        self.total = min(INFINITE, self.total + cost)
        self.by_path.append((cost, path))


def faults(schema: Json, path: str) -> Faults:
    """All that is wrong with the rules of a version's schema."""
    if not has_rules(schema):
        return
    costs = Costs()
    yield from _walk(schema, schema, path, _Place(1, "", True), costs)
    if costs.total > SCHEMA_COST_MAX:
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        for _, where in sorted(costs.by_path, reverse=True)[:EXPENSIVE_SHOWN]:
            yield field_forbidden(where, text)
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield field_forbidden(path, over_budget(what, costs.total, SCHEMA_COST_MAX))


@dataclass(frozen=True, slots=True)
class _Place:
    """How often values stand here, where old values stop having partners, whether it is a whole object."""

    times: int | None
    uncorrelated: str
    root: bool


def _walk(rules: Json, schema: Json, path: str, place: _Place, costs: Costs) -> Faults:
    if not has_rules(rules):
        return
    found = rules.get("x-kubernetes-validations") or ()
    kind = schema_type(schema, root=place.root)
    for index, item in enumerate(found):
        here = f"{path}.x-kubernetes-validations[{index}]"
        words = list(_words(item, schema, here))
        yield from words
        if kind is None:
            text = f"rule declared on schema that does not support validation rules type: '{schema.get('type') or ''}'"
            yield invalid_value(f"{here}.rule", _shown(item), text)
        elif not words:
            yield from _compiled(item, kind, here, place, costs)
    for part_at, part in enumerate(rules.get("allOf") or ()):
        yield from _walk(part, schema, f"{path}.allOf[{part_at}]", place, costs)
    for name, below in (rules.get("properties") or {}).items():
        at = (schema.get("properties") or {}).get(name)
        if isinstance(at, Mapping):
            embedded = bool(at.get("x-kubernetes-embedded-resource"))
            atomic = path if schema.get("x-kubernetes-map-type") == "atomic" else ""
            inner = _Place(place.times, place.uncorrelated or atomic, embedded)
            yield from _walk(below, at, f"{path}.properties[{name}]", inner, costs)
    for name, bound in (("items", "maxItems"), ("additionalProperties", "maxProperties")):
        below, at = rules.get(name), schema.get(name)
        if isinstance(below, Mapping) and isinstance(at, Mapping):
            most = schema.get(bound)
            times = place.times * most if place.times is not None and most is not None else None
            loose = name == "items" and schema.get("x-kubernetes-list-type") != "map"
            embedded = bool(at.get("x-kubernetes-embedded-resource"))
            inner = _Place(times, place.uncorrelated or (path if loose else ""), embedded)
            yield from _walk(below, at, f"{path}.{name}", inner, costs)


def _words(item: Json, schema: Json, here: str) -> Faults:
    rule, message = (item.get("rule") or "").strip(), item.get("message") or ""
    if not rule:
        yield required(f"{here}.rule", "rule is not specified")
    elif message and not message.strip():
        yield invalid_value(f"{here}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip():
        yield invalid_value(f"{here}.message", message, "message must not contain line breaks")
    elif "\n" in rule and not message.strip():
        yield required(f"{here}.message", "message must be specified if rule contains line breaks")
    expression = item.get("messageExpression") or ""
    if expression and not expression.strip():
        yield required(f"{here}.messageExpression", "messageExpression must be non-empty if specified")
    if item.get("reason") and item["reason"] not in REASONS:
        yield not_supported(f"{here}.reason", item["reason"], REASONS)
    where = item.get("fieldPath") or ""
    if where and not where.strip():
        yield invalid_value(f"{here}.fieldPath", where, "fieldPath must be non-empty if specified")
    elif "\n" in where:
        yield invalid_value(f"{here}.fieldPath", where, "fieldPath must not contain line breaks")
    elif where and (why := _field_path(where, schema)):
        yield invalid_value(f"{here}.fieldPath", where, f"fieldPath must be a valid path: {why}")


def _field_path(path: str, schema: Json) -> str:
    """Why a fieldPath is not one of the schema's; empty if it is."""
    at: Any = schema
    rest = path
    while rest:
        if rest.startswith("['") and "']" in rest:
            name, _, rest = rest[2:].partition("']")
            name = name.replace("\\'", "'").replace("\\\\", "\\")
        elif rest.startswith("."):
            stop = min(index for index in (rest.find(".", 1), rest.find("[", 1), len(rest)) if index > 0)
            name, rest = rest[1:stop], rest[stop:]
        else:
            return f"expected [ or . but got: {rest}"
        properties, more = at.get("properties"), at.get("additionalProperties")
        below = properties.get(name) if properties else more
        if not isinstance(below, Mapping):
            return "does not refer to a valid field"
        at = below
    return ""


def _compiled(item: Json, kind: Type, here: str, place: _Place, costs: Costs) -> Faults:
    rule = compile_rule(item, kind)
    if rule.program is not None:
        cost = _times(rule.program.estimated_cost, kind, place)
        if cost > RULE_COST_MAX:
            yield field_forbidden(f"{here}.rule", over_budget("estimated rule cost", cost, RULE_COST_MAX))
        costs.add(f"{here}.rule", cost)
    else:
        yield invalid_value(f"{here}.rule", _shown(item), rule.fault)
    if rule.message_fault:
        yield invalid_value(f"{here}.messageExpression", _shown(item), rule.message_fault)
    elif rule.message_program is not None:
        cost = _times(rule.message_program.estimated_cost, kind, place)
        if cost > RULE_COST_MAX:
            text = over_budget("estimated messageExpression cost", cost, RULE_COST_MAX)
            yield field_forbidden(f"{here}.messageExpression", text)
        costs.add(f"{here}.messageExpression", cost)
    yield from _transition(item, rule, here, place)


def _transition(item: Json, rule: Rule, here: str, place: _Place) -> Faults:
    if rule.uses_old and place.uncorrelated:
        text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
        yield invalid_value(f"{here}.rule", rule.text, text)
    elif rule.program is not None and not rule.uses_old and item.get("optionalOldSelf") is not None:
        text = "may not be set if oldSelf is not used in rule"
        yield invalid_value(f"{here}.optionalOldSelf", item["optionalOldSelf"], text)


def _times(cost: int, kind: Type, place: _Place) -> int:
    often = place.times if place.times is not None else REQUEST_BYTES // (kind.min_bytes + 1)
    return min(INFINITE, cost * often)


def _shown(item: Json) -> Json:
    names = ("rule", "message", "messageExpression", "reason", "fieldPath", "optionalOldSelf")
    return {name[0].upper() + name[1:]: item[name] for name in names if item.get(name) is not None}


def over_budget(what: str, cost: int, limit: int) -> str:
    """By how much an estimate is too high."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} ({_HINT})"
