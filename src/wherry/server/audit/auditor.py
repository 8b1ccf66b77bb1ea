"""Records requests, as the policy asks, at their stages: received, answer begun (streams), answer complete, crashed.

`received` is called when it is known who asks, `answered` at the end (traffic.py); without an auditor neither happens.
Events are made in events.py and go to every backend: logfile.py, webhook.py.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from wherry.aio.clock import Clock
from wherry.server.audit import events
from wherry.server.audit.policy import LEVELS, NONE, Policy, Verdict
from wherry.server.http import Request, Response, UserInfo
from wherry.server.lifecycle import long_running
from wherry.server.transport import close_body


class Backend(Protocol):
    """Where events go."""

    name: str
    errors: int
    """Events lost."""

    def put(self, event: events.Event) -> None:
        """Take one event; never waits."""

    async def close(self) -> None:
        """Bring out what is still here."""


class Record:
    """One request that is being recorded."""

    __slots__ = ("event", "request", "user", "verdict")

    def __init__(self, request: Request, user: UserInfo, verdict: Verdict, event: events.Event) -> None:
        self.request = request
        self.user = user
        """Who really asks, before impersonation."""
        self.verdict = verdict
        self.event = event


class Auditor:
    """One per server that audits."""

    def __init__(self, policy: Policy, backends: list[Backend], clock: Clock) -> None:
        self._policy = policy
        self._backends = backends
        self._clock = clock
        self._events = 0
        self._levels = dict.fromkeys(LEVELS, 0)

    def received(self, request: Request) -> None:
        """The request's user is known."""
        user = request.user or UserInfo()
        verdict = self._policy.verdict(user, request.info)
        self._levels[LEVELS[verdict.level]] += 1
        if verdict.level != NONE:
            now = self._clock.now()
            event = events.begun(request, user, LEVELS[verdict.level], now)
            request.record = Record(request, user, verdict, event)
            self._emit(request.record, "RequestReceived")

    def answered(self, request: Request, response: Response) -> None:
        """The answer is known; streams are recorded to their end."""
        record: Record | None = request.record
        if record is None:
            if response.status == 401 and request.user is None:
                self._unrecognised(request, response)
            return
        events.add_request(record.event, request, record.user, record.verdict)
        if response.upgrade is not None or not isinstance(response.body, bytes | list):
            self._follow(record, response)
            return
        events.add_response(record.event, response, record.verdict)
        if long_running(request.info):
            self._emit(record, "ResponseStarted")
        self._emit(record, "ResponseComplete")

    def _unrecognised(self, request: Request, response: Response) -> None:
        """Authentication failed."""
        verdict = self._policy.verdict(UserInfo(), request.info)
        if verdict.level == NONE:
            return
        event = events.begun(request, UserInfo(), LEVELS[verdict.level], self._clock.now())
        record = Record(request, UserInfo(), verdict, event)
        event["responseStatus"] = {
            "metadata": {},
            "status": "Failure",
            "message": "Authentication failed",
            "reason": "Unauthorized",
            "code": response.status,
        }
        self._emit(record, "ResponseStarted")

    def crashed(self, request: Request, error: Exception) -> None:
        """The handler broke."""
        record: Record | None = request.record
        if record is None:
            return
        request.record = None
        events.add_request(record.event, record.request, record.user, record.verdict)
        record.event["responseStatus"] = {
            "metadata": {},
            "status": "Failure",
            "message": f"APIServer panic'd: {error}",
            "reason": "InternalError",
            "code": 500,
        }
        self._emit(record, "Panic")

    def _follow(self, record: Record, response: Response) -> None:
        record.event["responseStatus"] = {"metadata": {}, "code": 101 if response.upgrade else response.status}
        self._emit(record, "ResponseStarted")
        upgrade = response.upgrade
        if upgrade is not None:

            async def upgraded(raw: Any) -> Any:
                try:
                    return await upgrade(raw)
                finally:
                    self._emit(record, "ResponseComplete")

            response.upgrade = upgraded
        else:
            body = response.body
            assert not isinstance(body, bytes | list)
            response.body = _Recorded(response, body, self, record)

    def finished(self, record: Record) -> None:
        """A stream has ended."""
        self._emit(record, "ResponseComplete")

    def _emit(self, record: Record, stage: str) -> None:
        if stage in record.verdict.omit_stages:
            return
        self._events += 1
        event = events.at_stage(record.event, stage, self._clock.now(), record.request.audit)
        for backend in self._backends:
            backend.put(event)

    def collect(self) -> list[Any]:
        """Metric families."""
        from prometheus_client.core import CounterMetricFamily

        total = CounterMetricFamily(
            "apiserver_audit_event", "Counter of audit events generated and sent to the backend."
        )
        total.add_metric([], self._events)
        levels = CounterMetricFamily(
            "apiserver_audit_level", "Counter of policy levels for audit events.", labels=["level"]
        )
        for level, count in self._levels.items():
            if count:
                levels.add_metric([level], count)
        lost = CounterMetricFamily(
            "apiserver_audit_error", "Counter of audit events that failed to be audited properly.", labels=["plugin"]
        )
        for backend in self._backends:
            lost.add_metric([backend.name], backend.errors)
        return [total, levels, lost]

    async def close(self) -> None:
        """Bring out what is still here."""
        for backend in self._backends:
            await backend.close()


class _Recorded:
    """A stream whose end is recorded."""

    def __init__(self, response: Response, body: AsyncIterator[bytes], auditor: Auditor, record: Record) -> None:
        self._inner = Response(response.status, body)
        self._body = body
        self._auditor = auditor
        self._record: Record | None = record

    def __aiter__(self) -> "_Recorded":
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._body)

    async def aclose(self) -> None:
        """The stream is over, read to the end or not."""
        if self._record is not None:
            self._auditor.finished(self._record)
            self._record = None
        await close_body(self._inner)
