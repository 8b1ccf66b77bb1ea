"""`wherry controller-manager`."""

import re
from pathlib import Path

import click

from wherry.aio.tasks import Run

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@click.command("controller-manager")
@click.option("--kubeconfig", type=click.Path(path_type=Path), required=True, help="Where the API server is, as whom.")
@click.option("--cluster-cidr", default="10.244.0.0/16", show_default=True, help="Where nodes' pod ranges come from.")
@click.option("--node-cidr-mask-size", default=24, show_default=True, help="Prefix length of a node's pod range.")
@click.option(
    "--node-monitor-grace-period",
    "grace",
    default="40s",
    show_default=True,
    callback=lambda _context, _option, text: _seconds(text),
    help="Silence that makes a node unhealthy.",
)
@click.option("--root-ca-file", type=click.Path(path_type=Path), help="CA that is published as kube-root-ca.crt.")
@click.option(
    "--service-account-private-key-file",
    "private_key",
    type=click.Path(path_type=Path),
    help="Key of the tokens that Secrets are filled with; without it they stay empty.",
)
@click.option(
    "--leader-elect", type=bool, is_flag=False, flag_value=True, default=True, help="Work only while leading."
)
@click.option("--feature-gates", multiple=True, help="Gate=true|false, comma-separated: StorageVersionMigrator.")
def command(
    kubeconfig: Path,
    cluster_cidr: str,
    node_cidr_mask_size: int,
    grace: float,
    root_ca_file: Path | None,
    private_key: Path | None,
    leader_elect: bool,
    feature_gates: tuple[str, ...],
) -> None:
    """Run the controllers against the API server of a kubeconfig, until SIGTERM.

    All of them act as the kubeconfig's user, who must be allowed what they do.
    """
    from wherry.api.apiextensions_v1 import CustomResourceDefinition
    from wherry.cluster.components import ComponentProcess, Remote, built_in_resources, read_file, served_resources
    from wherry.cluster.signing import legacy_signer
    from wherry.controllers.manager import ControllerManager, ManagerOptions

    served = built_in_resources(feature_gates)
    options = ManagerOptions(
        cluster_cidr=cluster_cidr,
        node_cidr_mask_size=node_cidr_mask_size,
        node_monitor_grace_period_seconds=grace,
        root_ca=read_file(root_ca_file).decode(errors="replace") if root_ca_file else "",
        sign_token=legacy_signer(private_key) if private_key else None,
    )

    def make(remote: Remote) -> Run:
        definitions = remote.informers.informer(CustomResourceDefinition)
        manager = ControllerManager(
            remote.client,
            remote.clock,
            remote.entropy,
            options,
            lambda: served_resources(served, definitions.list()),
            informers=remote.informers,
        )

        async def run() -> None:
            # A namespace must not count as empty because its custom kinds are not known yet.
            await definitions.wait_synced()
            await manager.run()

        return run

    name = "kube-controller-manager"
    ComponentProcess(name, kubeconfig, make, lease=name if leader_elect else "").run()


def _seconds(text: str) -> float:
    """A duration as Go writes it: 40s, 1m30s."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise click.BadParameter(f"{text!r} is not a duration such as 40s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
