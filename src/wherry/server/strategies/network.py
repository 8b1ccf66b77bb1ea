"""Endpoints, endpoint slices, ingresses, network policies, and the service address ranges.

Source: kubernetes pkg/apis/{core,discovery,networking}/validation.
"""

from collections.abc import Sequence

from wherry.api.core_v1 import EndpointAddress, EndpointPort, Endpoints
from wherry.api.discovery_v1 import Endpoint, EndpointSlice
from wherry.api.networking_v1 import (
    HTTPIngressPath,
    Ingress,
    IngressBackend,
    IngressClass,
    IPAddress,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    ServiceCIDR,
)
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required, too_long, too_many
from wherry.meta.object import ObjectMeta
from wherry.server.strategies import addresses, checks, service_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset

ENDPOINTS_MAX, ADDRESSES_MAX, PORTS_MAX, ZONES_MAX, TOPOLOGY_MAX = 1000, 100, 20000, 8, 16
INGRESS_CLASS = "kubernetes.io/ingress.class"
_CONTROLLER_MAX = 250
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES, _BAD_ENDS = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
_HOSTNAME = "kubernetes.io/hostname"


def _may_loop(meta: ObjectMeta) -> bool:
    """Where nodes share the host's loopback, what controllers and the server itself publish is on it."""
    own = (meta.namespace, meta.name) == ("default", "kubernetes")
    return own or any(label in meta.labels for label in _MANAGED)


_MANAGED = ("endpoints.kubernetes.io/managed-by", "endpointslice.kubernetes.io/managed-by")


class EndpointsStrategy(KindStrategy):
    """v1 Endpoints."""

    def default(self, obj: Endpoints) -> None:
        for subset in obj.subsets:
            for port in subset.ports:
                unset(port, protocol="TCP")

    def rules(self, obj: Endpoints) -> Faults:
        for index, subset in enumerate(obj.subsets):
            path = f"subsets[{index}]"
            if not subset.addresses and not subset.notReadyAddresses:
                yield required(path, "must specify `addresses` or `notReadyAddresses`")
            for name in ("addresses", "notReadyAddresses"):
                for number, address in enumerate(getattr(subset, name)):
                    yield from self._address(f"{path}.{name}[{number}]", address)
                    if not _may_loop(obj.metadata):
                        yield from addresses.endpoint_ip(f"{path}.{name}[{number}].ip", address.ip)
            for number, port in enumerate(subset.ports):
                yield from self._port(f"{path}.ports[{number}]", port, named=len(subset.ports) > 1)

    def changed_rules(self, new: Endpoints, old: Endpoints) -> Faults:
        if new.subsets != old.subsets:
            yield from self.rules(new)

    def _address(self, path: str, address: EndpointAddress) -> Faults:
        yield from addresses.ip_address(f"{path}.ip", address.ip)
        if address.hostname:
            yield from checks.named(f"{path}.hostname", address.hostname, names.dns1123_label)
        if address.nodeName is not None:
            yield from checks.named(f"{path}.nodeName", address.nodeName, names.dns1123_subdomain)

    def _port(self, path: str, port: EndpointPort, *, named: bool) -> Faults:
        if port.name:
            yield from checks.named(f"{path}.name", port.name, names.dns1123_label)
        elif named:
            yield required(f"{path}.name")
        yield from checks.port(f"{path}.port", port.port)
        yield from checks.one_of_required(f"{path}.protocol", port.protocol, service_rules.PROTOCOLS)
        if port.appProtocol is not None:
            yield from checks.named(f"{path}.appProtocol", port.appProtocol, names.qualified_name)


