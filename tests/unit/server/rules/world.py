"""A handful of objects standing in for the server's caches, and contexts to write in."""

from typing import Any, TypeVar

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.registry import resource_for
from wherry.meta.object import KubernetesObject
from wherry.server.admission.plugin import Attributes, Operation
from wherry.server.http import UserInfo
from wherry.server.strategies.strategy import RequestContext

T = TypeVar("T")


class Objects:
    """The Caches protocol over a list."""

    def __init__(self, *objects: KubernetesObject) -> None:
        self.objects = list(objects)

    def get(self, kind: type[T], namespace: str | None, name: str) -> T | None:
        found: list[Any] = self.list(kind, namespace)
        return next((item for item in found if item.metadata.name == name), None)

    def list(self, kind: type[T], namespace: str | None = None) -> "list[T]":
        found = [item for item in self.objects if isinstance(item, kind)]
        return [item for item in found if namespace is None or item.metadata.namespace == namespace]


def context(caches: Objects | None = None, user: str = "admin") -> RequestContext:
    return RequestContext(UserInfo(name=user), SystemClock(), Entropy(1), caches or Objects())


def attributes(obj: Any, caches: Objects, operation: Operation = "CREATE") -> Attributes:
    ctx = context(caches)
    name, namespace = obj.metadata.name or "", obj.metadata.namespace or ""
    old = None if operation == "CREATE" else obj
    resource = resource_for(type(obj))
    return Attributes(operation, resource, "", namespace, name, obj, old, ctx.user, False, {}, ctx)
