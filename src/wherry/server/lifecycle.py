"""A request's time: how long it may take, and what becomes of it while the server stops.

Requests over HTTPS that are not long-running end after --request-timeout (504), or after what ?timeout= says. One timer
looks at all of them once a second while there are any, so a request costs two dictionary operations. Stopping: readyz
fails at once, requests are still served for --shutdown-delay-duration, then new ones are turned away, those under way
finish, watches are ended.
"""

import asyncio
from typing import Any

from wherry.aio.clock import Clock
from wherry.meta.duration import parse_duration
from wherry.meta.errors import StatusError, bad_request, timeout
from wherry.server.http import Refusal, Request, RequestInfo, Response

REQUEST_SECONDS = 60.0
LOOK_SECONDS = 1.0
_LONG_VERBS = frozenset({"watch", "proxy"})
_LONG_SUBRESOURCES = frozenset({"attach", "exec", "proxy", "log", "portforward"})


def long_running(info: RequestInfo) -> bool:
    """Whether a request may last as long as it likes: watches, streams, proxied requests."""
    if not info.is_resource_request:
        return info.path.startswith("/debug/pprof/")
    return info.verb in _LONG_VERBS or info.subresource in _LONG_SUBRESOURCES


class Lifecycle:
    """The requests under way of one server."""

    def __init__(self, clock: Clock, request_seconds: float = REQUEST_SECONDS) -> None:
        self._clock = clock
        self._request_seconds = request_seconds
        self._under_way: dict[Request, tuple[float, asyncio.Task[Any] | None]] = {}
        self._expired: set[Request] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self.stopping = False
        """readyz fails."""
        self.draining = False
        """New requests are turned away."""

    # One request

    def begin(self, request: Request, now: float) -> None:
        """Take note of a request from outside. Raises 400 for a timeout that cannot be read, Refusal while draining."""
        if self.draining:
            raise Refusal(_closing())
        deadline = now + self._request_seconds
        if request.query and "timeout" in request.query:
            seconds = _asked_for(request)
            if 0 < seconds < self._request_seconds:
                deadline = now + seconds
                asyncio.get_running_loop().call_later(seconds, self._look)
        self._under_way[request] = deadline, asyncio.current_task()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._tick)

    def end(self, request: Request) -> None:
        """The request was answered."""
        self._under_way.pop(request, None)
        if self.draining and not self._under_way:
            self._idle.set()

    def ran_out(self, request: Request) -> StatusError | None:
        """After a cancellation: the 504 when it was ours, because time was up; None when it was not."""
        if request not in self._expired:
            return None
        self._expired.discard(request)
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        return timeout("request did not complete within the allotted timeout")

    def _tick(self) -> None:
        self._timer = None
        self._look()
        if self._under_way:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._tick)

    def _look(self) -> None:
        now = self._clock.monotonic() + 0.001  # timers come to the millisecond
        for request, (deadline, task) in list(self._under_way.items()):
            if now >= deadline and task is not None and not long_running(request.info) and request not in self._expired:
                self._expired.add(request)
                task.cancel()

    # The server's end

    async def drain(self, delay_seconds: float, longest_seconds: float = REQUEST_SECONDS) -> None:
        """Fail readyz, serve on for a while, then take nothing new and wait for what is under way."""
        self.stopping = True
        if delay_seconds > 0:
            await self._clock.sleep(delay_seconds)
        self.draining = True
        if any(not long_running(request.info) for request in self._under_way):
            try:
                async with asyncio.timeout(longest_seconds):
                    await self._idle.wait()
            except TimeoutError:
                return

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _asked_for(request: Request) -> float:
    text = request.first("timeout")
    if not text:
        return 0.0
    try:
        return parse_duration(text)
    except ValueError as error:
        raise bad_request(f"invalid timeout specified in the request URL - {error}") from error


def _closing() -> Response:
    """What late-comers get: come again, on another connection, and so to another server."""
    headers = {"Retry-After": "5", "Connection": "close", "X-Content-Type-Options": "nosniff"}
    body = b"The apiserver is shutting down, please try again later.\n"
    return Response(429, body, headers=headers, content_type="text/plain; charset=utf-8")
