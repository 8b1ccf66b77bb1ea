"""Which FlowSchema a request belongs to.

Schemas are asked in the order of matchingPrecedence, then name. fairness.py remembers the answer for each combination
of user, verb and resource, so that this runs when something is new. Source: k8s.io/apiserver, util/flowcontrol/rule.go.
"""

from collections.abc import Iterable, Sequence

from wherry.api.flowcontrol_v1 import (
    FlowSchema,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    ResourcePolicyRule,
    Subject,
)
from wherry.server.authn.identity import split_service_account
from wherry.server.http import RequestInfo, UserInfo


def in_order(schemas: Iterable[FlowSchema]) -> list[FlowSchema]:
    """Schemas as they are asked."""
    return sorted(schemas, key=lambda schema: (schema.spec.matchingPrecedence or 1000, schema.metadata.name or ""))


def matches(schema: FlowSchema, user: UserInfo, info: RequestInfo) -> bool:
    """Whether a request belongs to `schema`."""
    return any(_policy_matches(policy, user, info) for policy in schema.spec.rules)


def _policy_matches(policy: PolicyRulesWithSubjects, user: UserInfo, info: RequestInfo) -> bool:
    if not any(_is(subject, user) for subject in policy.subjects):
        return False
    if info.is_resource_request:
        return any(_resource_matches(rule, info) for rule in policy.resourceRules)
    return any(_path_matches(rule, info) for rule in policy.nonResourceRules)


def _is(subject: Subject, user: UserInfo) -> bool:
    if subject.user is not None and subject.kind == "User":
        return subject.user.name in ("*", user.name)
    if subject.group is not None and subject.kind == "Group":
        return subject.group.name == "*" or subject.group.name in user.groups
    if subject.serviceAccount is not None and subject.kind == "ServiceAccount":
        account = split_service_account(user.name)
        wanted = subject.serviceAccount
        return account is not None and account[0] == wanted.namespace and wanted.name in ("*", account[1])
    return False


def _resource_matches(rule: ResourcePolicyRule, info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    return (
        _listed(rule.verbs, info.verb)
        and _listed(rule.apiGroups, info.api_group)
        and _listed(rule.resources, resource)
        and (_listed(rule.namespaces, info.namespace) if info.namespace else bool(rule.clusterScope))
    )


def _path_matches(rule: NonResourcePolicyRule, info: RequestInfo) -> bool:
    if not _listed(rule.verbs, info.verb):
        return False
    path = info.path
    for wanted in rule.nonResourceURLs:
        if wanted in ("*", path) or (wanted.endswith("*") and path.startswith(wanted[:-1])):
            return True
    return False


def _listed(allowed: Sequence[str], value: str) -> bool:
    return value in allowed or "*" in allowed
