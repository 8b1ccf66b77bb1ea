"""`wherry etcd`: flags named as etcd's; ETCD_* variables stand for them, flags win."""

from pathlib import Path

import click


def _version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from wherry.etcd.identity import API_VERSION, COMPATIBLE_VERSION

        click.echo(f"etcd Version: {COMPATIBLE_VERSION}\nAPI Version: {API_VERSION}")
        context.exit()


@click.command("etcd", context_settings={"auto_envvar_prefix": "ETCD"})
@click.option("--name", default="default", show_default=True, help="This member's name.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Default: NAME.etcd.")
@click.option(
    "--listen-client-urls", default="http://localhost:2379", show_default=True, help="Where clients are served."
)
@click.option("--advertise-client-urls", default="", help="What members are told of it; default: the same.")
@click.option(
    "--initial-advertise-peer-urls",
    default="http://localhost:2380",
    show_default=True,
    help="This member's address among members; its id is made of it.",
)
@click.option("--initial-cluster-token", default="etcd-cluster", show_default=True, help="Tells clusters apart.")
@click.option("--max-txn-ops", default=128, show_default=True, help="Operations in one transaction.")
@click.option("--max-request-bytes", default=1_572_864, show_default=True, help="Size of one request.")
@click.option("--version", is_flag=True, callback=_version, is_eager=True, expose_value=False, help="Print versions.")
def command(
    name: str,
    data_dir: Path | None,
    listen_client_urls: str,
    advertise_client_urls: str,
    initial_advertise_peer_urls: str,
    initial_cluster_token: str,
    max_txn_ops: int,
    max_request_bytes: int,
) -> None:
    """Serve Wherry's store to etcd clients, as the one member of a cluster, until SIGTERM."""
    from wherry.cluster.etcd import EtcdFlags, run

    flags = EtcdFlags(
        name=name,
        data_dir=data_dir or Path(f"{name}.etcd"),
        listen=listen_client_urls.split(","),
        advertised=(advertise_client_urls or listen_client_urls).split(","),
        peers=initial_advertise_peer_urls.split(","),
        token=initial_cluster_token,
        operations_max=max_txn_ops,
        request_bytes_max=max_request_bytes,
    )
    run(flags, lambda line: click.echo(line, err=True))
