"""`wherry dns`."""

from pathlib import Path

import click

from wherry.aio.tasks import Run


@click.command("dns")
@click.option("--kubeconfig", type=click.Path(path_type=Path), required=True, help="Where the API server is, as whom.")
@click.option("--bind-address", default="0.0.0.0", show_default=True, help="Address to answer on, by UDP and TCP.")
@click.option("--port", default=53, show_default=True, help="Port to answer on; 0: any free one.")
@click.option("--cluster-domain", default="cluster.local", show_default=True, help="The zone of the cluster.")
def command(kubeconfig: Path, bind_address: str, port: int, cluster_domain: str) -> None:
    """Run the cluster DNS against the API server of a kubeconfig, until SIGTERM."""
    from wherry.cluster.components import ComponentProcess, Remote
    from wherry.dns.server import DnsOptions, DnsServer

    def make(remote: Remote) -> Run:
        return DnsServer(DnsOptions(bind_address, port, cluster_domain), remote.informers, remote.clock).run

    ComponentProcess("kube-dns", kubeconfig, make).run()
