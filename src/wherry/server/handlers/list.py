"""GET of a collection: the cache's bytes joined, in pages if asked for.

Every page of a list shows the state at the first page's revision. While nothing of the kind has changed since, the
cache is that state; else the page is read from the store's history, until that is compacted (410).
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import orjson

from wherry.meta import fields, labels
from wherry.meta.errors import (
    FieldError,
    StatusError,
    bad_request,
    expired,
    field_forbidden,
    internal_error,
    invalid,
    not_supported,
)
from wherry.server.caches import too_large
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.json_faults import syntax_fault
from wherry.server.objects import labels_of
from wherry.server.registry import Served
from wherry.server.watchcache import Entry, Selection
from wherry.store.errors import CompactedError, FutureRevisionError
from wherry.store.protocol import prefix_end

EXACT, NOT_OLDER = "Exact", "NotOlderThan"
_GONE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_ANY_REVISION = -1
"""In a token: go on with whatever there is now."""
_TOO_OLD = "The resourceVersion for the provided list is too old."


@dataclass(frozen=True, slots=True)
class ListParameters:
    """What the query of a LIST or WATCH asks for."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""
    send_initial_events: bool | None = None
    bookmarks: bool = False
    timeout_seconds: int | None = None


_PLAIN = ListParameters()


def list_parameters(request: Request) -> ListParameters:
    """Read the query. Raises 400 for what cannot be read, 422 for what does not fit together."""
    if not request.query:
        return _PLAIN
    first = request.first
    parameters = ListParameters(
        first("labelSelector"),
        first("fieldSelector"),
        max(0, _integer(first("limit")) or 0),
        first("continue"),
        first("resourceVersion"),
        first("resourceVersionMatch"),
        None if "sendInitialEvents" not in request.query else _truth(first("sendInitialEvents")),
        _truth(first("allowWatchBookmarks", "false")),
        _integer(first("timeoutSeconds")),
    )
    _check(parameters, request.info.verb == "watch")
    return parameters


def _truth(text: str) -> bool:
    return text not in ("0", "false", "False")


