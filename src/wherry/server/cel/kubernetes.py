"""Kubernetes' own types in expressions: quantities, URLs, addresses, versions, named formats, the authorizer.

Source: apiserver, cel/library.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from wherry.meta import names
from wherry.meta.errors import quote as go_quote
from wherry.meta.quantity import Family, Quantity
from wherry.server.cel.functions import OPAQUE, Functions, Sizes, declare, tenth
from wherry.server.cel.values import NONE, CelError, Optional
from wherry.server.customresources.formats import string_format

KUBERNETES: Functions = {}


def _read(sizes: Sizes) -> int:
    return tenth(sizes[0])


def _parses(parse: Callable[..., Any]) -> Callable[..., bool]:
    def check(*args: Any) -> bool:
        try:
            parse(*args)
        except CelError:
            return False
        return True

    return check


# Quantities -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Amount:
    """quantity('1Gi'): equal when it is as much, however it is written."""

    cel_name = OPAQUE["Quantity"]
    nanos: int
    family: Family = field(default="DecimalSI", compare=False)

    def quantity(self) -> Quantity:
        """As Kubernetes writes it."""
        return Quantity.of_nanos(self.nanos, self.family)


def _quantity(text: str) -> Amount:
    try:
        found = Quantity.parse(text)
    except ValueError as error:
        raise CelError(str(error)) from None
    return Amount(found.nanos(), found.family())


def _as_integer(amount: Amount) -> int:
    whole, rest = divmod(amount.nanos, 10**9)
    if rest or not -(1 << 63) <= whole < 1 << 63:
        raise CelError("cannot convert value to integer")
    return whole


def _plus(sign: int) -> Callable[[Amount, Any], Amount]:
    def add(amount: Amount, other: Any) -> Amount:
        nanos = other.nanos if isinstance(other, Amount) else other * 10**9
        return replace(amount, nanos=amount.nanos + sign * nanos)

    return add


declare(
    {"quantity(string) -> Quantity": _quantity, "isQuantity(string) -> bool": _parses(_quantity)}, KUBERNETES, _read
)
declare(
    {
        "Quantity.sign() -> int": lambda q: (q.nanos > 0) - (q.nanos < 0),
        "Quantity.isInteger() -> bool": _parses(_as_integer),
        "Quantity.asInteger() -> int": _as_integer,
        "Quantity.asApproximateFloat() -> double": lambda q: q.nanos / 1e9,
        "Quantity.isGreaterThan(Quantity) -> bool": lambda a, b: a.nanos > b.nanos,
        "Quantity.isLessThan(Quantity) -> bool": lambda a, b: a.nanos < b.nanos,
        "Quantity.compareTo(Quantity) -> int": lambda a, b: (a.nanos > b.nanos) - (a.nanos < b.nanos),
        "Quantity.add({T}) -> Quantity [Quantity int]": _plus(1),
        "Quantity.sub({T}) -> Quantity [Quantity int]": _plus(-1),
    },
    KUBERNETES,
)

# URLs -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Url:
    """url('https://example.com:80/path?query=val#fragment')"""

    cel_name = OPAQUE["URL"]
    scheme: str
    host: str
    hostname: str
    port: str
    path: str
    query: str


_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2}).{0,2}")


def _url(text: str) -> Url:
    """As Go's url.ParseRequestURI: absolute, or a path."""
    error = f"URL parse error during conversion from string: parse {go_quote(text)}: "
    if not text:
        raise CelError(f"{error}empty url")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise CelError(f"{error}net/url: invalid control character in URL")
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|/", text):
        raise CelError(f"{error}invalid URI for request")
    if bad := _BAD_ESCAPE.search(text):
        raise CelError(f"{error}invalid URL escape {go_quote(bad[0])}")
    try:
        parts = urlsplit(text, allow_fragments=False)
        host = parts.netloc.rpartition("@")[2]
        port = re.search(r":([^:\]]*)$", host)
        if port and port[1] and not port[1].isdecimal():
            raise CelError(f"{error}invalid port {go_quote(port[0])} after host")
        if " " in host:
            raise CelError(f'{error}invalid character " " in host name')
    except ValueError as fault:
        raise CelError(f"{error}{fault}") from None
    name = host[: port.start()] if port else host
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._[]")
    return Url(parts.scheme, host, name.strip("[]"), port[1] if port else "", path, parts.query)


