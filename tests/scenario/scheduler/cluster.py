"""A real API server over the store in memory, for the scheduler to work against."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.client.transport import Transport
from wherry.server.app import SELF, Server
from wherry.server.transport import InProcessTransport
from wherry.store.local import memory_store


@asynccontextmanager
async def serve(clock: Clock, entropy: Entropy) -> AsyncIterator[Transport]:
    """A server's transport, with an administrator's rights."""
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy)
    await server.start()
    try:
        yield InProcessTransport(server.handle, SELF)
    finally:
        await server.close()
        await store.close()
