"""What is refused, with etcd's gRPC codes and words: clients compare both.

Source: etcd, api/v3rpc/rpctypes/error.go.
"""

from typing import Any

import grpc

from wherry.store.errors import (
    CompactedError,
    FutureRevisionError,
    InvalidRequestError,
    LeaseExistsError,
    LeaseNotFoundError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
    TooManyRequestsError,
)

_INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Refusal(Exception):
    """An answer that is an error: a code and a text."""

    def __init__(self, code: Any, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


EMPTY_KEY = (_INVALID, "etcdserver: key is not provided")
KEY_NOT_FOUND = (_INVALID, "etcdserver: key not found")
VALUE_PROVIDED = (_INVALID, "etcdserver: value is provided")
LEASE_PROVIDED = (_INVALID, "etcdserver: lease is provided")
TOO_MANY_OPERATIONS = (_INVALID, "etcdserver: too many operations in txn request")
SORT_OPTION = (_INVALID, "etcdserver: invalid sort option")
TOO_LARGE = (_INVALID, "etcdserver: request is too large")
COMPACTED = (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
FUTURE = (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
TTL_TOO_LARGE = (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: too large lease TTL")
LEASE_NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS = (grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: lease already exists")
TOO_MANY_REQUESTS = (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
STOPPED = (grpc.StatusCode.UNAVAILABLE, "etcdserver: server stopped")
TIMED_OUT = (grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out")

_OF_STORE: tuple[tuple[type[StoreError], tuple[Any, str]], ...] = (
    (CompactedError, COMPACTED),
    (FutureRevisionError, FUTURE),
    (LeaseNotFoundError, LEASE_NOT_FOUND),
    (LeaseExistsError, LEASE_EXISTS),
    (TooManyRequestsError, TOO_MANY_REQUESTS),
    (StoreUnavailableError, TIMED_OUT),
    (StoreClosedError, STOPPED),
)


def refusal(error: StoreError) -> Refusal:
    """What a client is told of a store's refusal."""
    if isinstance(error, InvalidRequestError):
        return Refusal(_INVALID, str(error))
    for kind, (code, text) in _OF_STORE:
        if isinstance(error, kind):
            return Refusal(code, text)
    return Refusal(grpc.StatusCode.UNKNOWN, str(error))
