"""The rules of IP addresses and address blocks.

Kubernetes reads them more strictly today than it did: leading zeros, IPv4 in IPv6's clothing and bits beyond a prefix
are refused, but what an object held before may stay (`existing`).

Source: k8s.io/apimachinery/pkg/util/validation/ip.go.
"""

import ipaddress
import re
from collections.abc import Collection, Iterator

from wherry.meta.errors import invalid_value, quote
from wherry.server.strategies.checks import Faults

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_NO_BLOCK = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_ZEROS = re.compile(r"(?<![0-9a-fA-F:])0+(?=[0-9])")


def parse(value: str) -> Address | None:
    """As Kubernetes reads it: leading zeros forgiven, zones not."""
    try:
        return None if "%" in value else ipaddress.ip_address(value)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(_ZEROS.sub("", value))
    except ValueError:
        return None


def parse_block(value: str) -> Network | None:
    """As Kubernetes reads it: leading zeros and bits beyond the prefix forgiven."""
    text, slash, length = value.partition("/")
    address = parse(text)
    if address is None or not slash or not length.isdecimal() or not length.isascii():
        return None
    if int(length) > address.max_prefixlen:
        return None
    return ipaddress.ip_network(f"{address}/{int(length)}", strict=False)


def is_mapped(address: Address) -> bool:
    """IPv4 within IPv6."""
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def ip_address(path: str, value: str, existing: Collection[str] = ()) -> Faults:
    """An address in any of its spellings."""
    if value in existing:
        return
    address = parse(value)
    if address is None:
        yield invalid_value(path, value, _NO_ADDRESS)
    elif _ZEROS.search(value) and address.version == 4:
        yield invalid_value(path, value, "must not have leading 0s")
    elif is_mapped(address):
        yield invalid_value(path, value, "must not be an IPv4-mapped IPv6 address")


def canonical_ip(path: str, value: str) -> Faults:
    """An address in its one canonical spelling."""
    faults = list(ip_address(path, value))
    yield from faults
    if not faults and value != str(parse(value)):
        yield invalid_value(path, value, f"must be in canonical form ({quote(str(parse(value)))})")


def cidr(path: str, value: str, existing: Collection[str] = ()) -> Faults:
    """An address block in any of its spellings."""
    if value in existing:
        return
    block = parse_block(value)
    if block is None:
        yield invalid_value(path, value, _NO_BLOCK)
        return
    text, _, length = value.partition("/")
    address = parse(text)
    if length != str(int(length)) or (_ZEROS.search(text) and block.version == 4):
        yield invalid_value(path, value, "must not have leading 0s in IP or prefix length")
    elif address is not None and is_mapped(address):
        yield invalid_value(path, value, "must not have an IPv4-mapped IPv6 address")
    elif address != block.network_address:
        yield invalid_value(path, value, "must not have bits set beyond the prefix length")


def canonical_cidr(path: str, value: str) -> Faults:
    """An address block in its one canonical spelling."""
    faults = list(cidr(path, value))
    yield from faults
    if not faults and value != str(parse_block(value)):
        yield invalid_value(path, value, f"must be in canonical form ({quote(str(parse_block(value)))})")


def ip_advice(path: str, value: str) -> Iterator[str]:
    """What is unusual about the spelling of an address that has been found valid, or was there before."""
    address = parse(value)
    if address is None:
        return
    if is_mapped(address) or (address.version == 4 and str(address) != value):
        yield f"{path}: non-standard IP address {quote(value)} is invalid: use {quote(_plain(address))}"
    elif str(address) != value:
        yield f"{path}: IPv6 address {quote(value)} should be in RFC 5952 canonical format ({quote(str(address))})"


def cidr_advice(path: str, value: str) -> Iterator[str]:
    """The same of an address block."""
    block = parse_block(value)
    text, _, length = value.partition("/")
    address = parse(text)
    if block is None or address is None:
        return
    usual = f"{_plain(block.network_address)}/{block.prefixlen - (96 if is_mapped(address) else 0)}"
    ambiguous = address != block.network_address
    if ambiguous:
        single = f"{_plain(address)}/{32 if is_mapped(address) else block.max_prefixlen}"
        yield f"{path}: CIDR value {quote(value)} is ambiguous in this context (should be {quote(usual)} or " + (
            f"{quote(single)}?)"
        )
    zeros = length != str(int(length)) or (address.version == 4 and str(address) != text)
    if zeros or is_mapped(address):
        yield f"{path}: non-standard CIDR value {quote(value)} is invalid: use {quote(usual)}"
    elif not ambiguous and str(block) != value:
        yield f"{path}: IPv6 CIDR value {quote(value)} should be in RFC 5952 canonical format ({quote(str(block))})"


def _plain(address: Address) -> str:
    """As Go prints it: IPv4 in IPv6's clothing without the clothing."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def endpoint_ip(path: str, value: str) -> Faults:
    """An address that something else can be reached at."""
    address = parse(value)
    if address is None:
        yield invalid_value(path, value, "must be a valid IP address")
        return
    if address.is_unspecified:
        yield invalid_value(path, value, f"may not be unspecified ({value})")
    if address.is_loopback:
        yield invalid_value(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        yield invalid_value(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if any(address in block for block in _LOCAL_MULTICAST if block.version == address.version):
        text = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        yield invalid_value(path, value, text)


_LOCAL_MULTICAST: tuple[Network, ...] = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))
