"""The client's road into a server of the same process: a `Transport` without sockets or TLS.

A request takes the same way through authentication, authorization, admission and validation as one over HTTPS; only
the credentials are replaced by the user that the transport was made for.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from wherry.client.transport import Response, status_error
from wherry.server.http import Handler, Request, UserInfo
from wherry.server.http import Response as ServerResponse


class InProcessTransport:
    """Implements `wherry.client.transport.Transport` on a server's `handle`."""

    def __init__(self, handle: Handler, user: UserInfo) -> None:
        self._handle = handle
        self._user = user

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """See Transport."""
        answer = await self._handle(self._made(method, path, query, body, headers))
        return Response(answer.status, _lowered(answer.headers), await _whole(answer))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See Transport."""
        answer = await self._handle(self._made(method, path, query, body, headers))
        if answer.status >= 300:
            raise status_error(answer.status, await _whole(answer))
        lines = _lines(answer)
        try:
            yield lines
        finally:
            await lines.aclose()
            await close_body(answer)

    async def close(self) -> None:
        """Nothing is held."""

    def _made(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes, headers: Mapping[str, str] | None
    ) -> Request:
        return Request(
            method,
            path,
            {key: [value] for key, value in query.items()} if query else None,
            _lowered(headers) if headers else None,
            body,
            query_string=urlencode(query) if query else "",
            user=self._user,
            remote="127.0.0.1",
        )


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}


async def _whole(answer: ServerResponse) -> bytes:
    body = answer.body
    if isinstance(body, bytes):
        return body
    if isinstance(body, list):
        return b"".join(body)
    try:
        return b"".join([chunk async for chunk in body])
    finally:
        await close_body(answer)


async def _lines(answer: ServerResponse) -> AsyncGenerator[bytes, None]:
    body = answer.body
    if isinstance(body, bytes | list):
        whole = body if isinstance(body, bytes) else b"".join(body)
        for line in whole.splitlines():
            yield line
        return
    rest = b""
    async for chunk in body:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line
    if rest:
        yield rest


async def close_body(answer: ServerResponse) -> None:
    """Let go of a streaming body, read to the end or not."""
    close = getattr(answer.body, "aclose", None)
    if close is not None:
        await close()
