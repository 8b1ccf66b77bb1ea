"""EndpointSlices: the addresses behind each Service with a selector, at most a hundred to a slice.

The plan changes as few slices as it can: an endpoint stays in the slice it is in, new ones go where a slice is being
written anyway or into the fullest that has room, and only what is left over makes new slices.

Source of the behaviour: kubernetes staging/src/k8s.io/endpointslice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Node, Pod, Service
from wherry.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from wherry.api.registry import resource_for
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Key, is_missing, is_namespace_ending
from wherry.controllers.overlay import Overlay
from wherry.controllers.serving import (
    HEADLESS_LABEL,
    PortFacts,
    ServiceFollower,
    belongs,
    follow,
    hostname_of,
    is_headless,
    is_managed,
    ports_of,
    reference_of,
)
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.wire import deep_copy
from wherry.rules.owners import controller_reference
from wherry.rules.pods import is_ready, is_terminating, pod_ips

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ZONE_LABEL = "topology.kubernetes.io/zone"
ENDPOINTS_MAX = 100

Ports = tuple[PortFacts, ...]


@dataclass(slots=True)
class Plan:
    """Slices to write."""

    create: list[EndpointSlice] = field(default_factory=list)
    update: list[EndpointSlice] = field(default_factory=list)
    delete: list[EndpointSlice] = field(default_factory=list)


def plan_slices(
    service: Service, pods: Sequence[Pod], present: Sequence[EndpointSlice], zones: Mapping[str, str]
) -> Plan:
    """The fewest writes that make `present` (all ours) say what `pods` are."""
    plan = Plan()
    families = service.spec.ipFamilies or ["IPv4"]
    plan.delete += [item for item in present if item.addressType not in families]
    for family in families:
        _plan_family(plan, service, pods, [item for item in present if item.addressType == family], family, zones)
    return plan


def _plan_family(
    plan: Plan,
    service: Service,
    pods: Sequence[Pod],
    present: list[EndpointSlice],
    family: str,
    zones: Mapping[str, str],
) -> None:
    groups: dict[Ports, dict[str, Endpoint]] = {}
    for pod in pods:
        addresses = [ip for ip in pod_ips(pod) if (":" in ip) == (family == "IPv6")]
        if belongs(pod, also_terminating=True) and addresses:
            endpoint = endpoint_of(service, pod, addresses[0], zones)
            groups.setdefault(tuple(ports_of(service, pod)), {})[pod.metadata.uid or ""] = endpoint
    by_ports: dict[Ports, list[EndpointSlice]] = {}
    for item in present:
        by_ports.setdefault(_ports_in(item), []).append(item)
    if not groups:
        # One slice without endpoints tells consumers that the Service is known and empty.
        placeholder = by_ports.get((), [])[:1]
        groups[()] = {}
        if not placeholder:
            plan.create.append(_blank(service, family, ()))
    for ports, endpoints in groups.items():
        _plan_group(plan, service, family, ports, endpoints, by_ports.pop(ports, []))
    for leftover in by_ports.values():
        plan.delete += leftover


def _plan_group(
    plan: Plan,
    service: Service,
    family: str,
    ports: Ports,
    endpoints: dict[str, Endpoint],
    present: list[EndpointSlice],
) -> None:
    """Slices of one set of ports."""
    waiting = dict(endpoints)
    kept: list[tuple[EndpointSlice, list[Endpoint]]] = []
    for item in present:
        staying = [waiting.pop(uid) for known in item.endpoints if (uid := _uid(known)) in waiting]
        kept.append((item, staying))
    added = sorted(waiting.values(), key=lambda endpoint: (endpoint.targetRef and endpoint.targetRef.name) or "")
    # Slices that are written anyway first, then the fullest: the fewest writes, the fewest slices.
    by_cost = sorted(kept, key=lambda pair: (not _is_changed(service, *pair), -len(pair[1])))
    for _, staying in by_cost:
        if not added:
            break
        room = ENDPOINTS_MAX - len(staying)
        staying += added[:room]
        del added[:room]
    empties = [pair for pair in kept if not pair[1]]
    spare = 1 if not endpoints else 0  # the placeholder
    for item, _ in empties[spare:]:
        plan.delete.append(item)
    for item, staying in kept:
        if (staying or (item, staying) in empties[:spare]) and _is_changed(service, item, staying):
            changed = deep_copy(item)
            changed.endpoints = staying
            changed.metadata.labels = _labels(service, item.metadata.labels)
            plan.update.append(changed)
    while added:
        fresh = _blank(service, family, ports)
        fresh.endpoints = added[:ENDPOINTS_MAX]
        del added[:ENDPOINTS_MAX]
        plan.create.append(fresh)


def _is_changed(service: Service, item: EndpointSlice, staying: list[Endpoint]) -> bool:
    return item.endpoints != staying or item.metadata.labels != _labels(service, item.metadata.labels)


def _uid(endpoint: Endpoint) -> str:
    return (endpoint.targetRef and endpoint.targetRef.uid) or ""


def endpoint_of(service: Service, pod: Pod, address: str, zones: Mapping[str, str]) -> Endpoint:
    """A pod as an endpoint. A terminating pod that is still ready serves, but is not ready."""
    serving, terminating = is_ready(pod), is_terminating(pod)
    ready = bool(service.spec.publishNotReadyAddresses) or (serving and not terminating)
    return Endpoint(
        addresses=[address],
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=hostname_of(service, pod),
        nodeName=pod.spec.nodeName,
        targetRef=reference_of(pod),
        zone=zones.get(pod.spec.nodeName or ""),
    )


def _labels(service: Service, present: Mapping[str, str]) -> dict[str, str]:
    own = (SERVICE_NAME_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL)
    labels = {key: value for key, value in service.metadata.labels.items() if key not in own}
    labels |= {SERVICE_NAME_LABEL: service.metadata.name or "", MANAGED_BY_LABEL: MANAGER}
    return labels | ({HEADLESS_LABEL: ""} if is_headless(service) else {})


def _ports_in(item: EndpointSlice) -> Ports:
    return tuple((port.name or "", port.protocol or "TCP", port.port or 0, port.appProtocol) for port in item.ports)


def _blank(service: Service, family: str, ports: Ports) -> EndpointSlice:
    return EndpointSlice(
        apiVersion="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=ObjectMeta(
            generateName=f"{service.metadata.name}-",
            namespace=service.metadata.namespace,
            labels=_labels(service, {}),
            ownerReferences=[controller_reference(service, resource_for(Service))],
        ),
        addressType=family,
        ports=[
            EndpointPort(name=name, protocol=protocol, port=number, appProtocol=application)
            for name, protocol, number, application in ports
        ],
    )


class EndpointSliceController(ServiceFollower):
    """Keeps the EndpointSlices of Services."""

    name = "endpoint-slice-controller"

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._nodes = self.watch(Node, self._node_changed)
        self._slices = self.watch(EndpointSlice)
        self._slices.add_index("service", _owner_service)
        follow(self._slices, self.queue.add, lambda item: next(iter(_owner_names(item)), ""))
        self._overlay = Overlay(self._slices)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is None or new is None or old.metadata.labels.get(ZONE_LABEL) == new.metadata.labels.get(ZONE_LABEL):
            return
        for service in self.services.list():
            self.enqueue(None, service)

    async def reconcile(self, key: Key) -> None:
        service = self.services.get(*key)
        if service is None or service.metadata.deletionTimestamp is not None or not is_managed(service):
            self._overlay.forget(key)
            return  # the slices of a Service that is gone are the garbage collector's
        present = self._overlay.view(key, self._slices.by_index("service", "/".join(key)))
        present = [item for item in present if item.metadata.deletionTimestamp is None]
        present.sort(key=lambda item: item.metadata.name or "")
        zones = {
            node.metadata.name or "": zone
            for node in self._nodes.list()
            if (zone := node.metadata.labels.get(ZONE_LABEL))
        }
        try:
            await self._perform(key, plan_slices(service, self.selected(service), present, zones))
        except StatusError as error:
            if not is_namespace_ending(error):
                raise

    async def _perform(self, key: Key, plan: Plan) -> None:
        for item in plan.create:
            self._overlay.wrote(key, await self.client.create(item))
        for item in plan.update:
            self._overlay.wrote(key, await self.client.update(item))
        for item in plan.delete:
            try:
                await self.client.delete(EndpointSlice, item.metadata.name or "", item.metadata.namespace)
            except StatusError as error:
                if not is_missing(error):
                    raise
            self._overlay.deleted(key, item)


def _owner_names(item: EndpointSlice) -> list[str]:
    labels = item.metadata.labels
    return (
        [labels[SERVICE_NAME_LABEL]] if labels.get(MANAGED_BY_LABEL) == MANAGER and SERVICE_NAME_LABEL in labels else []
    )


def _owner_service(item: EndpointSlice) -> list[str]:
    return [f"{item.metadata.namespace}/{name}" for name in _owner_names(item)]
