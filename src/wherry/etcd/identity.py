"""Who a member is: the ids that etcd derives from names and addresses, and what it says of itself.

Ids are the first eight bytes of a SHA-1, so that members of one configuration agree without talking.
Source: etcd, server/etcdserver/api/membership.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1

COMPATIBLE_VERSION = "3.5.21"
"""The etcd whose behaviour this is; clients ask for it."""
API_VERSION = "3.5"


def member_id(peer_urls: Sequence[str], token: str) -> int:
    """A member of a cluster that is configured from the start."""
    return _first_eight("".join(sorted(peer_urls)).encode() + token.encode())


def cluster_id(member_ids: Sequence[int]) -> int:
    """The cluster of these first members."""
    return _first_eight(b"".join(number.to_bytes(8, "big") for number in sorted(member_ids)))


def _first_eight(data: bytes) -> int:
    return int.from_bytes(sha1(data, usedforsecurity=False).digest()[:8], "big")


@dataclass(frozen=True, slots=True)
class Identity:
    """One member: this one."""

    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    token: str = "etcd-cluster"

    @property
    def member_id(self) -> int:
        """Its id."""
        return member_id(self.peer_urls, self.token)

    @property
    def cluster_id(self) -> int:
        """The id of the cluster that it makes alone."""
        return cluster_id([self.member_id])
