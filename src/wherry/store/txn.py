"""Transactions: comparing, choosing a branch, and applying it to the applied state at one revision.

Everything that can be refused is refused before anything changes, so a transaction never has to be taken back here.
"""

from collections.abc import Sequence

import msgspec

from wherry.store.errors import CompactedError, FutureRevisionError, InvalidRequestError, LeaseNotFoundError
from wherry.store.lease import LeaseTable
from wherry.store.mvcc import Mvcc, Record
from wherry.store.protocol import (
    FROM_KEY,
    Compare,
    DeleteRangeOp,
    DeleteResult,
    Op,
    PutOp,
    PutResult,
    RangeOp,
    RangeResult,
    Result,
    TxnOp,
    TxnResult,
)


class Chosen(msgspec.Struct, frozen=True):
    """A transaction whose branch has been decided."""

    succeeded: bool
    ops: "list[RangeOp | PutOp | DeleteRangeOp | Chosen]"


def range_result(
    mvcc: Mvcc, key: bytes, range_end: bytes, limit: int, at: int, revision: int, keys_only: bool, count_only: bool
) -> RangeResult:
    """Read a range as of `at`; `revision` is what the result reports."""
    records = mvcc.select(key, range_end, at)
    count = len(records)
    if count_only:
        return RangeResult([], count, False, revision)
    more = 0 < limit < count
    if more:
        del records[limit:]
    if keys_only:
        kvs = [mvcc.kv_without_value(record) for record in records]
    else:
        kvs = mvcc.kvs(records)
    return RangeResult(kvs, count, more, revision)


def check_revision(mvcc: Mvcc, requested: int, newest: int) -> None:
    if requested > newest:
        raise FutureRevisionError(requested, newest)
    if 0 < requested < mvcc.compact_revision:
        raise CompactedError(requested, mvcc.compact_revision)


