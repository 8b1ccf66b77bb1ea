"""The rules of a PodSpec and of a pod template.

Containers are in container_rules.py, volumes in volume_rules.py; pod.py adds what may change.
"""

from collections.abc import Sequence

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required
from wherry.server.strategies import addresses, checks, container_rules, metadata, volume_rules
from wherry.server.strategies.checks import Faults

RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_NODE_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")


def template(path: str, value: core.PodTemplateSpec) -> Faults:
    """A pod template: labels, annotations and spec; ephemeral containers belong to pods only."""
    yield from checks.labels(f"{path}.labels", value.metadata.labels)
    yield from metadata.annotations(f"{path}.annotations", value.metadata.annotations)
    yield from spec(f"{path}.spec", value.spec)
    if value.spec.ephemeralContainers:
        text = "ephemeral containers not allowed in pod template"
        yield field_forbidden(f"{path}.spec.ephemeralContainers", text)


def spec(path: str, value: core.PodSpec) -> Faults:
    """A pod's spec, defaults filled in."""
    volumes = {volume.name: volume for volume in value.volumes}
    yield from volume_rules.volumes(f"{path}.volumes", value.volumes)
    yield from container_rules.containers(f"{path}.containers", value.containers, volumes)
    yield from container_rules.init_containers(
        f"{path}.initContainers", value.initContainers, value.containers, volumes
    )
    yield from container_rules.resources(f"{path}.resources", value.resources)
    yield from checks.one_of_required(f"{path}.restartPolicy", value.restartPolicy, RESTART_POLICIES)
    yield from checks.one_of_required(f"{path}.dnsPolicy", value.dnsPolicy, _DNS_POLICIES)
    yield from checks.labels(f"{path}.nodeSelector", value.nodeSelector)
    yield from _security(f"{path}.securityContext", value)
    yield from _names(path, value)
    if value.activeDeadlineSeconds is not None:
        yield from checks.within(f"{path}.activeDeadlineSeconds", value.activeDeadlineSeconds, 1, 2**31 - 1)
    yield from checks.non_negative(f"{path}.terminationGracePeriodSeconds", value.terminationGracePeriodSeconds)
    yield from _dns(f"{path}.dnsConfig", value)
    yield from tolerations(f"{path}.tolerations", value.tolerations)
    for index, alias in enumerate(value.hostAliases):
        yield from addresses.ip_address(f"{path}.hostAliases[{index}].ip", alias.ip)
        for number, host in enumerate(alias.hostnames):
            yield from checks.named(f"{path}.hostAliases[{index}].hostnames[{number}]", host, names.dns1123_subdomain)
    if value.affinity is not None:
        yield from _affinity(f"{path}.affinity", value.affinity)
    yield from _spread(f"{path}.topologySpreadConstraints", value.topologySpreadConstraints)
    yield from _gates(path, value)


def _names(path: str, value: core.PodSpec) -> Faults:
    subdomain, label = names.dns1123_subdomain, names.dns1123_label
    for name, check in (
        ("serviceAccountName", subdomain),
        ("nodeName", subdomain),
        ("hostname", label),
        ("subdomain", label),
        ("priorityClassName", subdomain),
        ("runtimeClassName", subdomain),
        ("schedulerName", names.qualified_name),
    ):
        if given := getattr(value, name):
            yield from checks.named(f"{path}.{name}", given, check)
    if not value.schedulerName:
        yield required(f"{path}.schedulerName")


def _security(path: str, value: core.PodSpec) -> Faults:
    context = value.securityContext
    if value.shareProcessNamespace and value.hostPID:
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid_value(path.replace(".securityContext", ".shareProcessNamespace"), True, text)
    if context is None:
        return
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        given = getattr(context, name)
        if given is not None and not 0 <= given <= 2**31 - 1:
            yield invalid_value(f"{path}.{name}", given, names.out_of_range(0, 2**31 - 1))
    yield from checks.one_of(f"{path}.fsGroupChangePolicy", context.fsGroupChangePolicy, ("Always", "OnRootMismatch"))


def _dns(path: str, value: core.PodSpec) -> Faults:
    config = value.dnsConfig
    if value.dnsPolicy == "None" and (config is None or not config.nameservers):
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield required(f"{path}.nameservers" if config is not None else path, text)
    if config is None:
        return
    if len(config.nameservers) > 3:
        yield invalid_value(f"{path}.nameservers", config.nameservers, "must not have more than 3 nameservers")
    for index, server in enumerate(config.nameservers):
        yield from addresses.ip_address(f"{path}.nameservers[{index}]", server)
    if len(config.searches) > 32:
        yield invalid_value(f"{path}.searches", config.searches, "must not have more than 32 search paths")


def tolerations(path: str, items: Sequence[core.Toleration]) -> Faults:
    """Tolerations of a pod or a RuntimeClass."""
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        if item.key:
            yield from checks.named(f"{here}.key", item.key, names.qualified_name)
        elif item.operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield invalid_value(f"{here}.operator", item.operator or "", text)
        if item.tolerationSeconds is not None and item.effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid_value(f"{here}.effect", item.effect or "", text)
        if item.operator in (None, "", "Equal"):
            yield from checks.named(f"{here}.operator", item.value or "", names.label_value)
        elif item.operator == "Exists":
            if item.value:
                text = "value must be empty when `operator` is 'Exists'"
                yield invalid_value(f"{here}.operator", item.value, text)
        elif item.operator not in ("Lt", "Gt"):
            yield not_supported(f"{here}.operator", item.operator, ("Equal", "Exists"))
        if item.effect and item.effect not in _EFFECTS:
            yield not_supported(f"{here}.effect", item.effect, _EFFECTS)


