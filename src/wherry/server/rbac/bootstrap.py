"""The bootstrap policy as objects, and its reconciliation: run on every start, before the server calls itself ready.

`objects` reads the tables of policy.py. `plan_role` and `plan_binding` say what an existing object lacks: as upstream,
rules and subjects are added and never taken away, and objects annotated autoupdate=false are left alone. `reconcile`
writes through the API like anyone else; all writes go out at once, so that they share group commits.
"""

import asyncio
from collections.abc import Iterable, Iterator

from wherry.api.meta_v1 import LabelSelector
from wherry.api.rbac_v1 import (
    AggregationRule,
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)
from wherry.client.client import Client
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.wire import deep_copy
from wherry.server.rbac import policy
from wherry.server.strategies.strategy import Caches

GROUP = "rbac.authorization.k8s.io"
CONTROLLER_PREFIX = "system:controller:"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_READ, _WRITE = ["get", "list", "watch"], ["create", "delete", "deletecollection", "patch", "update"]
_VERBS = {"read": _READ, "write": _WRITE, "all": sorted(_READ + _WRITE)}

AnyRole = ClusterRole | Role
AnyBinding = ClusterRoleBinding | RoleBinding


def objects() -> list[AnyRole | AnyBinding]:
    """The whole policy, roles before the bindings that refer to them."""
    controllers = [name for name, _, _ in _sections(policy.CONTROLLER_ROLES)]
    return [
        *cluster_roles(),
        *(_role(ns, name, lines) for ns, text in policy.ROLES.items() for name, _, lines in _sections(text)),
        *(_cluster_binding(line) for line in _lines(policy.CLUSTER_ROLE_BINDINGS)),
        *(_cluster_binding(f"{CONTROLLER_PREFIX}{name} account={name}") for name in controllers),
        *(_role_binding(ns, line) for ns, text in policy.ROLE_BINDINGS.items() for line in _lines(text)),
    ]


def cluster_roles() -> list[ClusterRole]:
    """Every ClusterRole; aggregated ones come with their sum, so that nobody waits for the aggregation controller."""
    roles = [_cluster_role(name, marks, lines) for name, marks, lines in _sections(policy.CLUSTER_ROLES)]
    roles += [
        _cluster_role(CONTROLLER_PREFIX + name, [], lines) for name, _, lines in _sections(policy.CONTROLLER_ROLES)
    ]
    by_name = {role.metadata.name: role for role in roles}
    for name in ("view", "edit", "admin"):
        parts = sorted(
            (r for r in roles if _AGGREGATE + name in r.metadata.labels), key=lambda r: r.metadata.name or ""
        )
        total: list[PolicyRule] = []
        for part in parts:
            total += [rule for rule in part.rules if rule not in total]
        by_name[name].rules = total
    return roles


def node_rules() -> list[PolicyRule]:
    """What the Node authorizer grants to group system:nodes."""
    return next(role for role in cluster_roles() if role.metadata.name == "system:node").rules


def plan_role(wanted: AnyRole, found: AnyRole | None) -> AnyRole | None:
    """The object to write so that `found` holds at least what is wanted; None when it does."""
    if found is None:
        return wanted
    if found.metadata.annotations.get(AUTOUPDATE) == "false":
        return None
    new = deep_copy(found)
    _merge_metadata(new.metadata, wanted.metadata)
    if isinstance(new, ClusterRole) and isinstance(wanted, ClusterRole) and wanted.aggregationRule:
        new.aggregationRule = wanted.aggregationRule
    else:
        new.rules += [rule for rule in wanted.rules if rule not in new.rules]
    return None if new == found else new


def plan_binding(wanted: AnyBinding, found: AnyBinding | None) -> AnyBinding | None:
    """As `plan_role`; a binding of the same name to another role is left as it is (roleRef cannot change)."""
    if found is None:
        return wanted
    if found.metadata.annotations.get(AUTOUPDATE) == "false" or found.roleRef != wanted.roleRef:
        return None
    new = deep_copy(found)
    _merge_metadata(new.metadata, wanted.metadata)
    new.subjects += [subject for subject in wanted.subjects if subject not in new.subjects]
    return None if new == found else new


