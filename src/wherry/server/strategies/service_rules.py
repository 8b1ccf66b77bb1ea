"""What a Service may say: types, names, ports, addresses, families, policies, and what may change of them.

`old` is the Service before, or None: addresses that it already held are not held against today's rules.
"""

from collections.abc import Sequence

from wherry.api.core_v1 import LoadBalancerIngress, Service, ServicePort, ServiceSpec, SessionAffinityConfig
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required
from wherry.server.strategies import addresses, checks
from wherry.server.strategies.checks import Faults

CLUSTER_IP, NODE_PORT, LOAD_BALANCER, EXTERNAL_NAME = "ClusterIP", "NodePort", "LoadBalancer", "ExternalName"
TYPES = (CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT)
HEADLESS = "None"
PROTOCOLS = ("SCTP", "TCP", "UDP")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_TOPOLOGY_MODE, _TOPOLOGY_HINTS = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"
_ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
AFFINITY_SECONDS_MAX = 86400


def is_headless(spec: ServiceSpec) -> bool:
    """A name without an address."""
    return spec.clusterIPs == [HEADLESS]


def is_reachable_from_outside(spec: ServiceSpec) -> bool:
    """Node ports, a load balancer, or external addresses."""
    return spec.type in (NODE_PORT, LOAD_BALANCER) or (spec.type == CLUSTER_IP and bool(spec.externalIPs))


def wants_health_port(spec: ServiceSpec) -> bool:
    """A balancer that must know which nodes have endpoints."""
    return spec.type == LOAD_BALANCER and spec.externalTrafficPolicy == "Local"


def rules(service: Service, old: Service | None = None) -> Faults:
    """Everything beyond metadata."""
    spec, annotations = service.spec, service.metadata.annotations
    mode, hints = annotations.get(_TOPOLOGY_MODE), annotations.get(_TOPOLOGY_HINTS)
    if mode is not None and hints is not None and mode != hints:
        text = f"must match annotations[{_TOPOLOGY_HINTS}] when both are specified"
        yield invalid_value(f"metadata.annotations[{_TOPOLOGY_MODE}]", mode, text)
    if not spec.ports and not is_headless(spec) and spec.type != EXTERNAL_NAME:
        yield required("spec.ports")
    if spec.type in (LOAD_BALANCER, NODE_PORT) and is_headless(spec):
        yield invalid_value("spec.clusterIPs[0]", HEADLESS, f"may not be set to 'None' for {spec.type} services")
    if spec.type == EXTERNAL_NAME:
        yield from _external_name(spec)
    yield from _ports(spec)
    yield from checks.labels("spec.selector", spec.selector)
    yield from _affinity(spec.sessionAffinity, spec.sessionAffinityConfig)
    yield from cluster_addresses(spec, old.spec.clusterIPs if old is not None else ())
    for index, address in enumerate(spec.externalIPs):
        path = f"spec.externalIPs[{index}]"
        faults = list(addresses.ip_address(path, address, old.spec.externalIPs if old is not None else ()))
        yield from faults or addresses.endpoint_ip(path, address)
    yield from checks.one_of_required("spec.type", spec.type, TYPES)
    yield from _port_clashes(spec)
    yield from _source_ranges(service, old)
    yield from _balancer(spec)
    yield from _traffic(spec)


def _external_name(spec: ServiceSpec) -> Faults:
    for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if getattr(spec, name):
            yield field_forbidden(f"spec.{name}", "may not be set for ExternalName services")
    yield from checks.named_required(
        "spec.externalName", (spec.externalName or "").removesuffix("."), names.dns1123_subdomain
    )


def _ports(spec: ServiceSpec) -> Faults:
    seen: set[str] = set()
    for index, port in enumerate(spec.ports):
        path = f"spec.ports[{index}]"
        if port.name:
            yield from checks.named(f"{path}.name", port.name, names.dns1123_label)
            if port.name in seen:
                yield duplicate(f"{path}.name", port.name)
            seen.add(port.name)
        elif len(spec.ports) > 1:
            yield required(f"{path}.name")
        yield from checks.port(f"{path}.port", port.port)
        yield from checks.one_of_required(f"{path}.protocol", port.protocol, PROTOCOLS)
        yield from checks.port(f"{path}.targetPort", port.targetPort)
        if port.appProtocol is not None:
            yield from checks.named(f"{path}.appProtocol", port.appProtocol, names.qualified_name)


