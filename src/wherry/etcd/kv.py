"""KV: Range, Put, DeleteRange, Txn and Compact, checked as etcd checks them and handed to the store.

Sorting and the limits by revision are done here, on what the store found, as in etcd; they turn the limit into one of
what is shown. Source: etcd, server/etcdserver/api/v3rpc/key.go and server/etcdserver/txn.
"""

from collections.abc import Callable, Iterable
from typing import Any

from wherry.etcd import refusals
from wherry.etcd import rpc_pb2 as pb
from wherry.etcd.refusals import Refusal
from wherry.store.protocol import (
    Compare,
    DeleteRangeOp,
    DeleteResult,
    KeyValue,
    Op,
    PutOp,
    PutResult,
    RangeOp,
    RangeResult,
    Result,
    Store,
    TxnOp,
    TxnResult,
)

OPERATIONS_MAX = 128
"""--max-txn-ops."""

Header = Callable[[int], Any]
"""Makes a ResponseHeader of a revision."""

_TARGETS = {0: "version", 1: "create", 2: "mod", 3: "value", 4: "lease"}
_OPERANDS = {0: "version", 1: "create_revision", 2: "mod_revision", 3: "value", 4: "lease"}
_OPERATORS = {0: "=", 1: ">", 2: "<", 3: "!="}
_SORTED: dict[int, Callable[[KeyValue], Any]] = {
    0: lambda kv: kv.key,
    1: lambda kv: kv.version,
    2: lambda kv: kv.create_revision,
    3: lambda kv: kv.mod_revision,
    4: lambda kv: kv.value,
}


class KvService:
    """etcdserverpb.KV."""

    def __init__(self, store: Store, header: Header, operations_max: int = OPERATIONS_MAX) -> None:
        self._store = store
        self._header = header
        self._operations_max = operations_max

    async def range(self, request: Any) -> Any:
        """Raises Refusal, StoreError, as all here do."""
        _check_range(request)
        op = _range_op(request)
        found = await self._store.range(
            op.key,
            op.range_end,
            limit=op.limit,
            revision=op.revision,
            keys_only=op.keys_only,
            count_only=op.count_only,
        )
        return self._range_response(request, found)

    async def put(self, request: Any) -> Any:
        _check_put(request)
        result = await self._store.txn((), (_put_op(request),))
        done = result.responses[0]
        assert isinstance(done, PutResult)
        return self._put_response(done)

    async def delete_range(self, request: Any) -> Any:
        if not request.key:
            raise Refusal(*refusals.EMPTY_KEY)
        return self._delete_response(
            await self._store.delete_range(request.key, request.range_end, prev_kv=request.prev_kv)
        )

    async def txn(self, request: Any) -> Any:
        _check_txn(request, self._operations_max)
        op = _txn_op(request)
        return self._txn_response(request, await self._store.txn(op.compares, op.success, op.failure))

    async def compact(self, request: Any) -> Any:
        await self._store.compact(request.revision)
        return pb.CompactionResponse(header=self._header(self._store.revision))

    # Answers

    def _range_response(self, request: Any, found: RangeResult) -> Any:
        kvs, more = found.kvs, found.more
        if _is_picky(request):
            kvs = _sorted(request, [kv for kv in kvs if _within(request, kv)])
            if 0 < request.limit < len(kvs):
                kvs, more = kvs[: request.limit], True
        return pb.RangeResponse(
            header=self._header(found.revision),
            kvs=[key_value(kv, keys_only=request.keys_only) for kv in kvs],
            more=more,
            count=found.count,
        )

    def _put_response(self, done: PutResult) -> Any:
        return pb.PutResponse(
            header=self._header(done.revision), prev_kv=None if done.prev_kv is None else key_value(done.prev_kv)
        )

    def _delete_response(self, done: DeleteResult) -> Any:
        return pb.DeleteRangeResponse(
            header=self._header(done.revision), deleted=done.deleted, prev_kvs=map(key_value, done.prev_kvs)
        )

    def _txn_response(self, request: Any, done: TxnResult) -> Any:
        branch = request.success if done.succeeded else request.failure
        answers = [self._response(op, result) for op, result in zip(branch, done.responses, strict=True)]
        return pb.TxnResponse(header=self._header(done.revision), succeeded=done.succeeded, responses=answers)

    def _response(self, op: Any, result: Result) -> Any:
        if isinstance(result, RangeResult):
            return pb.ResponseOp(response_range=self._range_response(op.request_range, result))
        if isinstance(result, PutResult):
            return pb.ResponseOp(response_put=self._put_response(result))
        if isinstance(result, DeleteResult):
            return pb.ResponseOp(response_delete_range=self._delete_response(result))
        return pb.ResponseOp(response_txn=self._txn_response(op.request_txn, result))


