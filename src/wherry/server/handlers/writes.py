"""What all writing handlers share: the server's means, the checks of body against URL, the answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from wherry.meta.errors import bad_request
from wherry.server.conversions import ConversionNeededError
from wherry.server.deletion import Deleter
from wherry.server.features import Features
from wherry.server.handlers.bodies import WriteOptions
from wherry.server.http import Request, RequestInfo, Response, UserInfo
from wherry.server.negotiation import accepted, reply
from wherry.server.rbac.authorizer import Verdict
from wherry.server.registry import Served
from wherry.server.shapes import Shapes
from wherry.server.watchcache import Entry
from wherry.server.writer import Write, Writer, Written


@dataclass(frozen=True, slots=True)
class Means:
    """What handlers work with; one per server."""

    writer: Writer
    deleter: Deleter
    shapes: Shapes
    features: Features
    authorize: Callable[[UserInfo, RequestInfo], Verdict | Awaitable[Verdict]]

    def write(self, request: Request, options: WriteOptions) -> Write:
        """The record of one write."""
        info = request.info
        context = self.writer.context(request.user or UserInfo(), options.dry_run, options.field_manager)
        context.audit = request.audit
        plain: dict[str, Any] = {"fieldManager": options.field_manager}
        if options.dry_run:
            plain["dryRun"] = ["All"]
        return Write(context, info.namespace, info.name, info.subresource, plain)

    def answer(self, request: Request, served: Served, written: Written, warnings: list[str]) -> Response:
        """200 or 201 with the object."""
        return self.show(request, served, written.data, 201 if written.created else 200, warnings)

    def show(
        self, request: Request, served: Served, data: bytes, status: int = 200, warnings: list[str] | None = None
    ) -> Response:
        """An object, given as bytes of the stored version, in the version and format that the client wants."""
        if served.convert is not None:
            try:
                data = served.show(served.stored_codec.decode(data))
            except ConversionNeededError as needed:  # what is written is written: only the answer is made again
                needed.resume = lambda: self.show(request, served, data, status, warnings)
                raise
        wanted = accepted(request)
        if wanted.shape:
            data = self.shapes.one(request, served, wanted, Entry(request.info.name, data, 0, {}, {}))
        return reply(request, data, status, warnings)


def check_namespace(served: Served, obj: Any, namespace: str) -> None:
    """The body's namespace must be the URL's; an empty one becomes it. Raises 400."""
    meta = obj.metadata
    if not served.resource.namespaced:
        return
    if not meta.namespace:
        meta.namespace = namespace
    elif meta.namespace != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def check_name(obj: Any, name: str) -> None:
    """The body's name must be the URL's. Raises 400."""
    meta = obj.metadata
    if not meta.name:
        raise bad_request("name is required")
    if meta.name != name:
        raise bad_request(f"the name of the object ({meta.name}) does not match the name on the URL ({name})")
