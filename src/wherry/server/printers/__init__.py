"""Tables: the columns and cells that `kubectl get` shows, kind by kind. Kinds without their own get Name, Created At.

The server answers `Accept: application/json;as=Table` with these; kubectl adds no columns but NAMESPACE and LABELS.
"""

from typing import Any

from wherry.aio.clock import Clock
from wherry.meta.resource import Resource
from wherry.server.printers import cluster, network, pods, workloads
from wherry.server.printers.table import Column, Printed

__all__ = ["Column", "columns", "row"]

_PRINTED: dict[tuple[str, str], Printed] = {
    **pods.PRINTED,
    **workloads.PRINTED,
    **network.PRINTED,
    **cluster.PRINTED,
}


def columns(resource: Resource) -> list[Column]:
    """Columns of a kind, those for -o wide included (priority 1)."""
    return _of(resource).columns


def row(resource: Resource, obj: Any, clock: Clock) -> list[Any]:
    """Cells of one typed object, as many as there are columns."""
    return _of(resource).row(obj, clock.now())


def _of(resource: Resource) -> Printed:
    return _PRINTED.get((resource.group, resource.plural), cluster.GENERIC)