async def reconcile(client: Client, caches: Caches) -> int:
    """Bring the stored policy up to date; returns how many objects were written. Namespaces must exist."""
    writes = []
    for wanted in objects():
        name, namespace = wanted.metadata.name or "", wanted.metadata.namespace
        if isinstance(wanted, ClusterRole | Role):
            found_role = caches.get(type(wanted), namespace, name)
            new: AnyRole | AnyBinding | None = plan_role(wanted, found_role)
            exists = found_role is not None
        else:
            found_binding = caches.get(type(wanted), namespace, name)
            new, exists = plan_binding(wanted, found_binding), found_binding is not None
        if new is not None:
            writes.append(_write(client, new, exists))
    await asyncio.gather(*writes)
    return len(writes)


async def _write(client: Client, obj: AnyRole | AnyBinding, exists: bool) -> None:
    try:
        await (client.update(obj) if exists else client.create(obj))
    except StatusError as error:
        if error.reason not in ("AlreadyExists", "Conflict"):  # another server reconciles the same policy
            raise


def _merge_metadata(target: ObjectMeta, wanted: ObjectMeta) -> None:
    target.labels = wanted.labels | target.labels
    target.annotations = wanted.annotations | target.annotations


# Reading the tables --------------------------------------------------------------------------------------------------


def _lines(text: str) -> Iterator[str]:
    line = ""
    for part in text.splitlines():
        if part.startswith("    "):
            line += part.strip() if line.endswith(",") else f" {part.strip()}"
            continue
        if line:
            yield line
        line = part
    if line:
        yield line


def _sections(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    name, marks, rules = "", [""], list[str]()
    for line in _lines(text):
        if line.startswith("  "):
            rules.append(line)
            continue
        if name:
            yield name, marks, rules
        (name, *marks), rules = line.split(" "), []
    yield name, marks, rules


def _metadata(name: str, namespace: str | None = None) -> ObjectMeta:
    return ObjectMeta(
        name=name,
        namespace=namespace,
        labels={"kubernetes.io/bootstrapping": "rbac-defaults"},
        annotations={AUTOUPDATE: "true"},
    )


def _rule(line: str) -> PolicyRule:
    verbs, groups, targets, *names = line.split()
    expanded = _VERBS.get(verbs) or sorted(verbs.split(","))
    if groups == "url":
        return PolicyRule(verbs=expanded, nonResourceURLs=targets.split(","))
    return PolicyRule(
        verbs=expanded,
        apiGroups=["" if group == "core" else group for group in groups.split(",")],
        resources=targets.split(","),
        resourceNames=names[0].split(",") if names else [],
    )


def _cluster_role(name: str, marks: Iterable[str], lines: list[str]) -> ClusterRole:
    role = ClusterRole(metadata=_metadata(name), rules=[_rule(line) for line in lines])
    direction = iter(marks)
    for mark, target in zip(direction, direction, strict=True):
        label = {_AGGREGATE + target: "true"}
        if mark == ">":
            role.metadata.labels |= label
        else:
            role.aggregationRule = AggregationRule(clusterRoleSelectors=[LabelSelector(matchLabels=label)])
    return role


def _role(namespace: str, name: str, lines: list[str]) -> Role:
    return Role(metadata=_metadata(name, namespace), rules=[_rule(line) for line in lines])


def _cluster_binding(line: str) -> ClusterRoleBinding:
    name, *subjects = line.split(" ")
    return ClusterRoleBinding(
        metadata=_metadata(name),
        roleRef=RoleRef(apiGroup=GROUP, kind="ClusterRole", name=name),
        subjects=[_subject(text) for text in subjects],
    )


def _role_binding(namespace: str, line: str) -> RoleBinding:
    names, *subjects = line.split(" ")
    name, _, role = names.partition("=")
    return RoleBinding(
        metadata=_metadata(name, namespace),
        roleRef=RoleRef(apiGroup=GROUP, kind="Role", name=role or name),
        subjects=[_subject(text) for text in subjects],
    )


def _subject(text: str) -> Subject:
    kind, _, name = text.partition("=")
    if kind == "account":
        return Subject(kind="ServiceAccount", name=name, namespace="kube-system")
    return Subject(kind=kind.title(), apiGroup=GROUP, name=name)
