"""What the components of one cluster's process say of themselves, for `wherry status` to ask.

Served by the API server beside its own paths, under its authorization: administrators may read it. status.py asks.
"""

import msgspec

from wherry.aio.tasks import Health, Supervisor
from wherry.meta.wire import encode
from wherry.server.http import Handler, Request, Response
from wherry.store.protocol import Store

PATH = "/debug/wherry/components"
# Of no interest to anybody while they do their work.
HELPERS = ("informers", "dns service")


class ComponentReport(msgspec.Struct):
    """One component."""

    name: str
    ready: bool
    message: str = ""
    restarts: int = 0


def routes(store: Store, supervisor: Supervisor) -> list[tuple[str, str, Handler]]:
    """For the server's dispatcher."""

    async def components(request: Request) -> Response:
        return Response(200, encode(report(store, supervisor)))

    return [("GET", PATH, components)]


def report(store: Store, supervisor: Supervisor) -> list[ComponentReport]:
    """Every component that is meant to run, in the order they were started."""
    found = {"store": Health(store.trouble), "apiserver": Health()}
    found |= {name: one.health() for name, one in supervisor.components.items() if one.running}
    return [
        ComponentReport(name, not health.trouble, health.trouble, health.restarts)
        for name, health in found.items()
        if health.trouble or name not in HELPERS
    ]