class EndpointSliceStrategy(KindStrategy):
    """discovery.k8s.io EndpointSlice."""

    generation_counts = ("endpoints", "ports", "addressType")

    def default(self, obj: EndpointSlice) -> None:
        for port in obj.ports:
            port.name = port.name or ""
            unset(port, protocol="TCP")

    def rules(self, obj: EndpointSlice) -> Faults:
        yield from checks.one_of_required("addressType", obj.addressType, ("FQDN", "IPv4", "IPv6"))
        if len(obj.endpoints) > ENDPOINTS_MAX:
            yield too_many("endpoints", len(obj.endpoints), ENDPOINTS_MAX)
            return
        for index, endpoint in enumerate(obj.endpoints):
            yield from _endpoint(f"endpoints[{index}]", endpoint, obj.addressType)
            for number, address in enumerate(endpoint.addresses):
                if obj.addressType in ("IPv4", "IPv6") and not _may_loop(obj.metadata):
                    yield from addresses.endpoint_ip(f"endpoints[{index}].addresses[{number}]", address)
        if len(obj.ports) > PORTS_MAX:
            yield too_many("ports", len(obj.ports), PORTS_MAX)
            return
        seen: set[str] = set()
        for index, port in enumerate(obj.ports):
            path, name = f"ports[{index}]", port.name or ""
            if name:
                yield from checks.named(f"{path}.name", name, names.dns1123_label)
            if name in seen:
                yield duplicate(f"{path}.name", name)
            seen.add(name)
            yield from checks.one_of_required(f"{path}.protocol", port.protocol, service_rules.PROTOCOLS)
            yield from checks.port(f"{path}.port", port.port)
            if port.appProtocol is not None:
                yield from checks.named(f"{path}.appProtocol", port.appProtocol, names.qualified_name)

    def update_rules(self, new: EndpointSlice, old: EndpointSlice) -> Faults:
        yield from checks.immutable("addressType", new.addressType, old.addressType)


def _endpoint(path: str, endpoint: Endpoint, kind: str) -> Faults:
    given = endpoint.addresses
    if not given:
        yield required(f"{path}.addresses", "must contain at least 1 address")
    elif len(given) > ADDRESSES_MAX:
        yield too_many(f"{path}.addresses", len(given), ADDRESSES_MAX)
    for index, address in enumerate(given):
        here = f"{path}.addresses[{index}]"
        if kind == "FQDN":
            yield from checks.named(here, address, names.dns1123_subdomain)
            continue
        parsed = addresses.parse(address)
        if kind in ("IPv4", "IPv6") and (parsed is None or f"IPv{parsed.version}" != kind):
            yield invalid_value(here, address, f"must be a valid {kind} address")
    if endpoint.nodeName is not None:
        yield from checks.named(f"{path}.nodeName", endpoint.nodeName, names.dns1123_subdomain)
    topology, here = endpoint.deprecatedTopology, f"{path}.deprecatedTopology"
    if len(topology) > TOPOLOGY_MAX:
        yield too_many(here, len(topology), TOPOLOGY_MAX)
    yield from checks.labels(here, topology)
    if _HOSTNAME in topology:
        yield invalid_value(f"{here}[{_HOSTNAME}]", _HOSTNAME, "may not be set as it is handled via nodeName")
    if endpoint.hostname is not None:
        yield from checks.named(f"{path}.hostname", endpoint.hostname, names.dns1123_label)
    if endpoint.hints is not None:
        yield from _hints(f"{path}.hints", endpoint)


def _hints(path: str, endpoint: Endpoint) -> Faults:
    assert endpoint.hints is not None
    for name in ("forZones", "forNodes"):
        hints = getattr(endpoint.hints, name)
        if len(hints) > ZONES_MAX:
            yield too_many(f"{path}.{name}", len(hints), ZONES_MAX)
            continue
        seen: set[str] = set()
        for index, hint in enumerate(hints):
            here = f"{path}.{name}[{index}].name"
            if hint.name in seen:
                yield duplicate(here, hint.name)
            seen.add(hint.name)
            if name == "forZones":
                yield from checks.named(here, hint.name, names.label_value)
            else:
                yield from checks.named(here, hint.name, names.dns1123_subdomain)


