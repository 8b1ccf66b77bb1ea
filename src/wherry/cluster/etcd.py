"""`wherry etcd` as a process: one store, listening until it is told to stop."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.cluster.components import log_to_stderr, run_until_stopped
from wherry.cluster.failure import ClusterError
from wherry.etcd.identity import Identity
from wherry.etcd.server import EtcdServer
from wherry.store.errors import CorruptStoreError, DataDirectoryInUseError, StoreUnavailableError
from wherry.store.local import open_store


@dataclass(frozen=True, slots=True)
class EtcdFlags:
    """The flags of `wherry etcd`."""

    name: str
    data_dir: Path
    listen: Sequence[str]
    advertised: Sequence[str]
    peers: Sequence[str]
    token: str
    operations_max: int
    request_bytes_max: int


def run(flags: EtcdFlags, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. Raises ClusterError."""
    log_to_stderr(logging.INFO)
    addresses = [_address(url) for url in flags.listen]
    identity = Identity(flags.name, tuple(flags.peers), tuple(flags.advertised), flags.token)

    async def main(stop: asyncio.Event) -> None:
        clock, entropy = SystemClock(), Entropy()
        async with AsyncExitStack() as stack:
            try:
                store = await open_store(flags.data_dir / "store", clock, entropy, history_revisions_max=None)
                stack.push_async_callback(store.close)
                server = EtcdServer(
                    store,
                    identity,
                    clock,
                    entropy,
                    request_bytes_max=flags.request_bytes_max,
                    operations_max=flags.operations_max,
                )
                ports = [await server.listen(address) for address in addresses]
                await server.start()
                stack.push_async_callback(server.close)
            except (DataDirectoryInUseError, CorruptStoreError, StoreUnavailableError) as error:
                raise ClusterError(f"{error} (--data-dir)") from error
            except OSError as error:
                raise ClusterError(f"{error} (--listen-client-urls)") from error
            for address, port in zip(addresses, ports, strict=True):
                say(f"etcd: serving clients on http://{address.rpartition(':')[0]}:{port}")
            await stop.wait()

    run_until_stopped(main)


def _address(url: str) -> str:
    """host:port of a URL. Raises ClusterError."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or port is None or parts.path.strip("/"):
        raise ClusterError(f"--listen-client-urls {url}: must be http://HOST:PORT")
    return f"{parts.hostname}:{port}"
