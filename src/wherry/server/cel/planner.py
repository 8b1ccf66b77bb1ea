"""A checked tree to closures over a frame: `frame[0]` is what the expression may still cost, the rest its variables.

What costs the same on every run is summed up while planning and charged at once, by whoever decides whether a part runs
at all: the program, the right side of && and ||, a branch, a loop's round. Only loops and functions whose cost depends
on the size of what they are given count while they run. Costs are cel-go's (interpreter/runtimecost.go).
"""

from collections.abc import Callable, Iterable
from typing import Any

from wherry.server.cel.checker import Checked
from wherry.server.cel.functions import Overload, accepts, size_of
from wherry.server.cel.macros import ROUND_COST, Body, always, loop
from wherry.server.cel.syntax import (
    Call,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    Node,
    Select,
    StructLiteral,
)
from wherry.server.cel.types import Type, is_optional
from wherry.server.cel.values import NONE, CelError, CostExceeded, Optional, Struct, TypeValue, equal

Frame = list[Any]
Run = Callable[[Frame], Any]
Plan = tuple[Run, int]

LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40
_FAST_EQUAL = frozenset({"bool", "int", "uint", "string", "bytes", "timestamp", "duration"})
_TRAVERSED = frozenset({"string", "bytes", "dyn"})


def charge(frame: Frame, cost: int) -> None:
    """Count what was done. Raises CostExceeded."""
    frame[0] -= cost
    if frame[0] < 0:
        raise CostExceeded


