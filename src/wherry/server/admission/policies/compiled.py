"""A policy's expressions, compiled; and one evaluation of them with its variables and its budget.

Variables are evaluated when first asked for, at most once in an evaluation, and their cost counts. Source: apiserver,
admission/plugin/cel/composition.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wherry.meta.errors import quote
from wherry.server.cel.admission import Budget, Expression, Inputs, compile_expression, environment
from wherry.server.cel.conditions import Condition, compile_conditions
from wherry.server.cel.environment import RUNTIME_BUDGET, Environment
from wherry.server.cel.types import BOOL, DYN, NULL, STRING, Field, Type, list_of
from wherry.server.cel.values import CelError

OBJECT = Type("object", name="Object")
PATCH = Type(
    "object",
    name="JSONPatch",
    fields={name: Field(name, STRING) for name in ("op", "path", "from")} | {"value": Field("value", DYN)},
)


@dataclass(slots=True)
class Compiled:
    """Expressions of a policy. `checks` are validations or mutations; `messages` stand beside validations."""

    conditions: list[Condition]
    variables: dict[str, Expression]
    checks: list[Expression]
    messages: list[Expression | None]
    annotations: list[tuple[str, Expression]]


def struct(name: str) -> Type | None:
    """What a mutation may make: Object, Object.spec and so on, JSONPatch."""
    if name == "JSONPatch":
        return PATCH
    return Type("object", name=name) if name == "Object" or name.startswith("Object.") else None


def environments(
    policy: Any, typed: dict[str, Type] | None = None
) -> tuple[Environment, Environment, dict[str, Expression]]:
    """Where checks are compiled, where messages are (no authorizer), and the policy's variables."""
    params, mutating = policy.spec.paramKind is not None, hasattr(policy.spec, "mutations")
    structs = struct if mutating else (lambda name: None)
    composed: dict[str, Type] = {}
    variables: dict[str, Expression] = {}

    def where(authorizer: bool) -> Environment:
        return environment(params=params, authorizer=authorizer, composed=composed, typed=typed, structs=structs)

    for item in policy.spec.variables:
        found = variables[item.name] = compile_expression(item.expression, where(True))
        composed[item.name] = replace(found.program.result, convert=None) if found.program is not None else DYN
    return where(True), where(False), variables


def results(mutation: Any) -> list[Type]:
    """What a mutation's expression must give."""
    return [OBJECT] if mutation.patchType == "ApplyConfiguration" else [list_of(PATCH)]


def mutation_text(mutation: Any) -> str:
    """A mutation's expression."""
    of = mutation.applyConfiguration if mutation.patchType == "ApplyConfiguration" else mutation.jsonPatch
    return (of.expression if of is not None else None) or ""


def compile_policy(policy: Any) -> Compiled:
    """Never raises: what does not compile fails when it is evaluated."""
    spec = policy.spec
    checks, messages, variables = environments(policy)
    conditions = compile_conditions(spec.matchConditions, params=spec.paramKind is not None)
    if hasattr(spec, "mutations"):
        made = [compile_expression(mutation_text(item), checks, results(item)) for item in spec.mutations]
        return Compiled(conditions, variables, made, [], [])
    return Compiled(
        conditions,
        variables,
        [compile_expression(item.expression, checks, [BOOL]) for item in spec.validations],
        [
            compile_expression(item.messageExpression, messages, [STRING]) if item.messageExpression else None
            for item in spec.validations
        ],
        [
            (item.key, compile_expression(item.valueExpression, messages, [STRING, NULL]))
            for item in spec.auditAnnotations
        ],
    )


class Evaluation:
    """One policy on one request, with one parameter object or none."""

    def __init__(
        self, variables: dict[str, Expression], inputs: Inputs, params: Any, budget: int = RUNTIME_BUDGET
    ) -> None:
        self.budget = Budget(budget)
        self.inputs = inputs.having(params=params)
        self.inputs["variables"] = _Variables(variables, self)

    def value(self, expression: Expression) -> Any:
        """Raises CelError, OutOfBudgetError, UndecidedError."""
        return self.budget.evaluate(expression, self.inputs)


class _Variables(dict[str, Any]):
    """`variables`, evaluated as they are asked for."""

    def __init__(self, expressions: dict[str, Expression], evaluation: Evaluation) -> None:
        super().__init__()
        self._expressions = expressions
        self._evaluation = evaluation

    def __contains__(self, name: object) -> bool:
        return name in self._expressions

    def __missing__(self, name: str) -> Any:
        expression = self._expressions[name]
        if expression.program is None:
            raise CelError(f"composited variable {quote(name)} fails to compile: {expression.fault}")
        evaluation = self._evaluation
        try:
            value, cost = expression.program.evaluate(evaluation.inputs)
        except CelError as error:
            raise CelError(f"composited variable {quote(name)} fails to evaluate: {error}") from None
        evaluation.budget.left -= cost
        self[name] = value
        return value


def of_conditions(conditions: Sequence[Condition], inputs: Inputs, params: Any) -> Inputs:
    """What match conditions see."""
    return inputs.having(params=params) if conditions else inputs
