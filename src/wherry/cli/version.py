"""`wherry version`."""

import json
import platform

import click

import wherry


@click.command("version")
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text")
def command(output: str) -> None:
    """Print Wherry's version and the Kubernetes version it speaks."""
    facts = {
        "version": wherry.__version__,
        "kubernetesVersion": wherry.KUBERNETES_VERSION,
        "pythonVersion": platform.python_version(),
    }
    if output == "json":
        click.echo(json.dumps(facts, indent=2))
    elif output == "yaml":
        click.echo("".join(f"{key}: {value}\n" for key, value in facts.items()), nl=False)
    else:
        click.echo(f"wherry {facts['version']} (Kubernetes {facts['kubernetesVersion']})")
