"""x-kubernetes-validations: the rules of a custom kind, compiled once per version, and run on what a write changed.

`compile_rules` makes a tree of only those nodes of a schema that have rules in or below them; nothing is imported or
made where there are none. An update is not blamed for a rule that a value it left alone does not keep: such faults are
warnings (KEP-4008). Source: apiextensions-apiserver, apiserver/schema/cel. What a definition's rules must be is checked
in rule_faults.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wherry.meta.errors import FieldError, duplicate, field_forbidden, invalid_value, quote, required
from wherry.server.cel.environment import RUNTIME_BUDGET, Environment, Program
from wherry.server.cel.schemas import schema_type
from wherry.server.cel.syntax import CompileError
from wherry.server.cel.types import BOOL, STRING, Type, optional_of, same
from wherry.server.cel.values import NONE, CelError, CostExceeded, Optional
from wherry.server.customresources import paths
from wherry.server.customresources.paths import Path
from wherry.server.customresources.validation import has_rules

Json = Mapping[str, Any]
MESSAGE_BYTES_MAX = 5 * 1024
_OUT_OF_BUDGET = "running out of cost budget, no further validation rules will be run"


@dataclass(slots=True)
class Rule:
    """One rule: compiled, or why not."""

    text: str
    message: str
    reason: str
    field_path: str
    optional_old: bool
    program: Program | None = None
    message_program: Program | None = None
    fault: str = ""
    message_fault: str = ""

    @property
    def uses_old(self) -> bool:
        """A transition rule: it runs where there is something to compare with."""
        return self.program is not None and "oldSelf" in self.program.variables

    def shown(self) -> str:
        """In messages."""
        return self.message.strip() or self.text.strip()


@dataclass(slots=True)
class Node:
    """The rules at one place of a schema, and below."""

    schema: Json
    type: Type
    rules: list[Rule]
    members: dict[str, "Node"] = field(default_factory=dict)
    others: "Node | None" = None
    items: "Node | None" = None
    all_of: list["Node"] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """One object's validation."""

    faults: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    budget: int = RUNTIME_BUDGET


def compile_rule(item: Json, kind: Type) -> Rule:
    """A rule over `self` of a type. Never raises."""
    optional_old = bool(item.get("optionalOldSelf"))
    rule = Rule(
        item.get("rule") or "",
        item.get("message") or "",
        item.get("reason") or "",
        item.get("fieldPath") or "",
        optional_old,
    )
    where = Environment({"self": kind, "oldSelf": optional_of(kind) if optional_old else kind})
    rule.program, rule.fault = _compiled(where, rule.text, BOOL, "cel expression must evaluate to a bool")
    text = item.get("messageExpression")
    if text and text.strip():
        wanted = "messageExpression must evaluate to a string"
        rule.message_program, rule.message_fault = _compiled(where, text, STRING, wanted, "messageExpression ")
    return rule


def _compiled(where: Environment, text: str, wanted: Type, unfit: str, what: str = "") -> tuple[Program | None, str]:
    try:
        program = where.compile(text)
    except CompileError as error:
        return None, f"{what}compilation failed: {error}"
    return (program, "") if same(program.result, wanted) else (None, unfit)


def compile_rules(schema: Json, *, root: bool = True) -> Node | None:
    """The tree of a version's rules; None if it has none."""
    return _node(schema, schema, schema_type(schema, root=root)) if has_rules(schema) else None


def _node(rules: Json, schema: Json, kind: Type | None) -> Node | None:
    """`rules` may be a part of an allOf over the same values as `schema`."""
    if kind is None or not has_rules(rules):
        return None
    node = Node(schema, kind, [compile_rule(item, kind) for item in rules.get("x-kubernetes-validations") or ()])
    properties = schema.get("properties") or {}
    for name, below in (rules.get("properties") or {}).items():
        if name in properties and has_rules(below):
            made = _below(below, properties[name])
            if made is not None:
                node.members[name] = made
    node.items = _below(rules.get("items"), schema.get("items"))
    node.others = _below(rules.get("additionalProperties"), schema.get("additionalProperties"))
    for part in rules.get("allOf") or ():
        made = _node(part, schema, kind)
        if made is not None:
            node.all_of.append(made)
    return node


def _below(rules: Any, schema: Any) -> Node | None:
    if not isinstance(rules, Mapping) or not isinstance(schema, Mapping):
        return None
    return _node(rules, schema, schema_type(schema, root=bool(schema.get("x-kubernetes-embedded-resource"))))


# Running --------------------------------------------------------------------------------------------------------------

Unchanged = Callable[[], bool]


def check(node: Node, new: Any, old: Any, *, update: bool) -> Run:
    """All faults of an object; on an update, of what it changed."""
    run = Run()
    _check(node, new, old, None, run, _same_as(new, old) if update else None)
    return run


def _same_as(new: Any, old: Any) -> Unchanged:
    return lambda: bool(new == old)


