"""Services: types, families, ports, and the addresses and node ports they hold.

What a Service holds is taken in `allocate`, before the write, and given back when the write fails or the Service goes.
The ranges are in server/allocators.py.
"""

from collections.abc import Callable
from functools import partial

from wherry.api.core_v1 import ClientIPConfig, Service, ServicePort, ServiceSpec, SessionAffinityConfig
from wherry.meta import names
from wherry.meta.errors import internal_error, invalid, invalid_value
from wherry.server.allocators import AddressAllocator, Full, PortAllocator, Refused
from wherry.server.strategies import service_fields, service_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.service_fields import wants_node_ports
from wherry.server.strategies.service_rules import CLUSTER_IP, EXTERNAL_NAME, HEADLESS, LOAD_BALANCER, NODE_PORT
from wherry.server.strategies.strategy import Caches, RequestContext

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

    async def allocate(self, new: Service, old: Service | None, ctx: RequestContext) -> Callable[[], None]:
        self._adopt()
        faults = list(service_rules.cluster_addresses(new.spec, old.spec.clusterIPs if old is not None else ()))
        faults = faults or service_fields.settle_families(new, old, self._addresses.family)
        if faults:
            raise invalid("Service", new.metadata.name or "", faults)
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
        if wants_node_ports(spec):
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
        if service_rules.wants_health_port(spec):
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
