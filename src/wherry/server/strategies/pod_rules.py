"""The rules of a PodSpec and of a pod template.

Containers are in container_rules.py, volumes in volume_rules.py, placement in affinity_rules.py; pod.py and
pod_changes.py add what holds of pods alone.
"""

from collections.abc import Mapping, Sequence

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required, too_long
from wherry.server.strategies import (
    addresses,
    affinity_rules,
    checks,
    container_rules,
    metadata,
    resource_rules,
    security_rules,
    volume_rules,
)
from wherry.server.strategies.checks import Faults

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_NAMESERVERS_MAX, _SEARCHES_MAX, _SEARCH_CHARACTERS_MAX = 3, 32, 2048
_SECONDS_MAX = 2**31 - 1
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_SECCOMP_POD, _SECCOMP_CONTAINER = (
    "seccomp.security.alpha.kubernetes.io/pod",
    "container.seccomp.security.alpha.kubernetes.io/",
)
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_NO_COST = "must be a 32bit integer"


def template(path: str, value: core.PodTemplateSpec) -> Faults:
    """A pod template: labels, annotations and spec; ephemeral containers belong to pods only."""
    yield from template_metadata(path, value)
    yield from spec(f"{path}.spec", value.spec)
    if value.spec.ephemeralContainers:
        text = "ephemeral containers not allowed in pod template"
        yield field_forbidden(f"{path}.spec.ephemeralContainers", text)


def template_metadata(path: str, value: core.PodTemplateSpec) -> Faults:
    """A pod template's labels and annotations: all else of its metadata means nothing."""
    yield from checks.labels(f"{path}.labels", value.metadata.labels)
    if value.metadata.annotations:
        yield from metadata.annotations(f"{path}.annotations", value.metadata.annotations)
        yield from annotations(f"{path}.annotations", value.metadata.annotations, value.spec)


def annotations(path: str, values: Mapping[str, str], pod_spec: core.PodSpec) -> Faults:
    """Annotations that mean something to Kubernetes."""
    cost = values.get(DELETION_COST)
    if cost is not None and not _is_cost(cost):
        yield invalid_value(f"{path}[{DELETION_COST}]", cost, _NO_COST)
    for key, value in values.items():
        if key == _SECCOMP_POD or key.startswith(_SECCOMP_CONTAINER):
            if value.startswith("localhost/"):
                yield from checks.descending(f"{path}.{key}", value.removeprefix("localhost/"))
            elif value not in ("runtime/default", "docker/default", "unconfined"):
                yield invalid_value(f"{path}.{key}", value, "must be a valid seccomp profile")
        elif key.startswith(APPARMOR):
            name = key.removeprefix(APPARMOR)
            if all(item.name != name for _, item in security_rules.each_container("", pod_spec)):
                yield invalid_value(f"{path}[{key}]", name, "container not found")
            if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
                yield invalid_value(f"{path}[{key}]", value, f'invalid AppArmor profile name: "{value}"')


def _is_cost(value: str) -> bool:
    digits = value.removeprefix("-")
    if not digits.isdecimal() or not digits.isascii() or (len(digits) > 1 and digits.startswith("0")):
        return False
    return value != "-0" and -(2**31) <= int(value) < 2**31


def spec(path: str, value: core.PodSpec, pod_name: str | None = None) -> Faults:
    """A PodSpec; `pod_name` when it is a pod's, not a template's."""
    if value.terminationGracePeriodSeconds is None:
        yield required(f"{path}.terminationGracePeriodSeconds")
    fit: dict[str, core.Volume] = {}
    yield from volume_rules.volumes(f"{path}.volumes", value.volumes, pod_name, fit)
    claims = {item.name for item in value.resourceClaims if item.name}
    scope = container_rules.Scope(fit, claims, value)
    yield from _resource_claims(f"{path}.resourceClaims", value.resourceClaims)
    yield from container_rules.containers(f"{path}.containers", value.containers, scope)
    if value.initContainers:
        yield from container_rules.init_containers(f"{path}.initContainers", value.initContainers, scope)
    if value.ephemeralContainers:
        yield from container_rules.ephemeral_containers(f"{path}.ephemeralContainers", value.ephemeralContainers, scope)
    if value.resources is not None:
        yield from resource_rules.pod_level(f"{path}.resources", value, value.resources)
    if value.hostNetwork:
        yield from _host_network_ports(f"{path}.containers", value.containers, of_pod=pod_name is not None)
    yield from _policies(path, value)
    yield from security_rules.pod_context(path, value)
    yield from _placement(path, value)
    if value.hostUsers is False:
        yield from _own_users(path, value)
    yield from _names(path, value)
    if value.overhead:
        limits = core.ResourceRequirements(limits=value.overhead)
        yield from resource_rules.requirements(f"{path}.overhead", limits)
    if value.os is not None:
        yield from security_rules.operating_system(path, value)


def _resource_claims(path: str, items: Sequence[core.PodResourceClaim]) -> Faults:
    seen: set[str] = set()
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        if item.name and item.name in seen:
            yield duplicate(f"{here}.name", item.name)
        else:
            yield from checks.named_required(f"{here}.name", item.name, names.dns1123_label)
        seen.add(item.name)
        members = ("resourceClaimName", "resourceClaimTemplateName")
        given = [name for name in members if getattr(item, name) is not None]
        if len(given) > 1:
            text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            yield invalid_value(here, item, text)
        elif not given:
            text = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            yield invalid_value(here, item, text)
        for name in given:
            yield from checks.named(f"{here}.{name}", getattr(item, name), names.dns1123_subdomain)


