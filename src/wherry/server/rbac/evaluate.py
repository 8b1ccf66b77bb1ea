"""May this user do this? Roles and bindings compiled into an index that answers from one dictionary look-up.

`Index` is fed every Role, ClusterRole, RoleBinding and ClusterRoleBinding, and each change of one (`put`, `remove`); it
never looks anything up itself. For a user and namespace it gathers the rules that apply; the answer for one (verb,
group, resource) is remembered until a role or binding changes, so a busy client costs a microsecond.

Semantics: kubernetes, plugin/pkg/auth/authorizer/rbac and pkg/registry/rbac/validation. Read escalation.py next.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from wherry.meta.errors import quote
from wherry.server.http import UserInfo

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
DECISIONS_MAX = 16384
"""Remembered answers, about 300 bytes each; past it all are forgotten, which costs one evaluation each."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One PolicyRule. Sets, because order never matters."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()

    def permits_verb(self, verb: str) -> bool:
        """`verb` is listed, or all are."""
        return verb in self.verbs or "*" in self.verbs

    def permits(self, verb: str, group: str, resource: str, subresource: str) -> bool:
        """Everything but the object's name matches."""
        if not self.permits_verb(verb) or not (group in self.groups or "*" in self.groups):
            return False
        if "*" in self.resources:
            return True
        if not subresource:
            return resource in self.resources
        return f"{resource}/{subresource}" in self.resources or f"*/{subresource}" in self.resources

    def permits_path(self, verb: str, path: str) -> bool:
        """For paths that are no resources; a trailing * matches any rest."""
        if not self.permits_verb(verb):
            return False
        return path in self.paths or any(p.endswith("*") and path.startswith(p[:-1]) for p in self.paths)


@dataclass(frozen=True, slots=True)
class RoleKey:
    """Names a Role (with a namespace) or a ClusterRole (without)."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class BindingKey:
    """Names a RoleBinding (with a namespace) or a ClusterRoleBinding (without)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f'RoleBinding "{self.name}/{self.namespace}"' if self.namespace else f'ClusterRoleBinding "{self.name}"'


@dataclass(frozen=True, slots=True)
class Subject:
    """kind is User or Group; service accounts are the users they authenticate as. `shown` is for reasons."""

    kind: str
    name: str
    shown: str = field(compare=False, default="")


@dataclass(frozen=True, slots=True)
class Binding:
    """One role given to subjects, in a namespace or everywhere."""

    key: BindingKey
    role: RoleKey
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was found for one (user, namespace, verb, group, resource), before the object's name is looked at."""

    allowed: str | None
    """The reason, when any name is allowed."""
    names: dict[str, str]
    """Reasons by name, when only some names are allowed."""
    refused: str
    """The reason when neither matches: roles that bindings refer to and that are missing."""


Granted = tuple[Binding, Subject, Rule]


