"""Everything a store can refuse, one class per reason, with etcd's own wording where etcd has one.

Engines translate foreign exceptions (lmdb, OSError, gRPC) into these at their boundary and nowhere else.
"""


class StoreError(Exception):
    """Base of every error a store raises on purpose."""


class InvalidRequestError(StoreError):
    """The caller's request makes no sense: an empty key, one key written twice in a transaction."""


class CompactedError(StoreError):
    """The revision asked for is older than the history that is retained. List again, then watch from there."""

    def __init__(self, requested_revision: int, compact_revision: int) -> None:
        super().__init__(
            "mvcc: required revision has been compacted"
            f" (requested {requested_revision}, retained from {compact_revision})"
        )
        self.requested_revision = requested_revision
        self.compact_revision = compact_revision


class FutureRevisionError(StoreError):
    """The revision asked for does not exist yet."""

    def __init__(self, requested_revision: int, revision: int) -> None:
        super().__init__(
            f"mvcc: required revision is a future revision (requested {requested_revision}, newest {revision})"
        )
        self.requested_revision = requested_revision
        self.revision = revision


class SlowWatcherError(StoreError):
    """The watcher did not read as fast as others wrote and was cut off. List again, then watch from there."""


class LeaseNotFoundError(StoreError):
    """No such lease: never granted, expired or revoked."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"etcdserver: requested lease not found ({lease:016x})")
        self.lease = lease


class LeaseExistsError(StoreError):
    """A lease with the id asked for exists already."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"etcdserver: lease already exists ({lease:016x})")
        self.lease = lease


class StoreUnavailableError(StoreError):
    """The write could not be made durable (disk full, I/O error, no quorum). Nothing was acknowledged; try again."""


class TooManyRequestsError(StoreUnavailableError):
    """More writes are waiting for the disk than the store is willing to hold. Try again shortly."""


class StoreClosedError(StoreError):
    """The store has been closed."""

    def __init__(self) -> None:
        super().__init__("the store is closed")


class DataDirectoryInUseError(StoreError):
    """Another process (or another store in this one) holds the data directory."""


class CorruptStoreError(StoreError):
    """The data file cannot be trusted. Restore it from a copy or remove it; nothing was changed."""
