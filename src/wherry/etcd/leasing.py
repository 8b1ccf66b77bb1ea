"""Lease: grant, revoke, keep alive, time to live, list. The store ends leases that ran out by itself.

Source: etcd, server/etcdserver/api/v3rpc/lease.go.
"""

from collections.abc import AsyncIterator
from math import ceil
from typing import Any

from wherry.etcd import refusals
from wherry.etcd import rpc_pb2 as pb
from wherry.etcd.kv import Header
from wherry.etcd.refusals import Refusal
from wherry.store.errors import LeaseNotFoundError
from wherry.store.protocol import Store

TTL_SECONDS_MAX = 9_000_000_000


class LeaseService:
    """etcdserverpb.Lease."""

    def __init__(self, store: Store, header: Header) -> None:
        self._store = store
        self._header = header

    async def lease_grant(self, request: Any) -> Any:
        """Raises Refusal, StoreError, as all here do."""
        if request.TTL > TTL_SECONDS_MAX:
            raise Refusal(*refusals.TTL_TOO_LARGE)
        granted = await self._store.lease_grant(max(1, request.TTL), request.ID)
        return pb.LeaseGrantResponse(header=self._now(), ID=granted.id, TTL=granted.granted_seconds)

    async def lease_revoke(self, request: Any) -> Any:
        revision = await self._store.lease_revoke(request.ID)
        return pb.LeaseRevokeResponse(header=self._header(revision))

    async def lease_keep_alive(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """One answer a request; a lease that is gone has no time left."""
        async for request in requests:
            try:
                left = (await self._store.lease_keepalive(request.ID)).granted_seconds
            except LeaseNotFoundError:
                left = 0
            yield pb.LeaseKeepAliveResponse(header=self._now(), ID=request.ID, TTL=left)

    async def lease_time_to_live(self, request: Any) -> Any:
        """A lease that is gone has -1 seconds left: not an error here."""
        try:
            found = await self._store.lease_time_to_live(request.ID, keys=request.keys)
        except LeaseNotFoundError:
            return pb.LeaseTimeToLiveResponse(header=self._now(), ID=request.ID, TTL=-1)
        return pb.LeaseTimeToLiveResponse(
            header=self._now(),
            ID=found.id,
            TTL=ceil(found.remaining_seconds) - 1 if found.remaining_seconds > 0 else 0,
            grantedTTL=found.granted_seconds,
            keys=found.keys,
        )

    async def lease_leases(self, request: Any) -> Any:
        leases = [pb.LeaseStatus(ID=lease) for lease in await self._store.leases()]
        return pb.LeaseLeasesResponse(header=self._now(), leases=leases)

    def _now(self) -> Any:
        return self._header(self._store.revision)
