"""One component as a process of its own: what `wherry scheduler`, `wherry kubelet` and the others have in common.

A kubeconfig says where the API server is and as whom; the component runs until SIGTERM or SIGINT, alone or whenever it
leads its lease. A crash starts it again with fresh informers; what no restart can mend (a port in use) ends the process
with one line. The API server's part is control_plane.py.
"""

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.aio.clock import Clock, SystemClock
from wherry.aio.entropy import Entropy
from wherry.aio.tasks import Run, Supervisor
from wherry.api.apiextensions_v1 import CustomResourceDefinition
from wherry.api.registry import RESOURCES
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.client.kubeconfig import KubeconfigError, transport_from_kubeconfig
from wherry.client.leaderelection import LeaderElector
from wherry.cluster.failure import ClusterError
from wherry.meta.resource import Resource
from wherry.rules import conditions

if TYPE_CHECKING:
    from wherry.client.https import HttpsTransport

LEASE_NAMESPACE = "kube-system"
# An address or port that cannot be had: the flags are wrong, and trying again would hide that.
HOPELESS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM)

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Remote:
    """What a component is made of when its API server is elsewhere."""

    client: Client
    informers: Informers
    clock: Clock
    entropy: Entropy


Make = Callable[[Remote], Run]
"""Makes a component and returns what runs it; called anew for every restart and every term as leader."""


@dataclass(frozen=True, slots=True)
class ComponentProcess:
    """A component by the name that clients and leases know it by."""

    name: str
    kubeconfig: Path
    make: Make
    lease: str = ""
    """Name of the lease to lead by; empty: run at once."""

    def run(self) -> None:
        """Until SIGINT or SIGTERM. Raises ClusterError."""
        log_to_stderr(logging.INFO)
        run_until_stopped(self._main)

    async def _main(self, stop: asyncio.Event) -> None:
        clock, entropy = SystemClock(), Entropy()
        transport = connect(self.kubeconfig, clock)
        client = Client(transport, clock=clock, entropy=entropy, user_agent=self.name)
        supervisor = Supervisor(clock, entropy)
        hopeless: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                await self._lead(client)
            except* OSError as errors:
                error = _first(errors)
                if not isinstance(error, OSError) or error.errno not in HOPELESS or hopeless.done():
                    raise
                hopeless.set_exception(ClusterError(f"{self.name}: {error}"))

        supervisor.start(self.name, run)
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((stopping, hopeless), return_when=asyncio.FIRST_COMPLETED)
            if hopeless.done():
                hopeless.result()
        finally:
            stopping.cancel()
            await supervisor.close()
            await transport.close()

    async def _lead(self, client: Client) -> None:
        async def term() -> None:
            informers = Informers(client)
            run = self.make(Remote(client, informers, client.clock, client.entropy))
            async with asyncio.TaskGroup() as group:
                group.create_task(informers.run(), name="informers")
                await run()

        if not self.lease:
            await term()
            return
        identity = f"{socket.gethostname()}_{client.entropy.uid()}"
        await LeaderElector(client, self.lease, LEASE_NAMESPACE, identity, client.clock).run(term)


def run_until_stopped(main: Main) -> None:
    """Run `main` on a loop of its own; the event it is given is set by SIGINT and SIGTERM."""
    import uvloop

    async def with_signals() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await main(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(with_signals())


def log_to_stderr(level: int) -> None:
    """Log records of all modules, with time and place."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def connect(kubeconfig: Path, clock: Clock) -> "HttpsTransport":
    """The road of the current context. Raises ClusterError."""
    try:
        return transport_from_kubeconfig(kubeconfig, clock=clock)
    except KubeconfigError as error:
        raise ClusterError(str(error)) from error


def read_file(path: Path) -> bytes:
    """A file that a flag names. Raises ClusterError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClusterError(f"{path}: {error.strerror or error}") from error


def built_in_resources(feature_gates: Iterable[str]) -> list[Resource]:
    """The kinds that an API server is taken to serve. Raises ClusterError."""
    from wherry.cluster import surface

    migrates = surface.features(feature_gates).enabled("StorageVersionMigrator")
    config = surface.runtime_config(["storagemigration.k8s.io/v1beta1=true"] if migrates else [])
    return [resource for resource in RESOURCES if config.serves(resource)]


def served_resources(built_in: Iterable[Resource], definitions: Iterable[CustomResourceDefinition]) -> list[Resource]:
    """The built-in kinds, and each served version of the custom ones; stored versions come first."""
    return [*built_in, *(item for definition in definitions for item in _custom_resources(definition))]


def _custom_resources(definition: CustomResourceDefinition) -> list[Resource]:
    if not conditions.is_true(definition.status.conditions, "Established"):
        return []
    spec, names = definition.spec, definition.status.acceptedNames
    return [
        Resource(spec.group, version.name, names.kind, names.plural, spec.scope == "Namespaced", None)
        for version in sorted(spec.versions, key=lambda version: not version.storage)
        if version.served
    ]


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
