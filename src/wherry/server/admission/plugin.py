"""Admission: what may change or refuse a write after it is authorized and before it is stored.

Built-in plugins and webhooks come in by the same door. The chain (server/admission/chain.py) calls every plugin's
`admit` in order, and once the object is final every plugin's `validate`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from wherry.meta.resource import Resource
from wherry.server.http import UserInfo
from wherry.server.strategies.strategy import RequestContext

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(slots=True)
class Attributes:
    """One write as admission sees it. `admit` may change `object`; deletes have only `old_object`."""

    operation: Operation
    resource: Resource
    """The stored version; `object` and `old_object` are of it unless `kind` says otherwise."""
    requested: Resource
    """The version that the client speaks."""
    subresource: str
    namespace: str
    name: str
    object: Any
    old_object: Any
    user: UserInfo
    dry_run: bool
    options: dict[str, Any]
    ctx: RequestContext
    warnings: list[str] = field(default_factory=list)
    kind: tuple[str, str, str] | None = None
    """Group, version and kind of what passes through a subresource (Binding, options of a connection)."""
    again: bool = False
    """Set by a mutating webhook or policy that changed the object: the mutating chain runs once more."""
    round: int = 0
    memory: dict[str, Any] = field(default_factory=dict)
    """What plugins keep from the first round to the second, by their names."""


class AdmissionPlugin:
    """Base of every plugin: does nothing."""

    name = ""
    kinds: frozenset[tuple[str, str]] | None = None
    """The only kinds it looks at, as (group, plural); None: any. Others' writes never call it."""

    def handles(self, operation: Operation) -> bool:
        """Whether the plugin wants to see this operation."""
        return True

    def concerns(self, operation: Operation, resource: Resource) -> bool:
        """Whether the plugin is to be asked about this operation on a stored kind; decided once for each."""
        kind = resource.group, resource.plural
        return self.handles(operation) and (self.kinds is None or kind in self.kinds)

    async def admit(self, attributes: Attributes) -> None:
        """Change `attributes.object`, or raise StatusError to refuse."""

    async def validate(self, attributes: Attributes) -> None:
        """Raise StatusError to refuse; must not change anything."""
