"""Objects in other shapes than their own: tables, as `kubectl get` asks for, and metadata alone.

Columns and cells are the printers' business (server/printers). Both shapes work on entries of the cache, so a list of
metadata never decodes more than metadata.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson

from wherry.aio.clock import Clock
from wherry.meta.errors import bad_request, not_acceptable
from wherry.meta.wire import encode
from wherry.server import printers
from wherry.server.http import Request, Response
from wherry.server.negotiation import JSON, YAML, Accepted, accepted, for_people, reply
from wherry.server.registry import Served
from wherry.server.watchcache import Entry


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw


_METADATA = msgspec.json.Decoder(_Metadata)

_ITEMS_PIECE = 512
"""Items of a list that are joined at once: pieces that fit a processor's cache are joined and sent faster than one
that does not, and nobody holds a second copy of the whole."""


class Shapes:
    """Lists and single objects, in the shape a client accepts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def one(self, request: Request, served: Served, wanted: Accepted, entry: Entry) -> bytes:
        """One object as Table or PartialObjectMetadata. Raises 406."""
        if wanted.shape == "Table":
            table = self._table(request, served, wanted, [entry], True)
            table["metadata"] = {"resourceVersion": str(entry.revision)} if entry.revision else {}
            return encode(table)
        if wanted.shape == "PartialObjectMetadata":
            return partial(entry, wanted.version)
        raise not_acceptable([JSON, YAML])

    def reply_list(
        self,
        request: Request,
        served: Served,
        entries: Sequence[Entry],
        revision: int,
        continue_token: str = "",
        remaining: int = 0,
    ) -> Response:
        """200 with a list of entries."""
        wanted = accepted(request)
        meta: dict[str, Any] = {"resourceVersion": str(revision)}
        if continue_token:
            meta["continue"] = continue_token
            if remaining:
                meta["remainingItemCount"] = remaining
        if wanted.shape == "Table":
            table = self._table(request, served, wanted, entries, True)
            table["metadata"] = meta
            return reply(request, encode(table))
        if wanted.shape == "PartialObjectMetadata":
            raise not_acceptable([JSON, YAML])
        if wanted.shape:
            items = [partial(entry, wanted.version) for entry in entries]
            kind, version, cut = "PartialObjectMetadataList", f"meta.k8s.io/{wanted.version}", 1
        else:
            cut = _items_begin(served)
            items = [e.data for e in entries] if served.convert is None else [served.present(e) for e in entries]
            kind, version = served.resource.list_kind, served.resource.api_version
        head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[%b' % (
            kind.encode(),
            version.encode(),
            orjson.dumps(meta),
            b"{" if items else b"",
        )
        pieces = [head]
        for begin in range(0, len(items), _ITEMS_PIECE):
            if begin:
                pieces.append(b",{")
            pieces.append(b",{".join([item[cut:] for item in items[begin : begin + _ITEMS_PIECE]]))
        pieces.append(b"]}")
        if wanted.plain and not for_people(request, wanted) and len(items) > _ITEMS_PIECE:
            return Response(200, pieces)
        return reply(request, b"".join(pieces))

    def event(self, request: Request, served: Served, wanted: Accepted, first: bool) -> Callable[[Entry], bytes]:
        """How a watch shows its objects; None of the frames are shared then."""
        columns_sent = not first

        def show(entry: Entry) -> bytes:
            nonlocal columns_sent
            if wanted.shape == "Table":
                table = self._table(request, served, wanted, [entry], not columns_sent)
                table["metadata"] = {"resourceVersion": str(entry.revision)}
                columns_sent = True
                return encode(table)
            if wanted.shape:
                return partial(entry, wanted.version)
            return served.present(entry)

        return show

    def _table(
        self, request: Request, served: Served, wanted: Accepted, entries: Sequence[Entry], with_columns: bool
    ) -> dict[str, Any]:
        include = request.first("includeObject", "Metadata")
        if include not in ("None", "Metadata", "Object"):
            raise bad_request(f"unrecognized includeObject value: {include!r}")
        columns, cells = self._printer(served)
        rows = []
        for entry in entries:
            row: dict[str, Any] = {"cells": cells(entry) if entry.key else [], "object": None}
            if include == "Metadata":
                row["object"] = msgspec.Raw(partial(entry, wanted.version))
            elif include == "Object":
                row["object"] = msgspec.Raw(served.present(entry))
            rows.append(row)
        return {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{wanted.version}",
            "metadata": {},
            "columnDefinitions": columns if with_columns else [],
            "rows": rows,
        }

    def _printer(self, served: Served) -> tuple[list[dict[str, Any]], Callable[[Entry], list[Any]]]:
        if served.custom is not None:
            columns, row = served.custom.printer(self._clock)
            return columns, lambda entry: row(orjson.loads(served.present(entry)))
        shown = [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in printers.columns(served.stored)
        ]
        decode = served.stored_codec.decode
        return shown, lambda entry: printers.row(served.stored, decode(entry.data), self._clock)


def _items_begin(served: Served) -> int:
    """Where an item goes on after its brace: items of built-in lists are written without apiVersion and kind."""
    return 1 if served.custom is not None else len(served.codec.prefix) - len(b'"metadata":{')


def partial(entry: Entry, version: str) -> bytes:
    """An object's metadata as PartialObjectMetadata."""
    head = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b","metadata":' % version.encode()
    return head + bytes(_METADATA.decode(entry.data).metadata) + b"}"