class Planner:
    """Plans one expression. `slots` says where its variables stand in the frame."""

    def __init__(self, checked: Checked, slots: dict[str, int]) -> None:
        self.checked = checked
        self.scope = dict(slots)
        self.size = len(slots) + 1

    def plan(self, node: Node) -> Plan:
        """The closure of a node, and its constant cost."""
        return _PLAN[type(node)](self, node)

    def type(self, node: Node) -> Type:
        """What the checker found."""
        return self.checked.types[node]

    # Names

    def literal(self, node: Literal) -> Plan:
        value = node.value
        return lambda frame: value, 0

    def ident(self, node: Ident) -> Plan:
        if node in self.checked.constants:
            value = TypeValue(self.checked.constants[node])
            return lambda frame: value, 1
        slot = self.scope[node.name]
        return lambda frame: frame[slot], 1

    def select(self, node: Select) -> Plan:
        if node in self.checked.constants:
            value = TypeValue(self.checked.constants[node])
            return lambda frame: value, 1
        if node in self.checked.qualified:
            slot = self.scope[self.checked.qualified[node]]
            return lambda frame: frame[slot], 1
        operand, cost = self.plan(node.operand)
        of = self.type(node.operand)
        through = is_optional(of)
        inner = of.params[0] if through else of
        declared = inner.fields.get(node.name) if inner.kind == "object" else None
        name = declared.wire_name if declared is not None else node.name
        convert = declared.type.convert if declared is not None else None
        if node.test:
            return _presence(operand, name), cost
        if node.optional or through or inner.kind == "dyn":
            return _loose(operand, name, convert, node.optional), cost + 1
        return _member(operand, name, convert), cost + 1

    # Calls

    def call(self, node: Call) -> Plan:
        special = _SPECIAL.get(node.function)
        if special is not None:
            return special(self, node)
        plans = [self.plan(item) for item in node.operands]
        overloads = self.checked.overloads[node]
        cost = sum(item[1] for item in plans)
        runs = [item[0] for item in plans]
        certain = len(overloads) == 1 and not any(self.type(item).kind in ("dyn", "param") for item in node.operands)
        run = overloads[0].run if certain else _dispatch(overloads)
        dynamic = overloads[0].cost
        if dynamic is None:
            return _apply(run, runs), cost + 1
        return _counted(run, runs, overloads[0]), cost

    def equality(self, node: Call) -> Plan:
        (left, a), (right, b) = map(self.plan, node.args)
        kinds = [self.type(item) for item in node.args]
        same = _equal_by_type(kinds[0], kinds[1])
        negative = node.function == "_!=_"
        cost = a + b + 1
        literal = next((item.value for item in node.args if isinstance(item, Literal)), None)
        if isinstance(literal, str | bytes):
            cost += len(literal) // 10
        elif any(kind.kind in _TRAVERSED or kind.params for kind in kinds) and literal is None:
            return _counted_equality(left, right, same, negative), cost - 1
        if same is None:
            return (lambda frame: left(frame) != right(frame)) if negative else (
                lambda frame: left(frame) == right(frame)
            ), cost
        found = same
        return (lambda frame: not found(left(frame), right(frame))) if negative else (
            lambda frame: found(left(frame), right(frame))
        ), cost

    def logic(self, node: Call) -> Plan:
        """&& and ||: an error on one side does not count when the other side decides."""
        (left, a), (right, b) = map(self.plan, node.args)
        decides = node.function == "_||_"

        def run(frame: Frame) -> Any:
            try:
                first = left(frame)
            except CelError as error:
                frame[0] -= b
                if _boolean(right(frame)) is decides:
                    return decides
                raise error from None
            if first is decides:
                return decides
            frame[0] -= b
            if first is not (not decides):
                if right(frame) is decides:
                    return decides
                raise CelError("no such overload")
            return _boolean(right(frame))

        return run, a

    def ternary(self, node: Call) -> Plan:
        (condition, a), (then, b), (other, c) = map(self.plan, node.args)

        def run(frame: Frame) -> Any:
            if _boolean(condition(frame)):
                frame[0] -= b
                return then(frame)
            frame[0] -= c
            return other(frame)

        return run, a

    # Literals

    def list_literal(self, node: ListLiteral) -> Plan:
        plans = [self.plan(item) for item in node.items]
        runs = [item[0] for item in plans]
        cost = LIST_COST + sum(item[1] for item in plans)
        if all(isinstance(item, Literal) for item in node.items):
            constant = [item.value for item in node.items if isinstance(item, Literal)]
            return lambda frame: constant, cost
        if not node.optional:
            return lambda frame: [run(frame) for run in runs], cost
        optional = node.optional

        def run(frame: Frame) -> list[Any]:
            found: list[Any] = []
            for index, item in enumerate(runs):
                value = item(frame)
                if index not in optional:
                    found.append(value)
                elif value.present:
                    found.append(value.value)
            return found

        return run, cost

    def map_literal(self, node: MapLiteral) -> Plan:
        entries = [(self.plan(key), self.plan(value), optional) for key, value, optional in node.entries]
        cost = MAP_COST + sum(key[1] + value[1] for key, value, _ in entries)

        def run(frame: Frame) -> dict[Any, Any]:
            found: dict[Any, Any] = {}
            for (key_of, _), (value_of, _), optional in entries:
                key, value = key_of(frame), value_of(frame)
                if not isinstance(key, str | int):
                    raise CelError("unsupported key type")
                if key in found:
                    raise CelError(f"Failed with repeated key {key}")
                if not optional:
                    found[key] = value
                elif value.present:
                    found[key] = value.value
            return found

        return run, cost

    def struct_literal(self, node: StructLiteral) -> Plan:
        plans = [(name, self.plan(value), optional) for name, value, optional in node.entries]
        kind = node.name

        def run(frame: Frame) -> Struct:
            fields: dict[str, Any] = {}
            for name, (value_of, _), optional in plans:
                value = value_of(frame)
                if not optional:
                    fields[name] = value
                elif value.present:
                    fields[name] = value.value
            return Struct(kind, fields)

        return run, STRUCT_COST + sum(plan[1] for _, plan, _ in plans)

    # Macros

    def comprehension(self, node: Comprehension) -> Plan:
        ranged, cost = self.plan(node.range)
        before = dict(self.scope)
        first = self.size
        for name in node.variables:
            self.scope[name] = self.size
            self.size += 1
        condition = self.plan(node.condition) if node.condition is not None else (always, 0)
        body, each = self.plan(node.body)
        self.scope = before
        if node.macro in ("optMap", "optFlatMap"):
            return _optional_map(ranged, body, first, each, node.macro == "optFlatMap"), cost
        per_round = each + condition[1] + ROUND_COST
        return loop(node.macro, ranged, Body(condition[0], body, first, len(node.variables), per_round)), cost + 1


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise CelError("no such overload")


def _presence(operand: Run, name: str) -> Run:
    def run(frame: Frame) -> bool:
        value = operand(frame)
        if isinstance(value, Optional):
            value = value.value
        if isinstance(value, Struct):
            value = value.fields
        return isinstance(value, dict) and name in value

    return run