class Index:
    """The compiled roles and bindings of a cluster."""

    def __init__(self) -> None:
        self._roles: dict[RoleKey, tuple[Rule, ...]] = {}
        self._bindings: dict[BindingKey, Binding] = {}
        self._by_subject: dict[Subject, dict[str, dict[BindingKey, Binding]]] = {}
        self._decisions: dict[tuple[str, tuple[str, ...], str, str, str, str, str], Decision] = {}

    def put_role(self, key: RoleKey, rules: Iterable[Rule]) -> None:
        """Add or replace a role."""
        self._roles[key] = tuple(rules)
        self._decisions.clear()

    def remove_role(self, key: RoleKey) -> None:
        """Forget a role."""
        self._roles.pop(key, None)
        self._decisions.clear()

    def put_binding(self, binding: Binding) -> None:
        """Add or replace a binding."""
        self.remove_binding(binding.key)
        self._bindings[binding.key] = binding
        for subject in binding.subjects:
            scopes = self._by_subject.setdefault(subject, {})
            scopes.setdefault(binding.key.namespace, {})[binding.key] = binding

    def remove_binding(self, key: BindingKey) -> None:
        """Forget a binding."""
        self._decisions.clear()
        binding = self._bindings.pop(key, None)
        for subject in binding.subjects if binding else ():
            scopes = self._by_subject.get(subject, {})
            scopes.get(key.namespace, {}).pop(key, None)
            if not scopes.get(key.namespace):
                scopes.pop(key.namespace, None)
            if not scopes:
                self._by_subject.pop(subject, None)

    def role(self, key: RoleKey) -> tuple[Rule, ...] | None:
        """A role's rules, or None."""
        return self._roles.get(key)

    def authorize(
        self, user: UserInfo, verb: str, group: str, resource: str, subresource: str, namespace: str, name: str
    ) -> tuple[bool | None, str]:
        """Whether `user` may do `verb` to a resource (never False: roles only allow), and why."""
        key = (user.name, tuple(user.groups), namespace, verb, group, resource, subresource)
        decision = self._decisions.get(key)
        if decision is None:
            if len(self._decisions) >= DECISIONS_MAX:
                self._decisions.clear()
            decision = self._decisions[key] = self._decide(user, namespace, verb, group, resource, subresource)
        if decision.allowed is not None:
            return True, decision.allowed
        reason = decision.names.get(name) if decision.names and name else None
        return (True, reason) if reason is not None else (None, decision.refused)

    def authorize_path(self, user: UserInfo, verb: str, path: str) -> tuple[bool | None, str]:
        """Whether `user` may do `verb` to a path that is no resource, and why."""
        for binding, subject, rule in self.granted(user, ""):
            if rule.paths and rule.permits_path(verb, path):
                return True, _reason(binding, subject)
        return None, self._missing_roles(user, "")

    def granted(self, user: UserInfo, namespace: str) -> Iterator[Granted]:
        """Every rule that `user` has in `namespace` ("" for the cluster), with the binding and subject behind it."""
        for binding, subject in self._bound(user, namespace):
            for rule in self._roles.get(binding.role, ()):
                yield binding, subject, rule

    def missing_roles(self, user: UserInfo, namespace: str) -> list[str]:
        """An error for each role that is bound to `user` but is not there."""
        missing = {b.role: None for b, _ in self._bound(user, namespace) if b.role not in self._roles}
        return [_missing(role) for role in missing]

    def _bound(self, user: UserInfo, namespace: str) -> Iterator[tuple[Binding, Subject]]:
        scopes = ("", namespace) if namespace else ("",)
        subjects = [Subject("User", user.name), *(Subject("Group", group) for group in user.groups)]
        for scope in scopes:
            for subject in subjects:
                for binding in self._by_subject.get(subject, {}).get(scope, {}).values():
                    yield binding, next(item for item in binding.subjects if item == subject)

    def _decide(
        self, user: UserInfo, namespace: str, verb: str, group: str, resource: str, subresource: str
    ) -> Decision:
        names: dict[str, str] = {}
        for binding, subject, rule in self.granted(user, namespace):
            if rule.permits(verb, group, resource, subresource):
                reason = _reason(binding, subject)
                if not rule.names:
                    return Decision(reason, {}, "")
                for name in rule.names:
                    names.setdefault(name, reason)
        return Decision(None, names, self._missing_roles(user, namespace))

    def _missing_roles(self, user: UserInfo, namespace: str) -> str:
        missing = self.missing_roles(user, namespace)
        if not missing:
            return ""
        return f"RBAC: {missing[0]}" if len(missing) == 1 else f"RBAC: [{', '.join(missing)}]"


def _reason(binding: Binding, subject: Subject) -> str:
    return f"RBAC: allowed by {binding.key} of {_role_shown(binding.role)} to {subject.shown}"


def _role_shown(role: RoleKey) -> str:
    return f"{'Role' if role.namespace else 'ClusterRole'} {quote(role.name)}"


def _missing(role: RoleKey) -> str:
    plural = "role" if role.namespace else "clusterrole"
    return f"{plural}.rbac.authorization.k8s.io {quote(role.name)} not found"
