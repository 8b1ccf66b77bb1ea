"""MutatingAdmissionPolicy: changes that a policy makes to what is written, as an apply configuration or a JSON patch.

Policies see each other's changes; after a change the mutating chain runs once more, and with it those that want to be
asked again. Source: apiserver, admission/plugin/policy/mutating.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from wherry.meta.apply import AtomicError, merge_granular
from wherry.meta.errors import StatusError, quote
from wherry.meta.patch import json_patch
from wherry.meta.resource import Resource
from wherry.server.admission.plugin import Attributes
from wherry.server.admission.policies.params import ConfigurationError, params_of
from wherry.server.admission.policies.plugins import Bound, Policies
from wherry.server.admission.policies.validating import refused

if TYPE_CHECKING:
    from wherry.server.cel.values import Struct

Key = tuple[str, str, int]


class MutatingPolicies(Policies):
    """One after another."""

    name = "MutatingAdmissionPolicy"

    async def admit(self, attributes: Attributes) -> None:
        asked: set[Key] = attributes.memory.setdefault(self.name, set())
        failures: list[tuple[str, str]] = []
        for bound, resource, bindings in self._concerned(attributes):
            strict = bound.policy.spec.failurePolicy != "Ignore"
            for binding in bindings:
                where = f"policy '{bound.policy.metadata.name}' with binding '{binding.metadata.name}' denied request: "
                try:
                    params = params_of(bound.policy, binding, attributes.namespace, self._around.registry)
                except ConfigurationError as error:
                    failures += [(f"{where}failed to configure binding: {error}", "Forbidden")] if strict else []
                    continue
                for index, param in enumerate(params):
                    key = bound.policy.metadata.name, binding.metadata.name, index
                    if attributes.round and key not in asked:
                        continue
                    faults = await self._mutate(bound, resource, param, attributes)
                    failures += [(where + text, "Invalid") for text in faults] if strict else []
                    if bound.policy.spec.reinvocationPolicy == "IfNeeded":
                        asked.add(key)
        if failures:
            refusal = refused(attributes, "admission request denied by policy")
            refusal.message, refusal.reason = failures[0]
            refusal.details["causes"] = [{"message": text} for text, _ in failures]
            raise refusal

    async def _mutate(self, bound: Bound, resource: Resource, param: Any, attributes: Attributes) -> list[str]:
        """Change the attributes' object; what went wrong."""
        from wherry.server.admission.policies.compiled import Evaluation
        from wherry.server.cel.admission import OutOfBudgetError, answered, inputs
        from wherry.server.cel.conditions import ConditionError, evaluate
        from wherry.server.cel.values import CelError

        versions, compiled, faults = self._around.versions, bound.compiled, list[str]()

        def show(obj: Any) -> Any:
            return versions.show(attributes, obj, resource)

        shown = inputs(attributes, self._around.authorizer, show, resource).having(params=param)
        try:
            policy = bound.policy.spec.failurePolicy or "Fail"
            if not await answered(lambda: evaluate(compiled.conditions, shown, policy)):
                return []
        except ConditionError as error:
            return [str(error)]
        for mutation, expression in zip(bound.policy.spec.mutations, compiled.checks, strict=True):
            before = show(attributes.object)
            if before is None:
                return faults
            seen = inputs(attributes, self._around.authorizer, show, resource)
            evaluation = Evaluation(compiled.variables, seen, param)
            try:
                value = await answered(lambda: evaluation.value(expression))  # noqa: B023
                if mutation.patchType == "ApplyConfiguration":
                    after = self._applied(before, value, resource)
                else:
                    after = _patched(before, value)
                if after == before:
                    continue
                attributes.object = versions.take(attributes, after, resource)
                attributes.again = True
            except (CelError, OutOfBudgetError, StatusError, msgspec.ValidationError, ValueError, TypeError) as error:
                faults.append(str(error))
        return faults

    def _applied(self, before: dict[str, Any], value: "Struct", resource: Resource) -> dict[str, Any]:
        from wherry.server.cel.values import plain

        _check_names(value, "Object")
        configuration = plain(value) | {"apiVersion": before["apiVersion"], "kind": before["kind"]}
        try:
            return merge_granular(before, configuration, self._around.registry.of(resource).schema)
        except AtomicError as error:
            raise ValueError(f"error applying patch: invalid ApplyConfiguration: {error}") from None


def _patched(before: dict[str, Any], operations: list["Struct"]) -> dict[str, Any]:
    from wherry.server.cel.values import Struct, plain

    steps = []
    for operation in operations:
        step = dict(operation.fields)
        if isinstance(step.get("value"), Struct):
            _check_names(step["value"], step["value"].name)
        steps.append(plain(step))
    try:
        found: dict[str, Any] = json_patch(before, steps)
    except StatusError as error:
        if "test" in error.message and any(step.get("op") == "test" for step in steps):
            return before  # a failed test means: leave the object alone
        raise ValueError(f"JSON Patch: {error.message}") from None
    return found


def _check_names(value: Any, path: str) -> None:
    """Types of structs must spell where they stand: Object.spec.template at .spec.template."""
    from wherry.server.cel.values import Optional, Struct

    if isinstance(value, Optional):
        value = value.value
    if isinstance(value, list):
        for item in value:
            _check_names(item, path)
    if not isinstance(value, Struct):
        return
    if value.name != path:
        text = f"unexpected type name {quote(value.name)}, expected {quote(path)}"
        raise ValueError(f"type mismatch: {text}, which matches field name path from root Object type")
    for name, below in value.fields.items():
        _check_names(below, f"{path}.{name}")