def _port_clashes(spec: ServiceSpec) -> Faults:
    if spec.type == CLUSTER_IP:
        for index, port in enumerate(spec.ports):
            if port.nodePort:
                text = "may not be used when `type` is 'ClusterIP'"
                yield field_forbidden(f"spec.ports[{index}].nodePort", text)
    seen: set[tuple[str | None, int]] = set()
    for index, port in enumerate(spec.ports):
        if port.nodePort:
            if (port.protocol, port.nodePort) in seen:
                yield duplicate(f"spec.ports[{index}].nodePort", port.nodePort)
            seen.add((port.protocol, port.nodePort))
    pairs: set[tuple[str | None, int]] = set()
    for index, port in enumerate(spec.ports):
        if (port.protocol, port.port) in pairs:
            yield duplicate(f"spec.ports[{index}]", ServicePort(protocol=port.protocol, port=port.port))
        pairs.add((port.protocol, port.port))


def _affinity(affinity: str | None, config: SessionAffinityConfig | None) -> Faults:
    yield from checks.one_of_required("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    path, when = "spec.sessionAffinityConfig", "when session affinity type is ClientIP"
    if affinity == "None" and config is not None:
        yield field_forbidden(path, "must not be set when session affinity is None")
    elif affinity != "ClientIP":
        return
    elif config is None:
        yield required(path, when)
    elif config.clientIP is None:
        yield required(f"{path}.clientIP", when)
    elif config.clientIP.timeoutSeconds is None:
        yield required(f"{path}.clientIP.timeoutSeconds", when)
    elif not 0 < config.clientIP.timeoutSeconds <= AFFINITY_SECONDS_MAX:
        text = f"must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"
        yield invalid_value(f"{path}.clientIP.timeoutSeconds", config.clientIP.timeoutSeconds, text)


def cluster_addresses(spec: ServiceSpec, existing: Sequence[str]) -> Faults:
    """clusterIP, clusterIPs and their families, by themselves and against each other."""
    if spec.type == EXTERNAL_NAME:
        return
    given, path = spec.clusterIPs, "spec.clusterIPs"
    if spec.clusterIP and not given:
        yield required(path)
    elif spec.clusterIP and given[0] != spec.clusterIP:
        yield invalid_value(path, given, "first value must match `clusterIP`")
    elif given and not spec.clusterIP:
        yield invalid_value(path, given, "must be empty when `clusterIP` is not specified")
    for index, family in enumerate(spec.ipFamilies):
        yield from checks.one_of(f"spec.ipFamilies[{index}]", family, _FAMILIES)
        if family in spec.ipFamilies[:index]:
            yield duplicate(f"spec.ipFamilies[{index}]", family)
    yield from checks.one_of("spec.ipFamilyPolicy", spec.ipFamilyPolicy, _FAMILY_POLICIES)
    faults = []
    for index, address in enumerate(given):
        if index == 0 and address == HEADLESS:
            if len(given) > 1:
                faults.append(invalid_value(path, given, "'None' must be the first and only value"))
        else:
            faults += addresses.ip_address(f"{path}[{index}]", address, existing)
    yield from faults
    if len(given) > 2:
        yield invalid_value(path, given, "may only hold up to 2 values")
    if faults:
        return
    versions = [f"IPv{parsed.version}" for item in given if (parsed := addresses.parse(item)) is not None]
    if len(given) > 1 and len(set(versions)) < 2:
        yield invalid_value(path, given, "may specify no more than one IP for each IP family")
    if not is_headless(spec):
        pairs = zip(given, versions, spec.ipFamilies, strict=False)
        for index, (address, version, family) in enumerate(pairs):
            if version != family and family in _FAMILIES:
                text = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
                yield invalid_value(f"{path}[{index}]", address, text)


def _source_ranges(service: Service, old: Service | None) -> Faults:
    spec = service.spec
    if spec.loadBalancerSourceRanges:
        path = "spec.LoadBalancerSourceRanges"
        if spec.type != LOAD_BALANCER:
            yield field_forbidden(path, _ONLY_BALANCED)
        existing = [item.strip() for item in old.spec.loadBalancerSourceRanges] if old is not None else []
        for index, block in enumerate(spec.loadBalancerSourceRanges):
            yield from addresses.cidr(f"{path}[{index}]", block.strip(), existing)
        return
    value = service.metadata.annotations.get(_SOURCE_RANGES)
    if value is None:
        return
    path = f"metadata.annotations[{_SOURCE_RANGES}]"
    if spec.type != LOAD_BALANCER:
        yield field_forbidden(path, _ONLY_BALANCED)
    if value.strip() and (old is None or old.metadata.annotations.get(_SOURCE_RANGES) != value):
        for block in value.strip().split(","):
            yield from addresses.cidr(path, block.strip())


def _balancer(spec: ServiceSpec) -> Faults:
    balanced = spec.type == LOAD_BALANCER
    if spec.allocateLoadBalancerNodePorts is not None and not balanced:
        yield field_forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCED)
    if spec.allocateLoadBalancerNodePorts is None and balanced:
        yield required("allocateLoadBalancerNodePorts")
    if spec.loadBalancerClass is not None:
        if balanced:
            yield from checks.named("spec.loadBalancerClass", spec.loadBalancerClass, names.qualified_name)
        else:
            yield field_forbidden("spec.loadBalancerClass", _ONLY_BALANCED)


