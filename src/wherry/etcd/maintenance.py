"""Maintenance and Cluster: what a member says of itself.

Source: etcd, server/etcdserver/api/v3rpc/maintenance.go and member.go.
"""

from typing import Any

import grpc

from wherry.etcd import rpc_pb2 as pb
from wherry.etcd.identity import API_VERSION, COMPATIBLE_VERSION, Identity
from wherry.etcd.kv import Header
from wherry.etcd.refusals import Refusal
from wherry.store.local import LocalStore


class MaintenanceService:
    """etcdserverpb.Maintenance of a member that is alone."""

    def __init__(self, store: LocalStore, header: Header, identity: Identity, term: int) -> None:
        self._store, self._header = store, header
        self._identity, self._term = identity, term

    async def status(self, request: Any) -> Any:
        """The member's size and place. There is no log of its own to count, so revisions stand for indices."""
        store = self._store
        size = store.size_bytes()
        return pb.StatusResponse(
            header=self._header(store.revision),
            version=COMPATIBLE_VERSION,
            dbSize=size,
            dbSizeInUse=size,
            leader=self._identity.member_id,
            raftIndex=store.revision,
            raftAppliedIndex=store.revision,
            raftTerm=self._term,
            storageVersion=f"{API_VERSION}.0",
            errors=[store.trouble] if store.trouble else [],
        )

    async def alarm(self, request: Any) -> Any:
        """Lists alarms; a store without a quota raises none, and takes none from others. Raises Refusal."""
        if request.action != pb.AlarmRequest.GET:
            raise Refusal(grpc.StatusCode.UNIMPLEMENTED, "etcdserver: alarms cannot be set by hand here")
        return pb.AlarmResponse(header=self._header(self._store.revision))


class ClusterService:
    """etcdserverpb.Cluster of a member that is alone."""

    def __init__(self, header: Header, identity: Identity) -> None:
        self._header, self._identity = header, identity

    async def member_list(self, request: Any) -> Any:
        """The one member."""
        me = self._identity
        member = pb.Member(ID=me.member_id, name=me.name, peerURLs=me.peer_urls, clientURLs=me.client_urls)
        return pb.MemberListResponse(header=self._header(0), members=[member])  # as etcd: no revision here
