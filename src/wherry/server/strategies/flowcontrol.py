"""FlowSchema and PriorityLevelConfiguration. Source: pkg/apis/flowcontrol/validation."""

from math import ceil, log2
from typing import Any

from wherry.api.flowcontrol_v1 import (
    FlowSchema,
    LimitedPriorityLevelConfiguration,
    LimitResponse,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    PriorityLevelConfiguration,
    QueuingConfiguration,
    ResourcePolicyRule,
    Subject,
)
from wherry.meta import names
from wherry.meta.errors import FieldError, duplicate, field_forbidden, invalid_value, not_supported, required
from wherry.server.fairness import suggested
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset

PRECEDENCE_MAX = 10_000
QUEUES_MAX = 10_000_000
HASH_BITS_MAX = 60
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_NOT_NEGATIVE = "must be a non-negative integer"
_PERCENT = "must be between 0 and 100, inclusive"


class _FlowControlStrategy(KindStrategy):
    generation_counts = ("spec",)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        return [*super().validate_status_update(new, old), *self._conditions(new)]

    def _conditions(self, obj: Any) -> Faults:
        seen: set[str] = set()
        for index, condition in enumerate(obj.status.conditions):
            path = f"status.conditions[{index}].type"
            kind = condition.type or ""
            if kind in seen:
                yield duplicate(path, kind)
            seen.add(kind)
            yield from checks.present(path, kind, "must not be empty")


