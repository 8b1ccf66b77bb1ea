"""meta.k8s.io/v1 Table, what `kubectl get` asks for: columns, and one row of cells per object.

Which columns a kind has, and how its cells are made, is the server's business (server/printers).
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from wherry.meta.object import ListMeta
from wherry.meta.wire import Wire, always, always_list

API_VERSION = "meta.k8s.io/v1"


class TableColumnDefinition(Wire):
    """One column: priority 0 is always shown, higher ones only with -o wide."""

    name: str = always("")
    type: str = always("")
    format: str = always("")
    description: str = always("")
    priority: int = always(0)


class TableRowCondition(Wire):
    """ "Completed" marks rows of objects that have run their course."""

    type: str = always("")
    status: str = always("")
    reason: str | None = None
    message: str | None = None


class TableRow(Wire):
    """The cells of one object, and the object itself as includeObject= asks for it."""

    cells: list[Any] = always_list()
    conditions: list[TableRowCondition] = []
    object: Any = None


class Table(Wire):
    """A list (or, in a watch, one object) as rows; in a watch only the first carries column definitions."""

    kind: str = always("Table")
    apiVersion: str = always(API_VERSION)
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    columnDefinitions: list[TableColumnDefinition] = always_list()
    rows: list[TableRow] = always_list()


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a printer declares it; `type` and `format` are OpenAPI's."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0

    def definition(self) -> TableColumnDefinition:
        """The column on the wire."""
        return TableColumnDefinition(
            name=self.name,
            type=self.type,
            format=self.format,
            description=self.description,
            priority=self.priority,
        )
