"""What each node of a tree is, found before anything runs: variables known, fields declared, calls that fit.

Anything of type dyn is left to the run. The annotations are kept beside the tree: types of nodes, overloads of calls.
Source: cel-go, checker; the messages are its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wherry.server.cel import types
from wherry.server.cel.functions import Functions, Overload
from wherry.server.cel.operators import compiled
from wherry.server.cel.syntax import (
    Call,
    CompileError,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    Node,
    Select,
    StructLiteral,
)
from wherry.server.cel.types import BOOL, DYN, ERROR, INT, STRING, Bindings, Type, assignable, is_optional
from wherry.server.cel.values import CelError, UInt, duration, timestamp

_LITERALS: dict[type, Type] = {
    type(None): types.NULL,
    bool: BOOL,
    int: INT,
    UInt: types.UINT,
    float: types.DOUBLE,
    str: STRING,
    bytes: types.BYTES,
}
_TYPE_NAMES = {
    "bool": BOOL,
    "int": INT,
    "uint": types.UINT,
    "double": types.DOUBLE,
    "string": STRING,
    "bytes": types.BYTES,
    "list": types.list_of(DYN),
    "map": types.map_of(DYN, DYN),
    "null_type": types.NULL,
    "type": types.type_of(DYN),
    "dyn": DYN,
    "google.protobuf.Timestamp": types.TIMESTAMP,
    "google.protobuf.Duration": types.DURATION,
}
TYPE_VALUES = frozenset(_TYPE_NAMES) | {"kubernetes.Quantity", "kubernetes.URL", "net.IP", "net.CIDR", "optional_type"}


@dataclass(slots=True)
class Checked:
    """A tree and what is known of its nodes."""

    root: Node
    result: Type
    types: dict[Node, Type] = field(default_factory=dict)
    overloads: dict[Node, list[Overload]] = field(default_factory=dict)
    constants: dict[Node, str] = field(default_factory=dict)
    """Nodes that are the name of a type."""
    qualified: dict[Node, str] = field(default_factory=dict)
    """Selections that are the dotted name of a variable (authorizer.requestResource)."""
    variables: set[str] = field(default_factory=set)
    """The outer variables it uses."""
    fields: set[tuple[str, str]] = field(default_factory=set)
    """Members of outer variables it uses: (variables, foo)."""


Structs = Callable[[str], Type | None]


def check(
    text: str, root: Node, variables: Mapping[str, Type], functions: Functions, structs: Structs = lambda name: None
) -> Checked:
    """Raises CompileError with all that is wrong."""
    checker = _Checker(variables, functions, structs)
    checked = checker.checked
    checked.root, checked.result = root, checker.visit(root)
    if checker.faults:
        raise CompileError(text, sorted(checker.faults, key=lambda fault: fault[0]))
    return checked


def qualified(node: Node) -> str:
    """a.b.c of nested selections; empty if there is anything else."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.optional and not node.test:
        outer = qualified(node.operand)
        return f"{outer}.{node.name}" if outer else ""
    return ""


