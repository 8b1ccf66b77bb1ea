"""The engine on disk: LMDB, one row per record, as etcd keeps them in bbolt.

    m                            layout version, compact revision
    l <lease id>                 seconds
    r <revision> <sub>           version, create revision, lease, checksum, key length; key; value

Revisions only grow, so a commit appends to the last leaf page. Rows of a batch are put on the event loop's thread
(half a microsecond each, in one call) and only the commit, which waits for the disk, runs in the engine's own thread:
put there, every row would have to win the interpreter lock anew. LMDB ties write transactions to a thread only through
its lock, which a lock on the directory replaces. Reads are short, on the loop, and never span a commit's start, which
is what LMDB asks of readers without its reader table.
"""

import asyncio
import errno
import fcntl
import os
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import lmdb

from wherry.store.engine import Batch, Done, Loaded
from wherry.store.errors import CorruptStoreError, DataDirectoryInUseError, StoreUnavailableError
from wherry.store.lmdb_pages import check_pages
from wherry.store.mvcc import Record

LAYOUT_VERSION = 1
MAP_BYTES_START = 256 << 20
"""Address space, not disk; doubled whenever it is used up."""

DATA_FILE = "data.mdb"
LOCK_FILE = "LOCK"

_META_KEY = b"m"
_META = struct.Struct(">IQ")
_LEASE_KEY = struct.Struct(">cQ")
_LEASE = struct.Struct(">Q")
_RECORD_KEY = struct.Struct(">cQI")
_HEADER = struct.Struct(">QQQII")
_record_key = _RECORD_KEY.pack
_header = _HEADER.pack


