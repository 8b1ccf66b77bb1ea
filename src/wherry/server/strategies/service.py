"""Services: types, families, ports, and the addresses and node ports they hold.

What a Service gets is chosen in `allocate`, claimed right before the write, and given back when the write fails or the
Service goes. The ranges are in server/allocators.py.
"""

from wherry.api.core_v1 import ClientIPConfig, Service, ServicePort, ServiceSpec, SessionAffinityConfig
from wherry.meta import names
from wherry.meta.errors import StatusError, internal_error, invalid, invalid_value
from wherry.server.allocators import Addresses, Full, PortAllocator, Refused
from wherry.server.strategies import service_fields, service_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.service_fields import wants_node_ports
from wherry.server.strategies.service_rules import CLUSTER_IP, EXTERNAL_NAME, HEADLESS, LOAD_BALANCER, NODE_PORT
from wherry.server.strategies.strategy import Allocation, Caches, RequestContext

_AFFINITY_SECONDS = 10800


class ServiceStrategy(KindStrategy):
    """v1 Service."""

    name_check = staticmethod(names.dns1035_label)

    def __init__(self, caches: Caches, addresses: Addresses, ports: PortAllocator) -> None:
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
        if spec.type in (NODE_PORT, LOAD_BALANCER, CLUSTER_IP):
            unset(spec, internalTrafficPolicy="Cluster")
        if service_rules.is_reachable_from_outside(spec):
            unset(spec, externalTrafficPolicy="Cluster")
        if spec.type == LOAD_BALANCER:
            unset(spec, allocateLoadBalancerNodePorts=True)
            for ingress in obj.status.loadBalancer.ingress:
                if ingress.ip:
                    unset(ingress, ipMode="VIP")

    def prepare_for_create(self, obj: Service, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        service_fields.normalize_addresses(obj.spec, None)

    def prepare_for_update(self, new: Service, old: Service, ctx: RequestContext) -> None:
        super().prepare_for_update(new, old, ctx)
        service_fields.keep_allocated(new.spec, old.spec)
        service_fields.normalize_addresses(new.spec, old.spec)
        service_fields.drop_outdated(new.spec, old.spec)

    def rules(self, obj: Service) -> Faults:
        yield from service_rules.rules(obj)

    def changed_rules(self, new: Service, old: Service) -> Faults:
        yield from service_rules.rules(new, old)

    def update_rules(self, new: Service, old: Service) -> Faults:
        yield from service_rules.update_rules(new.spec, old.spec)

    def status_rules(self, new: Service, old: Service) -> Faults:
        before = old.status.loadBalancer.ingress
        yield from service_rules.balancer_status(new.status.loadBalancer.ingress, before, new.spec.type or "")

    def fields(self, obj: Service) -> dict[str, str]:
        return {"spec.clusterIP": obj.spec.clusterIP or "", "spec.type": obj.spec.type or ""}

    async def allocate(self, new: Service, old: Service | None, ctx: RequestContext) -> Allocation:
        self._adopt()
        faults = list(service_rules.cluster_addresses(new.spec, old.spec.clusterIPs if old is not None else ()))
        faults = faults or service_fields.settle_families(new, old, self._addresses.family)
        if faults:
            raise invalid("Service", new.metadata.name or "", faults)
        holding = _Holding(new, old, self._addresses, self._ports, ctx)
        try:
            holding.choose_address()
            holding.choose_ports()
        except BaseException:
            await holding.undo()
            raise
        return holding

    async def released(self, obj: Service) -> None:
        self._adopt()
        for port in _node_ports(obj.spec):
            self._ports.release(port)
        for address in addresses_of(obj.spec):
            await self._addresses.free(address, obj)

    def _adopt(self) -> None:
        """Note the node ports that existing Services hold, once."""
        if self._adopted:
            return
        self._adopted = True
        for service in self._caches.list(Service):
            for port in _node_ports(service.spec):
                self._ports.adopt(port)


class _Holding(Allocation):
    """The address and node ports that one write of a Service takes, and those it lets go."""

    def __init__(
        self, new: Service, old: Service | None, addresses: Addresses, ports: PortAllocator, ctx: RequestContext
    ) -> None:
        self._service, self._entropy = new, ctx.entropy
        self._addresses, self._allocator = addresses, ports
        self._held = addresses_of(old.spec) if old is not None else []
        self._held_ports = set(_node_ports(old.spec)) if old is not None else set[int]()
        self._reserved = self._claimed = ""
        self._chosen = False
        """The address is ours to choose, not the user's."""
        self._ports: list[int] = []

    def choose_address(self) -> None:
        spec = self._service.spec
        if spec.type != EXTERNAL_NAME and not spec.clusterIP:
            self._chosen = True
            self._choose()
        elif spec.clusterIP and spec.clusterIP != HEADLESS:
            if spec.clusterIP not in self._held:
                try:
                    self._addresses.take(spec.clusterIP)
                except Refused as error:
                    raise self._refused(error) from error
                self._reserved = spec.clusterIP
            spec.clusterIPs = spec.clusterIPs or [spec.clusterIP]
        elif spec.clusterIP:
            spec.clusterIPs = spec.clusterIPs or [spec.clusterIP]

    def _choose(self) -> None:
        spec = self._service.spec
        try:
            spec.clusterIP = self._reserved = self._addresses.take_next(self._entropy)
        except Full as error:
            raise internal_error(f"failed to allocate a serviceIP: {error}") from error
        spec.clusterIPs = [spec.clusterIP]

    def _refused(self, why: Refused) -> StatusError:
        spec = self._service.spec
        text = f"failed to allocate IP {spec.clusterIP}: {why}"
        fault = invalid_value("spec.clusterIPs", spec.clusterIPs or [spec.clusterIP], text)
        return invalid("Service", self._service.metadata.name or "", [fault])

    def choose_ports(self) -> None:
        spec = self._service.spec
        if wants_node_ports(spec):
            # TCP and UDP may share one number, if it is asked for by number.
            mine: set[int] = set(self._held_ports)
            for index, port in enumerate(spec.ports):
                if port.nodePort and port.nodePort not in mine:
                    self._take_port(f"spec.ports[{index}].nodePort", port.nodePort)
                    mine.add(port.nodePort)
            for port in spec.ports:
                if not port.nodePort:
                    twin = next((p.nodePort for p in spec.ports if _twins(p, port) and p.nodePort), None)
                    port.nodePort = twin or self._next_port()
        if service_rules.wants_health_port(spec):
            if not spec.healthCheckNodePort:
                spec.healthCheckNodePort = self._next_port()
            elif spec.healthCheckNodePort not in self._held_ports:
                self._take_port("spec.healthCheckNodePort", spec.healthCheckNodePort)

    def _next_port(self) -> int:
        try:
            number = self._allocator.take_next(self._entropy)
        except Full as error:
            raise internal_error(f"failed to allocate a nodePort: {error}") from error
        self._ports.append(number)
        return number

    def _take_port(self, path: str, port: int) -> None:
        try:
            self._allocator.take(port)
        except Refused as error:
            fault = invalid_value(path, port, str(error))
            raise invalid("Service", self._service.metadata.name or "", [fault]) from error
        self._ports.append(port)

    async def claim(self) -> None:
        while self._reserved:
            address, self._reserved = self._reserved, ""
            try:
                await self._addresses.claim(address, self._service)
            except Refused as error:
                if not self._chosen:
                    raise self._refused(error) from error
                self._choose()
            else:
                self._claimed = address

    async def undo(self) -> None:
        for port in self._ports:
            self._allocator.release(port)
        if self._reserved:
            self._addresses.forget(self._reserved)
        if self._claimed:
            await self._addresses.free(self._claimed, self._service)

    async def done(self) -> None:
        for port in self._held_ports.difference(_node_ports(self._service.spec)):
            self._allocator.release(port)
        for address in self._held:
            if address not in addresses_of(self._service.spec):
                await self._addresses.free(address, self._service)


def _twins(one: ServicePort, other: ServicePort) -> bool:
    return one.port == other.port and one.protocol != other.protocol


def addresses_of(spec: ServiceSpec) -> list[str]:
    """The cluster addresses that a Service has."""
    return [item for item in spec.clusterIPs or [spec.clusterIP or ""] if item and item != HEADLESS]


def _node_ports(spec: ServiceSpec) -> list[int]:
    ports = [port.nodePort for port in spec.ports if port.nodePort]
    return [*ports, spec.healthCheckNodePort] if spec.healthCheckNodePort else ports
