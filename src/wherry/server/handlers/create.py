"""POST: a new object.

bytes → typed object → defaults → writer.create, whose bytes are the reply. Read server/writer.py next.
"""

from wherry.meta.errors import bad_request
from wherry.server.handlers.bodies import read_object, write_options
from wherry.server.handlers.writes import Means, check_namespace
from wherry.server.http import Request, Response
from wherry.server.registry import Served
from wherry.server.strategies.metadata import drop_repeated_owners


async def create(means: Means, served: Served, request: Request) -> Response:
    """201 with the object. Raises StatusError."""
    options = write_options(request)
    write = means.write(request, options)
    if served.resource.namespaced and not write.namespace:
        raise bad_request("an empty namespace may not be set during creation")
    obj = read_object(request, served, options.field_validation, write.ctx.warnings)
    check_namespace(served, obj, write.namespace)
    stored = served.to_stored(obj)
    if len(stored.metadata.ownerReferences) > 1:
        drop_repeated_owners(stored.metadata, write.ctx.warnings)
    served.strategy.default(stored)
    written = await means.writer.create(served, stored, write)
    return means.answer(request, served, written, write.ctx.warnings)
