"""Services without the kernel's help: a listener for every virtual port, for the process runtime and for non-root.

Cluster IPs of such a cluster lie in 127/8, where Linux lets every user listen, so a ClusterIP is an ordinary local
address. Connections are spread round robin; UDP clients keep their endpoint while they talk. A port that cannot be
opened (below 1024 without root, or taken) is reported once and tried again at the next change.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from wherry.aio.clock import Clock
from wherry.proxy.rules import Endpoint, ServicePort

log = logging.getLogger(__name__)

COPY_LIMIT_BYTES = 65536
CONNECT_TIMEOUT_SECONDS = 5.0
UDP_IDLE_SECONDS = 60.0
UDP_CLIENTS_LIMIT = 1024

Address = tuple[str, str, int]
"""protocol, ip, port"""


@dataclass(slots=True)
class Target:
    """Where connections to one address go; shared with its listener, replaced in place."""

    endpoints: tuple[Endpoint, ...]
    affinity_seconds: int | None
    position: int = 0
    chosen: dict[str, tuple[Endpoint, float]] = field(default_factory=dict)

    def pick(self, client: str, now: float) -> Endpoint | None:
        """The endpoint for a new connection of `client`, or None when nothing serves."""
        if not self.endpoints:
            return None
        if self.affinity_seconds is not None:
            remembered = self.chosen.get(client)
            if remembered and remembered[1] > now and remembered[0] in self.endpoints:
                return remembered[0]
        self.position = (self.position + 1) % len(self.endpoints)
        endpoint = self.endpoints[self.position]
        if self.affinity_seconds is not None:
            self.chosen[client] = (endpoint, now + self.affinity_seconds)
        return endpoint


def plan_listeners(ports: Mapping[str, ServicePort]) -> dict[Address, ServicePort]:
    """The addresses to listen on: every cluster IP, and every node port on all addresses."""
    wanted: dict[Address, ServicePort] = {}
    for port in ports.values():
        for ip in (*port.cluster_ips, *port.external_ips):
            wanted[(port.protocol, ip, port.port)] = port
        if port.node_port:
            wanted[(port.protocol, "0.0.0.0", port.node_port)] = port
    return wanted


class UserspaceBackend:
    """Owns the listeners."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: dict[Address, tuple[asyncio.Server | asyncio.DatagramTransport, Target]] = {}
        self._refused: set[Address] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def apply(self, ports: Mapping[str, ServicePort]) -> None:
        wanted = plan_listeners(ports)
        for address in set(self._listeners) - set(wanted):
            self._listeners.pop(address)[0].close()
        self._refused &= set(wanted)
        for address, port in wanted.items():
            external = address[1] == "0.0.0.0" or address[1] in port.external_ips
            endpoints = port.external if external else port.internal
            if address in self._listeners:
                target = self._listeners[address][1]
                target.endpoints, target.affinity_seconds = endpoints, port.affinity_seconds
            else:
                await self._listen(address, Target(endpoints, port.affinity_seconds), port.name)

    async def remove(self) -> None:
        for server, _ in self._listeners.values():
            server.close()
        self._listeners.clear()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _listen(self, address: Address, target: Target, name: str) -> None:
        protocol, ip, port = address
        loop = asyncio.get_running_loop()
        server: asyncio.Server | asyncio.DatagramTransport
        try:
            if protocol == "tcp":
                server = await asyncio.start_server(lambda r, w: self._accepted(target, r, w), ip, port)
            elif protocol == "udp":
                server, _ = await loop.create_datagram_endpoint(
                    lambda: _UdpRelay(target, self._clock), local_addr=(ip, port)
                )
            else:
                raise OSError(f"{protocol} is not supported by the user-space proxy")
        except OSError as error:
            if address not in self._refused:
                self._refused.add(address)
                log.warning("service %s: cannot listen on %s:%d: %s", name, ip, port, error)
            return
        self._refused.discard(address)
        self._listeners[address] = (server, target)

    def _accepted(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._relay(target, reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _relay(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = writer.get_extra_info("peername")[0]
        try:
            upstream = await self._connect(target, client)
            if upstream is None:
                return
            up_reader, up_writer = upstream
            try:
                await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
            finally:
                up_writer.close()
        except (ConnectionError, TimeoutError) as error:
            log.debug("connection of %s ended: %s", client, error)
        finally:
            writer.close()

    async def _connect(self, target: Target, client: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to an endpoint, trying each once."""
        for _ in range(len(target.endpoints)):
            endpoint = target.pick(client, self._clock.monotonic())
            if endpoint is None:
                return None
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    return await asyncio.open_connection(endpoint.ip, endpoint.port)
            target.chosen.pop(client, None)
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(COPY_LIMIT_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class _UdpRelay(asyncio.DatagramProtocol):
    """One UDP listener: a socket of its own towards the endpoint for every client that is talking."""

    def __init__(self, target: Target, clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._clients: dict[tuple[str, int], _UdpReturn] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        known = self._clients.get(addr)
        if known is not None:
            known.send(data)
            return
        endpoint = self._target.pick(addr[0], self._clock.monotonic())
        if endpoint is None:
            return
        if len(self._clients) >= UDP_CLIENTS_LIMIT:
            self._clients.pop(next(iter(self._clients))).close()
        relay = _UdpReturn(self._transport, addr, lambda: self._clients.pop(addr, None))
        relay.send(data)
        self._clients[addr] = relay
        loop = asyncio.get_running_loop()
        relay.opening = loop.create_task(relay.open(endpoint))

    def connection_lost(self, exc: Exception | None) -> None:
        for relay in tuple(self._clients.values()):
            relay.close()


class _UdpReturn(asyncio.DatagramProtocol):
    """The way back from an endpoint to one client; closes itself when idle."""

    def __init__(self, front: asyncio.DatagramTransport, client: tuple[str, int], forget: Callable[[], object]) -> None:
        self._front = front
        self._client = client
        self._forget = forget
        self._waiting: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self.opening: asyncio.Task[None] | None = None

    async def open(self, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, remote_addr=(endpoint.ip, endpoint.port))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass
        for data in self._waiting:
            self._transport.sendto(data)
        self._waiting.clear()
        self._rest()

    def send(self, data: bytes) -> None:
        if self._transport is None:
            self._waiting = [*self._waiting[-15:], data]
        else:
            self._transport.sendto(data)
            self._rest()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._front.sendto(data, self._client)
        self._rest()

    def error_received(self, exc: Exception) -> None:
        log.debug("udp endpoint of %s: %s", self._client, exc)

    def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._transport is not None:
            self._transport.close()
        self._forget()

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(UDP_IDLE_SECONDS, self.close)