def _member(operand: Run, name: str, convert: Callable[[Any], Any] | None) -> Run:
    def run(frame: Frame) -> Any:
        try:
            return operand(frame)[name]
        except KeyError:
            raise CelError(f"no such key: {name}") from None
        except TypeError:  # null, where the schema allows it
            raise CelError(f"no such key: {name}") from None

    if convert is None:
        return run
    made = convert

    def converted(frame: Frame) -> Any:
        value = run(frame)
        return None if value is None else made(value)

    return converted


def _loose(operand: Run, name: str, convert: Callable[[Any], Any] | None, optional: bool) -> Run:
    """Selection on what may be anything: an optional value stays one."""

    def run(frame: Frame) -> Any:
        value = operand(frame)
        wrapped = optional
        if type(value) is Optional:
            if not value.present:
                return NONE
            value, wrapped = value.value, True
        if type(value) is Struct:
            value = value.fields
        if isinstance(value, dict) and name in value:
            found = value[name] if convert is None or value[name] is None else convert(value[name])
            return Optional(found, True) if wrapped else found
        if wrapped:
            return NONE
        raise CelError(f"no such key: {name}")

    return run


def _apply(run: Callable[..., Any], runs: list[Run]) -> Run:
    if len(runs) == 1:
        only = runs[0]
        return lambda frame: run(only(frame))
    if len(runs) == 2:
        left, right = runs
        return lambda frame: run(left(frame), right(frame))
    return lambda frame: run(*[item(frame) for item in runs])


def _counted(run: Callable[..., Any], runs: list[Run], overload: Overload) -> Run:
    cost, grows = overload.cost, overload.size is not None
    assert cost is not None

    def counted(frame: Frame) -> Any:
        args = [item(frame) for item in runs]
        frame[0] -= cost([size_of(item) for item in args])
        if frame[0] < 0:
            raise CostExceeded
        result = run(*args)
        if grows:
            frame[0] -= size_of(result) // 10
        return result

    return counted


def _dispatch(overloads: Iterable[Overload]) -> Callable[..., Any]:
    """Finds the overload by the operands' types, and remembers it."""
    known: dict[tuple[type, ...], Callable[..., Any]] = {}
    candidates = list(overloads)

    def run(*args: Any) -> Any:
        kinds = tuple(map(type, args))
        found = known.get(kinds)
        if found is None:
            fitting = (item.run for item in candidates if all(map(accepts, item.args, kinds)))
            found = next(fitting, None)
            if found is None:
                raise CelError("no such overload")
            known[kinds] = found
        return found(*args)

    return run


def _equal_by_type(left: Type, right: Type) -> Callable[[Any, Any], bool] | None:
    """None: Python's == is right."""
    if left.kind == right.kind and left.kind in _FAST_EQUAL:
        return None
    for kind in (left, right):
        if kind.kind == "list" and kind.list_type in ("set", "map"):
            return _unordered(kind)
    return equal


def _unordered(kind: Type) -> Callable[[Any, Any], bool]:
    """Sets and maps as lists: order does not count."""

    def same(left: list[Any], right: list[Any]) -> bool:
        return len(left) == len(right) and all(any(equal(a, b) for b in right) for a in left)

    return same


def _counted_equality(left: Run, right: Run, same: Callable[[Any, Any], bool] | None, negative: bool) -> Run:
    found = same or (lambda a, b: bool(a == b))

    def run(frame: Frame) -> bool:
        a, b = left(frame), right(frame)
        charge(frame, max(1, min(size_of(a), size_of(b)) // 10))
        return found(a, b) is not negative

    return run


def _optional_map(target: Run, body: Run, slot: int, cost: int, flat: bool) -> Run:
    def run(frame: Frame) -> Any:
        value = target(frame)
        if not isinstance(value, Optional):
            raise CelError("no such overload")
        if not value.present:
            return NONE
        frame[0] -= cost
        frame[slot] = value.value
        found = body(frame)
        return found if flat else Optional(found, True)

    return run


_SPECIAL: dict[str, Callable[[Planner, Call], Plan]] = {
    "_&&_": Planner.logic,
    "_||_": Planner.logic,
    "_?_:_": Planner.ternary,
    "_==_": Planner.equality,
    "_!=_": Planner.equality,
}
_PLAN: dict[type, Callable[[Planner, Any], Plan]] = {
    Literal: Planner.literal,
    Ident: Planner.ident,
    Select: Planner.select,
    Call: Planner.call,
    ListLiteral: Planner.list_literal,
    MapLiteral: Planner.map_literal,
    StructLiteral: Planner.struct_literal,
    Comprehension: Planner.comprehension,
}