class IngressStrategy(KindStrategy):
    """networking.k8s.io Ingress."""

    generation_counts = ("spec",)

    def rules(self, obj: Ingress) -> Faults:
        yield from self._spec(obj, old=None)

    def changed_rules(self, new: Ingress, old: Ingress) -> Faults:
        yield from self._spec(new, old=old)

    def create_rules(self, obj: Ingress) -> Faults:
        said, name = obj.metadata.annotations.get(INGRESS_CLASS), obj.spec.ingressClassName
        if said is not None and name is not None and said != name:
            text = "must match `ingressClassName` when both are specified"
            yield invalid_value(f"annotations.{INGRESS_CLASS}", said, text)

    def _spec(self, obj: Ingress, old: Ingress | None) -> Faults:
        spec = obj.spec
        if not spec.rules and spec.defaultBackend is None:
            yield invalid_value("spec", spec.rules, "either `defaultBackend` or `rules` must be specified")
        if spec.defaultBackend is not None:
            yield from _backend("spec.defaultBackend", spec.defaultBackend)
        for index, rule in enumerate(spec.rules):
            path = f"spec.rules[{index}]"
            if rule.host:
                if addresses.parse(rule.host) is not None:
                    yield invalid_value(f"{path}.host", rule.host, "must be a DNS name, not an IP address")
                yield from _host(f"{path}.host", rule.host)
            if rule.http is None:
                continue
            if not rule.http.paths:
                yield required(f"{path}.http.paths")
            for number, item in enumerate(rule.http.paths):
                yield from _path(f"{path}.http.paths[{number}]", item)
        forgiven = old is not None and any(
            item.secretName and names.dns1123_subdomain(item.secretName) for item in old.spec.tls
        )
        for index, tls in enumerate(spec.tls):
            path = f"spec.tls[{index}]"
            for number, host in enumerate(tls.hosts):
                yield from _host(f"{path}.hosts[{number}]", host)
            if tls.secretName and not forgiven:
                yield from checks.named(f"{path}.secretName", tls.secretName, names.dns1123_subdomain)
        if spec.ingressClassName is not None:
            yield from checks.named("spec.ingressClassName", spec.ingressClassName, names.dns1123_subdomain)

    def status_rules(self, new: Ingress, old: Ingress) -> Faults:
        existing = [item.ip for item in old.status.loadBalancer.ingress if item.ip]
        for index, item in enumerate(new.status.loadBalancer.ingress):
            path = f"status.loadBalancer.ingress[{index}]"
            if item.ip:
                yield from addresses.ip_address(f"{path}.ip", item.ip, existing)
            yield from service_rules.balancer_host(f"{path}.hostname", item.hostname)


def _host(path: str, host: str) -> Faults:
    check = names.wildcard_dns1123_subdomain if "*" in host else names.dns1123_subdomain
    yield from checks.named(path, host, check)


def _path(path: str, item: HTTPIngressPath) -> Faults:
    kind, value, here = item.pathType, item.path or "", f"{path}.path"
    if not kind:
        yield required(f"{path}.pathType", "pathType must be specified")
        return
    if kind not in _PATH_TYPES:
        yield not_supported(f"{path}.pathType", kind, _PATH_TYPES)
    elif not value.startswith("/") and (value or kind != "ImplementationSpecific"):
        yield invalid_value(here, value, "must be an absolute path")
    if kind in ("Exact", "Prefix"):
        for sequence in _BAD_SEQUENCES:
            if sequence in value:
                yield invalid_value(here, value, f"must not contain '{sequence}'")
        for end in _BAD_ENDS:
            if value.endswith(end):
                yield invalid_value(here, value, f"cannot end with '{end}'")
    yield from _backend(f"{path}.backend", item.backend)


def _backend(path: str, backend: IngressBackend) -> Faults:
    if backend.service is not None and backend.resource is not None:
        yield invalid_value(path, "", "cannot set both resource and service backends")
    elif backend.resource is not None:
        resource = backend.resource
        yield from reference(f"{path}.resource", resource.apiGroup, resource.kind, resource.name)
    elif backend.service is not None:
        yield from checks.named_required(f"{path}.service.name", backend.service.name, names.dns1035_label)
        port = backend.service.port
        if port.name and port.number:
            yield invalid_value(path, "", "cannot set both port name & port number")
        elif not port.name and not port.number:
            yield required(path, "port name or number is required")
        elif port.name:
            yield from checks.named(f"{path}.service.port.name", port.name, names.port_name)
        else:
            yield from checks.port(f"{path}.service.port.number", port.number)
    else:
        yield invalid_value(path, "", "resource or service backend is required")


