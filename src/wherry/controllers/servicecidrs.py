"""Marks ServiceCIDRs ready, and holds a deleted one back while Services have addresses that only it contains.

Source of the behaviour: kubernetes pkg/controller/servicecidrs.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from wherry.aio.clock import Clock
from wherry.api.meta_v1 import Condition
from wherry.api.networking_v1 import IPAddress, ServiceCIDR
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.meta.errors import StatusError
from wherry.meta.time import format_time, parse_time
from wherry.meta.wire import deep_copy
from wherry.rules import conditions

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
DELETION_GRACE_SECONDS = 10.0
"""Until every API server has seen that nothing may be allocated any more."""
Network = IPv4Network | IPv6Network
_HELD = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
_MANAGED = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io")


class ServiceCIDRController(Controller):
    """A change of any range or address may free a range that is being deleted."""

    name = "service-cidr-controller"
    workers = 1

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._ranges = self.watch(ServiceCIDR, self._range_changed)
        self._addresses = self.watch(IPAddress, self._address_changed)

    def _range_changed(self, old: ServiceCIDR | None, new: ServiceCIDR | None) -> None:
        self.enqueue(old, new)
        self._wake_ending()

    def _address_changed(self, old: IPAddress | None, new: IPAddress | None) -> None:
        if old is None or new is None:
            self._wake_ending()

    def _wake_ending(self) -> None:
        for item in self._ranges.list():
            if item.metadata.deletionTimestamp:
                self.enqueue(None, item)

    async def reconcile(self, key: Key) -> None:
        found = self._ranges.get(*key)
        if found is None:
            return
        changed = deep_copy(found)
        try:
            if found.metadata.deletionTimestamp is None:
                await self._make_ready(changed)
            elif is_needed(found, self._ranges.list(), self._addresses.list()):
                await self._set_ready(changed, "False", "Terminating", _HELD)
            elif FINALIZER in found.metadata.finalizers:
                ago = self.clock.now() - parse_time(found.metadata.deletionTimestamp)
                if ago.total_seconds() < DELETION_GRACE_SECONDS:
                    self.queue.add_after(key, DELETION_GRACE_SECONDS - ago.total_seconds())
                    return
                changed.metadata.finalizers.remove(FINALIZER)
                await self.client.update(changed)
        except StatusError as error:
            if not is_missing(error):
                raise

    async def _make_ready(self, changed: ServiceCIDR) -> None:
        if FINALIZER not in changed.metadata.finalizers:
            changed.metadata.finalizers = [*changed.metadata.finalizers, FINALIZER]
            changed = await self.client.update(changed)
        if not conditions.is_true(changed.status.conditions, "Ready"):
            await self._set_ready(changed, "True", "", "Kubernetes Service CIDR is ready")

    async def _set_ready(self, changed: ServiceCIDR, status: str, reason: str, message: str) -> None:
        now = format_time(self.clock.now())
        ready = Condition(type="Ready", status=status, reason=reason, message=message, lastTransitionTime=now)
        if conditions.put(changed.status.conditions, ready):
            await self.client.update_status(changed)


def is_needed(ending: ServiceCIDR, ranges: list[ServiceCIDR], addresses: list[IPAddress]) -> bool:
    """Whether Services have addresses that would be in no range without this one."""
    others = [ip_network(text) for item in ranges if item is not ending for text in item.spec.cidrs]
    own = [ip_network(text) for text in ending.spec.cidrs]
    if all(any(_contains(other, block) for other in others) for block in own):
        return False
    label, manager = _MANAGED
    held = [ip_address(it.metadata.name or "") for it in addresses if it.metadata.labels.get(label) == manager]
    return any(
        any(address in block for block in own) and not any(address in other for other in others) for address in held
    )


def _contains(outer: Network, inner: Network) -> bool:
    same = outer.version == inner.version and outer.prefixlen <= inner.prefixlen
    return same and inner.network_address in outer
