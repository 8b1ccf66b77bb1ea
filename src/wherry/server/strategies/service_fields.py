"""How a Service's dependent fields follow from the others: what an update leaves out, drops or infers, and families.

Source: kubernetes pkg/registry/core/service/strategy.go and storage/alloc.go.
"""

from wherry.api.core_v1 import Service, ServicePort, ServiceSpec
from wherry.meta.errors import FieldError, invalid_value
from wherry.server.strategies import addresses
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.service_rules import (
    EXTERNAL_NAME,
    HEADLESS,
    LOAD_BALANCER,
    NODE_PORT,
    is_reachable_from_outside,
    wants_health_port,
)

SINGLE, REQUIRE_DUAL = "SingleStack", "RequireDualStack"


def wants_node_ports(spec: ServiceSpec) -> bool:
    """NodePort, and a load balancer unless it does without."""
    return spec.type == NODE_PORT or (spec.type == LOAD_BALANCER and spec.allocateLoadBalancerNodePorts is not False)


def normalize_addresses(new: ServiceSpec, old: ServiceSpec | None) -> None:
    """Who speaks of clusterIP alone means clusterIPs as well."""
    if old is None:
        if new.clusterIP and not new.clusterIPs:
            new.clusterIPs = [new.clusterIP]
        return
    if new.clusterIPs == old.clusterIPs and new.clusterIP != old.clusterIP:
        if not new.clusterIP:
            new.clusterIPs = []
        elif old.clusterIPs or new.type != EXTERNAL_NAME:
            new.clusterIPs = [new.clusterIP]
    elif new.clusterIP and not new.clusterIPs and new.clusterIP != old.clusterIP:
        new.clusterIPs = [new.clusterIP]


def keep_allocated(new: ServiceSpec, old: ServiceSpec) -> None:
    """Addresses and ports that an update leaves out stay as they are."""
    if EXTERNAL_NAME not in (new.type, old.type):
        new.clusterIP = new.clusterIP or (None if new.clusterIPs else old.clusterIP)
        if not new.clusterIPs and new.clusterIP == old.clusterIP:
            new.clusterIPs = list(old.clusterIPs)
    if wants_node_ports(new) and wants_node_ports(old):
        known = {(port.protocol, port.port): port.nodePort for port in old.ports}
        taken = {port.nodePort for port in new.ports}
        for port in new.ports:
            kept = known.get((port.protocol, port.port))
            if not port.nodePort and kept not in taken:
                port.nodePort = kept
    if wants_health_port(new) and wants_health_port(old) and not new.healthCheckNodePort:
        new.healthCheckNodePort = old.healthCheckNodePort


def drop_outdated(new: ServiceSpec, old: ServiceSpec) -> None:
    """What only the old type needed goes, unless the writer changed it too: a change of type need not name it all."""
    if new.type == EXTERNAL_NAME != old.type:
        if new.clusterIPs == old.clusterIPs:
            new.clusterIP, new.clusterIPs = None, []
        if new.ipFamilies == old.ipFamilies:
            new.ipFamilies = []
        if new.ipFamilyPolicy == old.ipFamilyPolicy:
            new.ipFamilyPolicy = None
    if wants_node_ports(old) and not wants_node_ports(new) and _node_ports(new.ports) == _node_ports(old.ports):
        for port in new.ports:
            port.nodePort = None
    for name, needs in _DEPENDENT:
        if needs(old) and not needs(new) and getattr(new, name) == getattr(old, name):
            setattr(new, name, None)


_DEPENDENT = (
    ("healthCheckNodePort", wants_health_port),
    ("allocateLoadBalancerNodePorts", lambda spec: spec.type == LOAD_BALANCER),
    ("loadBalancerClass", lambda spec: spec.type == LOAD_BALANCER),
    ("externalTrafficPolicy", is_reachable_from_outside),
)


def _node_ports(ports: list[ServicePort]) -> list[tuple[str | None, int]]:
    return [(port.protocol, port.nodePort or 0) for port in ports]


def settle_families(new: Service, old: Service | None, configured: str) -> list[FieldError]:
    """Fill in families and their policy for a cluster of the one family `configured`; what cannot be had."""
    spec, before = new.spec, old.spec if old is not None else None
    path = "spec.ipFamilyPolicy"
    if spec.type == EXTERNAL_NAME:
        return []
    selectorless = spec.clusterIP == HEADLESS and not spec.selector
    if spec.ipFamilyPolicy is None:
        spec.ipFamilyPolicy = before.ipFamilyPolicy if before is not None else None
        unset(spec, ipFamilyPolicy=REQUIRE_DUAL if selectorless else SINGLE)
    if before is not None and not spec.ipFamilies and spec.clusterIPs == before.clusterIPs:
        spec.ipFamilies = list(before.ipFamilies)
    single = spec.ipFamilyPolicy == SINGLE
    if before is not None and single:
        # As long as nothing else changed, asking for one is clear intent; the first of each stays.
        if spec.clusterIPs == before.clusterIPs:
            spec.clusterIPs = spec.clusterIPs[:1]
        if spec.ipFamilies == before.ipFamilies:
            spec.ipFamilies = spec.ipFamilies[:1]
    faults: list[FieldError] = []
    for members, what in ((spec.clusterIPs, "cluster IPs"), (spec.ipFamilies, "IP families")):
        if single and len(members) == 2:
            text = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            faults.append(invalid_value(path, spec.ipFamilyPolicy, text))
    for index, address in enumerate(spec.clusterIPs[len(spec.ipFamilies) :], len(spec.ipFamilies)):
        parsed = addresses.parse(address)
        if parsed is not None and f"IPv{parsed.version}" == configured:
            spec.ipFamilies = [*spec.ipFamilies, configured]
        elif parsed is not None:
            text = f"IPv{parsed.version} is not configured on this cluster"
            faults.append(invalid_value(f"spec.clusterIPs[{index}]", spec.clusterIPs, text))
    if faults:
        return faults
    if selectorless:
        spec.ipFamilies = spec.ipFamilies or [configured]
        if len(spec.ipFamilies) < 2 and not single:
            spec.ipFamilies = [*spec.ipFamilies, "IPv6" if spec.ipFamilies[0] == "IPv4" else "IPv4"]
        return []
    if spec.ipFamilyPolicy == REQUIRE_DUAL:
        text = "this cluster is not configured for dual-stack services"
        faults.append(invalid_value(path, spec.ipFamilyPolicy, text))
    for index, family in enumerate(spec.ipFamilies):
        if family != configured:
            faults.append(invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    spec.ipFamilies = spec.ipFamilies or [configured]
    return faults