def reference(path: str, group: str | None, kind: str, name: str) -> Faults:
    """An object of any kind, by group, kind and name."""
    if group is not None:
        yield from checks.named(f"{path}.apiGroup", group, names.dns1123_subdomain)
    for member, value in (("kind", kind), ("name", name)):
        if not value:
            yield required(f"{path}.{member}", f"{member} is required")
        else:
            yield from checks.named(f"{path}.{member}", value, names.path_segment)


class IngressClassStrategy(KindStrategy):
    """networking.k8s.io IngressClass."""

    generation_counts = ("spec",)

    def default(self, obj: IngressClass) -> None:
        if obj.spec.parameters is not None:
            unset(obj.spec.parameters, scope="Cluster")

    def rules(self, obj: IngressClass) -> Faults:
        controller, given = obj.spec.controller or "", obj.spec.parameters
        if len(controller) > _CONTROLLER_MAX:
            yield too_long("spec.controller", _CONTROLLER_MAX)
        yield from checks.domain_prefixed_path("spec.controller", controller)
        if given is None:
            return
        path = "spec.parameters"
        yield from reference(path, given.apiGroup, given.kind, given.name)
        if given.scope is None:
            yield required(f"{path}.scope")
        elif given.scope not in ("Cluster", "Namespace"):
            yield not_supported(f"{path}.scope", given.scope, ("Cluster", "Namespace"))
        elif given.scope == "Cluster" and given.namespace is not None:
            yield field_forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")
        elif given.scope == "Namespace" and given.namespace is None:
            yield required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
        elif given.scope == "Namespace":
            yield from checks.named(f"{path}.namespace", given.namespace or "", names.dns1123_label)

    def update_rules(self, new: IngressClass, old: IngressClass) -> Faults:
        yield from checks.immutable("spec.controller", new.spec.controller, old.spec.controller)


