"""Admission policies and their bindings: defaults, and what they must be. Expressions are compiled when written.

Source: kubernetes pkg/apis/admissionregistration/validation.
"""

import re
from collections.abc import Iterator
from typing import Any

from wherry.api.meta_v1 import LabelSelector
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required, too_many
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.webhooks import rule_with_operations

ACTIONS = ("Audit", "Deny", "Warn")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
ANNOTATIONS_MAX = 20
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


class PolicyStrategy(KindStrategy):
    """Validating and mutating admission policies and their bindings."""

    generation_counts = ("spec",)

    def default(self, obj: Any) -> None:
        spec = obj.spec
        if hasattr(spec, "failurePolicy"):
            unset(spec, failurePolicy="Fail")
        for name in ("matchConstraints", "matchResources"):
            match = getattr(spec, name, None)
            if match is not None:
                unset(match, matchPolicy="Equivalent")
                match.namespaceSelector = match.namespaceSelector or LabelSelector()
                match.objectSelector = match.objectSelector or LabelSelector()
                for rule in (*match.resourceRules, *match.excludeResourceRules):
                    unset(rule, scope="*")

    def rules(self, obj: Any) -> Faults:
        spec = obj.spec
        if hasattr(spec, "policyName"):
            yield from _binding(spec)
            return
        yield from checks.one_of("spec.failurePolicy", spec.failurePolicy, ("Fail", "Ignore"))
        if spec.paramKind is not None:
            yield from _param_kind(spec.paramKind)
        if spec.matchConstraints is None:
            yield required("spec.matchConstraints")
        else:
            if not spec.matchConstraints.resourceRules:
                yield required("spec.matchConstraints.resourceRules")
            yield from _resources("spec.matchConstraints", spec.matchConstraints)
        yield from _names(spec)
        yield from _mutations(spec) if hasattr(spec, "mutations") else _validations(spec)
        yield from _expressions(obj)


def _binding(spec: Any) -> Faults:
    yield from checks.named_required("spec.policyName", spec.policyName, names.dns1123_subdomain)
    if spec.paramRef is not None:
        yield from _param_ref(spec.paramRef)
    if spec.matchResources is not None:
        yield from _resources("spec.matchResources", spec.matchResources)
    if not hasattr(spec, "validationActions"):
        return
    actions, path = spec.validationActions, "spec.validationActions"
    if not actions:
        yield required(path)
    for index, action in enumerate(actions):
        if action not in ACTIONS:
            yield not_supported(f"{path}[{index}]", action, ACTIONS)
        if action in actions[:index]:
            yield duplicate(f"{path}[{index}]", action)
    if "Deny" in actions and "Warn" in actions:
        text = "must not contain both Deny and Warn (repeating the same validation failure information in the API"
        yield invalid_value(path, actions, f"{text} response and headers serves no purpose)")


def _param_ref(ref: Any) -> Faults:
    path = "spec.paramRef"
    if ref.name:
        yield from checks.named(f"{path}.name", ref.name, names.path_segment)
        if ref.selector is not None:
            yield field_forbidden(f"{path}.name", "name and selector are mutually exclusive")
    elif ref.selector is None:
        yield required(path, "one of name or selector must be specified")
    yield from checks.label_selector(f"{path}.selector", ref.selector)
    yield from checks.one_of_required(f"{path}.parameterNotFoundAction", ref.parameterNotFoundAction, ("Allow", "Deny"))


def _param_kind(kind: Any) -> Faults:
    if not kind.apiVersion:
        yield required("spec.paramKind.apiVersion")
    elif kind.apiVersion.count("/") > 1:
        text = f"unexpected GroupVersion string: {kind.apiVersion}"
        yield invalid_value("spec.paramKind.apiVersion", kind.apiVersion, text)
    if not kind.kind:
        yield required("spec.paramKind.kind")
    elif faults := names.dns1035_label(kind.kind.lower()):
        text = "may have mixed case, but should otherwise match: " + ",".join(faults)
        yield invalid_value("spec.paramKind.kind", kind.kind, text)


def _resources(path: str, match: Any) -> Faults:
    yield from checks.one_of(f"{path}.matchPolicy", match.matchPolicy, ("Equivalent", "Exact"))
    yield from checks.label_selector(f"{path}.namespaceSelector", match.namespaceSelector)
    yield from checks.label_selector(f"{path}.objectSelector", match.objectSelector)
    for field in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(getattr(match, field)):
            yield from rule_with_operations(f"{path}.{field}[{index}]", rule)