def taints(path: str, items: Sequence[core.Taint]) -> Faults:
    """Taints of a node."""
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        yield from checks.named(f"{here}.key", item.key, names.qualified_name)
        yield from checks.named(f"{here}.value", item.value or "", names.label_value)
        yield from checks.one_of_required(f"{here}.effect", item.effect, _EFFECTS)
        if (item.key, item.effect) in seen:
            yield duplicate(here, item)
        seen.add((item.key, item.effect))


def _affinity(path: str, affinity: core.Affinity) -> Faults:
    node = affinity.nodeAffinity
    if node is not None:
        here = f"{path}.nodeAffinity"
        if node.requiredDuringSchedulingIgnoredDuringExecution is not None:
            yield from node_selector(
                f"{here}.requiredDuringSchedulingIgnoredDuringExecution",
                node.requiredDuringSchedulingIgnoredDuringExecution,
            )
        for index, preferred in enumerate(node.preferredDuringSchedulingIgnoredDuringExecution):
            place = f"{here}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            yield from _weight(place, preferred.weight)
            yield from _term(f"{place}.preference", preferred.preference)
    for name in ("podAffinity", "podAntiAffinity"):
        pods: core.PodAffinity | core.PodAntiAffinity | None = getattr(affinity, name)
        if pods is None:
            continue
        for index, term in enumerate(pods.requiredDuringSchedulingIgnoredDuringExecution):
            yield from _pod_term(f"{path}.{name}.requiredDuringSchedulingIgnoredDuringExecution[{index}]", term)
        for index, weighted in enumerate(pods.preferredDuringSchedulingIgnoredDuringExecution):
            place = f"{path}.{name}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            yield from _weight(place, weighted.weight)
            yield from _pod_term(f"{place}.podAffinityTerm", weighted.podAffinityTerm)


def _weight(path: str, weight: int) -> Faults:
    if not 1 <= weight <= 100:
        yield invalid_value(f"{path}.weight", weight, "must be in the range 1-100")


def node_selector(path: str, value: core.NodeSelector) -> Faults:
    """At least one term, each well formed."""
    if not value.nodeSelectorTerms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(value.nodeSelectorTerms):
        yield from _term(f"{path}.nodeSelectorTerms[{index}]", term)


def _term(path: str, term: core.NodeSelectorTerm) -> Faults:
    for index, item in enumerate(term.matchExpressions):
        here = f"{path}.matchExpressions[{index}]"
        if item.operator in ("In", "NotIn") and not item.values:
            yield required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif item.operator in ("Exists", "DoesNotExist") and item.values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield field_forbidden(f"{here}.values", text)
        elif item.operator in ("Gt", "Lt") and len(item.values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield required(f"{here}.values", text)
        elif item.operator not in _NODE_OPERATORS:
            yield invalid_value(f"{here}.operator", item.operator, "not a valid selector operator")
        yield from checks.named(f"{here}.key", item.key, names.qualified_name)
    for index, item in enumerate(term.matchFields):
        here = f"{path}.matchFields[{index}]"
        if item.operator not in ("In", "NotIn"):
            yield invalid_value(f"{here}.operator", item.operator, "not a valid selector operator")
        elif len(item.values) != 1:
            text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield required(f"{here}.values", text)
        if item.key != "metadata.name":
            yield invalid_value(f"{here}.key", item.key, "not a valid field selector key")


def _pod_term(path: str, term: core.PodAffinityTerm) -> Faults:
    yield from checks.label_selector(f"{path}.labelSelector", term.labelSelector)
    yield from checks.label_selector(f"{path}.namespaceSelector", term.namespaceSelector)
    for index, namespace in enumerate(term.namespaces):
        yield from checks.named(f"{path}.namespace[{index}]", namespace, names.dns1123_label)
    if not term.topologyKey:
        yield required(f"{path}.topologyKey", "can not be empty")
    else:
        yield from checks.named(f"{path}.topologyKey", term.topologyKey, names.qualified_name)


def _spread(path: str, items: Sequence[core.TopologySpreadConstraint]) -> Faults:
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        yield from checks.positive(f"{here}.maxSkew", item.maxSkew)
        if not item.topologyKey:
            yield required(f"{here}.topologyKey", "can not be empty")
        else:
            yield from checks.named(f"{here}.topologyKey", item.topologyKey, names.qualified_name)
        actions = ("DoNotSchedule", "ScheduleAnyway")
        if item.whenUnsatisfiable not in actions:
            yield not_supported(f"{here}.whenUnsatisfiable", item.whenUnsatisfiable, actions)
        pair = (item.topologyKey, item.whenUnsatisfiable)
        if pair in seen:
            yield duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{pair[0]}, {pair[1]}}}")
        seen.add(pair)
        yield from checks.positive(f"{here}.minDomains", item.minDomains)
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            yield from checks.one_of(f"{here}.{name}", getattr(item, name), ("Honor", "Ignore"))
        yield from checks.label_selector(f"{here}.labelSelector", item.labelSelector)


def _gates(path: str, value: core.PodSpec) -> Faults:
    for index, gate in enumerate(value.schedulingGates):
        yield from checks.named(f"{path}.schedulingGates[{index}].name", gate.name, names.qualified_name)
    for index, ready in enumerate(value.readinessGates):
        here = f"{path}.readinessGates[{index}].conditionType"
        yield from checks.named(here, ready.conditionType, names.qualified_name)
    yield from checks.unique((f"{path}.schedulingGates[{i}]", g.name) for i, g in enumerate(value.schedulingGates))