class NetworkPolicyStrategy(KindStrategy):
    """networking.k8s.io NetworkPolicy; egress rules imply the Egress type."""

    generation_counts = ("spec",)

    def default(self, obj: NetworkPolicy) -> None:
        spec = obj.spec
        for ports in [rule.ports for rule in spec.ingress] + [rule.ports for rule in spec.egress]:
            for port in ports:
                unset(port, protocol="TCP")
        spec.policyTypes = spec.policyTypes or (["Ingress", "Egress"] if spec.egress else ["Ingress"])

    def rules(self, obj: NetworkPolicy) -> Faults:
        spec = obj.spec
        yield from checks.label_selector("spec.podSelector", spec.podSelector)
        for index, rule in enumerate(spec.ingress):
            yield from _policy_ports(f"spec.ingress[{index}].ports", rule.ports)
            yield from _peers(f"spec.ingress[{index}].from", rule.from_)
        for index, egress in enumerate(spec.egress):
            yield from _policy_ports(f"spec.egress[{index}].ports", egress.ports)
            yield from _peers(f"spec.egress[{index}].to", egress.to)
        if len(spec.policyTypes) > 2:
            yield invalid_value("spec.policyTypes", spec.policyTypes, "may not specify more than two policyTypes")
            return
        for index, kind in enumerate(spec.policyTypes):
            if kind not in ("Ingress", "Egress"):
                yield not_supported(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress"))


def _policy_ports(path: str, ports: Sequence[NetworkPolicyPort]) -> Faults:
    for index, item in enumerate(ports):
        here, port, end = f"{path}[{index}]", item.port, item.endPort
        if item.protocol is not None and item.protocol not in service_rules.PROTOCOLS:
            yield not_supported(f"{here}.protocol", item.protocol, ("TCP", "UDP", "SCTP"))
        if isinstance(port, int):
            yield from checks.port(f"{here}.port", port)
            if end is not None and end < port:
                yield invalid_value(f"{here}.endPort", port, "must be greater than or equal to `port`")
            yield from checks.port(f"{here}.endPort", end)
        elif end is not None:
            why = "not specified" if port is None else "non-numeric"
            yield invalid_value(f"{here}.endPort", end, f"may not be specified when `port` is {why}")
        if isinstance(port, str):
            yield from checks.port(f"{here}.port", port)


def _peers(path: str, peers: Sequence[NetworkPolicyPeer]) -> Faults:
    for index, peer in enumerate(peers):
        here, block = f"{path}[{index}]", peer.ipBlock
        selects = peer.podSelector is not None or peer.namespaceSelector is not None
        yield from checks.label_selector(f"{here}.podSelector", peer.podSelector)
        yield from checks.label_selector(f"{here}.namespaceSelector", peer.namespaceSelector)
        if block is not None:
            if not block.cidr:
                yield required(f"{here}.ipBlock.cidr")
            else:
                yield from _block(f"{here}.ipBlock", block.cidr, block.except_)
            if selects:
                yield field_forbidden(here, "may not specify both ipBlock and another peer")
        elif not selects:
            yield required(here, "must specify a peer")


def _block(path: str, cidr: str, excepted: Sequence[str]) -> Faults:
    yield from addresses.cidr(f"{path}.cidr", cidr)
    whole = addresses.parse_block(cidr)
    for index, item in enumerate(excepted if whole is not None else ()):
        here, part = f"{path}.except[{index}]", addresses.parse_block(item)
        yield from addresses.cidr(here, item)
        if part is None or whole is None:
            continue
        inside = part.version == whole.version and part.network_address in whole
        if not inside or whole.prefixlen >= part.prefixlen:
            yield invalid_value(here, item, "must be a strict subset of `cidr`")


def _is_address(name: str) -> list[str]:
    return [fault.detail for fault in addresses.canonical_ip("", name)]


class IPAddressStrategy(KindStrategy):
    """networking.k8s.io IPAddress: named as it is spelled, of one parent for good."""

    name_check = staticmethod(_is_address)

    def rules(self, obj: IPAddress) -> Faults:
        parent, path = obj.spec.parentRef, "spec.parentRef"
        if parent is None:
            yield required(path)
            return
        if parent.group:
            yield from checks.named(f"{path}.group", parent.group, names.dns1123_subdomain)
        for member in ("resource", "name"):
            yield from checks.named_required(f"{path}.{member}", getattr(parent, member), names.path_segment)
        if parent.namespace:
            yield from checks.named(f"{path}.namespace", parent.namespace, names.path_segment)

    def update_rules(self, new: IPAddress, old: IPAddress) -> Faults:
        yield from checks.immutable("spec.parentRef", new.spec.parentRef, old.spec.parentRef)

    def fields(self, obj: IPAddress) -> dict[str, str]:
        parent = obj.spec.parentRef
        return {f"spec.parentRef.{name}": getattr(parent, name, None) or "" for name in ("name", "namespace")}


class ServiceCIDRStrategy(KindStrategy):
    """networking.k8s.io ServiceCIDR: one block, or one of each family, for good."""

    def rules(self, obj: ServiceCIDR) -> Faults:
        blocks, path = obj.spec.cidrs, "spec.cidrs"
        versions = [block.version if (block := addresses.parse_block(item)) is not None else None for item in blocks]
        if not blocks:
            yield required(path, "at least one CIDR required")
        elif len(blocks) > 2:
            yield invalid_value(path, obj.spec, "may only hold up to 2 values")
        elif len(blocks) == 2 and set(versions) != {4, 6}:
            example = "192.168.0.0/24 and 2001:db8::/64"
            text = f"may specify no more than one IP for each IP family, i.e {example}"
            yield invalid_value(path, obj.spec, text)
        else:
            for index, item in enumerate(blocks):
                yield from addresses.canonical_cidr(f"{path}[{index}]", item)

    def update_rules(self, new: ServiceCIDR, old: ServiceCIDR) -> Faults:
        yield from checks.immutable("spec.cidrs", new.spec.cidrs, old.spec.cidrs)
