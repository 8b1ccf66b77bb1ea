"""What differs from kind to kind, behind one interface: defaults, validation, and what a write may change.

The generic path (registry.py and handlers/) asks a `Strategy` at fixed points; this base class is the behaviour of a
kind with nothing special. Subclasses stand in one file per group beside this one, and strategies/table.py lists them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.meta.errors import FieldError
from wherry.meta.time import format_time
from wherry.server.http import UserInfo

T = TypeVar("T")


class Caches(Protocol):
    """Read access to the server's own watch caches, for rules that look at other objects."""

    def get(self, kind: type[T], namespace: str | None, name: str) -> T | None:
        """A fresh decoded copy, or None."""

    def peek(self, kind: type[T], namespace: str | None, name: str) -> T | None:
        """Like `get`, but the one copy of all who peek: nobody may change it."""

    def list(self, kind: type[T], namespace: str | None = None) -> list[T]:
        """Fresh decoded copies of one namespace, or of all."""


@dataclass(slots=True)
class RequestContext:
    """Who writes, and with what means."""

    user: UserInfo
    clock: Clock
    entropy: Entropy
    caches: Caches
    dry_run: bool = False
    field_manager: str = ""
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)
    """Annotations for the audit log."""

    def clock_now(self) -> str:
        """The wall clock on the wire."""
        return format_time(self.clock.now())


class Allocation:
    """What a write holds of the cluster's addresses and ports until it is done. This one holds nothing."""

    async def claim(self) -> None:
        """The write comes next: make known what it takes. Raises StatusError."""

    async def undo(self) -> None:
        """The write was not done."""

    async def done(self) -> None:
        """The write is done: free what the object had before and has no more."""


NOTHING = Allocation()


class Strategy:
    """Generic behaviour. `obj` is the typed Struct of the kind, or a dict for custom resources."""

    allow_create_on_update = False
    allow_unconditional_update = True
    has_status = False
    """The kind has a status subresource: its status is dropped on create and kept on update."""

    def part(self, subresource: str) -> "Strategy":
        """The rules of a change through a subresource."""
        return self

    def default(self, obj: Any) -> None:
        """Fill in Kubernetes' defaults, in place. Idempotent."""

    def prepare_for_create(self, obj: Any, ctx: RequestContext) -> None:
        """Drop what a creator may not set; start `generation` where Kubernetes counts it."""
        if self.has_status and not isinstance(obj, dict):
            _copy_status(obj, type(obj)())

    def validate(self, obj: Any) -> list[FieldError]:
        """Faults of a new object."""
        return []

    def prepare_for_update(self, new: Any, old: Any, ctx: RequestContext) -> None:
        """Keep the status; bump `generation` where the spec changed."""
        if self.has_status and not isinstance(new, dict):
            _copy_status(new, old)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Faults of a change, immutability included."""
        return self.validate(new)

    def prepare_for_status_update(self, new: Any, old: Any, ctx: RequestContext) -> None:
        """Keep everything but the status and metadata (labels and annotations may change, as upstream)."""
        if not isinstance(new, dict):
            for name in new.__struct_fields__:
                if name not in ("apiVersion", "kind", "metadata", "status"):
                    setattr(new, name, getattr(old, name))
            new.metadata.generation = old.metadata.generation

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Faults of a status change."""
        return []

    def warnings(self, new: Any, old: Any | None) -> Iterable[str]:
        """Advice sent to the writer in Warning headers; `old` is None on create."""
        return ()

    def fields(self, obj: Any) -> dict[str, str]:
        """Selectable fields beyond metadata.name and metadata.namespace."""
        return {}

    def grace_period_seconds(self, obj: Any, requested: int | None) -> int:
        """How long a deletion waits for the object's agent; 0 deletes at once."""
        return 0

    async def allocate(self, new: Any, old: Any | None, ctx: RequestContext) -> Allocation:
        """Choose cluster addresses and ports, fill them in and reserve them."""
        return NOTHING

    async def released(self, obj: Any) -> None:
        """The object is gone: give back what `allocate` took."""


def _copy_status(target: Any, source: Any) -> None:
    if hasattr(target, "status"):
        target.status = source.status
