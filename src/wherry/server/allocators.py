"""Cluster addresses and node ports: which are taken, and the next free one.

An address is taken when an IPAddress object of its name exists, so the store decides who gets it, also between several
servers; ServiceCIDRs that are ready say where addresses come from. Ports are kept in memory, derived from the Services
in the cache on first use. As upstream, the lower band of a range is left to those who ask for an address or port by
name, and dynamic allocation goes there only when the rest is full. server/address_repair.py puts right what a crash
left behind.

Source: KEP-1880 (ServiceCIDR), KEP-3070 and KEP-3668 (reserved bands), k8s.io/kubernetes/pkg/registry/core/service.
"""

import ipaddress
import logging
from collections.abc import Callable, Iterator

from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Service
from wherry.api.networking_v1 import IPAddress, IPAddressSpec, ParentReference, ServiceCIDR
from wherry.client.client import Client
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.rules import conditions
from wherry.server.strategies.addresses import Address, Network, parse, parse_block
from wherry.server.strategies.strategy import Caches

FAMILY_LABEL, MANAGED_BY_LABEL = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
_log = logging.getLogger(__name__)


class Full(Exception):
    """Nothing is left in the range."""

    def __str__(self) -> str:
        return "range is full"


class Refused(Exception):
    """The value asked for is taken or out of range; the text is for the user."""


def pick(first: int, last: int, band: int, entropy: Entropy, taken: Callable[[int], bool]) -> int:
    """A free number from `first` to `last`, of the first `band` only when the others are taken. Raises Full."""
    start = first + band
    for low, high in ((start, last), (first, min(start - 1, last))):
        size = high - low + 1
        begin = entropy.below(size) if size > 0 else 0
        for step in range(size):
            number = low + (begin + step) % size
            if not taken(number):
                return number
    raise Full


class Addresses:
    """The addresses of Services, of the family of `cidr`. Without a client (rules on their own) nothing is written."""

    def __init__(self, caches: Caches, cidr: str, client: Callable[[], Client] | None = None) -> None:
        self._caches = caches
        self._default = ipaddress.ip_network(cidr)
        self._client = client
        self._pending: set[str] = set()
        """Chosen by writes that go on."""

    @property
    def family(self) -> str:
        """IPv4 or IPv6."""
        return f"IPv{self._default.version}"

    def _blocks(self) -> Iterator[Network]:
        """Where addresses come from now: what the flag says until there is a ServiceCIDR."""
        ranges = self._caches.list(ServiceCIDR)
        if not ranges:
            yield self._default
        for item in ranges:
            ready = conditions.status(item.status.conditions, "Ready") in ("", "True")
            for text in item.spec.cidrs if ready and not item.metadata.deletionTimestamp else ():
                block = parse_block(text)
                if block is not None and block.version == self._default.version:
                    yield block

    def take(self, address: str) -> None:
        """Reserve a given address. Raises Refused."""
        wanted = parse(address)
        blocks = [block for block in self._blocks() if wanted is not None and wanted in block]
        if wanted is None or not blocks:
            raise Refused("the provided network does not match the current range")
        first, last = _usable(blocks[0])
        if not first <= int(wanted) <= last:
            text = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {blocks[0]}"
            raise Refused(text)
        if self._is_taken(wanted):
            raise Refused("provided IP is already allocated")
        self._pending.add(str(wanted))

    def take_next(self, entropy: Entropy) -> str:
        """Reserve any free address. Raises Full."""
        for block in self._blocks():
            first, last = _usable(block)
            kind, size = type(block.network_address), block.num_addresses
            band = min(max(16, size // 16), 256) if size > 16 else 0
            try:
                number = pick(first, last, band, entropy, lambda number, kind=kind: self._is_taken(kind(number)))  # type: ignore[misc]
            except Full:
                continue
            address = str(kind(number))
            self._pending.add(address)
            return address
        raise Full

    def _is_taken(self, address: Address) -> bool:
        name = str(address)
        return name in self._pending or self._caches.get(IPAddress, None, name) is not None

    async def claim(self, address: str, service: Service) -> None:
        """Write down who holds a reserved address. Raises Refused when somebody else was faster, and StatusError."""
        if self._client is None:
            return
        name = str(parse(address))
        try:
            await self._client().create(held_by(name, service))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            raise Refused("provided IP is already allocated") from error
        finally:
            self.forget(address)

    def forget(self, address: str) -> None:
        """A reservation is not needed any more."""
        self._pending.discard(str(parse(address)))

    async def free(self, address: str, service: Service) -> None:
        """The Service holds the address no more. What cannot be deleted now, repair finds."""
        self.forget(address)
        found = self._caches.get(IPAddress, None, str(parse(address)))
        if self._client is None or found is None or found.spec.parentRef != parent(service):
            return
        try:
            await self._client().delete(IPAddress, found.metadata.name or "", uid=found.metadata.uid)
        except StatusError as error:
            if error.code not in (404, 409):
                _log.warning("address %s stays behind: %s", address, error)


def _usable(block: Network) -> tuple[int, int]:
    """First and last address that may be given: not the network's own, nor IPv4's broadcast address."""
    base = int(block.network_address)
    return base + 1, base + block.num_addresses - (2 if block.version == 4 else 1)


def parent(service: Service) -> ParentReference:
    """How an IPAddress names the Service that holds it."""
    meta = service.metadata
    return ParentReference(resource="services", namespace=meta.namespace, name=meta.name or "")


def held_by(name: str, service: Service) -> IPAddress:
    """The IPAddress of a Service."""
    family = f"IPv{ipaddress.ip_address(name).version}"
    meta = ObjectMeta(name=name, labels={FAMILY_LABEL: family, MANAGED_BY_LABEL: MANAGER})
    return IPAddress(metadata=meta, spec=IPAddressSpec(parentRef=parent(service)))


class PortAllocator:
    """The node port range. Of several clusters that share a machine's ports, each chooses from its own part first."""

    def __init__(self, first: int = 30000, last: int = 32767, part: int = 0, parts: int = 1) -> None:
        size = last - first + 1
        self._first, self._last = first, last
        self._band = min(max(16, size // 32), 128) if size > 32 else 0
        self._taken: set[int] = set()
        width = (size - self._band) // parts
        start = first + self._band + part * width
        self._own = (start, start + width - 1)

    def take(self, port: int) -> None:
        """Take a given port. Raises Refused."""
        if not self._first <= port <= self._last:
            shown = f"{self._first}-{self._last}"
            raise Refused(f"provided port is not in the valid range. The range of valid ports is {shown}")
        if port in self._taken:
            raise Refused("provided port is already allocated")
        self._taken.add(port)

    def take_next(self, entropy: Entropy) -> int:
        """Take any free port. Raises Full."""
        taken = self._taken.__contains__
        try:
            port = pick(*self._own, 0, entropy, taken)
        except Full:
            port = pick(self._first, self._last, self._band, entropy, taken)
        self._taken.add(port)
        return port

    def adopt(self, port: int) -> None:
        """Note a port found in use."""
        self._taken.add(port)

    def release(self, port: int) -> None:
        self._taken.discard(port)
