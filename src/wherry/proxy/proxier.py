"""Keeps the node's rules as Services and endpoints are: watch, wait for the burst to end, plan, apply.

Level triggered: a change only marks the plan stale. One apply runs at a time; what changes meanwhile is the next one.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Service
from wherry.api.discovery_v1 import EndpointSlice
from wherry.client.informer import Informers
from wherry.proxy.backend import Backend, BackendError, run_tool
from wherry.proxy.rules import ServicePort, plan_service_ports

log = logging.getLogger(__name__)

Mode = Literal["nftables", "iptables", "userspace", "none"]

# A rollout changes endpoints in bursts of a few milliseconds; this much is gathered into one transaction.
GATHER_SECONDS = 0.01
# A refused plan is tried again in full; first soon, because traffic goes astray meanwhile.
RETRY_MIN_SECONDS = 0.05
RETRY_MAX_SECONDS = 5.0


@dataclass(slots=True)
class ProxyOptions:
    """Settings of one node's proxy."""

    node_name: str
    remove_on_stop: bool = False
    """Take the rules away on stop. Off: traffic keeps flowing while the proxy restarts, as with kube-proxy."""


class Proxier:
    """kube-proxy's work for one node."""

    def __init__(self, options: ProxyOptions, informers: Informers, backend: Backend, clock: Clock) -> None:
        self._options = options
        self._backend = backend
        self._clock = clock
        self._services = informers.informer(Service)
        self._slices = informers.informer(EndpointSlice)
        self._stale = asyncio.Event()
        self._udp: dict[str, ServicePort] = {}
        self._services.add_handler(lambda old, new: self._stale.set())
        self._slices.add_handler(lambda old, new: self._stale.set())
        self.synced = asyncio.Event()
        """Set once the first plan has taken effect."""
        self.trouble = "the first plan has not taken effect yet"
        """Why the node does not follow its Services; empty: it does."""
        self.serving: set[str] = set()
        """Names of the service ports that have endpoints and whose rules are in place."""

    async def run(self) -> None:
        """Until cancelled."""
        await self._services.wait_synced()
        await self._slices.wait_synced()
        self._stale.set()
        retry_seconds = RETRY_MIN_SECONDS
        try:
            while True:
                await self._stale.wait()
                await self._clock.sleep(GATHER_SECONDS)
                self._stale.clear()
                try:
                    await self._sync()
                    retry_seconds = RETRY_MIN_SECONDS
                except BackendError as error:
                    log.error("services are not up to date on this node: %s", error)
                    self.trouble = str(error)
                    self._stale.set()
                    await self._clock.sleep(retry_seconds)
                    retry_seconds = min(2 * retry_seconds, RETRY_MAX_SECONDS)
        finally:
            if self._options.remove_on_stop:
                await self._backend.remove()

    async def _sync(self) -> None:
        ports = plan_service_ports(self._services.list(), self._slices.list(), self._options.node_name)
        await self._backend.apply(ports)
        self.serving = {name for name, port in ports.items() if port.internal}
        self.synced.set()
        self.trouble = ""
        await self._forget_stale_udp(ports)

    async def _forget_stale_udp(self, ports: dict[str, ServicePort]) -> None:
        """UDP has no end of connection: flows to endpoints that are gone live on in conntrack until deleted."""
        old, self._udp = self._udp, {name: port for name, port in ports.items() if port.protocol == "udp"}
        for name, before in old.items():
            after = self._udp.get(name)
            if set(before.internal) - set(after.internal if after else ()):
                for ip in before.cluster_ips:
                    await _delete_flows("--orig-dst", ip, "--dport", str(before.port))
        for name, after in self._udp.items():
            # Packets sent while nothing served were accepted unchanged; their flows would stay that way.
            if after.internal and not (name in old and old[name].internal):
                for ip in after.cluster_ips:
                    await _delete_flows("--orig-dst", ip, "--dport", str(after.port))


async def _delete_flows(*selection: str) -> None:
    try:
        await run_tool("conntrack", "-D", "-p", "udp", *selection)
    except BackendError as error:
        # conntrack exits 1 both for "nothing deleted" and for real trouble; only the latter names another reason.
        if "0 flow entries have been deleted" not in str(error):
            log.warning("stale UDP flows were not deleted: %s", error)
