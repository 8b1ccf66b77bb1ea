"""What `wherry status` tells, seen from outside: the record, the API server's own checks, the nodes' conditions.

Everything is asked of the running cluster, through its administrator's kubeconfig; nothing is believed from the record
but where to ask.
"""

import asyncio
from pathlib import Path

import msgspec

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Node
from wherry.client import kubeconfig
from wherry.client.client import Client
from wherry.client.transport import TransportError
from wherry.cluster import instance
from wherry.cluster.containerd import Containerd
from wherry.cluster.failure import ClusterError
from wherry.meta.errors import StatusError
from wherry.rules import conditions

ANSWER_SECONDS = 5.0


class Part(msgspec.Struct):
    """One component or node."""

    name: str
    ready: bool
    message: str = ""


class Status(msgspec.Struct):
    """One cluster."""

    name: str
    state: str
    """running or stopped: the process."""
    ready: bool
    server: str
    runtime: str
    version: str
    context: str
    nodesReady: int = 0
    components: list[Part] = []
    nodes: list[Part] = []


async def look(root: Path, name: str, clock: Clock) -> Status:
    """The state of cluster `name`. Raises ClusterError when there is none."""
    directory = root / name
    found = instance.read(directory)
    if found is None:
        known = ", ".join(one.name for one in instance.all_instances(root)) or "none"
        raise ClusterError(f"there is no cluster {name!r} under {root} (known: {known}): `wherry up --name {name}`")
    status = Status(name, "stopped", False, found.server, found.runtime, found.version, found.context)
    if not found.running():
        return status
    status.state = "running"
    server, status.nodes = await _ask(directory, clock)
    status.components = [server]
    if found.runtime == "containerd":
        for node in found.nodes:
            pid = Containerd(Path(node.directory) / "containerd", clock).running_pid()
            status.components.append(Part(f"containerd/{node.name}", pid is not None, "" if pid else "not running"))
    status.nodesReady = sum(node.ready for node in status.nodes)
    status.ready = bool(status.nodes) and all(part.ready for part in [*status.components, *status.nodes])
    return status


async def _ask(directory: Path, clock: Clock) -> tuple[Part, list[Part]]:
    try:
        transport = kubeconfig.transport_from_kubeconfig(directory / "admin.kubeconfig", clock=clock)
    except kubeconfig.KubeconfigError as error:
        return Part("apiserver", False, str(error)), []
    client = Client(transport, clock=clock, entropy=Entropy())
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            nodes = await client.list(Node)
    except TimeoutError:
        return Part("apiserver", False, f"does not answer within {ANSWER_SECONDS:g} s"), []
    except (TransportError, StatusError) as error:
        return Part("apiserver", False, str(error)), []
    finally:
        await transport.close()
    return Part("apiserver", True), [_node(node) for node in nodes.items]


def _node(node: Node) -> Part:
    ready = conditions.is_true(node.status.conditions, "Ready")
    why = next((one.message or "" for one in node.status.conditions if one.type == "Ready"), "the kubelet is silent")
    return Part(node.metadata.name or "", ready, "" if ready else why)
