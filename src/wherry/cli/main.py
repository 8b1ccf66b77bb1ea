"""The `wherry` command: one verb per file, loaded only when called, because start-up time is a feature.

A ClusterError becomes one line on standard error and exit code 1; anything else that escapes is a bug and keeps its
traceback.
"""

import importlib
import sys

import click

from wherry.cluster.failure import ClusterError

VERBS = {
    "up": "Start a cluster (or take over one that stopped)",
    "down": "Stop a cluster and remove what it left on this machine",
    "status": "Show a cluster's components and nodes",
    "list": "List the clusters of this machine",
    "image": "Put container images onto every node",
    "version": "Print the version",
    "apiserver": "Run the API server alone",
    "controller-manager": "Run the controllers alone",
    "scheduler": "Run the scheduler alone",
    "kubelet": "Run a node's kubelet alone",
    "proxy": "Run kube-proxy's part alone",
    "dns": "Run the cluster DNS alone",
    "etcd": "Run an etcd v3 server over Wherry's store",
}


class LazyGroup(click.Group):
    """Commands are named here and imported when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"wherry.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A complete Kubernetes, in Python: `wherry up`, then any Kubernetes client."""


def main() -> None:
    """Entry point of the `wherry` script."""
    try:
        cli()
    except ClusterError as error:
        click.echo(f"wherry: {error}", err=True)
        sys.exit(1)
