"""`wherry proxy`."""

import asyncio
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherry.aio.clock import Clock, SystemClock
from wherry.aio.tasks import Run
from wherry.cluster.failure import ClusterError

if TYPE_CHECKING:
    from wherry.proxy.backend import Backend

TOOLS = {"nftables": "nft", "iptables": "iptables-restore"}
MODES = (*TOOLS, "userspace")


@click.command("proxy")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Where the API server is, as whom.")
@click.option("--proxy-mode", type=click.Choice(MODES), default="nftables", show_default=True, help="How to redirect.")
@click.option("--hostname-override", default="", help="The node's name; default: the host name.")
@click.option("--cleanup", is_flag=True, help="Remove what the kernel modes have left, and end.")
def command(kubeconfig: Path | None, proxy_mode: str, hostname_override: str, cleanup: bool) -> None:
    """Make Services reachable from this node until SIGTERM; the kernel's rules stay afterwards."""
    from wherry.cluster.components import ComponentProcess, Remote
    from wherry.proxy.proxier import Proxier, ProxyOptions

    if cleanup:
        asyncio.run(_clean_up())
        return
    if kubeconfig is None:
        raise click.UsageError("Missing option '--kubeconfig'.")
    tool = TOOLS.get(proxy_mode)
    if tool and shutil.which(tool) is None:
        raise ClusterError(f"--proxy-mode {proxy_mode} needs {tool}, which is not installed: choose another mode")
    # Listeners end with their process, rules do not.
    options = ProxyOptions(hostname_override or socket.gethostname().lower(), remove_on_stop=tool is None)

    def make(remote: Remote) -> Run:
        return Proxier(options, remote.informers, _backend(proxy_mode, remote.clock), remote.clock).run

    ComponentProcess("kube-proxy", kubeconfig, make).run()


def _backend(mode: str, clock: Clock) -> "Backend":
    if mode == "nftables":
        from wherry.proxy.nftables import NftablesBackend

        return NftablesBackend()
    if mode == "iptables":
        from wherry.proxy.iptables import IptablesBackend

        return IptablesBackend()
    from wherry.proxy.userspace import UserspaceBackend

    return UserspaceBackend(clock)


async def _clean_up() -> None:
    from wherry.proxy.backend import BackendError

    for mode, tool in TOOLS.items():
        if shutil.which(tool) is not None:
            try:
                await _backend(mode, SystemClock()).remove()
            except BackendError as error:
                raise ClusterError(str(error)) from error
