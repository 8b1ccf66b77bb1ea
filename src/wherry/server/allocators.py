"""Cluster addresses and node ports: which are taken, and the next free one.

State is in memory, derived from the Services in the cache on first use. As upstream, the lower band of a range is left
to those who ask for an address or port by name, and dynamic allocation goes there only when the rest is full.

Source: KEP-3070 and KEP-3668 (reserved bands), k8s.io/kubernetes/pkg/registry/core/service.
"""

import ipaddress

from wherry.aio.entropy import Entropy


class Full(Exception):
    """Nothing is left in the range."""

    def __str__(self) -> str:
        return "range is full"


class Refused(Exception):
    """The value asked for is taken or out of range; the text is for the user."""


class Range:
    """Numbers from `first` to `last`, both included, of which the first `band` are for explicit requests."""

    def __init__(self, first: int, last: int, band: int) -> None:
        self.first, self.last, self.band = first, last, band
        self.taken: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def take(self, number: int) -> bool:
        """Take one by name; False when it is already taken."""
        if number in self.taken:
            return False
        self.taken.add(number)
        return True

    def take_next(self, entropy: Entropy) -> int:
        """Take any free one, from the upper band while there is room. Raises Full."""
        start = self.first + self.band
        for low, high in ((start, self.last), (self.first, start - 1)):
            size = high - low + 1
            if size <= 0:
                continue
            begin = entropy.below(size)
            for step in range(size):
                number = low + (begin + step) % size
                if self.take(number):
                    return number
        raise Full

    def release(self, number: int) -> None:
        self.taken.discard(number)


class AddressAllocator:
    """The IPv4 service range. Network and broadcast addresses are never given."""

    def __init__(self, cidr: str) -> None:
        self.network = ipaddress.ip_network(cidr)
        base = int(self.network.network_address)
        size = self.network.num_addresses
        self._range = Range(base + 1, base + size - 2, min(max(16, size // 16), 256) if size > 16 else 0)

    @property
    def family(self) -> str:
        """IPv4 or IPv6."""
        return f"IPv{self.network.version}"

    @property
    def first(self) -> str:
        """The address of the `kubernetes` Service."""
        return str(self.network.network_address + 1)

    def take(self, address: str) -> None:
        """Take a given address. Raises Refused."""
        number = _number(address)
        if number is None or number not in self._range or ipaddress.ip_address(address).version != self.network.version:
            text = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self.network}"
            raise Refused(text)
        if not self._range.take(number):
            raise Refused("provided IP is already allocated")

    def take_next(self, entropy: Entropy) -> str:
        """Take any free address. Raises Full."""
        return str(type(self.network.network_address)(self._range.take_next(entropy)))

    def adopt(self, address: str) -> None:
        """Note an address found in use, whatever its range."""
        if (number := _number(address)) is not None:
            self._range.taken.add(number)

    def release(self, address: str) -> None:
        if (number := _number(address)) is not None:
            self._range.release(number)


def _number(address: str) -> int | None:
    try:
        return int(ipaddress.ip_address(address))
    except ValueError:
        return None


class PortAllocator:
    """The node port range."""

    def __init__(self, first: int = 30000, last: int = 32767) -> None:
        size = last - first + 1
        self._range = Range(first, last, min(max(16, size // 32), 128) if size > 32 else 0)

    def take(self, port: int) -> None:
        """Take a given port. Raises Refused."""
        if port not in self._range:
            shown = f"{self._range.first}-{self._range.last}"
            raise Refused(f"provided port is not in the valid range. The range of valid ports is {shown}")
        if not self._range.take(port):
            raise Refused("provided port is already allocated")

    def take_next(self, entropy: Entropy) -> int:
        """Take any free port. Raises Full."""
        return self._range.take_next(entropy)

    def adopt(self, port: int) -> None:
        """Note a port found in use."""
        self._range.taken.add(port)

    def release(self, port: int) -> None:
        self._range.release(port)
