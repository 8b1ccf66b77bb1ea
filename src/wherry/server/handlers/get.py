"""GET of one object: the cache's own bytes."""

from wherry.server.handlers.parameters import parse_revision
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.negotiation import accepted, reply
from wherry.server.registry import Served
from wherry.server.writer import missing


async def get(means: Means, served: Served, request: Request) -> Response:
    """200 with the object. Raises 404."""
    info = request.info
    if request.query:
        revision = parse_revision(request.first("resourceVersion"))
        if revision:
            await means.writer.caches.wait_for(revision)
    entry = served.cache.get(info.namespace, info.name)
    if entry is None:
        raise missing(served, info.name, info.namespace)
    wanted = accepted(request)
    if wanted.plain and not request.query and not wanted.anything and served.convert is None:
        return Response(200, entry.data)
    data = means.shapes.one(request, served, wanted, entry) if wanted.shape else served.present(entry)
    return reply(request, data)
