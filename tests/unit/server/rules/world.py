"""A handful of objects standing in for the server's caches, and contexts to write in."""

from typing import Any, TypeVar

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.registry import RESOURCES, resource_for
from wherry.meta.object import KubernetesObject
from wherry.meta.patch import merge_patch
from wherry.meta.wire import convert, deep_copy, to_builtins
from wherry.server.admission.plugin import Attributes, Operation
from wherry.server.http import UserInfo
from wherry.server.strategies.strategy import RequestContext, Strategy
from wherry.server.strategies.table import strategies

T = TypeVar("T")


class Objects:
    """The Caches protocol over a list."""

    def __init__(self, *objects: KubernetesObject) -> None:
        self.objects = list(objects)

    def get(self, kind: type[T], namespace: str | None, name: str) -> T | None:
        found: list[Any] = self.list(kind, namespace)
        return next((item for item in found if item.metadata.name == name), None)

    peek = get

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
    return Attributes(operation, resource, resource, "", namespace, name, obj, old, ctx.user, False, {}, ctx)


def new(group: str, plural: str, *objects: KubernetesObject, **members: Any) -> tuple[Strategy, Any]:
    """A kind's strategy and a new object of it, defaulted and prepared as a create does."""
    rules = strategies(Objects(*objects))[group, plural]
    kind = next(item for item in RESOURCES if (item.group, item.plural) == (group, plural))
    assert kind.type is not None
    meta = {"name": "x", "namespace": "d"} if kind.namespaced else {"name": "x"}
    obj = convert({"metadata": meta, **members}, kind.type)
    rules.default(obj)
    rules.prepare_for_create(obj, context())
    return rules, obj


def refused(group: str, plural: str, **members: Any) -> list[str]:
    """What is wrong with a new object."""
    rules, obj = new(group, plural, **members)
    return [str(item) for item in rules.validate(obj)]


def refused_change(group: str, plural: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is wrong with changing one object into another."""
    rules, old = new(group, plural, **before)
    changed = convert(merge_patch(to_builtins(old), after), type(old))
    rules.default(changed)
    rules.prepare_for_update(changed, old, context())
    return [str(item) for item in rules.validate_update(changed, old)]


def refused_status(group: str, plural: str, before: dict[str, Any], status: dict[str, Any]) -> list[str]:
    """What is wrong with a new status."""
    rules, old = new(group, plural, **before)
    changed = deep_copy(old)
    changed.status = convert(status, type(old.status))
    rules.default(changed)
    rules.prepare_for_status_update(changed, old, context())
    return [str(item) for item in rules.validate_status_update(changed, old)]


def advised(group: str, plural: str, before: dict[str, Any] | None = None, **members: Any) -> list[str]:
    """What the writer of a new object is warned of; with `before`, of changing that by `members`."""
    if before is None:
        rules, obj = new(group, plural, **members)
        return list(rules.warnings(obj, None))
    rules, old = new(group, plural, **before)
    changed = convert(merge_patch(to_builtins(old), members), type(old))
    rules.default(changed)
    rules.prepare_for_update(changed, old, context())
    return list(rules.warnings(changed, old))
