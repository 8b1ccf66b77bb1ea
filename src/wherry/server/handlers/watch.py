"""WATCH: frames of the cache's events, gathered per loop turn into one write.

A watch without a resourceVersion (or with 0, or with sendInitialEvents) begins with an ADDED event for all there is,
and then a bookmark if it takes them; one with a resourceVersion begins after it, or gets 410 when that is too long ago.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Self

from wherry.meta.errors import StatusError
from wherry.meta.wire import encode
from wherry.server.handlers.corrupt import check_readable
from wherry.server.handlers.list import selection_of
from wherry.server.handlers.parameters import list_parameters, parse_revision
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.negotiation import accepted
from wherry.server.registry import Served
from wherry.server.watchcache import Entry, Event, Watcher, error_frame, frame, too_old

TIMEOUT_SECONDS = (1800.0, 3600.0)
"""A watch that names no end gets one at random in here, so that clients do not all come back at once."""
_INITIAL_BYTES = 256 * 1024
"""How much of the initial state goes into one write."""


async def watch(means: Means, served: Served, request: Request) -> Response:
    """200 with a stream of events, until the client leaves, the time is up or it falls behind."""
    parameters = list_parameters(request, means.features)
    selection = selection_of(request, served, parameters)
    caches, cache = means.writer.caches, served.cache
    wanted = parse_revision(parameters.resource_version)
    initial: list[Entry] = []
    with_state = parameters.send_initial_events if parameters.send_initial_events is not None else not wanted
    if with_state or not wanted:
        try:
            if wanted:
                await caches.wait_for(wanted)
            elif parameters.resource_version == "":
                await caches.fresh()
            if with_state and cache.unreadable:
                check_readable(means, served, selection.namespace)
        except StatusError as error:  # as below
            return Response(200, error_frame(error))
        if with_state:
            initial = cache.page(selection, "", 0)[0]
        since = caches.revision
    else:
        since = wanted
    wanted_form = accepted(request)
    show = None if wanted_form.plain and served.convert is None else _shown(means, served, request)
    bookmark = _bookmarks(served, show if wanted_form.shape else None)
    seconds = parameters.timeout_seconds
    seconds_float = float(seconds) if seconds else means.writer.entropy.uniform(*TIMEOUT_SECONDS)
    try:
        watcher = cache.watch(selection, since, parameters.bookmarks)
    except StatusError as error:  # clients expect 410 inside the stream as well as outside; upstream sends it inside
        return Response(200, error_frame(error))
    end_of_state = None
    if parameters.send_initial_events and parameters.bookmarks:
        end_of_state = bookmark(since, {"k8s.io/initial-events-end": "true"})
    ahead = served.convert.ahead if served.convert is not None else None
    if ahead is not None:
        await ahead(initial)
    return Response(200, WatchStream(watcher, initial, end_of_state, show, bookmark, seconds_float, ahead))


def _shown(means: Means, served: Served, request: Request) -> Callable[[Entry], bytes]:
    return means.shapes.event(request, served, accepted(request), True)


Bookmark = Callable[[int, dict[str, str] | None], bytes]
"""The frame of a bookmark, of its revision and annotations."""


def _bookmarks(served: Served, show: Callable[[Entry], bytes] | None) -> Bookmark:
    """Bookmarks in the served version, and in the shape of all other events (`show`)."""
    resource = served.resource

    def made(revision: int, annotations: dict[str, str] | None) -> bytes:
        meta: dict[str, Any] = {"resourceVersion": str(revision)}
        if annotations:
            meta["annotations"] = annotations
        data = encode({"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta})
        return frame("BOOKMARK", data if show is None else show(Entry("", data, revision, {}, {})))

    return made


Ahead = Callable[[Iterable[Entry]], Awaitable[None]]
"""Has objects converted by whoever does that, before they are shown."""


class WatchStream:
    """The body of a watch: an asynchronous iterator over chunks of whole lines."""

    def __init__(
        self,
        watcher: Watcher,
        initial: list[Entry],
        end_of_state: bytes | None,
        show: Callable[[Entry], bytes] | None,
        bookmark: Bookmark,
        seconds: float,
        ahead: Ahead | None = None,
    ) -> None:
        self._ahead = ahead
        self._watcher = watcher
        self._initial: Iterator[Entry] | None = iter(initial)
        self._end_of_state = end_of_state
        self._show = show
        self._bookmark = bookmark
        self._timer = asyncio.get_running_loop().call_later(seconds, watcher.close)
        self._failed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._initial is not None:
            chunk = self._initial_chunk(self._initial)
            if chunk:
                return chunk
        watcher = self._watcher
        if await watcher.wait():
            items = watcher.items
            if self._ahead is not None:
                try:
                    await self._ahead([entry for _, entry, _ in items])
                except StatusError as error:
                    watcher.close()
                    items.clear()
                    return error_frame(error)
            if len(items) == 1:
                return self._frame(*items.popleft())
            frames = [self._frame(*item) for item in items]
            items.clear()
            return b"".join(frames)
        self._timer.cancel()
        if watcher.overflowed and not self._failed:
            self._failed = True
            return error_frame(too_old(watcher.since, watcher.since))
        raise StopAsyncIteration

    def _initial_chunk(self, entries: Iterator[Entry]) -> bytes:
        frames, size = [], 0
        for entry in entries:
            made = frame("ADDED", entry.data if self._show is None else self._show(entry))
            frames.append(made)
            size += len(made)
            if size > _INITIAL_BYTES:
                return b"".join(frames)
        self._initial = None
        if self._end_of_state is not None:
            frames.append(self._end_of_state)
        return b"".join(frames)

    def _frame(self, kind: str, entry: Entry, event: Event | None) -> bytes:
        if self._show is None:
            return event.frame if event is not None else frame(kind, entry.data)
        return self._bookmark(entry.revision, None) if kind == "BOOKMARK" else frame(kind, self._show(entry))

    async def aclose(self) -> None:
        """The client left."""
        self._timer.cancel()
        self._watcher.close()
