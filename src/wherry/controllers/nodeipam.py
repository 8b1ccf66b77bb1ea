"""Gives each node its own slice of the cluster's pod addresses (spec.podCIDR).

Source of the behaviour: kubernetes pkg/controller/nodeipam (range allocator).
"""

import ipaddress
from collections.abc import Iterable

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Node
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key
from wherry.meta.errors import StatusError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def plan_cidr(cluster_cidr: Network, mask_size: int, taken: Iterable[str]) -> str | None:
    """The first free slice; None when all are taken."""
    used = [ipaddress.ip_network(text, strict=False) for text in taken]
    exact = {network for network in used if network.prefixlen == mask_size}
    odd = [network for network in used if network.prefixlen != mask_size and network.version == cluster_cidr.version]
    for candidate in cluster_cidr.subnets(new_prefix=mask_size):
        if candidate not in exact and not any(candidate.overlaps(network) for network in odd):
            return str(candidate)
    return None


class NodeIPAMController(Controller):
    """One worker: two nodes must not be given the same slice."""

    name = "node-ipam-controller"
    workers = 1

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, cluster_cidr: str, node_cidr_mask_size: int = 24
    ) -> None:
        super().__init__(client, informers, clock)
        self._cluster = ipaddress.ip_network(cluster_cidr)
        self._mask_size = node_cidr_mask_size
        self._given: dict[str, list[str]] = {}
        self._waiting: set[str] = set()
        self._nodes = self.watch(Node, self._changed)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            self._given.pop((old.metadata.name if old else None) or "", None)
            for name in self._waiting:
                self.queue.add(("", name))
            return
        name = new.metadata.name or ""
        if new.spec.podCIDRs or new.spec.podCIDR:
            self._given[name] = new.spec.podCIDRs or [new.spec.podCIDR or ""]
        else:
            self.queue.add(("", name))

    async def reconcile(self, key: Key) -> None:
        name = key[1]
        node = self._nodes.get(*key)
        self._waiting.discard(name)
        if node is None or node.spec.podCIDR:
            return
        mine = self._given.get(name)
        cidr = mine[0] if mine else plan_cidr(self._cluster, self._mask_size, self._taken())
        if cidr is None:
            self._waiting.add(name)
            text = f"Node {name} status is now: CIDRNotAvailable"
            self.recorder.event(node, "Normal", "CIDRNotAvailable", text)
            return
        self._given[name] = [cidr]
        patch = {"metadata": {"uid": node.metadata.uid}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}
        try:
            await self.client.patch(Node, name, None, patch)
        except StatusError as error:
            self._given.pop(name, None)
            if error.code not in (404, 422):  # gone, or given one meanwhile
                raise

    def _taken(self) -> list[str]:
        return [cidr for cidrs in self._given.values() for cidr in cidrs]
