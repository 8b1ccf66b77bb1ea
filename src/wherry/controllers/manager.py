"""All controllers over one set of informers, each supervised alone.

A list, not a framework: who wants another controller adds a line.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Supervisor
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.deployment import DeploymentController
from wherry.controllers.endpoints import EndpointsController
from wherry.controllers.endpointslice import EndpointSliceController
from wherry.controllers.garbagecollector import GarbageCollector
from wherry.controllers.namespace import NamespaceController
from wherry.controllers.nodeipam import NodeIPAMController
from wherry.controllers.nodelifecycle import NodeLifecycleController
from wherry.controllers.podgc import PodGarbageCollector
from wherry.controllers.replicaset import ReplicaSetController
from wherry.controllers.replicationcontroller import ReplicationControllerController
from wherry.controllers.rootca import RootCAPublisher
from wherry.controllers.serviceaccounts import ServiceAccountController
from wherry.controllers.tainteviction import TaintEvictionController
from wherry.meta.resource import Resource


@dataclass(slots=True)
class ManagerOptions:
    """Settings of the controllers."""

    cluster_cidr: str = "10.244.0.0/16"
    """Pod addresses of the whole cluster; every node gets a part. Empty: nodes get none."""
    node_cidr_mask_size: int = 24
    node_monitor_grace_period_seconds: float = 40.0
    root_ca: str = ""
    """PEM, published into every namespace."""


class ControllerManager:
    """kube-controller-manager's work."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        entropy: Entropy,
        options: ManagerOptions,
        resources: Callable[[], Sequence[Resource]],
        *,
        informers: Informers | None = None,
        names: Collection[str] | None = None,
    ) -> None:
        self._clock, self._entropy = clock, entropy
        self._own = Informers(client) if informers is None else None
        shared = informers or self._own
        assert shared is not None
        made: dict[str, Callable[[], Any]] = {
            "deployment": lambda: DeploymentController(client, shared, clock),
            "replicaset": lambda: ReplicaSetController(client, shared, clock),
            "replicationcontroller": lambda: ReplicationControllerController(client, shared, clock),
            "endpoints": lambda: EndpointsController(client, shared, clock),
            "endpointslice": lambda: EndpointSliceController(client, shared, clock),
            "namespace": lambda: NamespaceController(client, shared, clock, resources),
            "serviceaccount": lambda: ServiceAccountController(client, shared, clock),
            "root-ca-certificate-publisher": lambda: RootCAPublisher(client, shared, clock, options.root_ca),
            "garbagecollector": lambda: GarbageCollector(client, shared, clock, resources),
            "node-lifecycle": lambda: NodeLifecycleController(
                client, shared, clock, options.node_monitor_grace_period_seconds
            ),
            "taint-eviction": lambda: TaintEvictionController(client, shared, clock),
            "pod-garbage-collector": lambda: PodGarbageCollector(client, shared, clock),
            "nodeipam": lambda: NodeIPAMController(
                client, shared, clock, options.cluster_cidr, options.node_cidr_mask_size
            ),
        }
        self.controllers = {name: make() for name, make in made.items() if names is None or name in names}

    async def run(self) -> None:
        """Until cancelled."""
        supervisor = Supervisor(self._clock, self._entropy)
        for name, controller in self.controllers.items():
            supervisor.start(name, controller.run)
        if self._own is not None:
            supervisor.start("informers", self._own.run)
        try:
            await asyncio.Event().wait()
        finally:
            await supervisor.close()
