"""The authorizers behind `--authorization-mode`, each answering one question: may this user make this request?

`authorize(user, info)` returns the verdict and the reason: yes, no, or no opinion, which is a no when nobody says yes.
Who must ask a remote party returns an awaitable of it instead; `settled` takes both. `Union` asks one after the other
and takes the first yes or no. Roles and bindings reach `RbacAuthorizer` as changes (old, new), the way informers and
watch caches report them; see evaluate.py for what is made of them. Kubelets: node.py.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from wherry.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding
from wherry.meta.errors import quote
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.rbac.evaluate import SERVICE_ACCOUNT_PREFIX, Binding, BindingKey, Index, RoleKey, Rule, Subject
from wherry.server.strategies.strategy import Caches

MASTERS = "system:masters"

AnyRole = ClusterRole | Role
AnyBinding = ClusterRoleBinding | RoleBinding


Verdict = tuple[bool | None, str]
"""True: allowed; False: refused, whatever others say; None: no opinion. And why."""


@dataclass(slots=True)
class Held:
    """Rules that a user has in a namespace, as far as they can be listed; `errors` say what may be missing."""

    rules: list[Rule] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Authorizer(Protocol):
    """Says yes, says no, or has no opinion."""

    def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict | Awaitable[Verdict]:
        """Whether `user` may make this request, and why; awaitable only where somebody else has to be asked."""

    def rules_for(self, user: UserInfo, namespace: str) -> Held:
        """What can be told of the user's rules (SelfSubjectRulesReview)."""


async def settled(verdict: Verdict | Awaitable[Verdict]) -> Verdict:
    """The verdict itself."""
    return verdict if isinstance(verdict, tuple) else await verdict


class AlwaysAllow:
    """`--authorization-mode=AlwaysAllow`."""

    def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict:
        return True, ""

    def rules_for(self, user: UserInfo, namespace: str) -> Held:
        every = frozenset("*")
        return Held([Rule(every, every, every), Rule(every, paths=every)])


class AlwaysDeny:
    """`--authorization-mode=AlwaysDeny`."""

    def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict:
        return None, "Everything is forbidden."

    def rules_for(self, user: UserInfo, namespace: str) -> Held:
        return Held()


class Masters:
    """Group system:masters may do everything, whatever the roles say: the way back in after a mistake."""

    def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict:
        return (True if MASTERS in user.groups else None), ""

    def rules_for(self, user: UserInfo, namespace: str) -> Held:
        return Held()  # cluster-admin says it


class Union:
    """The first yes or no decides; without one, everyone's reasons are given."""

    def __init__(self, *authorizers: Authorizer) -> None:
        self._authorizers = authorizers

    def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict | Awaitable[Verdict]:
        reasons = ""
        for position, authorizer in enumerate(self._authorizers):
            verdict = authorizer.authorize(user, info)
            if not isinstance(verdict, tuple):
                return self._asking(user, info, position, verdict, reasons)
            if verdict[0] is not None:
                return verdict
            if verdict[1]:
                reasons = f"{reasons}, {verdict[1]}" if reasons else verdict[1]
        return None, reasons

    async def _asking(
        self, user: UserInfo, info: RequestInfo, position: int, first: Awaitable[Verdict], reasons: str
    ) -> Verdict:
        """The rest of `authorize`, from the first authorizer on that takes its time."""
        verdict = await first
        if verdict[0] is None and position + 1 < len(self._authorizers):
            rest = await settled(Union(*self._authorizers[position + 1 :]).authorize(user, info))
            verdict = rest[0], rest[1] if rest[0] is not None else ", ".join(filter(None, (verdict[1], rest[1])))
        if verdict[0] is None:
            return None, ", ".join(filter(None, (reasons, verdict[1])))
        return verdict

    def rules_for(self, user: UserInfo, namespace: str) -> Held:
        total = Held()
        for authorizer in self._authorizers:
            held = authorizer.rules_for(user, namespace)
            total.rules += held.rules
            total.errors += held.errors
        return total


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

    def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict:
        if info.is_resource_request:
            return self.index.authorize(
                user, info.verb, info.api_group, info.resource, info.subresource, info.namespace, info.name
            )
        return self.index.authorize_path(user, info.verb, info.path)

    def rules_for(self, user: UserInfo, namespace: str) -> Held:
        rules = [rule for _, _, rule in self.index.granted(user, namespace)]
        return Held(rules, self.index.missing_roles(user, namespace))


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
