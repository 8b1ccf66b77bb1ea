"""IPAddress objects follow the Services: what is missing is made again, what nobody holds goes.

Writes of Services keep both in step (strategies/service.py); what a crash between two writes left behind, or a hand
took away, is found here: before the server serves, and every few minutes.

Source: kubernetes pkg/registry/core/service/ipallocator/controller/repairip.go.
"""

import asyncio
import logging
from datetime import datetime, timedelta

from wherry.api.core_v1 import Service
from wherry.api.networking_v1 import IPAddress
from wherry.client.client import Client
from wherry.meta.errors import StatusError
from wherry.meta.time import parse_time
from wherry.server.allocators import MANAGED_BY_LABEL, MANAGER, held_by
from wherry.server.strategies.service import addresses_of
from wherry.server.strategies.strategy import Caches

INTERVAL_SECONDS = 180.0
GRACE_SECONDS = 60.0
"""An address younger than this may belong to a Service that is being written, perhaps by another server."""
_log = logging.getLogger(__name__)


async def keep_repairing(client: Client, caches: Caches) -> None:
    """Until cancelled."""
    while True:
        await client.clock.sleep(INTERVAL_SECONDS)
        await try_repair(client, caches)


async def try_repair(client: Client, caches: Caches) -> None:
    """Repair, or say why not: an admission webhook that fails must not keep the server from starting."""
    try:
        await repair(client, caches, client.clock.now())
    except StatusError as error:
        _log.warning("addresses of Services are not repaired: %s", error)


async def repair(client: Client, caches: Caches, now: datetime) -> None:
    """Once over everything. Raises StatusError."""
    holders = {address: service for service in caches.list(Service) for address in addresses_of(service.spec)}
    await asyncio.sleep(0)
    present = {item.metadata.name or "": item for item in caches.list(IPAddress)}
    for address, service in holders.items():
        wanted, found = held_by(address, service), present.get(address)
        if found is not None and found.spec == wanted.spec and found.metadata.labels == wanted.metadata.labels:
            continue
        if found is not None:
            _log.warning("IPAddress %s does not name Service %s; made again", address, service.metadata.name)
            await _delete(client, found)
        try:
            await client.create(wanted)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    for address, found in present.items():
        made = parse_time(found.metadata.creationTimestamp or "")
        old = now - made >= timedelta(seconds=GRACE_SECONDS)
        if address not in holders and found.metadata.labels.get(MANAGED_BY_LABEL) == MANAGER and old:
            _log.warning("IPAddress %s belongs to no Service; deleted", address)
            await _delete(client, found)


async def _delete(client: Client, found: IPAddress) -> None:
    try:
        await client.delete(IPAddress, found.metadata.name or "", uid=found.metadata.uid)
    except StatusError as error:
        if error.code not in (404, 409):
            raise
