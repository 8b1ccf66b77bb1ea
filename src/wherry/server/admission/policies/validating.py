"""ValidatingAdmissionPolicy: what a write must be, and what happens when it is not (Deny, Warn, Audit).

Source: apiserver, admission/plugin/policy/validating.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from wherry.meta.errors import StatusError, forbidden
from wherry.meta.resource import Resource
from wherry.server.admission.plugin import Attributes
from wherry.server.admission.policies.params import ConfigurationError, params_of
from wherry.server.admission.policies.plugins import Bound, Policies

if TYPE_CHECKING:
    from wherry.server.admission.policies.compiled import Evaluation
    from wherry.server.cel.admission import Inputs

FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"
MESSAGE_BYTES_MAX = 5 * 1024
ANNOTATION_MAX = 10 * 1024
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a policy is against a write. `always`: whatever the binding's actions are."""

    text: str
    reason: str = "Invalid"
    index: int = 0
    always: bool = False


class ValidatingPolicies(Policies):
    """Asked when the object is final."""

    name = "ValidatingAdmissionPolicy"

    async def validate(self, attributes: Attributes) -> None:
        refusals: list[tuple[str, Denial]] = []
        for bound, resource, bindings in self._concerned(attributes):
            refusals += await self._weigh(bound, resource, bindings, attributes)
        if refusals:
            raise _refusal(attributes, *refusals[0])

    async def _weigh(
        self, bound: Bound, resource: Resource, bindings: list[Any], attributes: Attributes
    ) -> list[tuple[str, Denial]]:
        from wherry.server.cel.admission import answered, inputs

        versions, name = self._around.versions, bound.policy.metadata.name
        shown = inputs(
            attributes, self._around.authorizer, lambda obj: versions.show(attributes, obj, resource), resource
        )
        published: dict[str, list[str]] = {}
        refusals: list[tuple[str, Denial]] = []

        def decide(binding: Any) -> Callable[[], list[Denial]]:
            return lambda: list(self._decide(bound, binding, attributes, shown, published))

        for binding in bindings:
            for denial in await answered(decide(binding)):
                refusals += self._act(name, binding, denial, attributes)
        for key, values in published.items():
            attributes.ctx.audit[f"{name}/{key}"] = ", ".join(dict.fromkeys(values))
        return refusals

    def _decide(
        self, bound: Bound, binding: Any, attributes: Attributes, shown: "Inputs", published: dict[str, list[str]]
    ) -> Iterator[Denial]:
        from wherry.server.admission.policies.compiled import Evaluation
        from wherry.server.cel.conditions import ConditionError, evaluate

        policy, compiled = bound.policy, bound.compiled
        strict = policy.spec.failurePolicy != "Ignore"
        try:
            params = params_of(policy, binding, attributes.namespace, self._around.registry)
        except ConfigurationError as error:
            if strict:
                yield Denial(f"failed to configure binding: {error}", always=True)
            return
        for param in params:
            try:
                failure_policy = policy.spec.failurePolicy or "Fail"
                if not evaluate(compiled.conditions, shown.having(params=param), failure_policy):
                    continue
            except ConditionError as error:
                yield Denial(str(error))
                continue
            evaluation = Evaluation(compiled.variables, shown, param)
            yield from _validations(bound, evaluation, strict)
            yield from _annotations(bound, evaluation, strict, published)

    def _act(self, policy: str, binding: Any, denial: Denial, attributes: Attributes) -> list[tuple[str, Denial]]:
        """What the binding's actions make of it; what is to be refused."""
        name, actions = binding.metadata.name, binding.spec.validationActions
        where = f"ValidatingAdmissionPolicy '{policy}' with binding '{name}'"
        if "Warn" in actions and not denial.always:
            attributes.warnings.append(f"Validation failed for {where}: {denial.text}")
        if "Audit" in actions and not denial.always:
            value = {
                "message": denial.text,
                "policy": policy,
                "binding": name,
                "expressionIndex": denial.index,
                "validationActions": actions,
            }
            attributes.ctx.audit[FAILURE_KEY] = orjson.dumps([value]).decode()
        refused = denial.always or "Deny" in actions
        return [(f"{where} denied request: {denial.text}", denial)] if refused else []


def _validations(bound: Bound, evaluation: "Evaluation", strict: bool) -> Iterator[Denial]:
    from wherry.server.cel.admission import OutOfBudgetError
    from wherry.server.cel.values import CelError

    validations = zip(bound.policy.spec.validations, bound.compiled.checks, bound.compiled.messages, strict=True)
    for index, (validation, expression, message) in enumerate(validations):
        try:
            if evaluation.value(expression) is True:
                continue
        except CelError as error:
            if strict:
                yield Denial(str(error), index=index)
            continue
        except OutOfBudgetError as error:
            if strict:
                yield Denial(str(error), index=index)
            return
        text = ""
        try:
            text = _usable(evaluation.value(message)) if message is not None else ""
        except CelError:
            text = ""  # the plain message stands in
        except OutOfBudgetError as error:
            if strict:
                yield Denial(f"failed messageExpression: {error}", index=index)
            return
        text = text or (validation.message or "").strip() or f"failed expression: {validation.expression.strip()}"
        yield Denial(text, validation.reason or "Invalid", index)


def _usable(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    return "" if len(text.encode()) > MESSAGE_BYTES_MAX or "\n" in text else text


def _annotations(
    bound: Bound, evaluation: "Evaluation", strict: bool, published: dict[str, list[str]]
) -> Iterator[Denial]:
    from wherry.server.cel.admission import OutOfBudgetError
    from wherry.server.cel.values import CelError

    for key, expression in bound.compiled.annotations:
        try:
            value = evaluation.value(expression)
        except (CelError, OutOfBudgetError) as error:
            if strict:
                yield Denial(str(error), always=True)
            continue
        if isinstance(value, str) and value.strip():
            published.setdefault(key, []).append(value.strip()[:ANNOTATION_MAX])


def _refusal(attributes: Attributes, text: str, denial: Denial) -> StatusError:
    error = refused(attributes, text)
    error.reason, error.code = denial.reason, _CODES.get(denial.reason, 422)
    error.details["causes"] = [{"message": text}]
    return error


def refused(attributes: Attributes, text: str) -> StatusError:
    """403 of the object that is being written."""
    meta = getattr(attributes.object or attributes.old_object, "metadata", None)
    name = attributes.name or (meta is not None and (meta.name or meta.generateName)) or ""
    return forbidden(attributes.requested.group_resource, name, text)