def _traffic(spec: ServiceSpec) -> Faults:
    path = "spec.externalTrafficPolicy"
    if is_reachable_from_outside(spec):
        yield from checks.one_of_required(path, spec.externalTrafficPolicy, ("Cluster", "Local"))
    elif spec.externalTrafficPolicy:
        yield invalid_value(path, spec.externalTrafficPolicy, "may only be set for externally-accessible services")
    path, port = "spec.healthCheckNodePort", spec.healthCheckNodePort
    if wants_health_port(spec):
        if not port:
            yield required(path)
        else:
            yield from checks.port(path, port)
    elif port:
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid_value(path, port, text)
    path = "spec.internalTrafficPolicy"
    if spec.internalTrafficPolicy is None and spec.type in (NODE_PORT, LOAD_BALANCER, CLUSTER_IP):
        yield required(path)
    yield from checks.one_of(path, spec.internalTrafficPolicy, ("Cluster", "Local"))
    if spec.trafficDistribution is not None and spec.trafficDistribution not in _DISTRIBUTIONS:
        yield not_supported("spec.trafficDistribution", spec.trafficDistribution, _DISTRIBUTIONS)


def update_rules(new: ServiceSpec, old: ServiceSpec) -> Faults:
    """Addresses and families stay, but for a second one that comes and goes; so do class and health port."""
    if EXTERNAL_NAME not in (new.type, old.type):
        headless = is_headless(new), is_headless(old)
        if headless != (True, True):
            yield from _kept("clusterIPs", "clusterIP", new, old)
        if headless == (False, False):
            yield from _kept("ipFamilies", "ipFamily", new, old)
    if new.type == old.type == LOAD_BALANCER and new.loadBalancerClass != old.loadBalancerClass:
        yield invalid_value("spec.loadBalancerClass", new.loadBalancerClass, "may not change once set")
    if wants_health_port(new) and wants_health_port(old) and new.healthCheckNodePort != old.healthCheckNodePort:
        yield field_forbidden("spec.healthCheckNodePort", checks.IMMUTABLE)


def _kept(name: str, singular: str, new: ServiceSpec, old: ServiceSpec) -> Faults:
    """The first of two lists stays; a second may be added, or dropped with a word."""
    after: list[str] = getattr(new, name)
    before: list[str] = getattr(old, name)
    if len(after) == len(before):
        for index, (one, other) in enumerate(zip(after, before, strict=True)):
            if one != other:
                where = index if name == "clusterIPs" else 0
                yield invalid_value(f"spec.{name}[{where}]", after, "may not change once set")
        return
    if len(before) > len(after) and not new.clusterIPs:
        yield invalid_value(f"spec.{name}[0]", after, f"primary {singular} can not be unset")
    if before and after and before[0] != after[0]:
        yield invalid_value(f"spec.{name}[0]", after, "may not change once set")
    if len(before) > len(after) == 1 and new.ipFamilyPolicy != "SingleStack":
        text = f"must be set to 'SingleStack' when releasing the secondary {singular}"
        yield invalid_value("spec.ipFamilyPolicy", new.ipFamilyPolicy, text)


def balancer_status(ingress: Sequence[LoadBalancerIngress], old: Sequence[LoadBalancerIngress], type_: str) -> Faults:
    """status.loadBalancer.ingress of a Service of this type."""
    path = "status.loadBalancer.ingress"
    if type_ != LOAD_BALANCER and ingress:
        yield field_forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
        return
    existing = [item.ip for item in old if item.ip]
    for index, item in enumerate(ingress):
        here = f"{path}[{index}]"
        if item.ip:
            yield from addresses.ip_address(f"{here}.ip", item.ip, existing)
        if item.ipMode is None and item.ip:
            yield required(f"{here}.ipMode", "must be specified when `ip` is set")
        elif item.ipMode is not None and not item.ip:
            yield field_forbidden(f"{here}.ipMode", "may not be specified when `ip` is not set")
        else:
            yield from checks.one_of(f"{here}.ipMode", item.ipMode, ("Proxy", "VIP"))
        yield from balancer_host(f"{here}.hostname", item.hostname)


def balancer_host(path: str, hostname: str | None) -> Faults:
    """A name, not an address."""
    if hostname:
        yield from checks.named(path, hostname, names.dns1123_subdomain)
        if addresses.parse(hostname) is not None:
            yield invalid_value(path, hostname, "must be a DNS name, not an IP address")
