"""`wherry apiserver`."""

from typing import Any

import click

from wherry.cli.authentication import FILE, authentication_options
from wherry.cli.values import seconds


def _port_range(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, int]:
    """30000-32767, both ends included."""
    low, _, high = text.partition("-")
    if not (low.isdigit() and high.isdigit() and 0 < int(low) <= int(high) < 65536):
        raise click.BadParameter(f"{text!r} is not a range of ports such as 30000-32767")
    return int(low), int(high)


@click.command("apiserver")
@click.option("--data-dir", type=FILE, required=True, help="Where the store, and keys that no flag names, are kept.")
@click.option("--secure-port", default=6443, show_default=True, help="Port to serve HTTPS on; 0: any free one.")
@click.option("--bind-address", default="0.0.0.0", show_default=True, help="Address to serve on.")
@click.option("--advertise-address", default="", help="The address that the cluster's members are told.")
@click.option("--tls-cert-file", type=FILE, help="Serving certificate; default: one made below --data-dir.")
@click.option("--tls-private-key-file", type=FILE, help="Its key.")
@authentication_options
@click.option("--service-account-signing-key-file", type=FILE, help="Default: a key made below --data-dir.")
@click.option("--service-account-key-file", type=FILE, multiple=True, help="Further keys whose tokens are believed.")
@click.option("--service-cluster-ip-range", default="10.0.0.0/24", show_default=True, help="Addresses of Services.")
@click.option(
    "--service-node-port-range",
    default="30000-32767",
    show_default=True,
    callback=_port_range,
    help="Ports of Services on nodes.",
)
@click.option(
    "--authorization-mode", default="AlwaysAllow", show_default=True, help="AlwaysAllow, Node, RBAC; comma-separated."
)
@click.option("--encryption-provider-config", type=FILE, help="EncryptionConfiguration: how values are stored.")
@click.option(
    "--encryption-provider-config-automatic-reload",
    type=bool,
    default=False,
    show_default=True,
    help="Take the file of --encryption-provider-config anew when it changes.",
)
@click.option("--enable-admission-plugins", default="", help="Beyond those that are on by default; comma-separated.")
@click.option("--disable-admission-plugins", default="", help="Plugins to leave out; comma-separated.")
@click.option("--admission-control-config-file", type=FILE, help="An AdmissionConfiguration.")
@click.option("--kubelet-client-certificate", type=FILE, help="Shown to kubelets.")
@click.option("--kubelet-client-key", type=FILE, help="Its key.")
@click.option("--kubelet-certificate-authority", type=FILE, help="CA of kubelets; without it they are not checked.")
@click.option("--proxy-client-cert-file", type=FILE, help="Shown to extension servers, which then believe its headers.")
@click.option("--proxy-client-key-file", type=FILE, help="Its key.")
@click.option("--enable-priority-and-fairness", type=bool, default=True, show_default=True, help="Off: plain limits.")
@click.option("--max-requests-inflight", default=400, show_default=True, help="Reading requests at once.")
@click.option("--max-mutating-requests-inflight", default=200, show_default=True, help="Writing requests at once.")
@click.option(
    "--request-timeout", callback=seconds, default="60s", show_default=True, help="Of all but watches and streams."
)
@click.option(
    "--shutdown-delay-duration", callback=seconds, default="0s", show_default=True, help="From unready to the end."
)
@click.option("--audit-policy-file", type=FILE, help="A Policy of audit.k8s.io/v1; without it nothing is recorded.")
@click.option("--audit-log-path", default="", help="Where to record; - is stdout.")
@click.option("--audit-log-format", type=click.Choice(["json", "legacy"]), default="json", show_default=True)
@click.option("--audit-log-maxsize", default=0, help="Megabytes of a file before it is rotated.")
@click.option("--audit-log-maxage", default=0, help="Days to keep rotated files.")
@click.option("--audit-log-maxbackup", default=0, help="Rotated files to keep; 0: all.")
@click.option("--audit-log-compress", is_flag=True, help="Compress rotated files with gzip.")
@click.option("--runtime-config", multiple=True, help="group/version[/resource]=true|false, api/beta=true, ...")
@click.option("--feature-gates", multiple=True, help="Gate=true|false, comma-separated.")
@click.option("-v", "--v", "verbosity", default=0, help="4 and more: log debugging messages.")
@click.option("--emulated-version", multiple=True, help="Only this server's own: 1.36.")
@click.option("--min-compatibility-version", multiple=True, help="Only this server's own: 1.36.")
@click.option("--audit-webhook-config-file", type=FILE, help="A kubeconfig file that names who is sent the events.")
def command(**flags: Any) -> None:
    """Run the API server alone, over a store of its own, until SIGTERM."""
    from wherry.cluster.apiserver import ApiServerFlags, run
    from wherry.cluster.authentication import AuthenticationFlags

    authentication = AuthenticationFlags.take(flags)
    run(ApiServerFlags(authentication=authentication, **flags), lambda line: click.echo(line, err=True))
