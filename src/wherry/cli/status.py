"""`wherry status`: what a cluster's process, server, components and nodes are doing."""

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec

from wherry.cluster.options import data_root


@click.command("status")
@click.option("--name", default="default", show_default=True, help="The cluster.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where clusters keep their state.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(name: str, data_dir: Path | None, output: str) -> None:
    """Show a cluster's server, components and nodes; fails when it does not run or something is not ready."""
    from wherry.aio.clock import SystemClock
    from wherry.cluster.status import look

    status = asyncio.run(look(data_root(data_dir), name, SystemClock()))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(status)).decode())
    else:
        click.echo(_text(msgspec.to_builtins(status)), nl=False)
    if not status.ready:
        raise SystemExit(1)


def _text(status: dict[str, Any]) -> str:
    lines = [f"cluster:  {status['name']} ({'ready' if status['ready'] else status['state']})"]
    lines += [f"{title + ':':<10}{status[title]}" for title in ("server", "runtime", "version", "context")]
    if status["pid"]:
        lines += [f"process:  {status['pid']}, {_memory(status['memoryBytes'])}"]
    lines += [f"nodes:    {status['nodesReady']} of {len(status['nodes'])} ready"]
    if status["components"]:
        lines += ["", f"{'COMPONENT':<28}{'RESTARTS':<10}{'MEMORY':<12}STATE"]
    for one in status["components"]:
        memory = "in process" if one["pid"] == status["pid"] else _memory(one["memoryBytes"])
        lines += [f"{one['name']:<28}{one['restarts']:<10}{memory:<12}{_state(one)}"]
    if status["nodes"]:
        lines += ["", f"{'NODE':<28}STATE"]
    lines += [f"{one['name']:<28}{_state(one)}" for one in status["nodes"]]
    return "\n".join(lines) + "\n"


def _state(part: dict[str, Any]) -> str:
    return "ready" if part["ready"] else part["message"] or "not ready"


def _memory(count: int | None) -> str:
    return f"{count / 2**20:.0f} MiB" if count else "-"
