"""Requests and responses between the frontends and the handlers: no sockets, no framework.

The HTTPS frontend (frontend.py) and the in-process transport (transport.py) both make a `Request` and perform a
`Response`; everything between them (app.py: filters, then a handler) sees only these. Bodies are bytes, a list of byte
chunks (a LIST joins the stored objects without copying them) or an asynchronous iterator (watches, logs).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Body = bytes | list[bytes] | AsyncIterator[bytes]


@dataclass(slots=True)
class UserInfo:
    """Who is asking, as authentication found."""

    name: str = ""
    uid: str = ""
    groups: list[str] = field(default_factory=list)
    extra: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class RequestInfo:
    """What is asked, read from method, path and query (Kubernetes' RequestInfo); routes.py fills it."""

    verb: str = ""
    """get, list, watch, create, update, patch, delete, deletecollection; the lower-case method for other paths."""
    api_group: str = ""
    api_version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    is_resource_request: bool = False
    path: str = ""
    rest: str = ""
    """What follows the subresource in the path: the path that a proxy request is for."""
    field_selector: str = ""
    """As given; of list, watch and deletecollection only. Authorizers may narrow what they allow by it."""
    label_selector: str = ""


class Request:
    """One request. `query` keeps repeated parameters; header names are in lower case."""

    __slots__ = (
        "audit",
        "audit_id",
        "body",
        "flow_headers",
        "headers",
        "info",
        "method",
        "pairs",
        "path",
        "peer_certificates",
        "query",
        "query_string",
        "raw",
        "record",
        "remote",
        "user",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: dict[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        query_string: str = "",
        user: UserInfo | None = None,
        remote: str = "",
        peer_certificates: tuple[bytes, ...] = (),
        raw: Any = None,
        pairs: list[tuple[str, str]] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query: dict[str, list[str]] = query if query is not None else {}
        self.query_string = query_string
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.body = body
        self.user = user
        """Set before authentication only in process, where the transport already knows who it serves."""
        self.remote = remote
        self.peer_certificates = peer_certificates
        """What the client showed (DER), its own first; nobody has judged them yet."""
        self.raw = raw
        """The connection, for upgrades; None in process."""
        self.pairs = pairs
        """Headers as they came, repeated ones too, names in lower case; None in process."""
        self.info = RequestInfo()
        self.audit: dict[str, str] = {}
        """Annotations for the audit log."""
        self.audit_id = ""
        self.record: Any = None
        """The audit log's (server/audit/auditor.py) while the request is being recorded."""
        self.flow_headers: dict[str, str] | None = None
        """What the answer tells of priority and fairness."""

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default

    def header_values(self, name: str) -> list[str]:
        """All values of a header that may be repeated, in order; `name` in lower case."""
        if self.pairs is not None:
            return [value for key, value in self.pairs if key == name]
        value = self.headers.get(name)
        return [value] if value is not None else []


Upgrade = Callable[[Any], "Awaitable[Response | None]"]
"""Takes the connection over: returns None when it wrote everything itself, or an answer when that was not possible."""


class Response:
    """One answer. A streaming body is closed (`aclose`) by the frontend when the peer goes away."""

    __slots__ = ("body", "headers", "status", "upgrade")

    def __init__(
        self,
        status: int = 200,
        body: Body = b"",
        *,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
        upgrade: Upgrade | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.headers: dict[str, str] = headers if headers is not None else {}
        self.headers.setdefault("Content-Type", content_type)
        self.upgrade = upgrade


class Refusal(Exception):
    """A request turned away before anything looked at it, with an answer that is no Status."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


Handler = Callable[[Request], Awaitable[Response]]
