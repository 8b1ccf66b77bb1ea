"""kube-controller-manager: every controller over one set of informers, each supervised on its own.

    manager = ControllerManager(client, clock, entropy, ManagerOptions(root_ca=pem), server.registry.resources)
    await manager.run()

`names` picks some; `CONTROLLERS` lists all, by the names that `--controllers` knows them by.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Health, Run, Supervisor
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.deployment import DeploymentController
from wherry.controllers.endpoints import EndpointsController
from wherry.controllers.endpointslice import EndpointSliceController
from wherry.controllers.garbagecollector import GarbageCollector
from wherry.controllers.job import JobController
from wherry.controllers.namespace import NamespaceController
from wherry.controllers.nodeipam import NodeIPAMController
from wherry.controllers.nodelifecycle import NodeLifecycleController
from wherry.controllers.podgc import PodGarbageCollector
from wherry.controllers.replicaset import ReplicaSetController
from wherry.controllers.replicationcontroller import ReplicationControllerController
from wherry.controllers.resourcequota import ResourceQuotaController
from wherry.controllers.rootca import RootCAPublisher
from wherry.controllers.serviceaccount_tokens import ServiceAccountTokensController, Sign
from wherry.controllers.serviceaccounts import ServiceAccountController
from wherry.controllers.servicecidrs import ServiceCIDRController
from wherry.controllers.storageversionmigrator import StorageVersionMigrator
from wherry.controllers.tainteviction import TaintEvictionController
from wherry.controllers.ttl import TTLAfterFinishedController
from wherry.controllers.volumeprotection import ClaimProtectionController, VolumeProtectionController
from wherry.meta.resource import Resource

Resources = Callable[[], Sequence[Resource]]
STOP_SECONDS = 10.0


@dataclass(slots=True)
class ManagerOptions:
    """Settings of the controllers; the names are kube-controller-manager's flags, units added."""

    cluster_cidr: str = "10.244.0.0/16"
    """Pod addresses of the whole cluster; every node gets a part. Empty: nodes get none."""
    node_cidr_mask_size: int = 24
    node_monitor_grace_period_seconds: float = 40.0
    root_ca: str = ""
    """PEM; without it no kube-root-ca.crt is published."""
    sign_token: Sign | None = None
    """Makes tokens for Secrets (--service-account-private-key-file); without it these stay empty."""


# Controllers that have nothing to do while a setting is empty.
_NEEDS = {
    "root-ca-certificate-publisher-controller": "root_ca",
    "node-ipam-controller": "cluster_cidr",
    "serviceaccount-token-controller": "sign_token",
}


class Runs(Protocol):
    """What a controller is to the manager."""

    async def run(self) -> None: ...


@dataclass(slots=True)
class Parts:
    """What controllers are made of."""

    client: Client
    informers: Informers
    clock: Clock
    options: ManagerOptions
    resources: Resources


def _plain(kind: Callable[[Client, Informers, Clock], Runs]) -> Callable[[Parts], Runs]:
    return lambda parts: kind(parts.client, parts.informers, parts.clock)


def _tokens(parts: Parts) -> Runs:
    assert parts.options.sign_token is not None
    sign, root_ca = parts.options.sign_token, parts.options.root_ca
    return ServiceAccountTokensController(parts.client, parts.informers, parts.clock, sign, root_ca)


CONTROLLERS: dict[str, Callable[[Parts], Runs]] = {
    "serviceaccount-controller": _plain(ServiceAccountController),
    "serviceaccount-token-controller": _tokens,
    "root-ca-certificate-publisher-controller": lambda parts: RootCAPublisher(
        parts.client, parts.informers, parts.clock, parts.options.root_ca
    ),
    "node-ipam-controller": lambda parts: NodeIPAMController(
        parts.client, parts.informers, parts.clock, parts.options.cluster_cidr, parts.options.node_cidr_mask_size
    ),
    "node-lifecycle-controller": lambda parts: NodeLifecycleController(
        parts.client, parts.informers, parts.clock, parts.options.node_monitor_grace_period_seconds
    ),
    "taint-eviction-controller": _plain(TaintEvictionController),
    "replicaset-controller": _plain(ReplicaSetController),
    "replicationcontroller-controller": _plain(ReplicationControllerController),
    "deployment-controller": _plain(DeploymentController),
    "job-controller": _plain(JobController),
    "ttl-after-finished-controller": _plain(TTLAfterFinishedController),
    ClaimProtectionController.name: _plain(ClaimProtectionController),
    VolumeProtectionController.name: _plain(VolumeProtectionController),
    "endpointslice-controller": _plain(EndpointSliceController),
    "endpoints-controller": _plain(EndpointsController),
    "namespace-controller": lambda parts: NamespaceController(
        parts.client, parts.informers, parts.clock, parts.resources
    ),
    "garbage-collector-controller": lambda parts: GarbageCollector(
        parts.client, parts.informers, parts.clock, parts.resources
    ),
    "resourcequota-controller": lambda parts: ResourceQuotaController(
        parts.client, parts.informers, parts.clock, parts.resources
    ),
    "storage-version-migrator-controller": lambda parts: StorageVersionMigrator(
        parts.client, parts.informers, parts.clock, parts.resources
    ),
    "service-cidr-controller": _plain(ServiceCIDRController),
    "pod-garbage-collector-controller": _plain(PodGarbageCollector),
}


class ControllerManager:
    """Runs controllers. With `informers` given, running those is the caller's; else they are the manager's own."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        entropy: Entropy,
        options: ManagerOptions,
        resources: Resources,
        *,
        names: Iterable[str] | None = None,
        informers: Informers | None = None,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._own_informers = Informers(client) if informers is None else None
        parts = Parts(client, informers or self._own_informers or Informers(client), clock, options, resources)
        chosen = CONTROLLERS if names is None else {name: CONTROLLERS[name] for name in names}
        pointless = {name for name, setting in _NEEDS.items() if not getattr(options, setting)}
        if not any(item.group == "storagemigration.k8s.io" for item in resources()):
            pointless.add(StorageVersionMigrator.name)
        chosen = {name: make for name, make in chosen.items() if name not in pointless}
        self.controllers = {name: make(parts) for name, make in chosen.items()}
        self._supervisor = Supervisor(clock, entropy)

    def health(self) -> Health:
        """Of all controllers together."""
        return self._supervisor.health()

    async def run(self) -> None:
        """Until cancelled. A controller that crashes starts again alone."""
        supervisor = self._supervisor = Supervisor(self._clock, self._entropy)
        runs: dict[str, Run] = {"informers": self._own_informers.run} if self._own_informers else {}
        runs |= {name: controller.run for name, controller in self.controllers.items()}
        try:
            for name, run in runs.items():
                supervisor.start(name, run)
            await asyncio.Event().wait()
        finally:
            await supervisor.close(STOP_SECONDS)
