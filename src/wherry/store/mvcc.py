"""The heart of the store: every retained version of every key, in memory, without I/O or waiting.

Three views of the same `Record`s: `heads` has the newest of each key (perhaps a tombstone), `past` the older ones of
those few keys that have any, and `log` all since the last compaction in revision order, which is what a watch reads
and what `undo` takes back. Values may live elsewhere: a record whose value is None has it in the engine, so that a
disk-backed store holds an index and not a second copy of the data.

`revision` is what has been applied. It runs ahead of what is durable by the batch being written; the shell
(wherry/store/local.py) passes the durable revision to whatever outsiders read, and decides transactions
(wherry/store/txn.py) on the applied state.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

import msgspec

from wherry.store.protocol import FROM_KEY, Event, KeyValue
from wherry.store.sorted_keys import SortedKeys


class Record(msgspec.Struct, gc=False):
    """One version of a key. `version` 0 is a tombstone; `sub` orders the changes of one revision."""

    key: bytes
    value: bytes | None
    create_revision: int
    mod_revision: int
    version: int
    lease: int
    sub: int


_mod_revision = attrgetter("mod_revision")
ReadValues = Callable[[list[Record]], list[bytes]]


class Mvcc:
    """`read_values` fetches the values of records that do not carry them."""

    def __init__(self, read_values: ReadValues) -> None:
        self._read_values = read_values
        self.revision = 1
        self.compact_revision = 0
        self.heads: dict[bytes, Record] = {}
        self.past: dict[bytes, list[Record]] = {}
        self.log: list[Record] = []
        self.keys = SortedKeys()

    # Loading

    def load(self, records: Iterable[Record], compact_revision: int) -> list[Record]:
        """Take over what an engine holds, in revision order; returns leftovers of an interrupted compaction."""
        self.compact_revision = compact_revision
        self.revision = max(1, compact_revision)
        heads, past, log, dead = self.heads, self.past, self.log, []
        for record in records:
            before = heads.get(record.key)
            heads[record.key] = record
            if before is not None:
                record.key = before.key
                if record.mod_revision <= compact_revision or self._buried(before):
                    dead.append(before)
                else:
                    past.setdefault(record.key, []).append(before)
            if record.mod_revision >= compact_revision:
                log.append(record)
        gone = [record for record in heads.values() if self._buried(record)]
        for record in gone:
            del heads[record.key]
        if log:
            self.revision = max(self.revision, log[-1].mod_revision)
        self.keys = SortedKeys(sorted(heads))
        return dead + gone

    def _buried(self, record: Record) -> bool:
        return record.version == 0 and record.mod_revision < self.compact_revision

    # Writing

    def put(self, key: bytes, value: bytes, lease: int, revision: int, sub: int) -> Record:
        before = self.heads.get(key)
        if before is None:
            record = Record(key, value, revision, revision, 1, lease, sub)
            self.keys.add(key)
        else:
            key = before.key
            if before.version:
                record = Record(key, value, before.create_revision, revision, before.version + 1, lease, sub)
            else:
                record = Record(key, value, revision, revision, 1, lease, sub)
            self._retire(before)
        self.heads[key] = record
        self.log.append(record)
        return record

    def delete(self, before: Record, revision: int, sub: int) -> Record:
        """Bury the live head `before`."""
        record = Record(before.key, b"", 0, revision, 0, 0, sub)
        self._retire(before)
        self.heads[before.key] = record
        self.log.append(record)
        return record

    def _retire(self, before: Record) -> None:
        older = self.past.get(before.key)
        if older is None:
            self.past[before.key] = [before]
        else:
            older.append(before)

    def undo(self, revision: int) -> Iterator[tuple[Record, Record | None]]:
        """Take back everything after `revision`, newest first: pairs of what went and what the key holds again."""
        while self.log and self.log[-1].mod_revision > revision:
            record = self.log.pop()
            older = self.past.get(record.key)
            before = None
            if older:
                before = self.heads[record.key] = older.pop()
                if not older:
                    del self.past[record.key]
            else:
                del self.heads[record.key]
                self.keys.remove(record.key)
            yield record, before
        self.revision = revision

    # Reading

    def live(self, key: bytes) -> Record | None:
        """What the key holds in the applied state."""
        record = self.heads.get(key)
        return record if record is not None and record.version else None

    def at(self, key: bytes, revision: int) -> Record | None:
        """What the key held at `revision`."""
        record = self.heads.get(key)
        if record is not None and record.mod_revision > revision:
            older = self.past.get(key, ())
            position = bisect_right(older, revision, key=_mod_revision)
            record = older[position - 1] if position else None
        return record if record is not None and record.version else None

    def select(self, key: bytes, range_end: bytes, revision: int) -> list[Record]:
        """The live records of a range at `revision`, in key order."""
        if not range_end:
            record = self.at(key, revision)
            return [] if record is None else [record]
        heads = self.heads
        found = []
        for name in self.keys.between(key, None if range_end == FROM_KEY else range_end):
            head = heads[name]
            if head.mod_revision <= revision:
                if head.version:
                    found.append(head)
            elif older := self.at(name, revision):
                found.append(older)
        return found

    def before(self, record: Record) -> Record | None:
        """What the key held just before `record`, if that is retained."""
        older = self.past.get(record.key)
        if not older:
            return None
        position = bisect_left(older, record.mod_revision, key=_mod_revision)
        found = older[position - 1] if position else None
        return found if found is not None and found.version else None

    def kv(self, record: Record) -> KeyValue:
        value = record.value
        if value is None:
            value = self._read_values([record])[0]
        return _key_value(record, value)

    def kvs(self, records: list[Record]) -> list[KeyValue]:
        """`kv` of many with one visit to the engine."""
        absent = [record for record in records if record.value is None]
        values = iter(self._read_values(absent)) if absent else iter(())
        return [_key_value(record, next(values) if (value := record.value) is None else value) for record in records]

    def kv_without_value(self, record: Record) -> KeyValue:
        return _key_value(record, b"")

    # History

    def history(self, start_revision: int, end_revision: int, records_max: int) -> list[Record]:
        """About `records_max` records of [start, end] from the log, whole revisions only."""
        low = bisect_left(self.log, start_revision, key=_mod_revision)
        high = bisect_right(self.log, end_revision, lo=low, key=_mod_revision)
        if high - low > records_max:
            last = self.log[low + records_max - 1].mod_revision
            high = bisect_right(self.log, last, lo=low, hi=high, key=_mod_revision)
        return self.log[low:high]

    def events(self, records: list[Record], prev_kv: bool) -> list[Event]:
        kvs = self.kvs(records)
        if not prev_kv:
            return [Event("put" if kv.version else "delete", kv) for kv in kvs]
        befores = [self.before(record) for record in records]
        olds = iter(self.kvs([before for before in befores if before is not None]))
        return [
            Event("put" if kv.version else "delete", kv, None if before is None else next(olds))
            for kv, before in zip(kvs, befores, strict=True)
        ]

    def forget(self, records_max: int) -> tuple[list[Record], bool]:
        """Drop up to about `records_max` log entries below `compact_revision` and what they supersede.

        Returns the records that are dead now, and whether there is more to do. Readers never notice the steps: they
        may not look below `compact_revision` any more. A tombstone at exactly that revision stays, because a watch
        may still start there.
        """
        revision = self.compact_revision
        dead: list[Record] = []
        steps = self.log[:records_max]
        past_end = bisect_right(steps, revision, key=_mod_revision)
        for record in steps[:past_end]:
            self._prune(record.key, revision, dead)
        del self.log[: bisect_left(steps, revision, key=_mod_revision)]
        return dead, past_end == len(steps) and bool(self.log) and self.log[0].mod_revision < revision

    def _prune(self, key: bytes, revision: int, dead: list[Record]) -> None:
        head = self.heads.get(key)
        if head is None:
            return
        older = self.past.get(key)
        if older is not None:
            if head.mod_revision <= revision:
                dead += older
                older.clear()
            else:
                keep = max(0, bisect_right(older, revision, key=_mod_revision) - 1)
                if older and self._buried(older[keep]):
                    keep += 1
                dead += older[:keep]
                del older[:keep]
            if not older:
                del self.past[key]
        if self._buried(head):
            dead.append(head)
            del self.heads[key]
            self.keys.remove(key)


def _key_value(record: Record, value: bytes) -> KeyValue:
    return KeyValue(record.key, value, record.create_revision, record.mod_revision, record.version, record.lease)
