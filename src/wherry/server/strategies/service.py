"""Services: types, families, ports, and the addresses and node ports they hold.

What a Service holds is taken in `allocate`, before the write, and given back when the write fails or the Service goes.
The ranges are in server/allocators.py.
"""

from collections.abc import Callable
from functools import partial

from wherry.api.core_v1 import ClientIPConfig, Service, ServicePort, ServiceSpec, SessionAffinityConfig
from wherry.meta import names
from wherry.meta.errors import (
    duplicate,
    field_forbidden,
    internal_error,
    invalid,
    invalid_value,
    not_supported,
    required,
)
from wherry.server.allocators import AddressAllocator, Full, PortAllocator, Refused
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import Caches, RequestContext

CLUSTER_IP, NODE_PORT, LOAD_BALANCER, EXTERNAL_NAME = "ClusterIP", "NodePort", "LoadBalancer", "ExternalName"
TYPES = (CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT)
HEADLESS = "None"
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_AFFINITY_SECONDS = 10800


class ServiceStrategy(KindStrategy):
    """v1 Service."""

    name_check = staticmethod(names.dns1035_label)

    def __init__(self, caches: Caches, addresses: AddressAllocator, ports: PortAllocator) -> None:
        super().__init__(has_status=True)
        self._caches = caches
        self._addresses = addresses
        self._ports = ports
        self._adopted = False

    def default(self, obj: Service) -> None:
        spec = obj.spec
        unset(spec, type=CLUSTER_IP, sessionAffinity="None")
        if spec.sessionAffinity == "None":
            spec.sessionAffinityConfig = None
        if spec.sessionAffinity == "ClientIP":
            spec.sessionAffinityConfig = spec.sessionAffinityConfig or SessionAffinityConfig()
            client = spec.sessionAffinityConfig.clientIP = spec.sessionAffinityConfig.clientIP or ClientIPConfig()
            unset(client, timeoutSeconds=_AFFINITY_SECONDS)
        for port in spec.ports:
            unset(port, protocol="TCP")
            if not port.targetPort:
                port.targetPort = port.port
        if spec.type != EXTERNAL_NAME:
            unset(spec, internalTrafficPolicy="Cluster")
        if spec.type in (NODE_PORT, LOAD_BALANCER) or (spec.type == CLUSTER_IP and spec.externalIPs):
            unset(spec, externalTrafficPolicy="Cluster")
        if spec.type == LOAD_BALANCER:
            unset(spec, allocateLoadBalancerNodePorts=True)

    def prepare_for_create(self, obj: Service, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        _drop_unneeded(obj.spec)
        _families(obj.spec)

    def prepare_for_update(self, new: Service, old: Service, ctx: RequestContext) -> None:
        super().prepare_for_update(new, old, ctx)
        _keep_allocated(new.spec, old.spec)
        _drop_unneeded(new.spec)
        _families(new.spec)

    def rules(self, obj: Service) -> Faults:
        yield from _rules(obj.spec)

    def update_rules(self, new: Service, old: Service) -> Faults:
        both = EXTERNAL_NAME not in (new.spec.type, old.spec.type)
        if both and old.spec.clusterIP and new.spec.clusterIP != old.spec.clusterIP:
            yield invalid_value("spec.clusterIPs[0]", new.spec.clusterIPs, "may not change once set")
        if old.spec.type == LOAD_BALANCER == new.spec.type:
            yield from checks.unchanged(
                "spec.loadBalancerClass",
                new.spec.loadBalancerClass,
                old.spec.loadBalancerClass,
                "may not change once set",
            )

    def fields(self, obj: Service) -> dict[str, str]:
        return {"spec.clusterIP": obj.spec.clusterIP or "", "spec.type": obj.spec.type or ""}

    async def allocate(self, new: Service, old: Service | None, ctx: RequestContext) -> Callable[[], None]:
        self._adopt()
        undo: list[Callable[[], None]] = []

        def undo_all() -> None:
            for step in reversed(undo):
                step()

        try:
            self._allocate_address(new, old, ctx, undo)
            self._allocate_ports(new, old, ctx, undo)
        except BaseException:
            undo_all()
            raise
        return undo_all

    def released(self, obj: Service) -> None:
        self._adopt()
        for address in _addresses(obj.spec):
            self._addresses.release(address)
        for port in _node_ports(obj.spec):
            self._ports.release(port)

    def _adopt(self) -> None:
        """Note what existing Services hold, once."""
        if self._adopted:
            return
        self._adopted = True
        for service in self._caches.list(Service):
            for address in _addresses(service.spec):
                self._addresses.adopt(address)
            for port in _node_ports(service.spec):
                self._ports.adopt(port)

    def _allocate_address(
        self, new: Service, old: Service | None, ctx: RequestContext, undo: list[Callable[[], None]]
    ) -> None:
        held = _addresses(old.spec) if old is not None else []
        spec = new.spec
        if spec.type != EXTERNAL_NAME and not spec.clusterIP:
            try:
                address = self._addresses.take_next(ctx.entropy)
            except Full as error:
                raise internal_error(f"failed to allocate a serviceIP: {error}") from error
            undo.append(lambda: self._addresses.release(address))
            spec.clusterIP, spec.clusterIPs = address, [address]
        elif spec.clusterIP and spec.clusterIP != HEADLESS and spec.clusterIP not in held:
            given = spec.clusterIP
            if spec.clusterIP != self._addresses.first or not _is_kubernetes(new):
                self._take_address(new, given)
            else:
                self._addresses.adopt(given)
            undo.append(lambda: self._addresses.release(given))
            spec.clusterIPs = spec.clusterIPs or [given]
        elif spec.clusterIP:
            spec.clusterIPs = spec.clusterIPs or [spec.clusterIP]
        for address in held:
            if address not in _addresses(spec):
                self._addresses.release(address)
                undo.append(partial(self._addresses.adopt, address))

    def _take_address(self, service: Service, address: str) -> None:
        try:
            self._addresses.take(address)
        except Refused as error:
            text = f"failed to allocate IP {address}: {error}"
            fault = invalid_value("spec.clusterIPs", service.spec.clusterIPs or [address], text)
            raise invalid("Service", service.metadata.name or "", [fault]) from error

    def _allocate_ports(
        self, new: Service, old: Service | None, ctx: RequestContext, undo: list[Callable[[], None]]
    ) -> None:
        held = set(_node_ports(old.spec)) if old is not None else set()
        spec = new.spec
        if _wants_node_ports(spec):
            # TCP and UDP may share one number, if it is asked for by number.
            mine: set[int] = set(held)
            for index, port in enumerate(spec.ports):
                if port.nodePort and port.nodePort not in mine:
                    self._take_port(new, f"spec.ports[{index}].nodePort", port.nodePort, undo)
                    mine.add(port.nodePort)
            for port in spec.ports:
                if not port.nodePort:
                    twin = next((p.nodePort for p in spec.ports if _twins(p, port) and p.nodePort), None)
                    port.nodePort = twin or self._next_port(ctx, undo)
        if _wants_health_port(spec):
            if not spec.healthCheckNodePort:
                spec.healthCheckNodePort = self._next_port(ctx, undo)
            elif spec.healthCheckNodePort not in held:
                self._take_port(new, "spec.healthCheckNodePort", spec.healthCheckNodePort, undo)
        for number in held - set(_node_ports(spec)):
            self._ports.release(number)
            undo.append(partial(self._ports.adopt, number))

    def _next_port(self, ctx: RequestContext, undo: list[Callable[[], None]]) -> int:
        try:
            number = self._ports.take_next(ctx.entropy)
        except Full as error:
            raise internal_error(f"failed to allocate a nodePort: {error}") from error
        undo.append(lambda: self._ports.release(number))
        return number

    def _take_port(self, service: Service, path: str, port: int, undo: list[Callable[[], None]]) -> None:
        try:
            self._ports.take(port)
        except Refused as error:
            fault = invalid_value(path, port, str(error))
            raise invalid("Service", service.metadata.name or "", [fault]) from error
        undo.append(lambda: self._ports.release(port))


def _is_kubernetes(service: Service) -> bool:
    return (service.metadata.namespace, service.metadata.name) == ("default", "kubernetes")


def _twins(one: ServicePort, other: ServicePort) -> bool:
    return one.port == other.port and one.protocol != other.protocol


def _addresses(spec: ServiceSpec) -> list[str]:
    return [item for item in spec.clusterIPs or [spec.clusterIP or ""] if item and item != HEADLESS]


def _node_ports(spec: ServiceSpec) -> list[int]:
    ports = [port.nodePort for port in spec.ports if port.nodePort]
    return [*ports, spec.healthCheckNodePort] if spec.healthCheckNodePort else ports


def _wants_node_ports(spec: ServiceSpec) -> bool:
    return spec.type == NODE_PORT or (spec.type == LOAD_BALANCER and spec.allocateLoadBalancerNodePorts is not False)


def _wants_health_port(spec: ServiceSpec) -> bool:
    return spec.type == LOAD_BALANCER and spec.externalTrafficPolicy == "Local"


def _families(spec: ServiceSpec) -> None:
    """One IPv4 family, unless told otherwise; a headless Service without selector may hold any address."""
    if spec.type == EXTERNAL_NAME:
        return
    if spec.clusterIP and not spec.clusterIPs:
        spec.clusterIPs = [spec.clusterIP]
    if spec.clusterIPs and not spec.clusterIP:
        spec.clusterIP = spec.clusterIPs[0]
    if spec.clusterIP == HEADLESS and not spec.selector:
        unset(spec, ipFamilyPolicy="RequireDualStack")
        if spec.ipFamilyPolicy != "SingleStack" and len(spec.ipFamilies) < 2:
            first = spec.ipFamilies[0] if spec.ipFamilies else "IPv4"
            spec.ipFamilies = [first, "IPv6" if first == "IPv4" else "IPv4"]
    unset(spec, ipFamilyPolicy="SingleStack")
    spec.ipFamilies = spec.ipFamilies or ["IPv4"]


def _drop_unneeded(spec: ServiceSpec) -> None:
    """Fields of another type than this one are dropped, so that a change of type need not name them all."""
    if spec.type == EXTERNAL_NAME:
        spec.internalTrafficPolicy = None
        if spec.clusterIP != HEADLESS:
            spec.clusterIP, spec.clusterIPs = None, []
        spec.ipFamilies, spec.ipFamilyPolicy = [], None
    if spec.type != LOAD_BALANCER:
        spec.allocateLoadBalancerNodePorts = None
        spec.loadBalancerClass = None
    if not _wants_health_port(spec):
        spec.healthCheckNodePort = None
    if spec.type not in (NODE_PORT, LOAD_BALANCER) and not spec.externalIPs:
        spec.externalTrafficPolicy = None


def _keep_allocated(new: ServiceSpec, old: ServiceSpec) -> None:
    """Addresses and ports that an update leaves out stay as they are; a change of type gives ports back."""
    if EXTERNAL_NAME not in (new.type, old.type):
        if not new.clusterIP and not new.clusterIPs:
            new.clusterIP, new.clusterIPs = old.clusterIP, list(old.clusterIPs)
        new.ipFamilies = new.ipFamilies or list(old.ipFamilies)
        new.ipFamilyPolicy = new.ipFamilyPolicy or old.ipFamilyPolicy
    if _wants_node_ports(new) and _wants_node_ports(old):
        known = {(port.protocol, port.port): port.nodePort for port in old.ports}
        taken = {port.nodePort for port in new.ports}
        for port in new.ports:
            kept = known.get((port.protocol, port.port))
            if not port.nodePort and kept not in taken:
                port.nodePort = kept
    elif not _wants_node_ports(new) and _wants_node_ports(old):
        before = {port.nodePort for port in old.ports}
        for port in new.ports:
            if port.nodePort in before:
                port.nodePort = None
    if _wants_health_port(new) and _wants_health_port(old) and not new.healthCheckNodePort:
        new.healthCheckNodePort = old.healthCheckNodePort


def _rules(spec: ServiceSpec) -> Faults:
    if spec.type not in TYPES:
        yield not_supported("spec.type", spec.type, TYPES)
    headless = spec.clusterIP == HEADLESS
    if not spec.ports and not headless and spec.type != EXTERNAL_NAME:
        yield required("spec.ports")
    if spec.type == EXTERNAL_NAME:
        if spec.externalName:
            yield from checks.named("spec.externalName", spec.externalName.rstrip("."), names.dns1123_subdomain)
        else:
            yield required("spec.externalName")
        if spec.clusterIP == HEADLESS:
            yield invalid_value("spec.clusterIPs[0]", HEADLESS, "may not be set to 'None' for ExternalName services")
    elif headless and spec.type != CLUSTER_IP:
        text = f"may not be set to 'None' for {spec.type} services"
        yield invalid_value("spec.clusterIPs[0]", HEADLESS, text)
    yield from _ports(spec)
    yield from checks.labels("spec.selector", spec.selector)
    yield from checks.one_of_required("spec.sessionAffinity", spec.sessionAffinity, ("ClientIP", "None"))
    client = spec.sessionAffinityConfig.clientIP if spec.sessionAffinityConfig is not None else None
    if client is not None and not 0 < (client.timeoutSeconds or 0) <= 86400:
        text = "must be greater than 0 and less than 86400"
        yield invalid_value("spec.sessionAffinityConfig.clientIP.timeoutSeconds", client.timeoutSeconds, text)
    if spec.clusterIP and not headless:
        yield from checks.ip_address("spec.clusterIPs[0]", spec.clusterIP)
    for index, address in enumerate(spec.externalIPs):
        yield from checks.ip_address(f"spec.externalIPs[{index}]", address)
    yield from checks.one_of("spec.internalTrafficPolicy", spec.internalTrafficPolicy, ("Cluster", "Local"))
    yield from checks.one_of("spec.externalTrafficPolicy", spec.externalTrafficPolicy, ("Cluster", "Local"))
    yield from checks.one_of("spec.ipFamilyPolicy", spec.ipFamilyPolicy, _FAMILY_POLICIES)
    if spec.ipFamilyPolicy == "RequireDualStack" and not (headless and not spec.selector):
        text = "this cluster is not configured for dual-stack services"
        yield invalid_value("spec.ipFamilyPolicy", spec.ipFamilyPolicy, text)
    for index, block in enumerate(spec.loadBalancerSourceRanges):
        yield from checks.cidr(f"spec.LoadBalancerSourceRanges[{index}]", block.strip())


_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")


def _ports(spec: ServiceSpec) -> Faults:
    names_seen: set[str] = set()
    seen: set[tuple[str | None, int]] = set()
    node_ports: set[tuple[str | None, int]] = set()
    for index, port in enumerate(spec.ports):
        path = f"spec.ports[{index}]"
        if not port.name and len(spec.ports) > 1:
            yield required(f"{path}.name")
        elif port.name:
            yield from checks.named(f"{path}.name", port.name, names.dns1123_label)
            if port.name in names_seen:
                yield duplicate(f"{path}.name", port.name)
            names_seen.add(port.name)
        yield from checks.port(f"{path}.port", port.port)
        if port.protocol not in _PROTOCOLS:
            yield from checks.one_of_required(f"{path}.protocol", port.protocol, _PROTOCOLS)
        yield from checks.port(f"{path}.targetPort", port.targetPort)
        if port.appProtocol:
            yield from checks.named(f"{path}.appProtocol", port.appProtocol, names.qualified_name)
        key = (port.protocol, port.port)
        if key in seen:
            yield duplicate(path, {"protocol": port.protocol, "port": port.port})
        seen.add(key)
        if port.nodePort:
            if spec.type in (CLUSTER_IP, EXTERNAL_NAME):
                text = f"may not be used when `type` is '{spec.type}'"
                yield field_forbidden(f"{path}.nodePort", text)
            if (port.protocol, port.nodePort) in node_ports:
                yield duplicate(f"{path}.nodePort", port.nodePort)
            node_ports.add((port.protocol, port.nodePort))