class FlowSchemaStrategy(_FlowControlStrategy):
    """flowcontrol.apiserver.k8s.io FlowSchema."""

    def __init__(self, *, namespaced: bool = True, has_status: bool = False) -> None:
        super().__init__(namespaced=namespaced, has_status=has_status)
        made = {item.metadata.name: item.spec for item in suggested.schemas()}
        self._fixed = {name: made[name] for name in suggested.MANDATORY}

    def default(self, obj: FlowSchema) -> None:
        obj.spec.matchingPrecedence = obj.spec.matchingPrecedence or 1000

    def rules(self, obj: FlowSchema) -> Faults:
        spec, path = obj.spec, "spec.matchingPrecedence"
        precedence = spec.matchingPrecedence or 0
        if precedence <= 0:
            yield invalid_value(path, precedence, "must be a positive value")
        if precedence > PRECEDENCE_MAX:
            yield invalid_value(path, precedence, f"must not be greater than {PRECEDENCE_MAX}")
        if precedence == 1 and obj.metadata.name != "exempt":
            yield invalid_value(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
        if spec.distinguisherMethod is not None:
            yield from checks.one_of(
                "spec.distinguisherMethod.type", spec.distinguisherMethod.type, ("ByNamespace", "ByUser")
            )
        path, level = "spec.priorityLevelConfiguration.name", spec.priorityLevelConfiguration.name
        if level:
            yield from checks.named(path, level, names.dns1123_subdomain)
        else:
            yield required(path, "must reference a priority level")
        for index, policy in enumerate(spec.rules):
            yield from _policy(f"spec.rules[{index}]", policy)
        fixed = self._fixed.get(obj.metadata.name or "")
        if fixed is not None and spec != fixed:
            yield invalid_value("spec", spec, f"spec of '{obj.metadata.name}' must equal the fixed value")
        yield from self._conditions(obj)


class PriorityLevelStrategy(_FlowControlStrategy):
    """flowcontrol.apiserver.k8s.io PriorityLevelConfiguration."""

    def __init__(self, *, namespaced: bool = True, has_status: bool = False) -> None:
        super().__init__(namespaced=namespaced, has_status=has_status)
        made = {item.metadata.name: item.spec for item in suggested.levels()}
        self._fixed = {name: made[name] for name in suggested.MANDATORY}

    def default(self, obj: PriorityLevelConfiguration) -> None:
        spec = obj.spec
        if spec.exempt is not None:
            unset(spec.exempt, nominalConcurrencyShares=0, lendablePercent=0)
        if spec.limited is not None:
            unset(spec.limited, nominalConcurrencyShares=30, lendablePercent=0)
            queuing = spec.limited.limitResponse.queuing
            if queuing is not None:
                queuing.handSize = queuing.handSize or 8
                queuing.queues = queuing.queues or 64
                queuing.queueLengthLimit = queuing.queueLengthLimit or 50

    def rules(self, obj: PriorityLevelConfiguration) -> Faults:
        spec, name = obj.spec, obj.metadata.name or ""
        if (name == "exempt") != (spec.type == "Exempt"):
            yield invalid_value("spec.type", spec.type, "type must be 'Exempt' if and only if name is 'exempt'")
        if spec.type == "Exempt":
            if spec.limited is not None:
                yield field_forbidden("spec.limited", "must be nil if the type is not Limited")
            if spec.exempt is not None:
                yield from _shares("spec.exempt", spec.exempt)
        elif spec.type == "Limited":
            if spec.exempt is not None:
                yield field_forbidden("spec.exempt", "must be nil if the type is Limited")
            if spec.limited is None:
                yield required("spec.limited", "must not be empty when type is Limited")
            else:
                yield from _limited("spec.limited", spec.limited)
        else:
            yield not_supported("spec.type", spec.type, ["Exempt", "Limited"])
        yield from self._unchanged(name, obj)
        yield from self._conditions(obj)

    def _unchanged(self, name: str, obj: PriorityLevelConfiguration) -> Faults:
        fixed = self._fixed.get(name)
        if fixed is None:
            return
        if name == "exempt":  # its shares are the administrator's
            if (obj.spec.type, obj.spec.limited) != (fixed.type, fixed.limited):
                text = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"
                yield invalid_value("spec", obj.spec, text)
        elif obj.spec != fixed:
            yield invalid_value("spec", obj.spec, f"spec of '{name}' must equal the fixed value")


def _policy(path: str, policy: PolicyRulesWithSubjects) -> Faults:
    yield from checks.present(f"{path}.subjects", policy.subjects, "subjects must contain at least one value")
    for index, subject in enumerate(policy.subjects):
        yield from _subject(f"{path}.subjects[{index}]", subject)
    if not policy.resourceRules and not policy.nonResourceRules:
        yield required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for index, rule in enumerate(policy.resourceRules):
        yield from _resource_rule(f"{path}.resourceRules[{index}]", rule)
    for index, other in enumerate(policy.nonResourceRules):
        yield from _path_rule(f"{path}.nonResourceRules[{index}]", other)


def _subject(path: str, subject: Subject) -> Faults:
    members = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
    if subject.kind not in members:
        yield not_supported(f"{path}.kind", subject.kind, ["Group", "ServiceAccount", "User"])
        return
    member = members[subject.kind]
    wanted = getattr(subject, member)
    if wanted is None:
        yield required(f"{path}.{member}", f"{member} is required when subject kind is '{subject.kind}'")
    else:
        yield from checks.present(f"{path}.{member}.name", wanted.name)
        if member == "serviceAccount":
            if wanted.name and wanted.name != "*":
                yield from checks.named(f"{path}.{member}.name", wanted.name, names.dns1123_subdomain)
            if wanted.namespace:
                yield from checks.named(f"{path}.{member}.namespace", wanted.namespace, names.dns1123_label)
            else:
                yield required(f"{path}.{member}.namespace", "must specify namespace for service account")
    for kind, other in members.items():
        if other != member and getattr(subject, other) is not None:
            yield field_forbidden(f"{path}.{other}", f"{other} is forbidden when subject kind is not '{kind}'")


def _verbs(path: str, verbs: list[str]) -> Faults:
    yield from _wildcard(path, verbs, "verbs must contain at least one value", "verbs")
    if verbs and "*" not in verbs and not set(verbs) <= set(_VERBS):
        yield not_supported(path, verbs, list(_VERBS))


def _wildcard(path: str, values: list[str], missing: str, what: str) -> Faults:
    if not values:
        yield required(path, missing)
    elif "*" in values and len(values) > 1:
        yield invalid_value(path, values, f"if '*' is present, must not specify other {what}")


def _resource_rule(path: str, rule: ResourcePolicyRule) -> Faults:
    yield from _verbs(f"{path}.verbs", rule.verbs)
    missing = "resource rules must supply at least one"
    yield from _wildcard(f"{path}.apiGroups", rule.apiGroups, f"{missing} api group", "api groups")
    yield from _wildcard(f"{path}.resources", rule.resources, f"{missing} resource", "resources")
    if not rule.namespaces and not rule.clusterScope:
        text = "resource rules that are not cluster scoped must supply at least one namespace"
        yield required(f"{path}.namespaces", text)
    elif "*" in rule.namespaces:
        yield from _wildcard(f"{path}.namespaces", rule.namespaces, "", "namespaces")
    else:
        for index, namespace in enumerate(rule.namespaces):
            for text in names.dns1123_label(namespace):
                words = f"each member of this list must be '*' or a DNS-1123 label; {text}"
                yield invalid_value(f"{path}.namespaces[{index}]", namespace, words)


def _path_rule(path: str, rule: NonResourcePolicyRule) -> Faults:
    yield from _verbs(f"{path}.verbs", rule.verbs)
    here, urls = f"{path}.nonResourceURLs", rule.nonResourceURLs
    yield from _wildcard(here, urls, "nonResourceURLs must contain at least one value", "non-resource URLs")
    if "*" not in urls:
        for index, url in enumerate(urls):
            if text := _path_fault(url):
                yield invalid_value(f"{here}[{index}]", url, text)


def _path_fault(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def _shares(path: str, part: Any) -> Faults:
    if (part.nominalConcurrencyShares or 0) < 0:
        yield invalid_value(f"{path}.nominalConcurrencyShares", part.nominalConcurrencyShares, _NOT_NEGATIVE)
    if not 0 <= (part.lendablePercent or 0) <= 100:
        yield invalid_value(f"{path}.lendablePercent", part.lendablePercent, _PERCENT)


def _limited(path: str, limited: LimitedPriorityLevelConfiguration) -> Faults:
    yield from _shares(path, limited)
    if (limited.borrowingLimitPercent or 0) < 0:
        text = f"if specified, {_NOT_NEGATIVE}"
        yield invalid_value(f"{path}.borrowingLimitPercent", limited.borrowingLimitPercent, text)
    yield from _response(f"{path}.limitResponse", limited.limitResponse)


def _response(path: str, response: LimitResponse) -> Faults:
    if response.type == "Reject":
        if response.queuing is not None:
            yield field_forbidden(f"{path}.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif response.type == "Queue":
        if response.queuing is None:
            yield required(f"{path}.queuing", "must not be empty if limited.limitResponse.type is Limited")
        else:
            yield from _queuing(f"{path}.queuing", response.queuing)
    else:
        yield not_supported(f"{path}.type", response.type, ["Queue", "Reject"])


def _queuing(path: str, queuing: QueuingConfiguration) -> Faults:
    queues, hand = queuing.queues or 0, queuing.handSize or 0
    if (queuing.queueLengthLimit or 0) <= 0:
        yield invalid_value(f"{path}.queueLengthLimit", queuing.queueLengthLimit, "must be positive")
    if queues <= 0:
        yield invalid_value(f"{path}.queues", queues, "must be positive")
    elif queues > QUEUES_MAX:
        yield invalid_value(f"{path}.queues", queues, f"must not be greater than {QUEUES_MAX}")
    if hand <= 0:
        yield invalid_value(f"{path}.handSize", hand, "must be positive")
    elif hand > queues:
        yield invalid_value(f"{path}.handSize", hand, f"should not be greater than queues ({queues})")
    elif hand > HASH_BITS_MAX + 4 or ceil(sum(log2(queues - dealt) for dealt in range(hand))) > HASH_BITS_MAX:
        text = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        )
        yield invalid_value(f"{path}.handSize", hand, text)
