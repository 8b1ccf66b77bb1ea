"""What `wherry status` tells, seen from outside: the record, what components say (report.py), the nodes' conditions.

Everything is asked of the running cluster, through its administrator's kubeconfig; nothing is believed from the record
but where to ask.
"""

import asyncio
import resource
from pathlib import Path

import msgspec

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Node
from wherry.client import kubeconfig
from wherry.client.client import Client
from wherry.client.transport import TransportError, status_error
from wherry.cluster import instance
from wherry.cluster.containerd import Containerd
from wherry.cluster.report import PATH
from wherry.meta.errors import StatusError
from wherry.rules import conditions

ANSWER_SECONDS = 5.0


class Part(msgspec.Struct):
    """One node, or a component."""

    name: str
    ready: bool
    message: str = ""


class ComponentPart(Part):
    """One component. Those of the cluster's own process share its memory."""

    restarts: int = 0
    pid: int | None = None
    memoryBytes: int | None = None


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
    pid: int | None = None
    memoryBytes: int | None = None
    """Resident memory of the cluster's process."""
    nodesReady: int = 0
    components: list[ComponentPart] = []
    nodes: list[Part] = []


async def look(root: Path, name: str, clock: Clock) -> Status:
    """The state of cluster `name`. Raises ClusterError when there is none."""
    directory = root / name
    found = instance.find(root, name, f": `wherry up --name {name}`")
    status = Status(name, "stopped", False, found.server, found.runtime, found.version, found.context)
    if not found.running():
        return status
    status.state, status.pid, status.memoryBytes = "running", found.pid, memory_bytes(found.pid)
    status.components, status.nodes = await _ask(directory, clock)
    for part in status.components:
        kind, _, node = part.name.partition("/")
        place = next((Path(one.directory) for one in found.nodes if one.name == node), None)
        part.pid = Containerd(place / kind, clock).running_pid() if place and kind == "containerd" else found.pid
        part.memoryBytes = memory_bytes(part.pid) if part.pid else None
    status.nodesReady = sum(node.ready for node in status.nodes)
    status.ready = bool(status.nodes) and all(part.ready for part in [*status.components, *status.nodes])
    return status


def memory_bytes(pid: int) -> int | None:
    """The resident memory of a process; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return None
    return int(fields[1]) * resource.getpagesize()


async def _ask(directory: Path, clock: Clock) -> tuple[list[ComponentPart], list[Part]]:
    try:
        transport = kubeconfig.transport_from_kubeconfig(directory / "admin.kubeconfig", clock=clock)
    except kubeconfig.KubeconfigError as error:
        return _unreachable(str(error)), []
    client = Client(transport, clock=clock, entropy=Entropy())
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await transport.request("GET", PATH)
            nodes = await client.list(Node)
    except TimeoutError:
        return _unreachable(f"does not answer within {ANSWER_SECONDS:g} s"), []
    except (TransportError, StatusError) as error:
        return _unreachable(str(error)), []
    finally:
        await transport.close()
    if answer.status != 200:
        return _unreachable(str(status_error(answer.status, answer.body))), []
    return msgspec.json.decode(answer.body, type=list[ComponentPart]), [_node(node) for node in nodes.items]


def _unreachable(why: str) -> list[ComponentPart]:
    return [ComponentPart("apiserver", False, why)]


def _node(node: Node) -> Part:
    ready = conditions.is_true(node.status.conditions, "Ready")
    why = next((one.message or "" for one in node.status.conditions if one.type == "Ready"), "the kubelet is silent")
    return Part(node.metadata.name or "", ready, "" if ready else why)