def _host_network_ports(path: str, items: Sequence[core.Container], *, of_pod: bool) -> Faults:
    for index, container in enumerate(items):
        for number, port in enumerate(container.ports):
            held = port.hostPort or 0
            if (of_pod or held) and held != port.containerPort:
                text = "must match `containerPort` when `hostNetwork` is true"
                yield invalid_value(f"{path}[{index}].ports[{number}].hostPort", held, text)


def _policies(path: str, value: core.PodSpec) -> Faults:
    for name, allowed in (("restartPolicy", RESTART_POLICIES), ("dnsPolicy", _DNS_POLICIES)):
        given = getattr(value, name)
        if given not in allowed:
            yield not_supported(f"{path}.{name}", given, allowed) if given else required(f"{path}.{name}")
    if value.preemptionPolicy is not None and value.preemptionPolicy not in ("PreemptLowerPriority", "Never"):
        yield not_supported(f"{path}.preemptionPolicy", value.preemptionPolicy, ("PreemptLowerPriority", "Never"))
    if value.activeDeadlineSeconds is not None:
        yield from checks.within(f"{path}.activeDeadlineSeconds", value.activeDeadlineSeconds, 1, _SECONDS_MAX)
    if value.dnsPolicy == "None" or value.dnsConfig is not None:
        yield from _dns(f"{path}.dnsConfig", value.dnsConfig, value.dnsPolicy)


def _placement(path: str, value: core.PodSpec) -> Faults:
    if value.nodeSelector:
        yield from checks.labels(f"{path}.nodeSelector", value.nodeSelector)
    if value.affinity is not None:
        yield from affinity_rules.affinity(f"{path}.affinity", value.affinity)
    for index, ready in enumerate(value.readinessGates):
        here = f"{path}.readinessGates[{index}].conditionType"
        yield from checks.named(here, ready.conditionType, names.qualified_name)
    seen: set[str] = set()
    for index, gate in enumerate(value.schedulingGates):
        here = f"{path}.schedulingGates[{index}]"
        yield from checks.named(here, gate.name, names.qualified_name)
        if gate.name in seen:
            yield duplicate(here, gate.name)
        seen.add(gate.name)
    if value.topologySpreadConstraints:
        yield from affinity_rules.spread(f"{path}.topologySpreadConstraints", value.topologySpreadConstraints)
    if value.tolerations:
        yield from affinity_rules.tolerations(f"{path}.tolerations", value.tolerations)
    yield from security_rules.host_process(path, value)


def _own_users(path: str, value: core.PodSpec) -> Faults:
    text = "when `hostUsers` is false"
    for name, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if getattr(value, name):
            yield field_forbidden(f"{path}.{shown}", text)
    for here, container in security_rules.each_container(path, value):
        if container.volumeDevices:
            yield field_forbidden(f"{here}.volumeDevices", text)


def _names(path: str, value: core.PodSpec) -> Faults:
    for name in ("serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"):
        given = getattr(value, name)
        if given or (given is not None and name == "runtimeClassName"):
            yield from checks.named(f"{path}.{name}", given, names.dns1123_subdomain)
    for name in ("hostname", "subdomain"):
        if given := getattr(value, name):
            yield from checks.named(f"{path}.{name}", given, names.dns1123_label)
    for index, alias in enumerate(value.hostAliases):
        here = f"{path}.hostAliases[{index}]"
        yield from addresses.ip_address(f"{here}.ip", alias.ip)
        for number, hostname in enumerate(alias.hostnames):
            yield from checks.named(f"{here}.hostnames[{number}]", hostname, names.dns1123_subdomain)
    if value.hostnameOverride is None:
        return
    here = f"{path}.hostnameOverride"
    for name in ("setHostnameAsFQDN", "hostNetwork"):
        if getattr(value, name):
            yield field_forbidden(here, f"may not be specified when {name} is true")
    if len(value.hostnameOverride) > 64:
        yield too_long(here, 64)
    yield from checks.named(here, value.hostnameOverride, names.dns1123_subdomain)


def _dns(path: str, config: core.PodDNSConfig | None, policy: str | None) -> Faults:
    if policy == "None" and config is None:
        yield required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
    elif policy == "None" and config is not None and not config.nameservers:
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield required(f"{path}.nameservers", text)
    elif config is not None:
        yield from _dns_config(path, config)


def _dns_config(path: str, config: core.PodDNSConfig) -> Faults:
    if len(config.nameservers) > _NAMESERVERS_MAX:
        text = f"must not have more than {_NAMESERVERS_MAX} nameservers"
        yield invalid_value(f"{path}.nameservers", config.nameservers, text)
    for index, server in enumerate(config.nameservers):
        yield from addresses.ip_address(f"{path}.nameservers[{index}]", server)
    here = f"{path}.searches"
    if len(config.searches) > _SEARCHES_MAX:
        yield invalid_value(here, config.searches, f"must not have more than {_SEARCHES_MAX} search paths")
    if len(" ".join(config.searches)) > _SEARCH_CHARACTERS_MAX:
        text = f"must not have more than {_SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list"
        yield invalid_value(here, config.searches, text)
    for index, search in enumerate(config.searches):
        if search != ".":
            shown = search.removesuffix(".")
            yield from checks.named(f"{here}[{index}]", shown, names.dns1123_subdomain_with_underscore)
    for index, option in enumerate(config.options):
        if not option.name:
            yield required(f"{path}.options[{index}]", "must not be empty")
