"""`wherry scheduler`."""

from pathlib import Path

import click

from wherry.aio.tasks import Run


@click.command("scheduler")
@click.option("--kubeconfig", type=click.Path(path_type=Path), required=True, help="Where the API server is, as whom.")
@click.option(
    "--leader-elect", type=bool, is_flag=False, flag_value=True, default=True, help="Work only while leading."
)
def command(kubeconfig: Path, leader_elect: bool) -> None:
    """Run the scheduler against the API server of a kubeconfig, until SIGTERM."""
    from wherry.cluster.components import ComponentProcess, Remote
    from wherry.scheduler.scheduler import Scheduler

    def make(remote: Remote) -> Run:
        return Scheduler(remote.client, remote.informers, remote.clock, remote.entropy).run

    name = "kube-scheduler"
    ComponentProcess(name, kubeconfig, make, lease=name if leader_elect else "").run()
