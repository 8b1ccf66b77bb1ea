"""How the pods of one machine reach each other and the world.

Every pod hangs on a veth of its own (CNI's ptp plugin, addresses from the node's pod CIDR by host-local), so the host
routes to each pod and no bridge is needed. What leaves the pod network for elsewhere is masqueraded by one rule.
"""

import json
import socket
from pathlib import Path

from wherry.cluster.failure import ClusterError
from wherry.proxy.backend import BackendError, run_tool

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# Node ports answer on 127.0.0.1 too: packets that begin there may then leave through a pod's veth. The proxy's rules
# keep packets from outside off 127/8, as kube-proxy's do.
ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")


def write_cni_configuration(directory: Path, pod_cidr: str, state: Path) -> None:
    """The node's CNI network: ptp with host-local addresses, and portmap for host ports."""
    network = {
        "cniVersion": "0.4.0",
        "name": "wherry",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(state),
                    "ranges": [[{"subnet": pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / ".10-wherry.conflist.tmp"
    temporary.write_text(json.dumps(network, indent=2))
    temporary.replace(directory / "10-wherry.conflist")


class Masquerade:
    """The rule that lets pods talk to the world with the node's address; its own table, removed as a whole."""

    def __init__(self, cluster: str, number: int) -> None:
        self._table = f"wherry-{number}-{cluster}"

    async def install(self, pod_cidr: str) -> None:
        """Switch forwarding on and (re)write the table. Raises ClusterError."""
        for switch in (FORWARDING, ROUTE_LOCALNET):
            if switch.read_text().strip() != "1":
                switch.write_text("1")
        await _nft(
            f"add table ip {self._table}\n"
            f"delete table ip {self._table}\n"
            f"table ip {self._table} {{ chain postrouting {{ type nat hook postrouting priority 99; "
            f'ip saddr {pod_cidr} ip daddr != {pod_cidr} oifname != "lo" masquerade;\n}}\n}}\n'
        )

    async def remove(self) -> None:
        """Remove the table, if it is there."""
        await _nft(f"add table ip {self._table}\ndelete table ip {self._table}\n")


def service_table(cluster: str, number: int) -> str:
    """The nftables table that holds a cluster's Services. The number is the machine's, the name is for people."""
    return f"wherry-{number}-{cluster}-services"


def node_address() -> str:
    """The machine's own IPv4 address: the one its default route uses, else any it has, else loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket asks the routing table and sends nothing (192.0.2.0/24 is RFC 5737's).
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


async def _nft(script: str) -> None:
    try:
        await run_tool("nft", "-f", "-", stdin=script)
    except BackendError as error:
        raise ClusterError(f"the pod network's rules were refused: {error}") from error
