"""`wherry list`."""

from pathlib import Path

import click
import msgspec

from wherry.cluster import instance
from wherry.cluster.options import data_root


@click.command("list")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where clusters keep their state.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def command(data_dir: Path | None, output: str) -> None:
    """List the clusters of this machine."""
    found = instance.all_instances(data_root(data_dir))
    if output == "json":
        rows = [msgspec.to_builtins(one) | {"running": one.running()} for one in found]
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    click.echo(f"{'NAME':<20}{'STATE':<10}{'RUNTIME':<12}{'NODES':<7}SERVER")
    for one in found:
        state = "running" if one.running() else "stopped"
        click.echo(f"{one.name:<20}{state:<10}{one.runtime:<12}{len(one.nodes):<7}{one.server}")