declare({"url(string) -> URL": _url, "isURL(string) -> bool": _parses(_url)}, KUBERNETES, _read)
declare(
    {
        "URL.getScheme() -> string": lambda u: u.scheme,
        "URL.getHost() -> string": lambda u: u.host,
        "URL.getHostname() -> string": lambda u: u.hostname,
        "URL.getPort() -> string": lambda u: u.port,
        "URL.getEscapedPath() -> string": lambda u: u.path,
        "URL.getQuery() -> map<string, list<string>>": lambda u: parse_qs(u.query, keep_blank_values=True),
    },
    KUBERNETES,
)

# Addresses ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ip:
    """ip('10.0.0.1')"""

    cel_name = OPAQUE["IP"]
    address: ipaddress.IPv4Address | ipaddress.IPv6Address

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr:
    """cidr('10.0.0.0/8')"""

    cel_name = OPAQUE["CIDR"]
    block: ipaddress.IPv4Interface | ipaddress.IPv6Interface

    def __str__(self) -> str:
        return str(self.block)


def _ip(text: str) -> Ip:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        parse = f"ParseAddr({go_quote(text)}): unable to parse IP"
        raise CelError(f"IP Address {go_quote(text)} parse error during conversion from string: {parse}") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise CelError(f"IP address {go_quote(text)} with zone value is not allowed")
        if address.ipv4_mapped is not None:
            raise CelError(f"IPv4-mapped IPv6 address {go_quote(text)} is not allowed")
    return Ip(address)


def _cidr(text: str) -> Cidr:
    address, _, length = text.partition("/")
    try:
        if not length.isdecimal() or (len(length) > 1 and length[0] == "0"):
            raise ValueError(text)
        block = ipaddress.ip_interface(text)
    except ValueError:
        parse = f"netip.ParsePrefix({go_quote(text)}): no '/'" if "/" not in text else f"ParsePrefix({go_quote(text)})"
        raise CelError(f"network address parse error during conversion from string: {parse}") from None
    if isinstance(block, ipaddress.IPv6Interface) and block.ip.ipv4_mapped is not None:
        raise CelError(f"IPv4-mapped IPv6 address {go_quote(address)} is not allowed")
    return Cidr(block)


def _contains_ip(cidr: Cidr, ip: Any) -> bool:
    address = (_ip(ip) if isinstance(ip, str) else ip).address
    return address.version == cidr.block.version and address in cidr.block.network


def _contains_cidr(cidr: Cidr, other: Any) -> bool:
    inner = (_cidr(other) if isinstance(other, str) else other).block.network
    return inner.version == cidr.block.version and inner.subnet_of(cidr.block.network)  # type: ignore[arg-type]


def _is_global(ip: Ip) -> bool:
    at = ip.address
    broadcast = at.version == 4 and int(at) == 0xFFFFFFFF
    return not (at.is_unspecified or at.is_loopback or at.is_multicast or at.is_link_local or broadcast)


def _link_local_multicast(ip: Ip) -> bool:
    at = ip.address
    block = "224.0.0.0/24" if at.version == 4 else "ff02::/16"
    return at in ipaddress.ip_network(block)


def _canonical(text: str) -> bool:
    return str(_ip(text)) == text


