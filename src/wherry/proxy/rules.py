"""What the proxy should do, as data: Services and EndpointSlices in, one `ServicePort` per virtual port out.

Pure, and the one model behind every back end: nftables and iptables turn it into kernel rules, userspace into
listeners. Which endpoints serve is decided here, once, as kube-proxy decides it (KEP-1669 terminating endpoints,
KEP-2086 internal traffic policy). Read nftables.py next.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from wherry.api.core_v1 import Service
from wherry.api.discovery_v1 import Endpoint as SliceEndpoint
from wherry.api.discovery_v1 import EndpointSlice

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
DEFAULT_AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One address behind a virtual port."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service, with the endpoints that serve it now."""

    name: str
    """namespace/service or namespace/service:port, for people and for stable chain names."""
    protocol: str
    """tcp, udp or sctp."""
    port: int
    cluster_ips: tuple[str, ...]
    external_ips: tuple[str, ...]
    """External and load-balancer addresses."""
    node_port: int | None
    affinity_seconds: int | None
    source_ranges: tuple[str, ...]
    """Sources that may use the load-balancer addresses; empty: all."""
    internal: tuple[Endpoint, ...]
    """Endpoints for traffic to the cluster IPs."""
    external: tuple[Endpoint, ...]
    """Endpoints for traffic from outside (node port, external addresses)."""
    preserve_source: bool
    """externalTrafficPolicy Local: external traffic keeps its source address."""


def plan_service_ports(
    services: Iterable[Service], slices: Iterable[EndpointSlice], node_name: str
) -> dict[str, ServicePort]:
    """Every virtual port the node must serve, by name."""
    by_service: dict[tuple[str | None, str], list[EndpointSlice]] = {}
    for one in slices:
        if one.addressType == "IPv4":
            by_service.setdefault((one.metadata.namespace, one.metadata.labels.get(SERVICE_NAME_LABEL, "")), []).append(
                one
            )
    ports: dict[str, ServicePort] = {}
    for service in services:
        spec = service.spec
        if PROXY_NAME_LABEL in service.metadata.labels or spec.type == "ExternalName":
            continue
        if not spec.clusterIP or spec.clusterIP == "None":
            continue
        own = by_service.get((service.metadata.namespace, service.metadata.name or ""), [])
        for planned in _plan_service(service, own, node_name):
            ports[planned.name] = planned
    return ports


def _plan_service(service: Service, slices: list[EndpointSlice], node_name: str) -> Iterable[ServicePort]:
    spec = service.spec
    balancer = tuple(ingress.ip for ingress in _ingresses(service) if ingress and ingress.ip)
    addresses = tuple(ip for ip in (spec.clusterIPs or [spec.clusterIP or ""]) if ":" not in ip)
    for port in spec.ports:
        suffix = f":{port.name}" if port.name else ""
        found = list(_endpoints(slices, port.name or ""))
        local_internal = spec.internalTrafficPolicy == "Local"
        local_external = spec.externalTrafficPolicy == "Local"
        yield ServicePort(
            name=f"{service.metadata.namespace}/{service.metadata.name}{suffix}",
            protocol=(port.protocol or "TCP").lower(),
            port=port.port,
            cluster_ips=addresses,
            external_ips=tuple(ip for ip in (*spec.externalIPs, *balancer) if ":" not in ip),
            node_port=port.nodePort or None,
            affinity_seconds=_affinity_seconds(service),
            source_ranges=tuple(sorted(spec.loadBalancerSourceRanges)),
            internal=_serving(found, node_name if local_internal else None),
            external=_serving(found, node_name if local_external else None),
            preserve_source=local_external,
        )


def _ingresses(service: Service) -> list:  # type: ignore[type-arg]
    return service.status.loadBalancer.ingress if service.status.loadBalancer else []


def _affinity_seconds(service: Service) -> int | None:
    if service.spec.sessionAffinity != "ClientIP":
        return None
    config = service.spec.sessionAffinityConfig
    seconds = config.clientIP.timeoutSeconds if config and config.clientIP else None
    return seconds or DEFAULT_AFFINITY_SECONDS


def _endpoints(slices: list[EndpointSlice], port_name: str) -> Iterable[tuple[SliceEndpoint, int]]:
    for one in slices:
        for port in one.ports:
            if (port.name or "") == port_name and port.port:
                for endpoint in one.endpoints:
                    yield endpoint, port.port


def _serving(found: list[tuple[SliceEndpoint, int]], node_name: str | None) -> tuple[Endpoint, ...]:
    """Ready endpoints, on `node_name` alone if given; where none is ready, those that still serve while terminating."""
    mine = [(e, port) for e, port in found if node_name is None or e.nodeName == node_name]
    ready = [(e, port) for e, port in mine if e.conditions is None or e.conditions.ready is not False]
    if not ready:
        ready = [(e, port) for e, port in mine if e.conditions and e.conditions.serving and e.conditions.terminating]
    return tuple(sorted({Endpoint(address, port) for e, port in ready for address in e.addresses[:1]}))
