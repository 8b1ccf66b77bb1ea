"""The authorizers behind `--authorization-mode`, each answering one question: may this user make this request?

`authorize(user, info)` returns whether, and the reason. `Union` asks one after the other and takes the first yes. Roles
and bindings reach `RbacAuthorizer` as changes (old, new), the way informers and watch caches report them; see
evaluate.py for what is made of them.
"""

from typing import Protocol

from wherry.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding
from wherry.meta.errors import quote
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.rbac.bootstrap import node_rules
from wherry.server.rbac.evaluate import SERVICE_ACCOUNT_PREFIX, Binding, BindingKey, Index, RoleKey, Rule, Subject
from wherry.server.strategies.strategy import Caches

MASTERS, NODES = "system:masters", "system:nodes"
NODE_PREFIX = "system:node:"
NODE_LEASES = "kube-node-lease"

AnyRole = ClusterRole | Role
AnyBinding = ClusterRoleBinding | RoleBinding


class Authorizer(Protocol):
    """Says yes, or has no opinion (which is a no when nobody says yes)."""

    def authorize(self, user: UserInfo, info: RequestInfo) -> tuple[bool, str]:
        """Whether `user` may make this request, and why."""


class AlwaysAllow:
    """`--authorization-mode=AlwaysAllow`."""

    def authorize(self, user: UserInfo, info: RequestInfo) -> tuple[bool, str]:
        return True, ""


class Masters:
    """Group system:masters may do everything, whatever the roles say: the way back in after a mistake."""

    def authorize(self, user: UserInfo, info: RequestInfo) -> tuple[bool, str]:
        return MASTERS in user.groups, ""


class Union:
    """The first yes wins; a no gives everyone's reasons."""

    def __init__(self, *authorizers: Authorizer) -> None:
        self._authorizers = authorizers

    def authorize(self, user: UserInfo, info: RequestInfo) -> tuple[bool, str]:
        reasons = []
        for authorizer in self._authorizers:
            allowed, reason = authorizer.authorize(user, info)
            if allowed:
                return True, reason
            if reason:
                reasons.append(reason)
        return False, ", ".join(reasons)


class RbacAuthorizer:
    """Roles and bindings."""

    def __init__(self) -> None:
        self.index = Index()

    def load(self, caches: Caches) -> None:
        """Take over all that is stored, once, before the first request."""
        for cluster_role in caches.list(ClusterRole):
            self.role_changed(None, cluster_role)
        for role in caches.list(Role):
            self.role_changed(None, role)
        for cluster_binding in caches.list(ClusterRoleBinding):
            self.binding_changed(None, cluster_binding)
        for binding in caches.list(RoleBinding):
            self.binding_changed(None, binding)

    def role_changed(self, old: AnyRole | None, new: AnyRole | None) -> None:
        """A Role or ClusterRole was added (no `old`), changed or deleted (no `new`)."""
        if new is not None:
            self.index.put_role(role_key(new), compile_rules(new.rules))
        elif old is not None:
            self.index.remove_role(role_key(old))

    def binding_changed(self, old: AnyBinding | None, new: AnyBinding | None) -> None:
        """A RoleBinding or ClusterRoleBinding was added, changed or deleted."""
        if new is not None:
            self.index.put_binding(compile_binding(new))
        elif old is not None:
            self.index.remove_binding(BindingKey(old.metadata.namespace or "", old.metadata.name or ""))

    def authorize(self, user: UserInfo, info: RequestInfo) -> tuple[bool, str]:
        if info.is_resource_request:
            return self.index.authorize(
                user, info.verb, info.api_group, info.resource, info.subresource, info.namespace, info.name
            )
        return self.index.authorize_path(user, info.verb, info.path)


class NodeAuthorizer:
    """Kubelets (group system:nodes): the rules of system:node, and of nodes, leases and CSINodes only their own."""

    def __init__(self) -> None:
        self._index = Index()
        key = RoleKey("", "system:node")
        self._index.put_role(key, compile_rules(node_rules()))
        subject = Subject("Group", NODES, f"Group {quote(NODES)}")
        self._index.put_binding(Binding(BindingKey("", "system:node"), key, (subject,)))

    def authorize(self, user: UserInfo, info: RequestInfo) -> tuple[bool, str]:
        if NODES not in user.groups or not info.is_resource_request:
            return False, ""
        if not user.name.startswith(NODE_PREFIX):
            return False, f"unknown node for user {quote(user.name)}"
        node = user.name[len(NODE_PREFIX) :]
        if refusal := _foreign(node, info):
            return False, refusal
        allowed, _ = self._index.authorize(
            user, info.verb, info.api_group, info.resource, info.subresource, info.namespace, info.name
        )
        return allowed, ""


def _foreign(node: str, info: RequestInfo) -> str:
    """Why `node` may not touch this object, "" when it may."""
    owned = (info.api_group, info.resource)
    if owned == ("coordination.k8s.io", "leases"):
        if info.namespace != NODE_LEASES:
            return f"can only access leases in the {quote(NODE_LEASES)} system namespace"
        if info.verb != "create" and info.name != node:
            return "can only access node lease with the same name as the requesting node"
    elif owned == ("storage.k8s.io", "csinodes"):
        if info.verb != "create" and info.name != node:
            return "can only access CSINode with the same name as the requesting node"
    elif owned == ("", "nodes") and info.verb in ("get", "update", "patch") and info.name != node:
        verb = "read" if info.verb == "get" else info.verb
        return f"node {quote(node)} cannot {verb} {quote(info.name)}, only its own Node object"
    return ""


# From stored objects to the index ------------------------------------------------------------------------------------


def role_key(role: AnyRole) -> RoleKey:
    """The index's name of a role."""
    return RoleKey(role.metadata.namespace or "", role.metadata.name or "")


def compile_rules(rules: list[PolicyRule]) -> list[Rule]:
    """Lists to sets."""
    return [
        Rule(
            frozenset(rule.verbs),
            frozenset(rule.apiGroups),
            frozenset(rule.resources),
            frozenset(rule.resourceNames),
            frozenset(rule.nonResourceURLs),
        )
        for rule in rules
    ]


def compile_binding(binding: AnyBinding) -> Binding:
    """A binding with its role reference resolved to a key, and service accounts turned into the users they are."""
    namespace = binding.metadata.namespace or ""
    role_namespace = namespace if binding.roleRef.kind == "Role" else ""
    subjects = []
    for subject in binding.subjects:
        if subject.kind == "ServiceAccount":
            account_namespace = subject.namespace or namespace
            user = f"{SERVICE_ACCOUNT_PREFIX}{account_namespace}:{subject.name}"
            shown = f"ServiceAccount {quote(f'{subject.name}/{account_namespace}')}"
            subjects.append(Subject("User", user, shown))
        else:
            subjects.append(Subject(subject.kind, subject.name, f"{subject.kind} {quote(subject.name)}"))
    key = BindingKey(namespace, binding.metadata.name or "")
    return Binding(key, RoleKey(role_namespace, binding.roleRef.name), tuple(subjects))
