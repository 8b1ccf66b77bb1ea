"""Cluster DNS on UDP and TCP: the cluster's zone from the informers, everything else from the host's resolvers.

What CoreDNS does in a stock cluster (kubernetes and forward plugins), as a component of the one process.
"""

import asyncio
import logging
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from dnslib import AAAA, CNAME, NS, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSError, DNSHeader, DNSRecord

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Namespace, Service
from wherry.api.discovery_v1 import EndpointSlice
from wherry.client.informer import Informers
from wherry.dns import zone

log = logging.getLogger(__name__)

UDP_PLAIN_LIMIT_BYTES = 512
UPSTREAM_TIMEOUT_SECONDS = 2.0
PENDING_LIMIT = 1000
TCP_IDLE_SECONDS = 30.0
CNAME_DEPTH_LIMIT = 8


@dataclass(slots=True)
class DnsOptions:
    """Settings of the cluster DNS."""

    address: str
    port: int = 53
    """0 lets the system choose; the same number is then used for UDP and TCP."""
    domain: str = "cluster.local"
    upstreams: tuple[str, ...] = field(default_factory=tuple)
    """Resolvers for other names; empty: those of /etc/resolv.conf."""


class DnsServer:
    """Answers the pods' questions."""

    def __init__(self, options: DnsOptions, informers: Informers, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self.port = options.port
        self.ready = asyncio.Event()
        self._services = informers.informer(Service)
        self._services.add_index("ip", lambda service: service.spec.clusterIPs)
        self._slices = informers.informer(EndpointSlice)
        self._slices.add_index("service", _service_of_slice)
        self._slices.add_index("address", lambda one: {a for e in one.endpoints for a in e.addresses})
        self._namespaces = informers.informer(Namespace)
        self._view = zone.View(
            service=lambda namespace, name: self._services.get(namespace, name),
            slices=lambda namespace, name: self._slices.by_index("service", f"{namespace}/{name}"),
            namespace_exists=lambda name: self._namespaces.get(None, name) is not None,
            service_by_ip=lambda ip: next(iter(self._services.by_index("ip", ip)), None),
            slices_by_ip=lambda ip: self._slices.by_index("address", ip),
        )
        self._pending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled. Raises OSError when the address cannot be listened on."""
        loop = asyncio.get_running_loop()
        tcp = await asyncio.start_server(self._serve_tcp, self._options.address, self.port)
        self.port = tcp.sockets[0].getsockname()[1]
        udp, _ = await loop.create_datagram_endpoint(
            lambda: _UdpServer(self), local_addr=(self._options.address, self.port)
        )
        try:
            for informer in (self._services, self._slices, self._namespaces):
                await informer.wait_synced()
            self.ready.set()
            await asyncio.Event().wait()
        finally:
            udp.close()
            tcp.close()
            for task in tuple(self._pending):
                task.cancel()
            await asyncio.gather(*self._pending, return_exceptions=True)

    async def resolve(self, packet: bytes) -> bytes | None:
        """The reply to one query packet; None for what is not a query."""
        try:
            query = DNSRecord.parse(packet)
        except (DNSError, IndexError, struct.error):
            return None
        if query.header.qr or len(query.questions) != 1:
            return None
        name = str(query.q.qname).rstrip(".").lower()
        kind = QTYPE.get(query.q.qtype)
        found = zone.answer(self._view, self._options.domain, name, str(kind))
        if found is None:
            return await self._forward(packet, query)
        reply = DNSRecord(DNSHeader(id=query.header.id, qr=1, aa=1, ra=1, rd=query.header.rd), q=query.q)
        await self._fill(reply, found, str(kind))
        return bytes(reply.pack())

    async def _fill(self, reply: DNSRecord, found: zone.Answer, kind: str) -> None:
        if not found.exists:
            reply.header.rcode = RCODE.NXDOMAIN
        for record in found.records:
            reply.add_answer(_resource_record(record))
        for record in found.additional:
            reply.add_ar(_resource_record(record))
        if found.records and found.records[0].type == "CNAME" and kind in ("A", "AAAA"):
            for extra in await self._follow(str(found.records[0].data), kind):
                reply.add_answer(extra)
        if not found.records:
            domain = self._options.domain
            soa = SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", (1, 7200, 1800, 86400, zone.TTL_SECONDS))
            reply.add_auth(RR(domain, QTYPE.SOA, ttl=zone.TTL_SECONDS, rdata=soa))

    async def _follow(self, name: str, kind: str) -> list[RR]:
        """What the target of an ExternalName resolves to, so that simple resolvers need no second query."""
        query = DNSRecord.question(name, kind)
        packet = await self.resolve(query.pack()) if not name.endswith(self._options.domain) else None
        if packet is None:
            found = zone.answer(self._view, self._options.domain, name.lower(), kind)
            return [_resource_record(record) for record in found.records] if found else []
        with suppress(DNSError):
            return list(DNSRecord.parse(packet).rr)[:CNAME_DEPTH_LIMIT]
        return []

    async def _forward(self, packet: bytes, query: DNSRecord) -> bytes:
        for upstream in self._options.upstreams or host_resolvers():
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(UPSTREAM_TIMEOUT_SECONDS):
                    return await _ask(upstream, packet)
        reply = query.reply(ra=1, aa=0)
        reply.header.rcode = RCODE.SERVFAIL
        return bytes(reply.pack())

    def answer_datagram(self, packet: bytes, client: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        """Start answering one datagram; what comes while too many are pending is dropped, as resolvers expect."""
        if len(self._pending) >= PENDING_LIMIT:
            return
        task = asyncio.get_running_loop().create_task(self._answer_datagram(packet, client, transport))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _answer_datagram(
        self, packet: bytes, client: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        reply = await self.resolve(packet)
        if reply is not None:
            transport.sendto(_fit(reply, _udp_limit(packet)), client)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, TimeoutError, ConnectionError):
                while True:
                    async with asyncio.timeout(TCP_IDLE_SECONDS):
                        (length,) = struct.unpack(">H", await reader.readexactly(2))
                        packet = await reader.readexactly(length)
                    reply = await self.resolve(packet)
                    if reply is None:
                        return
                    writer.write(struct.pack(">H", len(reply)) + reply)
                    await writer.drain()
        finally:
            writer.close()


def host_resolvers(path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """The host's name servers, in order."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ()
    found = (line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1)
    return tuple(address for address in found if "%" not in address)


def _service_of_slice(one: EndpointSlice) -> Iterable[str]:
    name = one.metadata.labels.get("kubernetes.io/service-name")
    return [f"{one.metadata.namespace}/{name}"] if name else []


def _resource_record(record: zone.Record) -> RR:
    if isinstance(record.data, tuple):
        data = SRV(*record.data)
    else:
        data = {"A": A, "AAAA": AAAA, "CNAME": CNAME, "PTR": PTR, "TXT": TXT, "NS": NS}[record.type](record.data)
    return RR(record.name, getattr(QTYPE, record.type), ttl=zone.TTL_SECONDS, rdata=data)


def _udp_limit(packet: bytes) -> int:
    with suppress(DNSError):
        for extra in DNSRecord.parse(packet).ar:
            if extra.rtype == QTYPE.OPT:
                return max(UDP_PLAIN_LIMIT_BYTES, int(extra.rclass))
    return UDP_PLAIN_LIMIT_BYTES


def _fit(reply: bytes, limit_bytes: int) -> bytes:
    """`reply`, or a truncated one that tells the client to come back over TCP."""
    if len(reply) <= limit_bytes:
        return reply
    return bytes(DNSRecord.parse(reply).truncate().pack())


async def answers(address: str, port: int, name: str) -> bool:
    """Whether the server at `address`:`port` has an address for `name`, now."""
    with suppress(OSError, TimeoutError, DNSError):
        async with asyncio.timeout(UPSTREAM_TIMEOUT_SECONDS):
            reply = await _ask(address, DNSRecord.question(name).pack(), port)
        return bool(DNSRecord.parse(reply).rr)
    return False


async def _ask(upstream: str, packet: bytes, port: int = 53) -> bytes:
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Question(packet, reply), remote_addr=(upstream, port))
    try:
        return await reply
    finally:
        transport.close()


class _Question(asyncio.DatagramProtocol):
    """One query to an upstream resolver."""

    def __init__(self, packet: bytes, reply: asyncio.Future[bytes]) -> None:
        self._packet = packet
        self._reply = reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._packet)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._reply.done() and data[:2] == self._packet[:2]:
            self._reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._reply.done():
            self._reply.set_exception(exc)


class _UdpServer(asyncio.DatagramProtocol):
    """Hands datagrams to the server."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.answer_datagram(data, addr, self._transport)
