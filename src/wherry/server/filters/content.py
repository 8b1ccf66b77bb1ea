"""Protobuf and CBOR at the door: bodies become JSON before the handlers see them, answers are translated as they leave.

Behind this filter everything is JSON (or YAML) in and JSON out, so each handler speaks every format. Go clients prefer
Kubernetes' protobuf for built-in kinds; custom resources have it only as PartialObjectMetadata, and tables not at all.
A client that speaks JSON pays one look at two headers.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import lru_cache

from wherry.meta.errors import bad_request
from wherry.server.http import Request, Response
from wherry.server.negotiation import JSON, PROTOBUF, clauses, shape_of
from wherry.server.registry import Served
from wherry.server.transport import close_body

CBOR = "application/cbor"
CBOR_APPLY = "application/apply-patch+cbor"
_JSON_APPLY = "application/apply-patch+yaml"
_STREAMS = {PROTOBUF: f"{PROTOBUF};stream=watch", CBOR: "application/cbor-seq"}
_RAW = frozenset({"proxy", "exec", "attach", "portforward", "log"})
"""Subresources that carry other people's bytes."""
Find = Callable[[str, str, str], Served | None]


class ContentFilter:
    """Reads and writes what is not JSON. `find` is the registry's."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def choose(self, request: Request) -> str:
        """PROTOBUF, CBOR or "": what to answer in. The handlers are then asked for JSON."""
        accept = request.headers.get("accept", "")
        if "protobuf" not in accept and "cbor" not in accept:
            return ""
        custom = False
        if request.info.is_resource_request:
            served = self._served(request)
            if served is None:
                return ""
            custom = served.resource.type is None
        chosen, instead = _choice(accept, custom)
        if chosen:
            request.headers = {**request.headers, "accept": instead}
        return chosen

    def read(self, request: Request) -> None:
        """Make the body JSON. Raises 400."""
        content_type = request.headers.get("content-type", "")
        if not request.body or not content_type.startswith((PROTOBUF, CBOR, CBOR_APPLY)):
            return
        if request.info.is_resource_request and self._served(request) is None:
            return
        made = JSON
        try:
            if content_type.startswith(PROTOBUF):
                from wherry.server.protobuf.decode import to_json  # tables of 40 KB that JSON clients need not load
            else:
                from wherry.server.cbor import to_json

                made = _JSON_APPLY if content_type.startswith(CBOR_APPLY) else JSON
            request.body = to_json(request.body)
        except ValueError as error:
            raise bad_request(f"unable to decode the request body: {error}") from error
        request.headers = {**request.headers, "content-type": made}

    def _served(self, request: Request) -> Served | None:
        """The kind a request is about; None for those whose bytes are somebody else's."""
        info = request.info
        return None if info.subresource in _RAW else self._find(info.api_group, info.api_version, info.resource)

    async def write(self, request: Request, response: Response, chosen: str) -> Response:
        """The answer in the chosen format, where it has that form."""
        if response.upgrade is not None or response.headers["Content-Type"] != JSON:
            return response
        body = response.body
        if not isinstance(body, bytes | list):
            response.body = _Frames(body, chosen)
            response.headers["Content-Type"] = _STREAMS[chosen]
            return response
        whole = body if isinstance(body, bytes) else b"".join(body)
        if request.info.verb == "watch" and response.status == 200:  # it failed before it began
            response.body, response.headers["Content-Type"] = _frames(whole, chosen), _STREAMS[chosen]
            return response
        made = await _translated(whole, chosen)
        if made is not None:
            response.body, response.headers["Content-Type"] = made, chosen
        return response


@lru_cache(256)
def _choice(accept: str, custom: bool) -> tuple[str, str]:
    for kind, parameters in clauses(accept):
        shape = shape_of(parameters)
        if shape is None:
            continue
        if kind == CBOR or (kind == PROTOBUF and shape != "Table" and (shape or not custom)):
            wanted = f";as={shape};g=meta.k8s.io;v={parameters['v']}" if shape else ""
            return kind, JSON + wanted
        if kind in (JSON, "application/yaml", "*/*", "application/*"):
            break
    return "", ""


async def _translated(body: bytes, chosen: str) -> bytes | None:
    if chosen == CBOR:
        from wherry.server.cbor import from_json

        return from_json(body)
    from wherry.server.protobuf.encode import encoding

    steps = encoding(body)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: bytes | None = end.value
            return made
        await asyncio.sleep(0)


def _frames(lines: bytes, chosen: str) -> bytes:
    """Whole lines of a watch as frames."""
    if chosen == CBOR:
        from wherry.server.cbor import from_json as frame
    else:
        from wherry.server.protobuf.encode import watch_frame as frame
    return b"".join([frame(line) for line in lines.splitlines()])


class _Frames:
    """A watch's body in another format."""

    def __init__(self, body: AsyncIterator[bytes], chosen: str) -> None:
        self._body, self._chosen = body, chosen

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return _frames(await anext(self._body), self._chosen)

    async def aclose(self) -> None:
        """The client left."""
        await close_body(Response(body=self._body))
