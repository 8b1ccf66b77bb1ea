"""The base of every built-in kind's strategy: metadata rules, generation, and `rules` for the rest.

A subclass states facts (`generation_counts`, `name_check`) and overrides `default`, `rules` and `update_rules`. Read
deployment.py for a typical one and pod.py for the largest.
"""

from collections.abc import Callable, Iterable
from typing import Any

from wherry.meta import names
from wherry.meta.errors import FieldError
from wherry.server.strategies import metadata
from wherry.server.strategies.checks import Faults, NameCheck
from wherry.server.strategies.strategy import RequestContext, Strategy


class KindStrategy(Strategy):
    """A built-in kind. `namespaced` comes from its Resource."""

    generation_counts: tuple[str, ...] = ()
    """Members whose change makes a new generation ("spec"); empty where Kubernetes does not count."""
    name_check: NameCheck = staticmethod(names.dns1123_subdomain)
    advice: Callable[[Any, Any], Iterable[str]] | None = None
    """The kind's function in advice.py."""

    def __init__(self, *, namespaced: bool = True, has_status: bool = False) -> None:
        self.namespaced = namespaced
        self.has_status = has_status

    def rules(self, obj: Any) -> Faults:
        """Faults beyond metadata, of a new or changed object."""
        yield from ()

    def create_rules(self, obj: Any) -> Faults:
        """Faults that only a new object can have: what exists is left in peace."""
        yield from ()

    def changed_rules(self, new: Any, old: Any) -> Faults:
        """`rules` of a changed object, where what `old` already held may be forgiven."""
        yield from self.rules(new)

    def update_rules(self, new: Any, old: Any) -> Faults:
        """Faults of the change itself (immutable fields), beyond metadata."""
        yield from ()

    def status_rules(self, new: Any, old: Any) -> Faults:
        """Faults of a change of status, beyond metadata."""
        yield from ()

    def warnings(self, new: Any, old: Any | None) -> Iterable[str]:
        return self.advice(new, old) if self.advice is not None else ()

    def prepare_for_create(self, obj: Any, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        if self.generation_counts:
            obj.metadata.generation = 1

    def prepare_for_update(self, new: Any, old: Any, ctx: RequestContext) -> None:
        super().prepare_for_update(new, old, ctx)
        if self.generation_counts:
            changed = any(getattr(new, member) != getattr(old, member) for member in self.generation_counts)
            new.metadata.generation = (old.metadata.generation or 0) + changed

    def validate(self, obj: Any) -> list[FieldError]:
        check = type(self).name_check
        faults = [*metadata.validate(obj.metadata, self.namespaced, check), *self.rules(obj)]
        return [*faults, *self.create_rules(obj)]

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        faults = [*metadata.validate_update(new.metadata, old.metadata), *self.changed_rules(new, old)]
        return [*faults, *self.update_rules(new, old)]

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        return [*metadata.validate_update(new.metadata, old.metadata), *self.status_rules(new, old)]