class Transaction:
    """One transaction on `mvcc` and `leases`. `records` are its changes; none means the revision stays."""

    def __init__(self, mvcc: Mvcc, leases: LeaseTable) -> None:
        self._mvcc = mvcc
        self._leases = leases
        self._revision = mvcc.revision + 1
        self.records: list[Record] = []

    def run(self, txn: TxnOp) -> TxnResult:
        check_overlaps(txn)
        chosen = self._choose(txn)
        self._check(chosen)
        return self._apply(chosen)

    # Deciding

    def _choose(self, txn: TxnOp) -> Chosen:
        succeeded = all(self._holds(compare) for compare in txn.compares)
        branch = txn.success if succeeded else txn.failure
        return Chosen(succeeded, [self._choose(op) if isinstance(op, TxnOp) else op for op in branch])

    def _holds(self, compare: Compare) -> bool:
        if not compare.range_end:
            return self._holds_for(compare, self._mvcc.live(compare.key))
        found = self._mvcc.select(compare.key, compare.range_end, self._mvcc.revision)
        # Nothing there compares like an absent key, as in etcd.
        return all(self._holds_for(compare, record) for record in found) if found else self._holds_for(compare, None)

    def _holds_for(self, compare: Compare, record: Record | None) -> bool:
        actual: int | bytes
        match compare.target:
            case "value":
                if record is None:
                    return False
                actual = self._mvcc.kv(record).value
            case "version":
                actual = record.version if record else 0
            case "create":
                actual = record.create_revision if record else 0
            case "mod":
                actual = record.mod_revision if record else 0
            case "lease":
                actual = record.lease if record else 0
        operand = compare.operand
        match compare.operator:
            case "=":
                return actual == operand
            case "!=":
                return actual != operand
            case "<":
                return actual < operand  # type: ignore[operator]  # bytes with bytes, int with int
            case ">":
                return actual > operand  # type: ignore[operator]

    def _check(self, chosen: Chosen) -> None:
        for op in chosen.ops:
            if isinstance(op, Chosen):
                self._check(op)
            elif isinstance(op, RangeOp):
                check_revision(self._mvcc, op.revision, self._mvcc.revision)
            elif isinstance(op, PutOp):
                self._check_put(op)

    def _check_put(self, op: PutOp) -> None:
        if op.ignore_value or op.ignore_lease:
            if self._mvcc.live(op.key) is None:
                raise InvalidRequestError("etcdserver: key not found")
            if op.ignore_value and op.value:
                raise InvalidRequestError("etcdserver: value is provided")
            if op.ignore_lease and op.lease:
                raise InvalidRequestError("etcdserver: lease is provided")
        if op.lease and op.lease not in self._leases:
            raise LeaseNotFoundError(op.lease)

    # Applying

    def _apply(self, chosen: Chosen) -> TxnResult:
        responses: list[Result] = []
        for op in chosen.ops:
            if isinstance(op, PutOp):
                responses.append(self.put(op))
            elif isinstance(op, DeleteRangeOp):
                responses.append(self.delete_range(op.key, op.range_end, op.prev_kv))
            elif isinstance(op, RangeOp):
                now = self._mvcc.revision
                responses.append(
                    range_result(
                        self._mvcc, op.key, op.range_end, op.limit, op.revision or now, now, op.keys_only, op.count_only
                    )
                )
            else:
                responses.append(self._apply(op))
        return TxnResult(chosen.succeeded, responses, self._mvcc.revision)

    def put(self, op: PutOp) -> PutResult:
        before = self._mvcc.live(op.key)
        value, lease = op.value, op.lease
        previous = None
        if before is not None:
            if op.prev_kv or op.ignore_value:
                previous = self._mvcc.kv(before)
                value = previous.value if op.ignore_value else value
            lease = before.lease if op.ignore_lease else lease
            if before.lease:
                self._leases.detach(before.lease, op.key)
        self.records.append(self._mvcc.put(op.key, value, lease, self._revision, len(self.records)))
        self._mvcc.revision = self._revision
        if lease:
            self._leases.attach(lease, op.key)
        return PutResult(self._revision, previous if op.prev_kv else None)

    def delete_range(self, key: bytes, range_end: bytes, prev_kv: bool) -> DeleteResult:
        found = self._mvcc.select(key, range_end, self._revision)
        return self._delete(found, prev_kv)

    def delete_keys(self, keys: Sequence[bytes]) -> None:
        """Delete those of `keys` that exist: what the end of a lease does."""
        self._delete([record for key in keys if (record := self._mvcc.live(key)) is not None], False)

    def _delete(self, found: list[Record], prev_kv: bool) -> DeleteResult:
        previous = self._mvcc.kvs(found) if prev_kv else []
        for before in found:
            if before.lease:
                self._leases.detach(before.lease, before.key)
            self.records.append(self._mvcc.delete(before, self._revision, len(self.records)))
            self._mvcc.revision = self._revision
        return DeleteResult(self._mvcc.revision, len(found), previous)


Span = tuple[bytes, bytes]


def check_overlaps(txn: TxnOp) -> None:
    """Raise unless every key is written at most once, whatever branch is taken."""
    for branch in (txn.success, txn.failure):
        _writes(branch)


def _writes(ops: Sequence[Op]) -> tuple[set[bytes], list[Span]]:
    """The keys put and the ranges deleted by `ops`."""
    puts: set[bytes] = set()
    deletes: list[Span] = []
    for op in ops:
        if isinstance(op, TxnOp):
            new_puts, new_deletes = set[bytes](), list[Span]()
            for branch in (op.success, op.failure):  # only one of them runs: they may share keys
                branch_puts, branch_deletes = _writes(branch)
                new_puts |= branch_puts
                new_deletes += branch_deletes
        else:
            if not op.key:
                raise InvalidRequestError("etcdserver: key is not provided")
            new_puts = {op.key} if isinstance(op, PutOp) else set()
            new_deletes = [(op.key, op.range_end)] if isinstance(op, DeleteRangeOp) else []
        clash = not puts.isdisjoint(new_puts) or any(
            inside(key, span)
            for keys, spans in ((puts, new_deletes), (new_puts, deletes))
            for span in spans
            for key in keys
        )
        if clash:
            raise InvalidRequestError("etcdserver: duplicate key given in txn request")
        puts |= new_puts
        deletes += new_deletes
    return puts, deletes


def inside(key: bytes, span: Span) -> bool:
    start, end = span
    if not end:
        return key == start
    return start <= key and (end == FROM_KEY or key < end)
