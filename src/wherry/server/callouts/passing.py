"""Another server's answer passed on as it comes: what the proxy subresources and aggregation share."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from wherry.server.http import Response

if TYPE_CHECKING:
    import aiohttp

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "host", "authorization", "content-length"}
)
"""Headers that end here: of this connection, or credentials that are nobody else's business."""
PRIVATE = ("x-remote-user", "x-remote-uid", "x-remote-group", "x-remote-extra-", "impersonate-")
"""Beginnings of headers that say who asks: they have said it, and only this server may say it to others."""


def answer_of(reply: "aiohttp.ClientResponse") -> Response:
    """A streaming response of a reply's status, headers and body; the connection ends with it."""
    kept = {name: value for name, value in reply.headers.items() if name.lower() not in HOP_BY_HOP}

    async def chunks() -> AsyncIterator[bytes]:
        try:
            async for chunk in reply.content.iter_any():
                yield chunk
        finally:
            reply.close()

    return Response(reply.status, chunks(), headers=kept, content_type="application/octet-stream")