declare(
    {
        "ip(string) -> IP": _ip,
        "isIP(string) -> bool": _parses(_ip),
        "ip.isCanonical(string) -> bool": _canonical,
        "cidr(string) -> CIDR": _cidr,
        "isCIDR(string) -> bool": _parses(_cidr),
    },
    KUBERNETES,
    _read,
)
declare(
    {
        "IP.family() -> int": lambda ip: ip.address.version,
        "IP.isUnspecified() -> bool": lambda ip: ip.address.is_unspecified,
        "IP.isLoopback() -> bool": lambda ip: ip.address.is_loopback,
        "IP.isLinkLocalMulticast() -> bool": _link_local_multicast,
        "IP.isLinkLocalUnicast() -> bool": lambda ip: ip.address.is_link_local,
        "IP.isGlobalUnicast() -> bool": _is_global,
        "CIDR.containsIP({T}) -> bool [string IP]": _contains_ip,
        "CIDR.containsCIDR({T}) -> bool [string CIDR]": _contains_cidr,
        "CIDR.ip() -> IP": lambda cidr: Ip(cidr.block.ip),
        "CIDR.prefixLength() -> int": lambda cidr: cidr.block.network.prefixlen,
        "CIDR.masked() -> CIDR": lambda cidr: Cidr(ipaddress.ip_interface(cidr.block.network)),
        "string({T}) -> string [IP CIDR]": str,
    },
    KUBERNETES,
)

# Versions -------------------------------------------------------------------------------------------------------------

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-]"
    r"[\da-zA-Z-]*))*))?(?:\+([\da-zA-Z-]+(?:\.[\da-zA-Z-]+)*))?"
)


@dataclass(frozen=True, slots=True)
class Semver:
    """semver('1.2.3-alpha')"""

    cel_name = OPAQUE["Semver"]
    numbers: tuple[int, ...]
    pre: tuple[str, ...]

    def key(self) -> tuple[Any, ...]:
        """Order of precedence: a release after its pre-releases, numbers before words."""
        parts = tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in self.pre)
        return (*self.numbers, not parts, parts)


def _semver(text: str, normalize: bool = False) -> Semver:
    plain = _normalized(text) if normalize else text
    match = _SEMVER.fullmatch(plain)
    if match is None:
        raise CelError(
            "No Major.Minor.Patch elements found" if plain.count(".") < 2 else f"Invalid Semantic Version: {text}"
        )
    return Semver(tuple(map(int, match.groups()[:3])), tuple((match[4] or "").split(".")) if match[4] else ())


def _normalized(text: str) -> str:
    core, mark, rest = re.fullmatch(r"v?([^-+]*)([-+]?)(.*)", text, re.S).groups()  # type: ignore[union-attr]
    parts = [part.lstrip("0") or "0" if part else part for part in core.split(".")]
    return ".".join(parts + ["0"] * (3 - len(parts))) + mark + rest


declare(
    {
        "semver(string) -> Semver": _semver,
        "semver(string, bool) -> Semver": _semver,
        "isSemver(string) -> bool": _parses(_semver),
        "isSemver(string, bool) -> bool": _parses(_semver),
    },
    KUBERNETES,
    _read,
)
declare(
    {
        "Semver.major() -> int": lambda v: v.numbers[0],
        "Semver.minor() -> int": lambda v: v.numbers[1],
        "Semver.patch() -> int": lambda v: v.numbers[2],
        "Semver.isGreaterThan(Semver) -> bool": lambda a, b: a.key() > b.key(),
        "Semver.isLessThan(Semver) -> bool": lambda a, b: a.key() < b.key(),
        "Semver.compareTo(Semver) -> int": lambda a, b: (a.key() > b.key()) - (a.key() < b.key()),
    },
    KUBERNETES,
)

# Formats --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Format:
    """format.dns1123Label()"""

    cel_name = OPAQUE["Format"]
    name: str


def _of(name: str, message: str) -> Callable[[str], list[str]]:
    check = string_format(name)
    return lambda value: [] if check is None or check(value) else [message]


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda value: names.as_prefix(check, value)


_FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.dns1123_label,
    "dns1123Subdomain": names.dns1123_subdomain,
    "dns1035Label": names.dns1035_label,
    "dns1123LabelPrefix": _prefix(names.dns1123_label),
    "dns1123SubdomainPrefix": _prefix(names.dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(names.dns1035_label),
    "qualifiedName": names.qualified_name,
    "labelValue": names.label_value,
    "uri": lambda value: [] if _parses(_url)(value) else [_fault(_url, value)],
    "uuid": _of("uuid", "does not match the UUID format"),
    "byte": _of("byte", "invalid base64"),
    "date": _of("date", "invalid date"),
    "datetime": _of("datetime", "invalid datetime"),
}