class LmdbEngine:
    """Implements `wherry.store.engine.Engine` in `directory`, which is created if need be.

    Raises DataDirectoryInUseError, CorruptStoreError, StoreUnavailableError.
    """

    keeps_values = True
    group_commit = True

    def __init__(self, directory: Path, *, map_bytes: int = MAP_BYTES_START) -> None:
        self._directory = directory
        self._map_bytes = map_bytes
        self._env: Any = None
        self._lock = _lock_directory(directory)
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wherry-store-sync", daemon=True)
        try:
            check_pages(directory / DATA_FILE)
            self._open()
        except BaseException:
            os.close(self._lock)
            raise
        self._thread.start()

    # Opening and loading

    def _open(self) -> None:
        path = self._directory / DATA_FILE
        try:
            self._map_bytes = max(self._map_bytes, path.stat().st_size * 2 if path.exists() else 0)
            self._env = lmdb.open(
                os.fspath(self._directory), map_size=self._map_bytes, lock=False, readahead=False, mode=0o600
            )
            self._check_layout(path)
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError, lmdb.PageNotFoundError) as error:
            self._close_environment()
            raise CorruptStoreError(f"{path} is not a usable store: {error}") from error
        except CorruptStoreError:
            self._close_environment()
            raise
        except (lmdb.Error, OSError) as error:
            self._close_environment()
            raise StoreUnavailableError(f"{path} cannot be opened: {error}") from error

    def _check_layout(self, path: Path) -> None:
        with self._env.begin() as transaction:
            meta = transaction.get(_META_KEY)
            empty = transaction.stat()["entries"] == 0
        if meta is None and not empty:
            raise CorruptStoreError(f"{path} is not a store of Wherry's: it has no header")
        if meta is not None and (len(meta) != _META.size or _META.unpack(meta)[0] != LAYOUT_VERSION):
            raise CorruptStoreError(f"{path} has a layout this version does not know")
        if empty:
            with self._env.begin(write=True) as transaction:
                transaction.put(_META_KEY, _META.pack(LAYOUT_VERSION, 0))
            _sync_directory(self._directory)

    def load(self) -> Loaded:
        with self._env.begin() as transaction:
            compact_revision = _META.unpack(transaction.get(_META_KEY))[1]
            cursor = transaction.cursor()
            leases = []
            if cursor.set_range(b"l"):
                for key, value in cursor.iternext():
                    if key[:1] != b"l":
                        break
                    leases.append((_LEASE_KEY.unpack(key)[1], _LEASE.unpack(value)[0]))
        return Loaded(self._records(), compact_revision, leases)

    def _records(self) -> Iterator[Record]:
        header_size, unpack, key_unpack = _HEADER.size, _HEADER.unpack_from, _RECORD_KEY.unpack
        try:
            with self._env.begin(buffers=True) as transaction:
                cursor = transaction.cursor()
                if cursor.set_range(b"r"):
                    for place, row in cursor.iternext():
                        _, revision, sub = key_unpack(place)
                        version, create_revision, lease, checksum, key_length = unpack(row)
                        if crc32(row[header_size:], revision & 0xFFFFFFFF) != checksum:
                            raise self._corrupt(revision)
                        key = bytes(row[header_size : header_size + key_length])
                        yield Record(key, None if version else b"", create_revision, revision, version, lease, sub)
        except (lmdb.Error, struct.error) as error:
            raise CorruptStoreError(f"{self._directory / DATA_FILE} is damaged: {error}") from error
        # What was read is still mapped and counts as the process's memory; a fresh mapping starts empty.
        self._env.close()
        self._open()

    def _corrupt(self, revision: int) -> CorruptStoreError:
        return CorruptStoreError(f"{self._directory / DATA_FILE} is damaged at revision {revision}: wrong checksum")

    # Writing

    def append(self, batch: Batch, done: Done) -> None:
        loop = asyncio.get_running_loop()
        rows = [_row(record) for record in batch.records]

        def start() -> None:
            try:
                transaction = self._stage(batch, rows)
            except (lmdb.Error, OSError, StoreUnavailableError, CorruptStoreError) as error:
                done(error)
            else:
                self._jobs.put(lambda: loop.call_soon_threadsafe(finish, _commit(transaction)))

        def finish(error: Exception | None) -> None:
            if isinstance(error, lmdb.MapFullError):  # the list of free pages is written last of all
                self._grow()
                start()
            else:
                done(error)

        start()

    def _stage(self, batch: Batch, rows: list[tuple[bytes, bytes]]) -> Any:
        """A transaction that holds the batch, ready to commit; the map is enlarged as often as that takes."""
        if self._env is None:
            self._open()
        while True:
            transaction = self._env.begin(write=True)
            try:
                _fill(transaction, batch, rows)
                return transaction
            except lmdb.MapFullError:
                transaction.abort()
                self._grow()
            except BaseException:
                transaction.abort()
                raise

    def _grow(self) -> None:
        self._map_bytes *= 2
        self._env.set_mapsize(self._map_bytes)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    # After a failure, and reading

    def durable_revision(self) -> int:
        """Opens the file anew: after a failed sync LMDB refuses to go on, and what counts is on disk."""
        self._close_environment()
        try:
            self._open()
            with self._env.begin() as transaction:
                compact_revision: int = _META.unpack(transaction.get(_META_KEY))[1]
                cursor = transaction.cursor()
                last: int = _RECORD_KEY.unpack(cursor.key())[1] if cursor.last() and cursor.key()[:1] == b"r" else 1
        except (lmdb.Error, CorruptStoreError) as error:
            raise StoreUnavailableError(str(error)) from error
        return max(last, compact_revision)

    def read(self, records: list[Record]) -> list[bytes]:
        if self._env is None:
            self._open()
        values = []
        try:
            with self._env.begin() as transaction:
                rows = [transaction.get(_record_key(b"r", record.mod_revision, record.sub)) for record in records]
        except lmdb.Error as error:
            raise CorruptStoreError(f"{self._directory / DATA_FILE} cannot be read: {error}") from error
        for record, row in zip(records, rows, strict=True):
            if row is None or crc32(row[_HEADER.size :], record.mod_revision & 0xFFFFFFFF) != _checksum(row):
                raise self._corrupt(record.mod_revision)
            values.append(row[_HEADER.size + len(record.key) :])
        return values

    def size_bytes(self) -> int:
        return (self._directory / DATA_FILE).stat().st_size

    def _close_environment(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._close_environment()
        os.close(self._lock)


def _commit(transaction: Any) -> Exception | None:
    """In the engine's thread. LMDB has ended the transaction either way."""
    try:
        transaction.commit()
    except (lmdb.Error, OSError) as error:
        return error
    return None


def _row(record: Record) -> tuple[bytes, bytes]:
    body = record.key + (record.value or b"")
    revision = record.mod_revision
    checksum = crc32(body, revision & 0xFFFFFFFF)
    header = _header(record.version, record.create_revision, record.lease, checksum, len(record.key))
    return _record_key(b"r", revision, record.sub), header + body


def _checksum(row: bytes) -> int:
    checksum: int = _HEADER.unpack_from(row)[3]
    return checksum


def _fill(transaction: Any, batch: Batch, rows: list[tuple[bytes, bytes]]) -> None:
    if rows:
        transaction.cursor().putmulti(rows, append=True)
    for record in batch.dead:
        transaction.delete(_record_key(b"r", record.mod_revision, record.sub))
    for granted, lease in batch.leases:
        key = _LEASE_KEY.pack(b"l", lease.id)
        if granted:
            transaction.put(key, _LEASE.pack(lease.ttl_seconds))
        else:
            transaction.delete(key)
    if batch.compact_revision:
        transaction.put(_META_KEY, _META.pack(LAYOUT_VERSION, batch.compact_revision))


def _lock_directory(directory: Path) -> int:
    """An open file whose lock says that the directory is ours; the kernel lets go of it however this process ends."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailableError(f"{directory} cannot be used: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(lock, f"{os.getpid():<15}\n".encode(), 0)
    except OSError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise DataDirectoryInUseError(
                f"{directory} is in use by process {holder or 'unknown'}: stop it, or choose another --data-dir"
            ) from error
        raise StoreUnavailableError(f"{directory} cannot be locked: {error}") from error
    return lock


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