class _Checker:
    def __init__(self, variables: Mapping[str, Type], functions: Functions, structs: Structs) -> None:
        self.globals = variables
        self.functions = functions
        self.structs = structs
        self.scope: dict[str, Type] = {}
        self.faults: list[tuple[int, str]] = []
        self.checked = Checked(Literal(0, None), DYN)

    def fault(self, at: int, message: str) -> Type:
        if (at, message) not in self.faults:
            self.faults.append((at, message))
        return ERROR

    def visit(self, node: Node) -> Type:
        found = _VISIT[type(node)](self, node)
        self.checked.types[node] = found
        return found

    # Names

    def literal(self, node: Literal) -> Type:
        return _LITERALS[type(node.value)]

    def ident(self, node: Ident) -> Type:
        if node.name in self.scope:
            return self.scope[node.name]
        if node.name in self.globals:
            self.checked.variables.add(node.name)
            return self.globals[node.name]
        if node.name in _TYPE_NAMES:
            self.checked.constants[node] = node.name
            return types.type_of(_TYPE_NAMES[node.name])
        return self.fault(node.at, f"undeclared reference to '{node.name}' (in container '')")

    def select(self, node: Select) -> Type:
        name = qualified(node)
        if name in TYPE_VALUES and name.partition(".")[0] not in self.scope:
            self.checked.constants[node] = name
            return types.type_of(_TYPE_NAMES.get(name, types.opaque(name)))
        if name in self.globals and name.partition(".")[0] not in self.scope:
            self.checked.qualified[node] = name
            self.checked.variables.add(name)
            return self.globals[name]
        operand = self.visit(node.operand)
        if isinstance(node.operand, Ident) and node.operand.name not in self.scope:
            self.checked.fields.add((node.operand.name, node.name))
        inner = operand.params[0] if is_optional(operand) else operand
        found = self.member(node, inner)
        if node.test:
            return BOOL
        return types.optional_of(found) if (node.optional or is_optional(operand)) and found is not ERROR else found

    def member(self, node: Select, of: Type) -> Type:
        if of.kind in ("dyn", "error", "param"):
            return DYN
        if of.kind == "map":
            return of.params[1]
        if of.kind == "object":
            declared = of.fields.get(node.name)
            if declared is not None:
                return declared.type
            return DYN if of.name and not of.fields else self.fault(node.at, f"undefined field '{node.name}'")
        return self.fault(node.at, f"type '{of}' does not support field selection")

    # Calls

    def call(self, node: Call) -> Type:
        if node.target is not None:
            outer = qualified(node.target)
            if outer and f"{outer}.{node.function}" in self.functions and outer not in self.scope:
                node.function, node.target = f"{outer}.{node.function}", None
        if node.function in ("_&&_", "_||_"):
            return self.logic(node)
        if node.function == "_?_:_":
            return self.ternary(node)
        receiver = node.target is not None
        operands = [self.visit(item) for item in node.operands]
        overloads = [item for item in self.functions.get(node.function, ()) if item.receiver == receiver]
        if not overloads:
            return self.fault(node.at, f"undeclared reference to '{node.function}' (in container '')")
        return self.resolve(node, overloads, operands, receiver)

    def resolve(self, node: Call, overloads: list[Overload], operands: list[Type], receiver: bool) -> Type:
        fitting: list[Overload] = []
        result: Type | None = None
        for overload in overloads:
            bound: Bindings = {}
            if len(overload.args) == len(operands) and all(
                assignable(actual, wanted, bound) for actual, wanted in zip(operands, overload.args, strict=True)
            ):
                found = types.resolve(overload.result, bound)
                result = found if result is None or types.same(result, found) else DYN
                fitting.append(overload)
        if result is None:
            shown = [str(item) for item in operands]
            args = f"{shown[0]}.({', '.join(shown[1:])})" if receiver else f"({', '.join(shown)})"
            return self.fault(node.at, f"found no matching overload for '{node.function}' applied to '{args}'")
        self.checked.overloads[node] = fitting
        self.constant_arguments(node)
        return result

    def constant_arguments(self, node: Call) -> None:
        """Patterns and times written out are looked at now."""
        last = node.operands[-1] if node.operands else None
        if not isinstance(last, Literal) or not isinstance(last.value, str):
            return
        parse = _CONSTANT.get(node.function)
        if parse is not None:
            try:
                parse(last.value)
            except (ValueError, CelError):
                self.fault(last.at, f"invalid {node.function} argument")

    def logic(self, node: Call) -> Type:
        operands = [self.visit(item) for item in node.args]
        if not all(assignable(item, BOOL, {}) for item in operands):
            args = ", ".join(map(str, operands))
            return self.fault(node.at, f"found no matching overload for '{node.function}' applied to '({args})'")
        return BOOL

    def ternary(self, node: Call) -> Type:
        condition, then, other = (self.visit(item) for item in node.args)
        joined = types.join(then, other)
        if joined is None or not assignable(condition, BOOL, {}):
            args = f"{condition}, {then}, {other}"
            return self.fault(node.at, f"found no matching overload for '_?_:_' applied to '({args})'")
        return joined

    # Literals

    def items(self, nodes: list[Node], optional: set[int]) -> Type:
        """The one type of several values."""
        joined: Type | None = None
        for index, node in enumerate(nodes):
            found = self.visit(node)
            if index in optional:
                if is_optional(found):
                    found = found.params[0]
                elif found.kind not in ("dyn", "error"):
                    self.fault(node.at, f"expected type 'optional_type({found})' but found '{found}'")
            together = found if joined is None else types.join(joined, found)
            if together is None:
                self.fault(node.at, f"expected type '{joined}' but found '{found}'")
            else:
                joined = together
        return DYN if joined is None else joined

    def list_literal(self, node: ListLiteral) -> Type:
        if not node.items:
            return types.list_of(Type("dyn"))
        return types.list_of(self.items(node.items, node.optional))

    def map_literal(self, node: MapLiteral) -> Type:
        key = self.items([entry[0] for entry in node.entries], set())
        optional = {index for index, entry in enumerate(node.entries) if entry[2]}
        return types.map_of(key, self.items([entry[1] for entry in node.entries], optional))

    def struct_literal(self, node: StructLiteral) -> Type:
        struct = self.structs(node.name)
        for _, value, _ in node.entries:
            self.visit(value)
        if struct is None:
            return self.fault(node.at, f"undeclared reference to '{node.name}' (in container '')")
        for name, value, optional in node.entries:
            declared = struct.fields.get(name)
            if declared is None:
                if struct.fields:
                    self.fault(value.at, f"undefined field '{name}'")
                continue
            found = self.checked.types[value]
            wanted = types.optional_of(declared.type) if optional else declared.type
            if not assignable(found, wanted, {}):
                self.fault(value.at, f"expected type of field '{name}' is '{wanted}' but provided type is '{found}'")
        return struct

    # Macros

    def comprehension(self, node: Comprehension) -> Type:
        ranged = self.visit(node.range)
        if node.macro in ("optMap", "optFlatMap"):
            return self.optional_macro(node, ranged)
        before = self.scope
        self.scope = before | dict(zip(node.variables, self.elements(node, ranged), strict=True))
        if node.condition is not None:
            self.boolean(node.condition, node.at, "_?_:_")
        result = self.body(node, ranged)
        self.scope = before
        return result

    def elements(self, node: Comprehension, ranged: Type) -> list[Type]:
        pair = len(node.variables) == 2
        if ranged.kind == "list":
            return [INT, ranged.params[0]] if pair else [ranged.params[0]]
        if ranged.kind == "map":
            return list(ranged.params) if pair else [ranged.params[0]]
        if ranged.kind not in ("dyn", "error"):
            text = f"expression of type '{ranged}' cannot be range of a comprehension (must be list, map, or dynamic)"
            self.fault(node.range.at, text)
        return [DYN] * len(node.variables)

    def body(self, node: Comprehension, ranged: Type) -> Type:
        if node.macro in ("all", "exists", "exists_one"):
            self.boolean(node.body, node.at, {"all": "_&&_", "exists": "_||_"}.get(node.macro, "_?_:_"))
            return BOOL
        if node.macro == "filter":
            self.boolean(node.body, node.at, "_?_:_")
            if ranged.kind == "list":
                return ranged
            return types.list_of(ranged.params[0] if ranged.kind == "map" else DYN)
        found = self.visit(node.body)
        if node.macro in ("map", "transformList"):
            return types.list_of(found)
        if node.macro == "transformMap":
            key = INT if ranged.kind == "list" else ranged.params[0] if ranged.kind == "map" else DYN
            return types.map_of(key, found)
        return found if found.kind == "map" else types.map_of(DYN, DYN)

    def boolean(self, node: Node, at: int, operator: str) -> None:
        found = self.visit(node)
        if not assignable(found, BOOL, {}):
            rest = ", list(dyn), list(dyn)" if operator == "_?_:_" else ""
            args = f"{found}{rest}" if rest else f"bool, {found}"
            self.fault(at, f"found no matching overload for '{operator}' applied to '({args})'")

    def optional_macro(self, node: Comprehension, target: Type) -> Type:
        if not is_optional(target) and target.kind not in ("dyn", "error"):
            text = f"found no matching overload for '{node.macro}' applied to '{target}.()'"
            return self.fault(node.at, text)
        before = self.scope
        self.scope = before | {node.variables[0]: target.params[0] if is_optional(target) else DYN}
        found = self.visit(node.body)
        self.scope = before
        return types.optional_of(found) if node.macro == "optMap" else found


_VISIT: dict[type, Callable[[_Checker, Any], Type]] = {
    Literal: _Checker.literal,
    Ident: _Checker.ident,
    Select: _Checker.select,
    Call: _Checker.call,
    ListLiteral: _Checker.list_literal,
    MapLiteral: _Checker.map_literal,
    StructLiteral: _Checker.struct_literal,
    Comprehension: _Checker.comprehension,
}
_CONSTANT: dict[str, Callable[[str], Any]] = {"matches": compiled, "duration": duration, "timestamp": timestamp}
