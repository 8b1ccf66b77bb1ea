"""`wherry up`."""

import sys
from pathlib import Path

import click

from wherry.cluster.options import DEFAULT_PORT, RUNTIMES, UpOptions


@click.command("up")
@click.option("--name", default="default", show_default=True, help="The cluster's name; its context is wherry-NAME.")
@click.option("--nodes", default=1, show_default=True, help="Number of nodes.")
@click.option("--runtime", type=click.Choice(RUNTIMES), default="auto", show_default=True, help="What runs containers.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where clusters keep their state.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="Port of the API server; 0: any free one.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="File that gets the context.")
@click.option("--detach", is_flag=True, help="Return once the cluster is ready and leave it running.")
@click.option("--wait", "wait_seconds", default=60.0, show_default=True, help="Seconds to wait for readiness.")
@click.option("--runtime-config", multiple=True, help="group/version[/resource]=true|false, api/beta=true, ...")
@click.option("--feature-gates", multiple=True, help="Of the API server: Gate=true|false, comma-separated.")
@click.option("--verbose", is_flag=True, help="Log what every component does.")
def command(
    name: str,
    nodes: int,
    runtime: str,
    data_dir: Path | None,
    port: int,
    kubeconfig: Path | None,
    detach: bool,
    wait_seconds: float,
    runtime_config: tuple[str, ...],
    feature_gates: tuple[str, ...],
    verbose: bool,
) -> None:
    """Start a cluster, or take over one that stopped; make its context current in the kubeconfig."""
    options = UpOptions(
        name=name,
        nodes=nodes,
        runtime=runtime,
        data_dir=data_dir,
        port=port,
        kubeconfig=kubeconfig,
        wait_seconds=wait_seconds,
        runtime_config=runtime_config,
        feature_gates=feature_gates,
    )
    options.check()
    if detach:
        from wherry.cluster.detach import start_detached

        start_detached(options, verbose=verbose, say=lambda line: click.echo(line, err=True))
        return
    from wherry.cluster.up import run_forever

    sys.exit(run_forever(options, verbose=verbose, say=lambda line: click.echo(line, err=True)))
