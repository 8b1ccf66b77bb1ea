"""matchConditions of webhooks and policies: all must be true, one false is a no, an error counts by the failure policy.

    conditions = compile_conditions(webhook.matchConditions)
    variables = inputs(attributes, authorizer)
    matches = await answered(lambda: evaluate(conditions, variables, failure_policy))

Source: apiserver, admission/plugin/webhook/matchconditions, and kubernetes, apis/admissionregistration/validation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.api.admissionregistration_v1 import MatchCondition
from wherry.meta import names
from wherry.meta.errors import duplicate, invalid_value, required, too_many
from wherry.server.cel.admission import (
    Budget,
    Expression,
    OutOfBudgetError,
    answered,
    compile_expression,
    environment,
    inputs,
)
from wherry.server.cel.environment import MATCH_BUDGET
from wherry.server.cel.types import BOOL
from wherry.server.cel.values import CelError
from wherry.server.strategies.checks import Faults

__all__ = ["Condition", "ConditionError", "answered", "compile_conditions", "condition_faults", "evaluate", "inputs"]
CONDITIONS_MAX = 64


class ConditionError(Exception):
    """Some condition failed and the failure policy is Fail: the request is to be refused with this text."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One compiled condition."""

    name: str
    expression: Expression


def compile_conditions(conditions: Sequence[MatchCondition], *, params: bool = False) -> list[Condition]:
    """Once per change of the configuration. What does not compile fails when it is evaluated."""
    where = environment(params=params)
    return [Condition(item.name, compile_expression(item.expression, where, [BOOL])) for item in conditions]


def evaluate(conditions: Sequence[Condition], variables: Mapping[str, Any], failure_policy: str = "Fail") -> bool:
    """Whether the request matches. Raises ConditionError."""
    budget = Budget(MATCH_BUDGET)
    errors: list[str] = []
    for condition in conditions:
        try:
            if budget.evaluate(condition.expression, variables) is False:
                return False
        except CelError as error:
            errors.append(str(error))
        except OutOfBudgetError as error:
            errors = [str(error)]
            break
    if errors and failure_policy == "Fail":
        unique = list(dict.fromkeys(errors))
        raise ConditionError(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")
    return not errors


def condition_faults(
    path: str, conditions: Sequence[MatchCondition], *, params: bool = False, known: Sequence[MatchCondition] = ()
) -> Faults:
    """What is wrong with matchConditions; those of `known` (the object before an update) are not compiled again."""
    if len(conditions) > CONDITIONS_MAX:
        yield too_many(path, len(conditions), CONDITIONS_MAX)
    kept = {item.expression for item in known}
    where = environment(params=params)
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        here = f"{path}[{index}]"
        if not condition.expression.strip():
            yield required(f"{here}.expression")
        elif condition.expression not in kept:
            fault = compile_expression(condition.expression, where, [BOOL]).fault
            if fault:
                yield invalid_value(f"{here}.expression", condition.expression, fault)
        if not condition.name:
            yield required(f"{here}.name")
        elif condition.name in seen:
            yield duplicate(f"{here}.name", condition.name)
        else:
            for text in names.qualified_name(condition.name):
                yield invalid_value(f"{here}.name", condition.name, text)
        seen.add(condition.name)
