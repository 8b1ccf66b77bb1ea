"""The gRPC server: which method of which service is whose, and how a refusal becomes a status.

One member over one store. Methods that are not here are answered with UNIMPLEMENTED, which etcd's clients understand.
Read kv.py and watching.py next.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.etcd import rpc_pb2 as pb
from wherry.etcd.identity import Identity
from wherry.etcd.kv import KvService
from wherry.etcd.leasing import LeaseService
from wherry.etcd.maintenance import ClusterService, MaintenanceService
from wherry.etcd.refusals import Refusal, refusal
from wherry.etcd.watching import WatchService
from wherry.store.errors import StoreError
from wherry.store.local import LocalStore

_log = logging.getLogger(__name__)

REQUEST_BYTES_MAX = 1_572_864
"""--max-request-bytes."""
_OVERHEAD_BYTES = 512 * 1024
TERM = 2
"""Of a member that is alone: it has elected itself once."""

Unary = Callable[[Any], Awaitable[Any]]
Streaming = Callable[[AsyncIterator[Any]], AsyncIterator[Any]]


class EtcdServer:
    """Serves one store to etcd clients."""

    def __init__(
        self,
        store: LocalStore,
        identity: Identity,
        clock: Clock,
        entropy: Entropy,
        *,
        request_bytes_max: int = REQUEST_BYTES_MAX,
        operations_max: int = 128,
    ) -> None:
        self._store = store
        self._identity = identity
        self._ids = (identity.cluster_id, identity.member_id)
        limit = request_bytes_max + _OVERHEAD_BYTES
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", -1)]
        )
        kv = KvService(store, self.header, operations_max)
        lease = LeaseService(store, self.header)
        watch = WatchService(store, self.header, clock, entropy, request_bytes_max)
        maintenance = MaintenanceService(store, self.header, identity, TERM)
        cluster = ClusterService(self.header, identity)
        self._add(
            "KV",
            {
                "Range": _unary(kv.range, pb.RangeRequest),
                "Put": _unary(kv.put, pb.PutRequest),
                "DeleteRange": _unary(kv.delete_range, pb.DeleteRangeRequest),
                "Txn": _unary(kv.txn, pb.TxnRequest),
                "Compact": _unary(kv.compact, pb.CompactionRequest),
            },
        )
        self._add("Watch", {"Watch": _streaming(watch.watch, pb.WatchRequest)})
        self._add(
            "Lease",
            {
                "LeaseGrant": _unary(lease.lease_grant, pb.LeaseGrantRequest),
                "LeaseRevoke": _unary(lease.lease_revoke, pb.LeaseRevokeRequest),
                "LeaseKeepAlive": _streaming(lease.lease_keep_alive, pb.LeaseKeepAliveRequest),
                "LeaseTimeToLive": _unary(lease.lease_time_to_live, pb.LeaseTimeToLiveRequest),
                "LeaseLeases": _unary(lease.lease_leases, pb.LeaseLeasesRequest),
            },
        )
        self._add(
            "Maintenance",
            {
                "Status": _unary(maintenance.status, pb.StatusRequest),
                "Alarm": _unary(maintenance.alarm, pb.AlarmRequest),
            },
        )
        self._add("Cluster", {"MemberList": _unary(cluster.member_list, pb.MemberListRequest)})

    def header(self, revision: int) -> Any:
        """The header of an answer."""
        cluster, member = self._ids
        return pb.ResponseHeader(cluster_id=cluster, member_id=member, revision=revision, raft_term=TERM)

    def _add(self, service: str, methods: dict[str, Any]) -> None:
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", methods),)
        )

    async def listen(self, address: str) -> int:
        """Take host:port (0: any free one); the port. Raises OSError when that cannot be had."""
        try:
            return int(self._server.add_insecure_port(address))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: it is in use, or not an address of this machine") from error

    async def start(self) -> None:
        """Serve, from now on."""
        await self._server.start()

    async def close(self, grace_seconds: float = 1.0) -> None:
        """Let requests finish, end streams."""
        await self._server.stop(grace_seconds)


def _unary(handle: Unary, message: Any) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        try:
            return await handle(request)
        except Refusal as error:
            await context.abort(error.code, error.text)
        except StoreError as error:
            found = refusal(error)
            await context.abort(found.code, found.text)

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=message.FromString, response_serializer=_bytes
    )


def _streaming(handle: Streaming, message: Any) -> Any:
    async def answer(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        try:
            async for response in handle(requests):
                yield response
        except Refusal as error:
            await context.abort(error.code, error.text)
        except StoreError as error:
            found = refusal(error)
            await context.abort(found.code, found.text)

    return grpc.stream_stream_rpc_method_handler(
        answer, request_deserializer=message.FromString, response_serializer=_bytes
    )


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
