"""The FlowSchemas and PriorityLevelConfigurations that every cluster begins with, as two tables.

Mandatory ones (exempt, catch-all) are always in force and cannot be changed in what matters; suggested ones are kept as
they are here until an administrator says otherwise (keeping.py). Source: k8s.io/apiserver, apis/flowcontrol/bootstrap.
"""

from wherry.api.flowcontrol_v1 import (
    ExemptPriorityLevelConfiguration,
    FlowDistinguisherMethod,
    FlowSchema,
    FlowSchemaSpec,
    GroupSubject,
    LimitedPriorityLevelConfiguration,
    LimitResponse,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    PriorityLevelConfiguration,
    PriorityLevelConfigurationReference,
    PriorityLevelConfigurationSpec,
    QueuingConfiguration,
    ResourcePolicyRule,
    ServiceAccountSubject,
    Subject,
    UserSubject,
)
from wherry.meta.object import ObjectMeta

MANDATORY = frozenset({"exempt", "catch-all"})
_EVERYBODY = ("g:system:unauthenticated", "g:system:authenticated")
_MANAGER, _SCHEDULER = "u:system:kube-controller-manager", "u:system:kube-scheduler"

# Name: shares, lendable percent, (queues, hand size, queue length limit) or None to reject.
_LEVELS: dict[str, tuple[int, int, tuple[int, int, int] | None]] = {
    "catch-all": (5, 0, None),
    "system": (30, 33, (64, 6, 50)),
    "node-high": (40, 25, (64, 6, 50)),
    "leader-election": (10, 0, (16, 4, 50)),
    "workload-high": (40, 50, (128, 6, 50)),
    "workload-low": (100, 90, (128, 6, 50)),
    "global-default": (20, 50, (128, 6, 50)),
}

# Verbs, API group, resources, namespaces, cluster scope; or verbs and paths.
_Rule = tuple[str, str, str, str, bool] | tuple[str, str]
_ALL: tuple[_Rule, ...] = (("*", "*", "*", "*", True), ("*", "*"))
_LEASES: _Rule = ("get create update", "coordination.k8s.io", "leases", "*", False)
# Name, level, precedence, distinguisher, subjects (g: group, u: user, s: service account of kube-system), rules.
_SCHEMAS: tuple[tuple[str, str, int, str, tuple[str, ...], tuple[_Rule, ...]], ...] = (
    ("exempt", "exempt", 1, "", ("g:system:masters",), _ALL),
    ("probes", "exempt", 2, "", _EVERYBODY, (("get", "/healthz /readyz /livez"),)),
    ("system-leader-election", "leader-election", 100, "ByUser", (_MANAGER, _SCHEDULER, "s:*"), (_LEASES,)),
    (
        *("endpoint-controller", "workload-high", 150, "ByUser"),
        (_MANAGER, "s:endpoint-controller", "s:endpointslicemirroring-controller"),
        (("get create update", "", "endpoints", "*", False),),
    ),
    ("workload-leader-election", "leader-election", 200, "ByUser", ("s:*",), (_LEASES,)),
    (
        *("system-node-high", "node-high", 400, "ByUser", ("g:system:nodes",)),
        (("*", "", "nodes nodes/status", "*", True), ("*", "coordination.k8s.io", "leases", "*", False)),
    ),
    ("system-nodes", "system", 500, "ByUser", ("g:system:nodes",), _ALL),
    ("kube-controller-manager", "workload-high", 800, "ByNamespace", (_MANAGER,), _ALL),
    ("kube-scheduler", "workload-high", 800, "ByNamespace", (_SCHEDULER,), _ALL),
    ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", ("s:*",), _ALL),
    ("service-accounts", "workload-low", 9000, "ByUser", ("g:system:serviceaccounts",), _ALL),
    ("global-default", "global-default", 9900, "ByUser", _EVERYBODY, _ALL),
    ("catch-all", "catch-all", 10000, "ByUser", _EVERYBODY, _ALL),
)


def levels() -> list[PriorityLevelConfiguration]:
    """All priority levels, mandatory ones included."""
    exempt = ExemptPriorityLevelConfiguration(nominalConcurrencyShares=0, lendablePercent=0)
    made = [_level("exempt", PriorityLevelConfigurationSpec(type="Exempt", exempt=exempt))]
    for name, (shares, lendable, queuing) in _LEVELS.items():
        response = LimitResponse(type="Reject")
        if queuing is not None:
            queues, hand, length = queuing
            queue = QueuingConfiguration(queues=queues, handSize=hand, queueLengthLimit=length)
            response = LimitResponse(type="Queue", queuing=queue)
        limited = LimitedPriorityLevelConfiguration(
            nominalConcurrencyShares=shares, lendablePercent=lendable, limitResponse=response
        )
        made.append(_level(name, PriorityLevelConfigurationSpec(type="Limited", limited=limited)))
    return made


def schemas() -> list[FlowSchema]:
    """All flow schemas, mandatory ones included."""
    made = []
    for name, level, precedence, method, subjects, rules in _SCHEMAS:
        policy = PolicyRulesWithSubjects(
            subjects=[_subject(text) for text in subjects],
            resourceRules=[_resource_rule(*rule) for rule in rules if len(rule) == 5],
            nonResourceRules=[_path_rule(*rule) for rule in rules if len(rule) == 2],
        )
        spec = FlowSchemaSpec(
            priorityLevelConfiguration=PriorityLevelConfigurationReference(name=level),
            matchingPrecedence=precedence,
            distinguisherMethod=FlowDistinguisherMethod(type=method) if method else None,
            rules=[policy],
        )
        made.append(FlowSchema(metadata=ObjectMeta(name=name), spec=spec))
    return made


def _level(name: str, spec: PriorityLevelConfigurationSpec) -> PriorityLevelConfiguration:
    return PriorityLevelConfiguration(metadata=ObjectMeta(name=name), spec=spec)


def _subject(text: str) -> Subject:
    kind, _, name = text.partition(":")
    if kind == "g":
        return Subject(kind="Group", group=GroupSubject(name=name))
    if kind == "u":
        return Subject(kind="User", user=UserSubject(name=name))
    return Subject(kind="ServiceAccount", serviceAccount=ServiceAccountSubject(namespace="kube-system", name=name))


def _resource_rule(verbs: str, group: str, resources: str, namespaces: str, cluster: bool) -> ResourcePolicyRule:
    return ResourcePolicyRule(
        verbs=verbs.split(),
        apiGroups=[group],
        resources=resources.split(),
        namespaces=[namespaces],
        clusterScope=cluster or None,
    )


def _path_rule(verbs: str, paths: str) -> NonResourcePolicyRule:
    return NonResourcePolicyRule(verbs=verbs.split(), nonResourceURLs=paths.split())
