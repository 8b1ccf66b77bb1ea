"""Endpoints, endpoint slices, ingresses, network policies and disruption budgets."""

from typing import Any

from wherry.api.core_v1 import Endpoints
from wherry.api.discovery_v1 import EndpointSlice
from wherry.api.networking_v1 import Ingress, NetworkPolicy
from wherry.api.policy_v1 import PodDisruptionBudget
from wherry.meta import names
from wherry.meta.errors import invalid_value, required, too_many
from wherry.server.strategies import addresses, checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset

ENDPOINTS_MAX = 1000


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
                    yield from addresses.ip_address(f"{path}.{name}[{number}].ip", address.ip)
            for number, port in enumerate(subset.ports):
                yield from checks.port(f"{path}.ports[{number}].port", port.port)
                if len(subset.ports) > 1 and not port.name:
                    yield required(f"{path}.ports[{number}].name")


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
        for index, endpoint in enumerate(obj.endpoints):
            path = f"endpoints[{index}].addresses"
            if not endpoint.addresses:
                yield required(path, "must contain at least 1 address")
            for number, address in enumerate(endpoint.addresses):
                if obj.addressType == "FQDN":
                    yield from checks.named(f"{path}[{number}]", address, names.dns1123_subdomain)
                else:
                    yield from addresses.ip_address(f"{path}[{number}]", address)
        yield from checks.unique((f"ports[{i}].name", port.name) for i, port in enumerate(obj.ports))

    def update_rules(self, new: EndpointSlice, old: EndpointSlice) -> Faults:
        yield from checks.immutable("addressType", new.addressType, old.addressType)


class IngressStrategy(KindStrategy):
    """networking.k8s.io Ingress."""

    generation_counts = ("spec",)

    def rules(self, obj: Ingress) -> Faults:
        spec = obj.spec
        if not spec.rules and spec.defaultBackend is None:
            yield invalid_value("spec", spec.rules, "either `defaultBackend` or `rules` must be specified")
        if spec.defaultBackend is not None:
            yield from _backend("spec.defaultBackend", spec.defaultBackend)
        for index, rule in enumerate(spec.rules):
            path = f"spec.rules[{index}]"
            if rule.host:
                check = names.wildcard_dns1123_subdomain if "*" in rule.host else names.dns1123_subdomain
                yield from checks.named(f"{path}.host", rule.host, check)
            for number, item in enumerate(rule.http.paths if rule.http is not None else ()):
                yield from _path(f"{path}.http.paths[{number}]", item)
        if spec.ingressClassName is not None:
            yield from checks.named("spec.ingressClassName", spec.ingressClassName, names.dns1123_subdomain)


def _path(path: str, item: Any) -> Faults:
    kinds = ("Exact", "ImplementationSpecific", "Prefix")
    if not item.pathType:
        yield required(f"{path}.pathType", "pathType must be specified")
    else:
        yield from checks.one_of(f"{path}.pathType", item.pathType, kinds)
    if item.pathType in ("Exact", "Prefix") and not (item.path or "").startswith("/"):
        yield invalid_value(f"{path}.path", item.path or "", "must be an absolute path")
    yield from _backend(f"{path}.backend", item.backend)


def _backend(path: str, backend: Any) -> Faults:
    if backend.service is None and backend.resource is None:
        yield required(path, "resource or service backend is required")
    elif backend.service is not None and backend.resource is not None:
        yield invalid_value(path, "", "cannot set both resource and service backends")
    elif backend.service is not None:
        yield from checks.named_required(f"{path}.service.name", backend.service.name, names.dns1035_label)
        port = backend.service.port
        if port.name and port.number:
            yield invalid_value(path, "", "cannot set both port name & port number")
        elif not port.name and not port.number:
            yield required(path, "port name or number is required")


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
            yield from _peers(f"spec.ingress[{index}].from", rule.from_)
        for index, egress in enumerate(spec.egress):
            yield from _peers(f"spec.egress[{index}].to", egress.to)
        for kind in spec.policyTypes:
            yield from checks.one_of("spec.policyTypes", kind, ("Egress", "Ingress"))


def _peers(path: str, peers: list[Any]) -> Faults:
    for index, peer in enumerate(peers):
        here = f"{path}[{index}]"
        selects = peer.podSelector is not None or peer.namespaceSelector is not None
        if peer.ipBlock is None and not selects:
            yield required(here, "must specify a peer")
        elif peer.ipBlock is not None:
            yield from addresses.cidr(f"{here}.ipBlock.cidr", peer.ipBlock.cidr)
            if selects:
                yield from checks.unchanged(here, True, False, "may not specify both ipBlock and another peer")
        yield from checks.label_selector(f"{here}.podSelector", peer.podSelector)
        yield from checks.label_selector(f"{here}.namespaceSelector", peer.namespaceSelector)


class DisruptionBudgetStrategy(KindStrategy):
    """policy PodDisruptionBudget."""

    generation_counts = ("spec",)

    def rules(self, obj: PodDisruptionBudget) -> Faults:
        spec = obj.spec
        if spec.minAvailable is not None and spec.maxUnavailable is not None:
            yield invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set")
        for name in ("minAvailable", "maxUnavailable"):
            yield from checks.count_or_percent(f"spec.{name}", getattr(spec, name))
            yield from checks.at_most_hundred_percent(f"spec.{name}", getattr(spec, name))
        yield from checks.label_selector("spec.selector", spec.selector)
        policies = ("AlwaysAllow", "IfHealthyBudget")
        yield from checks.one_of("spec.unhealthyPodEvictionPolicy", spec.unhealthyPodEvictionPolicy, policies)