def _check(node: Node, new: Any, old: Any, path: Path, run: Run, unchanged: Unchanged | None) -> None:
    """`unchanged`: whether the nearest value that has a partner in the old object is as it was."""
    if new is None:
        return
    if node.rules:
        _rules(node, new, old, path, run, unchanged)
    for part in node.all_of:
        if run.budget >= 0:
            _check(part, new, old, path, run, unchanged)
    if isinstance(new, dict):
        _members(node, new, old, path, run, unchanged)
    elif isinstance(new, list) and node.items is not None:
        _items(node, node.items, new, old, path, run, unchanged)


def _members(node: Node, new: Json, old: Any, path: Path, run: Run, unchanged: Unchanged | None) -> None:
    before = old if isinstance(old, dict) and node.schema.get("x-kubernetes-map-type") != "atomic" else {}
    for key, value in new.items():
        below = node.members.get(key) or (node.others if key not in (node.schema.get("properties") or ()) else None)
        if below is None or run.budget < 0:
            continue
        partner = before.get(key)
        nearest = unchanged if unchanged is None or key not in before else _same_as(value, partner)
        _check(below, value, partner, (path, key), run, nearest)


def _items(
    node: Node, below: Node, new: Sequence[Any], old: Any, path: Path, run: Run, unchanged: Unchanged | None
) -> None:
    keys = node.type.list_keys if node.type.list_type == "map" else ()
    before = {_key(item, keys): item for item in old} if keys and isinstance(old, list) else {}
    for index, item in enumerate(new):
        if run.budget < 0:
            return
        partner = before.get(_key(item, keys)) if keys else None
        nearest = unchanged if unchanged is None or partner is None else _same_as(item, partner)
        _check(below, item, partner, (path, index), run, nearest)


def _key(item: Any, keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys) if isinstance(item, dict) else ()


def _rules(node: Node, new: Any, old: Any, path: Path, run: Run, unchanged: Unchanged | None) -> None:
    convert = node.type.convert
    try:
        variables = {"self": convert(new) if convert else new}
        before = convert(old) if convert and old is not None else old
    except CelError as error:
        run.faults.append(invalid_value(paths.text(path), node.schema.get("type"), str(error)))
        return
    for rule in node.rules:
        if run.budget < 0:
            return
        if rule.program is None:
            text = f"rule compile error: {rule.fault}"
            run.faults.append(invalid_value(paths.text(path), node.schema.get("type"), text))
            continue
        if rule.uses_old and before is None and not rule.optional_old:
            continue
        variables["oldSelf"] = (NONE if before is None else Optional(before, True)) if rule.optional_old else before
        _one(node, rule, variables, path, run, unchanged)


def _one(node: Node, rule: Rule, variables: dict[str, Any], path: Path, run: Run, unchanged: Unchanged | None) -> None:
    assert rule.program is not None
    here, kind = paths.text(path), node.schema.get("type")
    try:
        value, cost = rule.program.evaluate(variables)
    except CostExceeded as error:
        what = "no further validation rules will be run due to call cost exceeds limit for rule"
        run.faults.append(invalid_value(here, kind, f"'{error}': {what}: {rule.shown()}"))
        run.budget = -1
        return
    except CelError as error:
        text = f"{error} evaluating rule: {rule.shown()}"
        if str(error).startswith("no such overload"):
            what = "call arguments did not match a supported operator, function or macro signature for rule"
            text = f"'{error}': {what}: {rule.shown()}"
        run.faults.append(invalid_value(here, kind, text))
        return
    run.budget -= cost
    if run.budget < 0:
        run.faults.append(invalid_value(here, kind, f"validation failed due to {_OUT_OF_BUDGET}"))
        return
    if value is True:
        return
    fault = _fault(rule, variables, here, kind, run)
    if unchanged is not None and not rule.uses_old and unchanged():
        run.warnings.append(str(fault))
    else:
        run.faults.append(fault)


def _fault(rule: Rule, variables: dict[str, Any], here: str, kind: Any, run: Run) -> FieldError:
    where = here + rule.field_path if here else rule.field_path.removeprefix(".")
    detail = rule.message.strip() or f"failed rule: {rule.text.strip()}"
    if rule.message_program is not None:
        try:
            value, cost = rule.message_program.evaluate(variables)
        except CostExceeded:
            run.budget = -1
            what = "no further validation rules will be run due to call cost exceeds limit for messageExpression"
            return invalid_value(where, kind, f"{what}: {quote(rule.message_program.text)}")
        except CelError:
            value, cost = "", 0  # the plain message stands in
        run.budget -= cost
        if run.budget < 0:
            return invalid_value(where, kind, f"messageExpression evaluation failed due to {_OUT_OF_BUDGET}")
        detail = _usable(value) or detail
    if rule.reason == "FieldValueForbidden":
        return field_forbidden(where, detail)
    if rule.reason == "FieldValueRequired":
        return required(where, detail)
    return duplicate(where, kind) if rule.reason == "FieldValueDuplicate" else invalid_value(where, kind, detail)


def _usable(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    return "" if len(text.encode()) > MESSAGE_BYTES_MAX or "\n" in text else text
