"""A clock that stands still and caches made of objects, for the server's edges."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from wherry.meta.object import KubernetesObject

T = TypeVar("T", bound=Any)


class StandingClock:
    """Time passes only when told to."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


class ObjectCaches:
    """The objects it was made of, by kind, namespace and name."""

    def __init__(self, *objects: KubernetesObject) -> None:
        self.objects: list[Any] = list(objects)

    def get(self, kind: type[T], namespace: str | None, name: str) -> T | None:
        item: Any
        for item in self.objects:
            if isinstance(item, kind) and item.metadata.name == name and (item.metadata.namespace or None) == namespace:
                return item
        return None

    peek = get

    def list(self, kind: type[T], namespace: str | None = None) -> list[T]:
        return [o for o in self.objects if isinstance(o, kind) and namespace in (None, o.metadata.namespace)]
