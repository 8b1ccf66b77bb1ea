"""When a cluster counts as ready: pods can be made (default service account), run (nodes) and resolve names (DNS)."""

import asyncio

from wherry.api.core_v1 import Node, ServiceAccount
from wherry.client.informer import Informers
from wherry.rules import conditions


class Readiness:
    """What has been seen so far."""

    def __init__(self, informers: Informers, node_count: int, *, wants_dns: bool) -> None:
        self._node_count = node_count
        self.account = asyncio.Event()
        self.nodes = asyncio.Event()
        self.dns = asyncio.Event()
        if not wants_dns:
            self.dns.set()
        self._ready_nodes: set[str] = set()
        informers.informer(ServiceAccount).add_handler(self._account_seen)
        informers.informer(Node).add_handler(self._node_seen)

    def missing(self) -> list[str]:
        """What is still waited for, for people."""
        parts = {
            "the default service account does not exist": self.account,
            f"{len(self._ready_nodes)} of {self._node_count} nodes are ready": self.nodes,
            "DNS does not answer": self.dns,
        }
        return [text for text, event in parts.items() if not event.is_set()]

    async def wait(self) -> None:
        """Until everything is there."""
        await self.account.wait()
        await self.nodes.wait()
        await self.dns.wait()

    def _account_seen(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        if new is not None and (new.metadata.namespace, new.metadata.name) == ("default", "default"):
            self.account.set()

    def _node_seen(self, old: Node | None, new: Node | None) -> None:
        if new is not None and conditions.is_true(new.status.conditions, "Ready"):
            self._ready_nodes.add(new.metadata.name or "")
        if len(self._ready_nodes) >= self._node_count:
            self.nodes.set()
