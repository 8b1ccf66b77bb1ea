"""`wherry image load`."""

import asyncio
from pathlib import Path

import click

from wherry.aio.clock import SystemClock
from wherry.cluster import images
from wherry.cluster.running import running_instance


@click.group("image")
def command() -> None:
    """Container images of a cluster's nodes."""


@command.command("load")
@click.argument("archives", metavar="TAR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", default="default", show_default=True, help="The cluster.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where clusters keep their state.")
def load(archives: tuple[Path, ...], name: str, data_dir: Path | None) -> None:
    """Put docker-archive and OCI archives onto every node."""
    instance = running_instance(name, data_dir)
    for archive in archives:
        for image in asyncio.run(images.load(instance, archive, SystemClock())):
            click.echo(f"loaded {image}")
