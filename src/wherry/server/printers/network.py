"""Services, endpoints, ingresses, network policies and addresses."""

from datetime import datetime
from typing import Any

from wherry.server.printers.table import NONE, UNSET, joined, labels, printed, selector, since


def _service(obj: Any, now: datetime) -> list[Any]:
    spec = obj.spec
    ports = joined(
        f"{port.port}:{port.nodePort}/{port.protocol}" if port.nodePort else f"{port.port}/{port.protocol}"
        for port in spec.ports
    )
    return [
        obj.metadata.name,
        spec.type,
        spec.clusterIP or NONE,
        _external(obj),
        ports,
        since(obj, now),
        labels(spec.selector),
    ]


def _external(obj: Any) -> str:
    spec = obj.spec
    if spec.type == "ExternalName":
        return spec.externalName or ""
    if spec.type == "LoadBalancer":
        found = [item.ip or item.hostname or "" for item in obj.status.loadBalancer.ingress]
        addresses = [*found, *spec.externalIPs]
        return ",".join(addresses) if addresses else "<pending>"
    return joined(spec.externalIPs)


def _ingress(obj: Any, now: datetime) -> list[Any]:
    spec = obj.spec
    hosts = [rule.host for rule in spec.rules if rule.host]
    addresses = [item.ip or item.hostname or "" for item in obj.status.loadBalancer.ingress]
    return [
        obj.metadata.name,
        spec.ingressClassName or NONE,
        joined(hosts, limit=3) if hosts else "*",
        ",".join(addresses),
        "80, 443" if spec.tls else "80",
        since(obj, now),
    ]


def _ingress_class(obj: Any, now: datetime) -> list[Any]:
    parameters = obj.spec.parameters
    shown = NONE
    if parameters is not None:
        kind = f"{parameters.kind}.{parameters.apiGroup}" if parameters.apiGroup else parameters.kind
        shown = f"{kind}/{parameters.name}"
    return [obj.metadata.name, obj.spec.controller or "", shown, since(obj, now)]


def _endpoints(obj: Any, now: datetime) -> list[Any]:
    found = []
    for subset in obj.subsets:
        for address in subset.addresses:
            host = f"[{address.ip}]" if ":" in address.ip else address.ip
            found += [f"{host}:{port.port}" for port in subset.ports] or [address.ip]
    return [obj.metadata.name, joined(found, limit=3), since(obj, now)]


def _slice(obj: Any, now: datetime) -> list[Any]:
    ports = [UNSET if port.port is None else str(port.port) for port in obj.ports]
    addresses = [address for endpoint in obj.endpoints for address in endpoint.addresses]
    shown_ports = joined(ports, limit=3) if ports else UNSET
    shown = joined(addresses, limit=3) if addresses else UNSET
    return [obj.metadata.name, obj.addressType, shown_ports, shown, since(obj, now)]


def _policy(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, selector(obj.spec.podSelector), since(obj, now)]


def _address(obj: Any, now: datetime) -> list[Any]:
    parent = obj.spec.parentRef
    shown = NONE
    if parent is not None:
        group = f".{parent.group}" if parent.group else ""
        place = f"{parent.namespace}/" if parent.namespace else ""
        shown = f"{parent.resource}{group}/{place}{parent.name}"
    return [obj.metadata.name, shown, since(obj, now)]


def _blocks(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, ",".join(obj.spec.cidrs), since(obj, now)]


PRINTED = {
    ("", "services"): printed("Name, Type, Cluster-IP, External-IP, Port(s), Age, +Selector", _service),
    ("", "endpoints"): printed("Name, Endpoints, Age", _endpoints),
    ("discovery.k8s.io", "endpointslices"): printed("Name, AddressType, Ports, Endpoints, Age", _slice),
    ("networking.k8s.io", "ingresses"): printed("Name, Class, Hosts, Address, Ports, Age", _ingress),
    ("networking.k8s.io", "ingressclasses"): printed("Name, Controller, Parameters, Age", _ingress_class),
    ("networking.k8s.io", "networkpolicies"): printed("Name, Pod-Selector, Age", _policy),
    ("networking.k8s.io", "ipaddresses"): printed("Name, ParentRef, Age", _address),
    ("networking.k8s.io", "servicecidrs"): printed("Name, CIDRs, Age", _blocks),
}
