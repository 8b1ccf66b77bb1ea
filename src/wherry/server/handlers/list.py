"""GET of a collection: the cache's bytes joined, in pages if asked for.

Every page of a list shows the state at the first page's revision. While nothing of the kind has changed since, the
cache is that state; else the page is read from the store's history, until that is compacted (410).
"""

from wherry.meta import fields, labels
from wherry.meta.errors import bad_request, expired
from wherry.server.caches import too_large
from wherry.server.handlers.corrupt import check_readable
from wherry.server.handlers.parameters import (
    ANY_REVISION,
    EXACT,
    ListParameters,
    list_parameters,
    make_token,
    parse_revision,
    read_token,
)
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.objects import labels_of
from wherry.server.registry import Served
from wherry.server.watchcache import Entry, Selection
from wherry.store.errors import CompactedError, FutureRevisionError
from wherry.store.protocol import prefix_end

_GONE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_TOO_OLD = "The resourceVersion for the provided list is too old."


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
        if request.info.name and by_field.exact("metadata.name") != request.info.name:
            raise bad_request("fieldSelector metadata.name doesn't match requested name")
        offered = served.custom.selectable_fields if served.custom else served.resource.selectable_fields
        plain = served.custom is None and not offered
        by_field.check_supported(("metadata.name", "metadata.namespace", *offered), plain)
        if served.convert is not None and served.convert.fields:
            by_field = by_field.renamed(served.convert.fields)
    except ValueError as error:
        raise bad_request(str(error)) from error
    return Selection(request.info.namespace, by_label, by_field)


async def list_objects(means: Means, served: Served, request: Request) -> Response:
    """200 with the list. Raises 400, 410, 422, 504."""
    parameters = list_parameters(request, means.features)
    selection = selection_of(request, served, parameters)
    caches, cache = means.writer.caches, served.cache
    wanted = parse_revision(parameters.resource_version)
    limit, after, exact = parameters.limit, "", 0
    if parameters.continue_token:
        exact, after = read_token(parameters)
        if exact == ANY_REVISION:
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
        check_readable(means, served, selection.namespace)
    revision = exact or caches.revision
    token = make_token(revision, f"{entries[-1].key}\0") if remaining else ""
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
            gone.continue_token = make_token(ANY_REVISION, after)
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