def _names(spec: Any) -> Faults:
    seen: set[str] = set()
    for index, variable in enumerate(spec.variables):
        here = f"spec.variables[{index}]"
        if not variable.name:
            yield required(f"{here}.name", "name is not specified")
        elif not _IDENTIFIER.fullmatch(variable.name):
            yield invalid_value(f"{here}.name", variable.name, "name is not a valid CEL identifier")
        elif variable.name in seen:
            yield duplicate(f"{here}.name", variable.name)
        seen.add(variable.name)
        if not variable.expression.strip():
            yield required(f"{here}.expression", "expression is not specified")


def _validations(spec: Any) -> Faults:
    if not spec.validations and not spec.auditAnnotations:
        text = "validations or auditAnnotations must contain at least one item"
        yield required("spec.validations", text)
        yield required("spec.auditAnnotations", text)
    for index, item in enumerate(spec.validations):
        here, message = f"spec.validations[{index}]", item.message or ""
        if not item.expression.strip():
            yield required(f"{here}.expression", "expression is not specified")
        if message and not message.strip():
            yield invalid_value(f"{here}.message", message, "message must be non-empty if specified")
        elif "\n" in message.strip():
            yield invalid_value(f"{here}.message", message, "message must not contain line breaks")
        elif "\n" in item.expression.strip() and not message:
            yield required(f"{here}.message", "message must be specified if expression contains line breaks")
        yield from checks.one_of(f"{here}.reason", item.reason, REASONS)
    if len(spec.auditAnnotations) > ANNOTATIONS_MAX:
        yield too_many("spec.auditAnnotations", len(spec.auditAnnotations), ANNOTATIONS_MAX)
    seen: set[str] = set()
    for index, annotation in enumerate(spec.auditAnnotations):
        here = f"spec.auditAnnotations[{index}]"
        yield from checks.named_required(f"{here}.key", annotation.key, names.qualified_name)
        if annotation.key in seen:
            yield duplicate(f"{here}.key", annotation.key)
        seen.add(annotation.key)
        if not annotation.valueExpression.strip():
            yield required(f"{here}.valueExpression", "valueExpression is not specified")


def _mutations(spec: Any) -> Faults:
    if not spec.mutations:
        yield required("spec.mutations", "mutations must contain at least one item")
    yield from checks.one_of_required("spec.reinvocationPolicy", spec.reinvocationPolicy, ("IfNeeded", "Never"))
    for index, mutation in enumerate(spec.mutations):
        here = f"spec.mutations[{index}]"
        yield from checks.one_of_required(f"{here}.patchType", mutation.patchType, ("ApplyConfiguration", "JSONPatch"))
        for kind, field in (("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")):
            given = getattr(mutation, field)
            if mutation.patchType == kind and given is None:
                yield required(f"{here}.{field}", f"must be specified when patchType is {kind}")
            elif mutation.patchType == kind and not (given.expression or "").strip():
                yield required(f"{here}.{field}.expression", "expression is not specified")
            elif mutation.patchType != kind and given is not None:
                text = f"must not be specified when patchType is not {kind}"
                yield invalid_value(f"{here}.{field}", given, text)


def _expressions(obj: Any) -> Faults:
    """What does not compile. Empty expressions have been told of already."""
    from wherry.server.admission.policies.compiled import compile_policy  # CEL is large, and few clusters use it
    from wherry.server.cel.conditions import condition_faults

    spec, compiled = obj.spec, compile_policy(obj)
    yield from condition_faults("spec.matchConditions", spec.matchConditions, params=spec.paramKind is not None)
    for path, expression in _placed(spec, compiled):
        if expression is not None and expression.text.strip() and expression.fault:
            yield invalid_value(path, expression.text, expression.fault)


def _placed(spec: Any, compiled: Any) -> Iterator[tuple[str, Any]]:
    for index, item in enumerate(spec.variables):
        yield f"spec.variables[{index}].expression", compiled.variables[item.name]
    for index, expression in enumerate(compiled.checks):
        if hasattr(spec, "mutations"):
            field = "applyConfiguration" if spec.mutations[index].patchType == "ApplyConfiguration" else "jsonPatch"
            yield f"spec.mutations[{index}].{field}.expression", expression
        else:
            yield f"spec.validations[{index}].expression", expression
    for index, expression in enumerate(compiled.messages):
        yield f"spec.validations[{index}].messageExpression", expression
    for index, (_, expression) in enumerate(compiled.annotations):
        yield f"spec.auditAnnotations[{index}].valueExpression", expression
