"""How requests reach an API server: one small protocol, so that components never know which road they are on.

There are two roads: HTTPS (client/https.py) and a direct call into the server's handler chain in the same process
(server/transport.py). Both give any HTTP status back as a `Response`; only a connection that fails raises, as
`TransportError`. Read client/client.py next.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec
import orjson

from wherry.meta.errors import StatusError, generic


class TransportError(Exception):
    """No answer: refused, reset, timed out, a certificate nobody trusts. The message names the server and the cause."""


class Response(msgspec.Struct, frozen=True):
    """An answer, whatever its status. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Transport(Protocol):
    """`path` is unescaped and absolute ("/api/v1/pods"); the transport escapes it where its road needs that."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request, one answer. Raises TransportError."""

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """An answer without end, line by line: each item is one whole line without its newline (watch, followed logs).

        Raises StatusError when the answer is no success, TransportError when the connection fails at any time; a
        server that closes the stream ends the iteration.
        """

    async def close(self) -> None:
        """Give back sockets and tasks."""


def status_error(code: int, body: bytes) -> StatusError:
    """The error a failed answer stands for; a body that is no Status gives a generic one."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        return generic(code)
    return StatusError.from_status(status, code) if isinstance(status, dict) else generic(code)
