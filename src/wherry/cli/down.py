"""`wherry down`."""

import asyncio
from pathlib import Path

import click

from wherry.aio.clock import SystemClock
from wherry.cluster.down import bring_down
from wherry.cluster.options import data_root


@click.command("down")
@click.option("--name", default="default", show_default=True, help="The cluster.")
@click.option("--keep-data", is_flag=True, help="Keep its objects, certificates and images for the next `wherry up`.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where clusters keep their state.")
def command(name: str, keep_data: bool, data_dir: Path | None) -> None:
    """Stop a cluster: its containers, network, rules and context; and its data, unless told to keep it."""
    asyncio.run(
        bring_down(
            data_root(data_dir), name, keep_data=keep_data, clock=SystemClock(), say=lambda s: click.echo(s, err=True)
        )
    )
