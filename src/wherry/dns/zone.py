"""The records of the cluster, computed from Services, EndpointSlices and pods when they are asked for.

Pure: a question and the current objects in, records out. Follows the Kubernetes DNS specification 1.1.0
(kubernetes/dns docs/specification.md). Nothing is precomputed: an answer needs one Service and its slices, which the
informers hold by index.
"""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wherry.api.core_v1 import Service
from wherry.api.discovery_v1 import EndpointSlice

SCHEMA_VERSION = "1.1.0"
TTL_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; `data` is an address, a name, a text, or (priority, weight, port, name) for SRV."""

    name: str
    type: str
    data: str | tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What to reply. `exists` is False for NXDOMAIN; a name that exists without records of the type is NODATA."""

    exists: bool
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


MISSING = Answer(exists=False)
EMPTY = Answer(exists=True)


@dataclass(slots=True)
class View:
    """The current objects, by the look-ups that questions need."""

    service: Callable[[str, str], Service | None]
    """namespace, name."""
    slices: Callable[[str, str], Iterable[EndpointSlice]]
    """namespace, service name."""
    namespace_exists: Callable[[str], bool]
    service_by_ip: Callable[[str], Service | None]
    slices_by_ip: Callable[[str], Iterable[EndpointSlice]]


def answer(view: View, zone: str, name: str, kind: str) -> Answer | None:
    """The reply to `name` (lower case, no final dot) and `kind` (A, AAAA, SRV, PTR, TXT, ...); None: not our zone."""
    if name.endswith((".in-addr.arpa", ".ip6.arpa")):
        return _reverse(view, zone, name, kind)
    if name != zone and not name.endswith("." + zone):
        return None
    labels = name[: -len(zone)].rstrip(".").split(".") if name != zone else []
    match labels:
        case []:
            return EMPTY
        case ["dns-version"]:
            return Answer(True, (Record(name, "TXT", SCHEMA_VERSION),) if kind == "TXT" else ())
        case [*rest, "svc"]:
            return _services(view, zone, name, kind, rest)
        case [*rest, "pod"]:
            return _pods(view, name, kind, rest)
    return MISSING


def _services(view: View, zone: str, name: str, kind: str, labels: list[str]) -> Answer:
    if not labels:
        return EMPTY
    namespace = labels[-1]
    if len(labels) == 1:
        return EMPTY if view.namespace_exists(namespace) else MISSING
    service = view.service(namespace, labels[-2])
    if service is None:
        return MISSING
    if service.spec.type == "ExternalName":
        if len(labels) > 2:
            return MISSING
        target = service.spec.externalName or ""
        return Answer(True, (Record(name, "CNAME", target.rstrip(".")),))
    inner = labels[:-2]
    headless = service.spec.clusterIP in (None, "None")
    base = f"{labels[-2]}.{namespace}.svc.{zone}"
    match inner:
        case []:
            return _addresses(view, service, name, kind, headless, base)
        case [port, protocol] if port.startswith("_") and protocol in ("_tcp", "_udp", "_sctp"):
            return _srv(view, service, name, kind, headless, base, port[1:], protocol[1:])
        case [hostname] if headless:
            found = [r for r in _headless(view, service, base) if r[0] == hostname]
            return _address_answer(name, kind, (r[1] for r in found)) if found else MISSING
    return MISSING


def _addresses(view: View, service: Service, name: str, kind: str, headless: bool, base: str) -> Answer:
    if kind == "SRV":
        return _srv(view, service, name, kind, headless, base, "", "")
    if not headless:
        return _address_answer(name, kind, service.spec.clusterIPs or [service.spec.clusterIP or ""])
    found = [address for _, address, _, _, _ in _headless(view, service, base)]
    # A headless Service without ready endpoints has no records at all.
    return _address_answer(name, kind, dict.fromkeys(found)) if found else MISSING


