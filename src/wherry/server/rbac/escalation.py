"""Nobody grants what they do not hold: the check on every write of roles and bindings.

A role's rules, or those of the role that a binding refers to, must be covered by the writer's own, unless the writer
holds the verb `escalate` on the role (`bind` for bindings) or is in system:masters. It takes part as an admission
plugin, though upstream builds it into the storage of the four kinds (pkg/registry/rbac/*/policybased).
"""

from itertools import product

from wherry.api.rbac_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from wherry.meta.errors import StatusError, forbidden, not_found, quote
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.rbac.authorizer import (
    MASTERS,
    AnyBinding,
    AnyRole,
    Authorizer,
    compile_binding,
    compile_rules,
    settled,
)
from wherry.server.rbac.bootstrap import GROUP
from wherry.server.rbac.evaluate import Index, Rule


class EscalationCheck(AdmissionPlugin):
    """Refuses roles and bindings that would give more than their writer has."""

    name = "RBACEscalation"
    kinds = frozenset((GROUP, plural) for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings"))

    def __init__(self, authorizer: Authorizer, index: Index) -> None:
        self._authorizer = authorizer
        self._index = index

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def validate(self, attributes: Attributes) -> None:
        """Raise 403 for an escalation, 404 when a binding's role is not there."""
        if MASTERS in attributes.user.groups:
            return
        if isinstance(attributes.object, ClusterRole | Role):
            await self._check_role(attributes, attributes.object, attributes.old_object)
        elif isinstance(attributes.object, ClusterRoleBinding | RoleBinding):
            await self._check_binding(attributes, attributes.object, attributes.old_object)

    async def _check_role(self, attributes: Attributes, role: AnyRole, old: AnyRole | None) -> None:
        aggregation = role.aggregationRule if isinstance(role, ClusterRole) else None
        if old is not None and old.rules == role.rules and getattr(old, "aggregationRule", None) == aggregation:
            return
        plural, name = attributes.resource.plural, role.metadata.name or ""
        if await self._may(attributes, "escalate", plural, attributes.namespace, name):
            return
        everything = Rule(frozenset("*"), frozenset("*"), frozenset("*"))
        if aggregation is not None and self._uncovered(attributes.user, [everything], ""):
            why = "must have cluster-admin privileges to use an aggregationRule"
            raise forbidden(attributes.resource.group_resource, name, why)
        self._require(attributes, compile_rules(role.rules), name)

    async def _check_binding(self, attributes: Attributes, binding: AnyBinding, old: AnyBinding | None) -> None:
        if old is not None and old.roleRef == binding.roleRef and old.subjects == binding.subjects:
            return
        key = compile_binding(binding).role
        plural = "roles" if key.namespace else "clusterroles"
        if await self._may(attributes, "bind", plural, attributes.namespace, key.name):
            return
        rules = self._index.role(key)
        if rules is None:
            raise not_found(f"{plural}.{GROUP}", key.name)
        self._require(attributes, list(rules), binding.metadata.name or "")

    async def _may(self, attributes: Attributes, verb: str, plural: str, namespace: str, name: str) -> bool:
        info = RequestInfo(verb, GROUP, "v1", plural, "", namespace, name, True)
        return bool((await settled(self._authorizer.authorize(attributes.user, info)))[0])

    def _uncovered(self, user: UserInfo, wanted: list[Rule], namespace: str) -> list[Rule]:
        held = [rule for _, _, rule in self._index.granted(user, namespace)]
        return [part for rule in wanted for part in split(rule) if not any(covers(own, part) for own in held)]

    def _require(self, attributes: Attributes, wanted: list[Rule], name: str) -> None:
        missing = self._uncovered(attributes.user, wanted, attributes.namespace)
        if missing:
            raise self._refusal(attributes, missing, name)

    def _refusal(self, attributes: Attributes, missing: list[Rule], name: str) -> StatusError:
        user = attributes.user
        groups = " ".join(quote(group) for group in user.groups)
        why = (
            f"user {quote(user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n"
            + "\n".join(sorted(shown(rule) for rule in compact(missing)))
        )
        errors = self._index.missing_roles(user, attributes.namespace)
        if errors:
            why += f"; resolution errors: [{', '.join(errors)}]"
        return forbidden(attributes.resource.group_resource, name, why)


def split(rule: Rule) -> list[Rule]:
    """A rule as rules of one verb, group, resource, name or path each, in a settled order."""
    one = frozenset[str]
    names = sorted(rule.names)
    parts = [
        Rule(one((verb,)), one((group,)), one((resource,)), one((name,)) if name else one())
        for group, resource, verb, name in product(
            sorted(rule.groups), sorted(rule.resources), sorted(rule.verbs), names or [""]
        )
    ]
    paths = product(sorted(rule.paths), sorted(rule.verbs))
    return parts + [Rule(one((verb,)), paths=one((path,))) for path, verb in paths]


def covers(owner: Rule, part: Rule) -> bool:
    """Whether `owner` allows all that `part` (from `split`) allows."""
    if not ("*" in owner.verbs or part.verbs <= owner.verbs):
        return False
    if part.paths:
        return all(path in owner.paths or _path_covered(owner.paths, path) for path in part.paths)
    return (
        ("*" in owner.groups or part.groups <= owner.groups)
        and all(_resource_covered(owner.resources, resource) for resource in part.resources)
        and (not owner.names or (bool(part.names) and part.names <= owner.names))
    )


def _path_covered(held: frozenset[str], path: str) -> bool:
    return any(pattern.endswith("*") and path.startswith(pattern[:-1]) for pattern in held)


def _resource_covered(held: frozenset[str], resource: str) -> bool:
    if "*" in held or resource in held:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in held


def compact(parts: list[Rule]) -> list[Rule]:
    """Rules that differ only in their verbs, joined."""
    joined: dict[tuple[frozenset[str], ...], Rule] = {}
    for part in parts:
        key = (part.groups, part.resources, part.names, part.paths)
        known = joined.get(key)
        joined[key] = Rule(part.verbs | known.verbs if known else part.verbs, *key)
    return list(joined.values())


def shown(rule: Rule) -> str:
    """A rule in the form that messages have: {APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}."""
    fields = [
        ("APIGroups", rule.groups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.paths),
        ("ResourceNames", rule.names),
        ("Verbs", rule.verbs),
    ]
    return "{" + ", ".join(f"{name}:[{' '.join(map(quote, sorted(held)))}]" for name, held in fields if held) + "}"