def _fault(parse: Callable[[str], Any], value: str) -> str:
    try:
        parse(value)
    except CelError as error:
        return str(error).removeprefix("URL parse error during conversion from string: ")
    return ""


def _validate(form: Format, value: str) -> Optional:
    faults = _FORMATS[form.name](value)
    return Optional(faults, True) if faults else NONE


def _named(name: str) -> Optional:
    return Optional(Format(name), True) if name in _FORMATS else NONE


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


declare({f"format.{name}() -> Format": _constant(Format(name)) for name in _FORMATS}, KUBERNETES)
declare({"format.named(string) -> optional<Format>": _named}, KUBERNETES)
declare(
    {"Format.validate(string) -> optional<list<string>>": _validate}, KUBERNETES, lambda sizes: 10 * tenth(sizes[1])
)

# The authorizer -------------------------------------------------------------------------------------------------------


class Asks(Protocol):
    """Answers the authorizer's questions: `user` None is whoever makes the request."""

    def __call__(self, check: "Check", verb: str) -> tuple[bool, str, str]:
        """Whether it is allowed, the reason, and the error if that is not known."""


@dataclass(frozen=True, slots=True)
class Authorizer:
    """authorizer, and authorizer.serviceAccount(namespace, name)."""

    cel_name = OPAQUE["Authorizer"]
    ask: Asks
    service_account: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked about, built up call by call."""

    cel_name = OPAQUE["ResourceCheck"]
    authorizer: Authorizer
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class PathCheck(Check):
    """authorizer.path('/healthz')"""

    cel_name = OPAQUE["PathCheck"]


@dataclass(frozen=True, slots=True)
class GroupCheck(Check):
    """authorizer.group('apps')"""

    cel_name = OPAQUE["GroupCheck"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the authorizer said."""

    cel_name = OPAQUE["Decision"]
    allowed: bool
    reason: str
    error: str


def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path:
        raise CelError("path must not be empty")
    return PathCheck(authorizer, path=path)


def _resource(check: GroupCheck, resource: str) -> Check:
    if not resource:
        raise CelError("resource must not be empty")
    return Check(check.authorizer, group=check.group, resource=resource)


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if names.dns1123_subdomain(name):
        raise CelError("Invalid service account name")
    if names.dns1123_label(namespace):
        raise CelError("Invalid service account namespace")
    return replace(authorizer, service_account=f"system:serviceaccount:{namespace}:{name}")


def _check(check: Check, verb: str) -> Decision:
    return Decision(*check.authorizer.ask(check, verb))


declare(
    {
        "Authorizer.path(string) -> PathCheck": _path,
        "Authorizer.group(string) -> GroupCheck": lambda a, group: GroupCheck(a, group=group),
        "Authorizer.serviceAccount(string, string) -> Authorizer": _service_account,
        "GroupCheck.resource(string) -> ResourceCheck": _resource,
        "ResourceCheck.subresource(string) -> ResourceCheck": lambda c, v: replace(c, subresource=v),
        "ResourceCheck.namespace(string) -> ResourceCheck": lambda c, v: replace(c, namespace=v),
        "ResourceCheck.name(string) -> ResourceCheck": lambda c, v: replace(c, name=v),
        "ResourceCheck.fieldSelector(string) -> ResourceCheck": lambda c, v: c,
        "ResourceCheck.labelSelector(string) -> ResourceCheck": lambda c, v: c,
        "Decision.allowed() -> bool": lambda d: d.allowed,
        "Decision.reason() -> string": lambda d: d.reason,
        "Decision.errored() -> bool": lambda d: bool(d.error),
        "Decision.error() -> string": lambda d: d.error,
    },
    KUBERNETES,
)
declare(
    {"PathCheck.check(string) -> Decision": _check, "ResourceCheck.check(string) -> Decision": _check},
    KUBERNETES,
    lambda sizes: 350_000,
)
declare(
    {"jsonpatch.escapeKey(string) -> string": lambda key: key.replace("~", "~0").replace("/", "~1")},
    KUBERNETES,
    _read,
    lambda sizes: 2 * sizes[0],
)
