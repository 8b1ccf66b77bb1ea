"""managedFields: who set which field, kept on every write.

What the sets mean is meta/apply.py's; here is only when they are asked for. A create by a single manager is the common
case and needs no comparison: all fields are that manager's.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from wherry.meta import apply, wire
from wherry.meta.object import ManagedFieldsEntry
from wherry.server.registry import Served
from wherry.server.watchcache import Entry

if TYPE_CHECKING:
    from wherry.server.writer import Write


class Ownership:
    """Keeps managedFields; `enabled` False leaves them as clients send them."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def created(self, served: Served, obj: Any, write: "Write") -> None:
        """`obj` (stored version, final) is about to be created."""
        if self.enabled and write.operation != "Apply":
            self._track(served, None, obj, write)

    def updated(self, served: Served, new: Any, old: Any, entry: Entry, write: "Write") -> None:
        """`new` is about to replace `old`."""
        if not new.metadata.managedFields:
            new.metadata.managedFields = old.metadata.managedFields
        if self.enabled and write.operation != "Apply" and write.subresource not in ("binding",):
            self._track(served, old, new, write)

    def _track(self, served: Served, old: Any, new: Any, write: "Write") -> None:
        codec = served.stored_codec
        live = None if old is None else codec.to_builtins(old)
        made = codec.to_builtins(new)
        manager = apply.Manager(write.ctx.field_manager, "Update", served.stored.api_version, write.subresource)
        reset = (("f:status",),) if served.has_status and write.subresource != "status" else ()
        entries = apply.track(live, made, served.schema, manager, write.ctx.clock_now(), reset)
        new.metadata.managedFields = [_entry(entry) for entry in entries]


def _entry(entry: dict[str, Any]) -> ManagedFieldsEntry:
    return ManagedFieldsEntry(**entry | {"fieldsV1": msgspec.Raw(wire.encode(entry["fieldsV1"]))})