def _integer(text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def parse_revision(text: str) -> int:
    """A resourceVersion; 0 for none. Raises 400."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f'invalid resource version: resourceVersion: Invalid value: "{text}": {why}')
    return int(text)


def _check(parameters: ListParameters, watch: bool) -> None:
    errors: list[FieldError] = []
    match = parameters.match
    if parameters.send_initial_events is not None and not watch:
        errors.append(field_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if match:
        if watch and parameters.send_initial_events is None:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            errors.append(field_forbidden("resourceVersionMatch", text))
        if not watch and not parameters.resource_version:
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            errors.append(field_forbidden("resourceVersionMatch", text))
        if parameters.continue_token:
            text = "resourceVersionMatch is forbidden when continue is provided"
            errors.append(field_forbidden("resourceVersionMatch", text))
        if match not in (EXACT, NOT_OLDER):
            errors.append(not_supported("resourceVersionMatch", match, [EXACT, NOT_OLDER, ""]))
        if match == EXACT and parameters.resource_version == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            errors.append(field_forbidden("resourceVersionMatch", text))
    if watch and parameters.send_initial_events is not None and match != NOT_OLDER:
        text = f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER}"
        errors.append(field_forbidden("resourceVersionMatch", text))
    if errors:
        raise invalid("ListOptions.meta.k8s.io", "", errors)


def selection_of(request: Request, served: Served, parameters: ListParameters) -> Selection:
    """Namespace and selectors. Raises 400 for selectors that cannot be read or are not offered."""
    if not parameters.label_selector and not parameters.field_selector and not request.info.name:
        return Selection(request.info.namespace)
    try:
        by_label = labels.parse(parameters.label_selector)
    except ValueError as error:
        raise bad_request(str(error)) from error
    text = parameters.field_selector
    if request.info.name and not text:
        text = f"metadata.name={fields.escape(request.info.name)}"
    try:
        by_field = fields.parse(text)
        offered = served.custom.selectable_fields if served.custom else served.stored.selectable_fields
        plain = served.custom is None and not offered
        by_field.check_supported(("metadata.name", "metadata.namespace", *offered), plain)
    except ValueError as error:
        raise bad_request(str(error)) from error
    return Selection(request.info.namespace, by_label, by_field)


async def list_objects(means: Means, served: Served, request: Request) -> Response:
    """200 with the list. Raises 400, 410, 422, 504."""
    parameters = list_parameters(request)
    selection = selection_of(request, served, parameters)
    caches, cache = means.writer.caches, served.cache
    wanted = parse_revision(parameters.resource_version)
    limit, after, exact = parameters.limit, "", 0
    if parameters.continue_token:
        exact, after = _read_token(parameters)
        if exact == _ANY_REVISION:
            exact = 0
            await caches.fresh()
    elif wanted and (parameters.match == EXACT or (limit and not parameters.match)):
        exact = wanted
    elif wanted:
        await caches.wait_for(wanted)
    elif parameters.resource_version == "0":
        limit = 0  # any state will do, and the cache's is cheapest whole
    else:
        await caches.fresh()
    if exact and not cache.changed_revision <= exact <= caches.revision:
        entries, remaining = await _at_revision(means, served, selection, after, limit, exact, parameters)
    else:
        entries, remaining = cache.page(selection, after, limit)
    if cache.unreadable:
        raise internal_error(next(iter(cache.unreadable.values())))
    revision = exact or caches.revision
    token = _make_token(revision, f"{entries[-1].key}\0") if remaining else ""
    if not selection.everything:
        remaining = 0  # upstream does not count what a selector might still leave out
    if served.convert is not None and served.convert.ahead is not None:
        await served.convert.ahead(entries)
    return means.shapes.reply_list(request, served, entries, revision, token, remaining)


async def _at_revision(
    means: Means,
    served: Served,
    selection: Selection,
    after: str,
    limit: int,
    revision: int,
    parameters: ListParameters,
) -> tuple[list[Entry], int]:
    """A page as it was, from the store's history."""
    prefix = served.stored.storage_prefix + (f"{selection.namespace}/" if selection.namespace else "")
    root = served.stored.storage_prefix
    start = max(f"{root}{after}", prefix).encode()
    try:
        found = await means.writer.store.range(start, prefix_end(prefix.encode()), revision=revision)
    except CompactedError as error:
        gone = expired(_GONE if parameters.continue_token else _TOO_OLD)
        if parameters.continue_token:
            gone.continue_token = _make_token(_ANY_REVISION, after)
        raise gone from error
    except FutureRevisionError as error:
        raise too_large(revision, means.writer.caches.revision) from error
    entries: list[Entry] = []
    for index, kv in enumerate(found.kvs):
        key = kv.key.decode()[len(root) :]
        facts = {}
        if not selection.field_selector.empty:
            facts = served.strategy.fields(served.stored_codec.decode(kv.value))
        data = served.stored_codec.splice(kv.value, kv.mod_revision)
        entry = Entry(key, data, kv.mod_revision, labels_of(kv.value), facts)
        if selection.everything or selection.matches(entry):
            if limit and len(entries) == limit:
                return entries, len(found.kvs) - index
            entries.append(entry)
    return entries, 0


def _make_token(revision: int, start: str) -> str:
    value = {"v": "meta.k8s.io/v1", "rv": revision, "start": start}
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def _read_token(parameters: ListParameters) -> tuple[int, str]:
    if parameters.resource_version not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    text = parameters.continue_token
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if why := syntax_fault(data):
            raise _bad_token(why)
        value: Any = orjson.loads(data)
        if value["v"] != "meta.k8s.io/v1":
            raise _bad_token(f'unsupported version "{value["v"]}"')
        return int(value["rv"]), str(value["start"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise _bad_token(str(error)) from error


def _bad_token(why: str) -> StatusError:
    return bad_request(f"invalid continue token: continue key is not valid: {why}")
