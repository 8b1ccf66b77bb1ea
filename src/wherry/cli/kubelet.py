"""`wherry kubelet`."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherry.aio.clock import Clock, SystemClock
from wherry.aio.tasks import Run

if TYPE_CHECKING:
    from wherry.kubelet.options import ServerTls
    from wherry.kubelet.runtimes.protocol import Runtime

FILE = click.Path(path_type=Path)
RUNTIMES = ("containerd", "process", "fake")


@click.command("kubelet")
@click.option("--kubeconfig", type=FILE, required=True, help="Where the API server is, as whom.")
@click.option("--node-ip", default="", help="The node's address; default: that of the default route.")
@click.option("--hostname-override", default="", help="The node's name; default: the host name.")
@click.option(
    "--container-runtime-endpoint",
    default="unix:///run/containerd/containerd.sock",
    show_default=True,
    help="CRI socket, with --runtime containerd.",
)
@click.option("--root-dir", type=FILE, default=Path("/var/lib/kubelet"), show_default=True, help="Volumes and logs.")
@click.option("--address", default="0.0.0.0", show_default=True, help="Address to serve logs, exec and the rest on.")
@click.option("--port", default=10250, show_default=True, help="Port to serve on; 0: any free one.")
@click.option("--cluster-dns", default="", help="DNS servers of pods, separated by commas.")
@click.option("--cluster-domain", default="cluster.local", show_default=True, help="The zone of the cluster.")
@click.option("--tls-cert-file", type=FILE, help="Serving certificate; default: one made below --root-dir.")
@click.option("--tls-private-key-file", type=FILE, help="Its key.")
@click.option("--client-ca-file", type=FILE, help="CA of those who may call with a certificate.")
@click.option("--max-pods", default=110, show_default=True, help="Pods that fit on the node.")
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="containerd", show_default=True, help="Runs containers."
)
def command(
    kubeconfig: Path,
    node_ip: str,
    hostname_override: str,
    container_runtime_endpoint: str,
    root_dir: Path,
    address: str,
    port: int,
    cluster_dns: str,
    cluster_domain: str,
    tls_cert_file: Path | None,
    tls_private_key_file: Path | None,
    client_ca_file: Path | None,
    max_pods: int,
    runtime: str,
) -> None:
    """Run a node against the API server of a kubeconfig, until SIGTERM; its containers go on afterwards."""
    from wherry.cluster.components import ComponentProcess, Remote
    from wherry.cluster.network import node_address
    from wherry.kubelet.kubelet import Kubelet
    from wherry.kubelet.options import KubeletOptions

    if (tls_cert_file is None) != (tls_private_key_file is None):
        raise click.UsageError("--tls-cert-file and --tls-private-key-file belong together")
    name = hostname_override or socket.gethostname().lower()
    ip = node_ip or node_address()
    root = root_dir.absolute()
    options = KubeletOptions(
        data_dir=root,
        node_name=name,
        node_ip=ip,
        port=port,
        bind_address=address,
        tls=_tls(root, name, ip, tls_cert_file, tls_private_key_file, client_ca_file),
        cluster_dns=[server for server in cluster_dns.split(",") if server],
        cluster_domain=cluster_domain,
        max_pods=max_pods,
    )

    def make(remote: Remote) -> Run:
        container_runtime = _runtime(runtime, container_runtime_endpoint, root, remote.clock)
        return Kubelet(options, remote.client, container_runtime, remote.clock, remote.entropy).run

    ComponentProcess("kubelet", kubeconfig, make).run()


def _tls(root: Path, name: str, ip: str, cert: Path | None, key: Path | None, client_ca: Path | None) -> "ServerTls":
    import ssl

    from wherry.cluster.failure import ClusterError
    from wherry.kubelet.options import ServerTls
    from wherry.kubelet.server import tls_context

    if cert is None or key is None:
        pair = _own_pair(root, name, ip)
        cert, key = pair
    tls = ServerTls(cert, key, client_ca)
    try:
        tls_context(tls)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (cert, key, client_ca) if path)
        raise ClusterError(f"the kubelet cannot serve with {files}: {error}") from error
    return tls


def _own_pair(root: Path, name: str, ip: str) -> tuple[Path, Path]:
    from wherry.cluster.failure import ClusterError
    from wherry.cluster.pki import Pki

    try:
        pair = Pki(root / "pki", SystemClock()).serving("kubelet", f"system:node:{name}", [name, ip], ["system:nodes"])
    except OSError as error:
        raise ClusterError(f"{error.filename}: {error.strerror}: choose another --root-dir") from error
    return pair.cert, pair.key


def _runtime(name: str, endpoint: str, root: Path, clock: Clock) -> "Runtime":
    if name == "containerd":
        from wherry.kubelet.runtimes.cri import CriRuntime

        return CriRuntime(endpoint.removeprefix("unix://"), clock)
    if name == "process":
        from wherry.cluster.options import PROCESS_POD_CIDR
        from wherry.kubelet.runtimes.process import ProcessRuntime

        return ProcessRuntime(root / "processes", PROCESS_POD_CIDR, clock)
    from wherry.kubelet.runtimes.fake import FakeRuntime

    return FakeRuntime(clock)