def key_value(kv: KeyValue, keys_only: bool = False) -> Any:
    """A key on the wire."""
    return pb.KeyValue(
        key=kv.key,
        value=b"" if keys_only else kv.value,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        lease=kv.lease,
    )


# Requests


def _check_range(request: Any) -> None:
    if not request.key:
        raise Refusal(*refusals.EMPTY_KEY)
    if request.sort_order not in (0, 1, 2) or request.sort_target not in _SORTED:
        raise Refusal(*refusals.SORT_OPTION)


def _check_put(request: Any) -> None:
    if not request.key:
        raise Refusal(*refusals.EMPTY_KEY)
    if request.ignore_value and request.value:
        raise Refusal(*refusals.VALUE_PROVIDED)
    if request.ignore_lease and request.lease:
        raise Refusal(*refusals.LEASE_PROVIDED)


def _check_txn(request: Any, operations_max: int) -> None:
    count = max(len(request.compare), len(request.success), len(request.failure))
    if count > operations_max:
        raise Refusal(*refusals.TOO_MANY_OPERATIONS)
    if not all(compare.key for compare in request.compare):
        raise Refusal(*refusals.EMPTY_KEY)
    for op in (*request.success, *request.failure):
        kind = op.WhichOneof("request")
        if kind == "request_range":
            _check_range(op.request_range)
        elif kind == "request_put":
            _check_put(op.request_put)
        elif kind == "request_delete_range":
            if not op.request_delete_range.key:
                raise Refusal(*refusals.EMPTY_KEY)
        elif kind == "request_txn":
            _check_txn(op.request_txn, operations_max - count)
        else:
            raise Refusal(*refusals.KEY_NOT_FOUND)


def _is_picky(request: Any) -> bool:
    """Whether what the store finds has to be sorted or sifted before the limit counts."""
    return bool(
        request.sort_order
        or request.sort_target
        or request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )


def _range_op(request: Any) -> RangeOp:
    picky = _is_picky(request)
    return RangeOp(
        request.key,
        request.range_end,
        0 if picky else max(0, request.limit),
        max(0, request.revision),
        request.keys_only and not picky,
        request.count_only,
    )


def _within(request: Any, kv: KeyValue) -> bool:
    return not (
        (request.min_mod_revision and kv.mod_revision < request.min_mod_revision)
        or (request.max_mod_revision and kv.mod_revision > request.max_mod_revision)
        or (request.min_create_revision and kv.create_revision < request.min_create_revision)
        or (request.max_create_revision and kv.create_revision > request.max_create_revision)
    )


def _sorted(request: Any, kvs: Iterable[KeyValue]) -> list[KeyValue]:
    """Without an order, a target other than the key means ascending."""
    return sorted(kvs, key=_SORTED[request.sort_target], reverse=request.sort_order == pb.RangeRequest.DESCEND)


def _put_op(request: Any) -> PutOp:
    return PutOp(request.key, request.value, request.lease, request.prev_kv, request.ignore_value, request.ignore_lease)


def _txn_op(request: Any) -> TxnOp:
    return TxnOp(
        [_compare(compare) for compare in request.compare],
        [_op(op) for op in request.success],
        [_op(op) for op in request.failure],
    )


def _op(op: Any) -> Op:
    kind = op.WhichOneof("request")
    if kind == "request_range":
        return _range_op(op.request_range)
    if kind == "request_put":
        return _put_op(op.request_put)
    if kind == "request_delete_range":
        wanted = op.request_delete_range
        return DeleteRangeOp(wanted.key, wanted.range_end, wanted.prev_kv)
    return _txn_op(op.request_txn)


def _compare(compare: Any) -> Compare:
    target: Any = _TARGETS[compare.target]
    operator: Any = _OPERATORS[compare.result]
    return Compare(compare.key, target, operator, getattr(compare, _OPERANDS[compare.target]), compare.range_end)
