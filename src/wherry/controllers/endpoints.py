"""Endpoints: the older, single-object form of what endpointslice.py keeps, for consumers that still read it.

Source of the behaviour: kubernetes pkg/controller/endpoint.
"""

from collections.abc import Sequence

from wherry.aio.clock import Clock
from wherry.api.core_v1 import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Pod, Service
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Key, is_missing, is_namespace_ending
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
from wherry.rules.pods import is_ready, pod_ips

MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY_ANNOTATION = "endpoints.kubernetes.io/over-capacity"
ADDRESSES_MAX = 1000


def plan_subsets(service: Service, pods: Sequence[Pod]) -> tuple[list[EndpointSubset], bool]:
    """Pods with the same ports share a subset; True when some had to be left out."""
    groups: dict[tuple[PortFacts, ...], EndpointSubset] = {}
    tolerant = bool(service.spec.publishNotReadyAddresses)
    members = [pod for pod in pods if belongs(pod, also_terminating=tolerant)]
    members.sort(key=lambda pod: (not (tolerant or is_ready(pod)), _address_key(pod)))
    for pod in members[:ADDRESSES_MAX]:
        facts = ports_of(service, pod)
        if service.spec.ports and not facts:
            continue
        ports = tuple(sorted(facts, key=lambda port: port[:3]))
        subset = groups.setdefault(ports, EndpointSubset(ports=[_port(item) for item in ports]))
        address = EndpointAddress(
            ip=pod_ips(pod)[0],
            hostname=hostname_of(service, pod),
            nodeName=pod.spec.nodeName,
            targetRef=reference_of(pod),
        )
        (subset.addresses if tolerant or is_ready(pod) else subset.notReadyAddresses).append(address)
    return [groups[ports] for ports in sorted(groups, key=str)], len(members) > ADDRESSES_MAX


def _address_key(pod: Pod) -> tuple[str, str]:
    return pod_ips(pod)[0], pod.metadata.uid or ""


def _port(facts: PortFacts) -> EndpointPort:
    name, protocol, number, application = facts
    return EndpointPort(name=name or None, protocol=protocol, port=number, appProtocol=application)


class EndpointsController(ServiceFollower):
    """Keeps the Endpoints of Services."""

    name = "endpoint-controller"

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._endpoints = self.watch(Endpoints)
        follow(self._endpoints, self.queue.add, lambda item: item.metadata.name or "")

    async def reconcile(self, key: Key) -> None:
        service, present = self.services.get(*key), self._endpoints.get(*key)
        if service is None:
            if present is not None and present.metadata.labels.get(MANAGED_BY_LABEL) == MANAGER:
                await self._delete(present)
            return
        if not is_managed(service) or service.metadata.deletionTimestamp is not None:
            return
        subsets, over = plan_subsets(service, self.selected(service))
        changed = deep_copy(present) if present else Endpoints(apiVersion="v1", kind="Endpoints", metadata=_name(key))
        changed.subsets = subsets
        changed.metadata.labels = {**service.metadata.labels, MANAGED_BY_LABEL: MANAGER}
        if is_headless(service):
            changed.metadata.labels[HEADLESS_LABEL] = ""
        else:
            changed.metadata.labels.pop(HEADLESS_LABEL, None)
        annotations = {k: v for k, v in changed.metadata.annotations.items() if k != OVER_CAPACITY_ANNOTATION}
        changed.metadata.annotations = annotations | ({OVER_CAPACITY_ANNOTATION: "truncated"} if over else {})
        if changed != present:
            await self._write(changed, exists=present is not None)

    async def _write(self, changed: Endpoints, *, exists: bool) -> None:
        try:
            await (self.client.update(changed) if exists else self.client.create(changed))
        except StatusError as error:
            if not is_namespace_ending(error):
                raise

    async def _delete(self, present: Endpoints) -> None:
        try:
            metadata = present.metadata
            await self.client.delete(Endpoints, metadata.name or "", metadata.namespace, uid=metadata.uid)
        except StatusError as error:
            if not is_missing(error):
                raise


def _name(key: Key) -> ObjectMeta:
    return ObjectMeta(namespace=key[0], name=key[1])