def _srv(
    view: View, service: Service, name: str, kind: str, headless: bool, base: str, port_name: str, protocol: str
) -> Answer:
    records: list[Record] = []
    additional: dict[Record, None] = {}
    if headless:
        for hostname, address, port, its_name, its_protocol in _headless(view, service, base):
            if port and _port_matches(port_name, protocol, its_name, its_protocol):
                target = f"{hostname}.{base}"
                records.append(Record(name, "SRV", (0, 100, port, target)))
                additional[Record(target, _family(address), address)] = None
    else:
        for one in service.spec.ports:
            if _port_matches(port_name, protocol, one.name or "", (one.protocol or "TCP").lower()):
                records.append(Record(name, "SRV", (0, 100, one.port, base)))
                for address in service.spec.clusterIPs or [service.spec.clusterIP or ""]:
                    additional[Record(base, _family(address), address)] = None
    if not records:
        return MISSING
    return Answer(True, tuple(records), tuple(additional)) if kind == "SRV" else EMPTY


def _headless(view: View, service: Service, base: str) -> Iterable[tuple[str, str, int, str, str]]:
    """(hostname, address, port, port name, protocol) of every ready endpoint; port 0 where a slice has no ports."""
    namespace, name = service.metadata.namespace or "", service.metadata.name or ""
    for one in view.slices(namespace, name):
        for endpoint in one.endpoints:
            if endpoint.conditions is not None and endpoint.conditions.ready is False:
                continue
            for address in endpoint.addresses:
                hostname = endpoint.hostname or address.replace(".", "-").replace(":", "-")
                if not one.ports:
                    yield hostname, address, 0, "", ""
                for port in one.ports:
                    yield hostname, address, port.port or 0, port.name or "", (port.protocol or "TCP").lower()


def _port_matches(wanted: str, wanted_protocol: str, name: str, protocol: str) -> bool:
    return (not wanted or wanted == name) and (not wanted_protocol or wanted_protocol == protocol)


def _pods(view: View, name: str, kind: str, labels: list[str]) -> Answer:
    match labels:
        case []:
            return EMPTY
        case [namespace]:
            return EMPTY if view.namespace_exists(namespace) else MISSING
        case [dashed, namespace] if view.namespace_exists(namespace):
            for address in (dashed.replace("-", "."), dashed.replace("-", ":")):
                try:
                    return _address_answer(name, kind, [str(ipaddress.ip_address(address))])
                except ValueError:
                    continue
    return MISSING


def _reverse(view: View, zone: str, name: str, kind: str) -> Answer | None:
    address = _reverse_address(name)
    if address is None:
        return None
    service = view.service_by_ip(address)
    if service is not None:
        target = f"{service.metadata.name}.{service.metadata.namespace}.svc.{zone}"
        return Answer(True, (Record(name, "PTR", target),) if kind == "PTR" else ())
    records = []
    for one in view.slices_by_ip(address):
        owner = view.service(one.metadata.namespace or "", one.metadata.labels.get("kubernetes.io/service-name", ""))
        if owner is None or owner.spec.clusterIP != "None":
            continue
        for endpoint in one.endpoints:
            if address in endpoint.addresses:
                hostname = endpoint.hostname or address.replace(".", "-").replace(":", "-")
                target = f"{hostname}.{owner.metadata.name}.{owner.metadata.namespace}.svc.{zone}"
                records.append(Record(name, "PTR", target))
    return Answer(True, tuple(records) if kind == "PTR" else ()) if records else None


def _reverse_address(name: str) -> str | None:
    if name.endswith(".in-addr.arpa"):
        parts = name.removesuffix(".in-addr.arpa").split(".")
        return ".".join(reversed(parts)) if len(parts) == 4 else None
    nibbles = name.removesuffix(".ip6.arpa").split(".")
    if len(nibbles) != 32:
        return None
    digits = "".join(reversed(nibbles))
    try:
        return str(ipaddress.ip_address(":".join(digits[i : i + 4] for i in range(0, 32, 4))))
    except ValueError:
        return None


def _address_answer(name: str, kind: str, addresses: Iterable[str]) -> Answer:
    return Answer(True, tuple(Record(name, kind, a) for a in addresses if a and _family(a) == kind))


def _family(address: str) -> str:
    return "AAAA" if ":" in address else "A"
