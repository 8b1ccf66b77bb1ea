"""PUT: an object in place of another, on the resource itself or its status.

The body's resourceVersion, when it has one, must be the current one. A body without a resourceVersion replaces whatever
is there, where the kind allows that.
"""

from typing import Any

from wherry.meta.errors import StatusError
from wherry.server.handlers.bodies import read_object, write_options
from wherry.server.handlers.writes import Means, check_name, check_namespace
from wherry.server.http import Request, Response
from wherry.server.registry import Served
from wherry.server.strategies.metadata import drop_repeated_owners
from wherry.server.watchcache import Entry


async def update(means: Means, served: Served, request: Request) -> Response:
    """200 with the object, 201 when the kind may be created by PUT and was. Raises StatusError."""
    options = write_options(request)
    write = means.write(request, options)
    obj = read_object(request, served, options.field_validation, write.ctx.warnings)
    check_name(obj, write.name)
    check_namespace(served, obj, write.namespace)
    stored = served.to_stored(obj)
    if len(stored.metadata.ownerReferences) > 1:
        drop_repeated_owners(stored.metadata, write.ctx.warnings)
    served.strategy.default(stored)
    codec = served.stored_codec

    def replaced(_: Any, __: Entry) -> Any:
        return codec.copy(stored)

    try:
        written = await means.writer.update(served, replaced, write)
    except StatusError as error:
        if error.code != 404 or not served.strategy.allow_create_on_update or write.subresource:
            raise
        stored.metadata.resourceVersion = None
        written = await means.writer.create(served, stored, write)
    return means.answer(request, served, written, write.ctx.warnings)
