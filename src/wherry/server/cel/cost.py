"""What an expression may cost at worst, from the sizes that types allow: a rule beyond the limit is refused.

Walks the tree as the planner does, with (cost, size of the result) in place of values. Sums saturate at `INFINITE`.
Source: cel-go, checker/cost.go.
"""

from collections.abc import Callable
from typing import Any

from wherry.server.cel.checker import Checked
from wherry.server.cel.functions import tenth
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
from wherry.server.cel.types import Type

INFINITE = (1 << 64) - 1
_SCALARS = frozenset({"bool", "int", "uint", "double", "null", "timestamp", "duration"})
Worst = tuple[int, int]


def estimate(checked: Checked) -> int:
    """The worst case of one evaluation."""
    return min(INFINITE, _Estimator(checked).visit(checked.root)[0])


class _Estimator:
    def __init__(self, checked: Checked) -> None:
        self.checked = checked

    def visit(self, node: Node) -> Worst:
        cost, size = _VISIT[type(node)](self, node)
        return min(INFINITE, cost), min(INFINITE, size)

    def size(self, node: Node) -> int:
        """By the node's type."""
        kind: Type = self.checked.types[node]
        if kind.kind in _SCALARS:
            return 1
        return INFINITE if kind.max_size is None else kind.max_size

    def literal(self, node: Literal) -> Worst:
        return 0, len(node.value) if isinstance(node.value, str | bytes) else 1

    def ident(self, node: Ident) -> Worst:
        return 1, self.size(node)

    def select(self, node: Select) -> Worst:
        if node in self.checked.constants or node in self.checked.qualified:
            return 1, 1
        return self.visit(node.operand)[0] + (not node.test), self.size(node)

    def call(self, node: Call) -> Worst:
        found = [self.visit(item) for item in node.operands]
        costs, sizes = sum(item[0] for item in found), [item[1] for item in found]
        if node.function in ("_&&_", "_||_"):
            return costs, 1
        if node.function == "_?_:_":
            return found[0][0] + max(found[1][0], found[2][0]), max(sizes[1:])
        if node.function in ("_==_", "_!=_"):
            return costs + max(1, tenth(min(sizes))), 1
        overload = self.checked.overloads[node][0]
        own = 1 if overload.cost is None else overload.cost(sizes)
        return costs + own, self.size(node) if overload.size is None else overload.size(sizes)

    def list_literal(self, node: ListLiteral) -> Worst:
        return 10 + sum(self.visit(item)[0] for item in node.items), len(node.items)

    def map_literal(self, node: MapLiteral) -> Worst:
        entries = sum(self.visit(key)[0] + self.visit(value)[0] for key, value, _ in node.entries)
        return 30 + entries, len(node.entries)

    def struct_literal(self, node: StructLiteral) -> Worst:
        return 40 + sum(self.visit(value)[0] for _, value, _ in node.entries), 1

    def comprehension(self, node: Comprehension) -> Worst:
        cost, size = self.visit(node.range)
        body, result = self.visit(node.body)
        if node.condition is not None:
            body += self.visit(node.condition)[0]
        if node.macro.startswith("opt"):
            return cost + body, result
        extra = 10 + 1 if node.macro in ("map", "filter") else 2
        made = 1 if node.macro in ("all", "exists", "exists_one") else size
        return cost + size * (body + extra) + 1, made


_VISIT: dict[type, Callable[[_Estimator, Any], Worst]] = {
    Literal: _Estimator.literal,
    Ident: _Estimator.ident,
    Select: _Estimator.select,
    Call: _Estimator.call,
    ListLiteral: _Estimator.list_literal,
    MapLiteral: _Estimator.map_literal,
    StructLiteral: _Estimator.struct_literal,
    Comprehension: _Estimator.comprehension,
}
