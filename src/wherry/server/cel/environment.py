"""Expressions as callers use them: declare variables, compile, evaluate within a budget.

environment = Environment({"object": DYN})
program = environment.compile("object.spec.replicas <= 5")
value, cost = program.evaluate({"object": {...}}, budget)
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from wherry.server.cel.checker import Checked, Structs, check
from wherry.server.cel.cost import estimate
from wherry.server.cel.functions import Functions
from wherry.server.cel.kubernetes import KUBERNETES
from wherry.server.cel.operators import OPERATORS
from wherry.server.cel.planner import Planner
from wherry.server.cel.syntax import parse
from wherry.server.cel.texts import TEXTS
from wherry.server.cel.types import Type
from wherry.server.cel.values import CelError, CostExceeded

PER_CALL_LIMIT = 1_000_000
"""What one evaluation may cost: about a tenth of a second in kube-apiserver, half a second here at worst."""
RUNTIME_BUDGET = 10_000_000
"""What all rules of one object, or all expressions of one policy, may cost together."""
MATCH_BUDGET = 2_500_000
"""What the match conditions of one webhook or policy may cost together."""


def _merged(*libraries: Functions) -> Functions:
    found: Functions = {}
    for library in libraries:
        for name, overloads in library.items():
            found.setdefault(name, []).extend(overloads)
    return found


FUNCTIONS = _merged(OPERATORS, TEXTS, KUBERNETES)


class Program:
    """One compiled expression."""

    def __init__(self, text: str, checked: Checked) -> None:
        self.text = text
        self.result = checked.result
        self.variables = checked.variables
        self.fields = checked.fields
        self._checked = checked
        self._names = sorted(checked.variables)
        planner = Planner(checked, {name: index + 1 for index, name in enumerate(self._names)})
        self._run, self._cost = planner.plan(checked.root)
        self._rest = [None] * (planner.size - len(self._names) - 1)

    @cached_property
    def estimated_cost(self) -> int:
        """What it costs at worst, by the sizes that its variables' types allow."""
        return estimate(self._checked)

    def evaluate(self, variables: Mapping[str, Any], limit: int = PER_CALL_LIMIT) -> tuple[Any, int]:
        """The value and what it cost. Raises CelError, CostExceeded."""
        frame = [limit - self._cost, *[variables[name] for name in self._names], *self._rest]
        try:
            value = self._run(frame)
        except RecursionError:
            raise CelError("expression is nested too deeply") from None
        if frame[0] < 0:
            raise CostExceeded
        return value, limit - frame[0]


class Environment:
    """Variables with their types, and the structs that expressions may make."""

    def __init__(self, variables: Mapping[str, Type], structs: Structs = lambda name: None) -> None:
        self.variables = dict(variables)
        self._structs = structs

    def compile(self, text: str) -> Program:
        """Raises CompileError."""
        return Program(text, check(text, parse(text), self.variables, FUNCTIONS, self._structs))
