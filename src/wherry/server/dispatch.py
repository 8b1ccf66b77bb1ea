"""From a request's RequestInfo to the handler that answers it.

Verbs of every kind go to the generic handlers; subresources to those listed here, or to what the edges registered (log,
exec, token, ...). Paths that are no resources are matched against templates. Read handlers/create.py for a handler.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from wherry.api.core_v1 import Pod
from wherry.api.registry import resource_for
from wherry.meta.errors import StatusError, bad_request, generic, internal_error
from wherry.meta.resource import Resource
from wherry.server.conversions import ConversionNeededError
from wherry.server.handlers import eviction, pods, scale, streaming
from wherry.server.handlers.bodies import read_object, write_options
from wherry.server.handlers.create import create
from wherry.server.handlers.delete import delete, delete_collection
from wherry.server.handlers.get import get
from wherry.server.handlers.list import list_objects
from wherry.server.handlers.patch import changed_by, patch, patch_kind, patcher
from wherry.server.handlers.update import update
from wherry.server.handlers.watch import watch
from wherry.server.handlers.writes import Means, check_name, check_namespace
from wherry.server.http import Handler, Request, Response
from wherry.server.negotiation import status_response, warning_header
from wherry.server.registry import Registry, Served
from wherry.server.watchcache import Entry

Verb = Callable[[Means, Served, Request], Awaitable[Response]]

_VERBS: dict[str, Verb] = {
    "get": get,
    "list": list_objects,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}
OWN_NAME = "system:apiserver"
"""Who the server is to itself: what is switched off for everybody else is there for its own housekeeping."""
_PODS = resource_for(Pod)
_DEPRECATED = "k8s.io/deprecated"
"""The audit log's annotation."""
_CONVERSIONS_MAX = 32
"""A write needs a few: the body, the object as it is, what webhooks see, the answer; again when others write."""
_OF_ONE = frozenset({"get", "update", "patch", "delete"})
_STATUS: dict[str, Verb] = {"get": get, "update": update, "patch": patch}
_SCALE: dict[str, Verb] = {"get": scale.get_scale, "update": scale.put_scale, "patch": scale.put_scale}
_CONNECTING = frozenset({"exec", "attach", "portforward", "proxy"})


class Dispatcher:
    """Finds handlers. One per server."""

    def __init__(self, registry: Registry, means: Means) -> None:
        self._registry = registry
        self._means = means
        self._creates: dict[tuple[str, str], Handler] = {}
        self._subresources: dict[tuple[str, str, str], Handler] = {}
        self._exact: dict[tuple[str, str], Handler] = {}
        self._templates: list[tuple[str, re.Pattern[str], Handler]] = []
        self.deprecated: dict[tuple[str, str, str, str], None] = {}
        """Which deprecated kinds were asked for: group, version, plural, subresource."""
        self.fallback: Callable[[Request], Handler | None] = lambda request: None
        """Asked for group versions that are not served here (aggregation)."""

    def add_creates(self, handlers: dict[tuple[str, str], Handler]) -> None:
        """Handlers in place of the generic create, by group and plural."""
        self._creates |= handlers

    def add_subresources(self, handlers: dict[tuple[str, str, str], Handler]) -> None:
        """Handlers by group, plural and subresource, for every method."""
        self._subresources |= handlers

    def add_routes(self, routes: Iterable[tuple[str, str, Handler]]) -> None:
        """Handlers by method and path template: {name} is one segment, {name:.*} the rest."""
        for method, template, handler in routes:
            if "{" not in template:
                self._exact[method, template] = handler
            else:
                pattern = re.sub(r"\{\w+:\.\*\}", ".*", re.sub(r"\{\w+\}", "[^/]+", template))
                self._templates.append((method, re.compile(pattern), handler))

    async def __call__(self, request: Request) -> Response:
        """Answer a request whose user may make it. Raises StatusError."""
        info = request.info
        if not info.is_resource_request:
            return await self._path(request)
        served = self._registry.find(info.api_group, info.api_version, info.resource)
        if served is None and request.user is not None and request.user.name == OWN_NAME:
            served = self._registry.hidden(info.api_group, info.api_version, info.resource)
        if served is None:
            handler = self.fallback(request)
            return await handler(request) if handler is not None else not_found()
        if served.resource.deprecated and _DEPRECATED not in request.audit:
            return await self._deprecated(served.resource, request)
        if info.subresource:
            return await self._subresource(served, request)
        if info.verb == "create":
            special = self._creates.get((info.api_group, info.resource))
            if special is not None:
                return await special(request)
            if info.resource == "bindings" and not info.api_group:
                return await self._bind(request)
        verb = _VERBS.get(info.verb)
        unfit = info.name if info.verb == "create" else not info.name and info.verb in _OF_ONE
        if verb is None or info.verb not in served.resource.verbs or unfit or request.method == "HEAD":
            raise generic(405)
        try:
            return await verb(self._means, served, request)
        except ConversionNeededError as needed:
            return await self._converted(needed, verb, served, request)

    async def _deprecated(self, resource: Resource, request: Request) -> Response:
        """Whatever the answer is, it comes with a warning."""
        request.audit[_DEPRECATED] = "true"
        self.deprecated[resource.group, resource.version, resource.plural, request.info.subresource] = None
        try:
            response = await self(request)
        except StatusError as error:
            response = status_response(request, error)
        warning = warning_header([resource.deprecated])
        others = response.headers.get("Warning")
        response.headers["Warning"] = f"{warning}, {others}" if others else warning
        return response

    async def _path(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        path = request.path.rstrip("/") or "/"
        handler = self._exact.get((method, path))
        if handler is not None:
            return await handler(request)
        for wanted, pattern, found in self._templates:
            if wanted == method and pattern.fullmatch(path):
                return await found(request)
        return not_found()

    async def _subresource(self, served: Served, request: Request) -> Response:
        info = request.info
        resource, name = served.resource, info.subresource
        edge = self._subresources.get((resource.group, resource.plural, name))
        if edge is not None:
            if name in _CONNECTING:
                await self._admit_connection(served, request)
            return await edge(request)
        if not any(item.name == name for item in resource.subresources):
            return not_found()
        verb = self._builtin(served, name).get(info.verb)
        if verb is None:
            raise generic(405)
        try:
            return await verb(self._means, served, request)
        except ConversionNeededError as needed:
            return await self._converted(needed, verb, served, request)

    async def _converted(self, needed: ConversionNeededError, verb: Verb, served: Served, request: Request) -> Response:
        """Have somebody else convert what the handler could not go on without, as often as it finds more of that."""
        for _ in range(_CONVERSIONS_MAX):
            await needed.fill()
            try:
                if needed.resume is not None:
                    resumed: Response = needed.resume()
                    return resumed
                return await verb(self._means, served, request)
            except ConversionNeededError as again:
                needed = again
        raise internal_error("objects change faster than they can be converted")

    def _builtin(self, served: Served, name: str) -> dict[str, Verb]:
        if name in ("status", "approval"):
            return _STATUS
        if name == "scale":
            return _SCALE
        if name == "finalize":
            return {"update": _part(_only_finalizers), "patch": _part(_only_finalizers)}
        if served.resource.plural == "pods":
            of_pods: dict[str, dict[str, Verb]] = {
                "binding": {"create": pods.bind},
                "eviction": {"create": self._evict},
                "ephemeralcontainers": _partial_verbs(pods.only_ephemeral_containers),
                "resize": _partial_verbs(pods.only_resources),
            }
            return of_pods.get(name, {})
        return {}

    async def _bind(self, request: Request) -> Response:
        return await pods.bind(self._means, self._registry.of(_PODS), request)

    async def _evict(self, means: Means, served: Served, request: Request) -> Response:
        return await eviction.evict(means, self._registry, served, request)

    async def _admit_connection(self, served: Served, request: Request) -> None:
        writer = self._means.writer
        write = self._means.write(request, write_options(request))
        write.options = {}
        kind = next(it.kind for it in served.resource.subresources if it.name == request.info.subresource)
        options = streaming.options_of(request, kind)
        about = ("", "v1", kind)
        attributes = await writer.admit("CONNECT", served, write, request.info.name, options, None, about)
        await writer.validate(attributes)


Part = Callable[[Any, Any], Any]


def _partial_verbs(part: Part) -> dict[str, Verb]:
    changing = _part(part)
    return {"get": get, "update": changing, "patch": changing}


def _part(part: Part) -> Verb:
    """PUT and PATCH of a subresource that may change only a part: `part(new, old)` is what is stored."""

    async def change_part(means: Means, served: Served, request: Request) -> Response:
        options = write_options(request)
        write = means.write(request, options)
        if request.method == "PATCH":
            kind = patch_kind(request, served)
            make = patcher("merge" if kind == "apply" else kind, request.body, served)
            whole = changed_by(make, served, options, write)
        else:
            obj = read_object(request, served, options.field_validation, write.ctx.warnings)
            check_name(obj, write.name)
            check_namespace(served, obj, write.namespace)
            served.strategy.default(obj)

            def whole(_: Any, __: Entry) -> Any:
                return served.codec.copy(obj)

        def change(old: Any, entry: Entry) -> Any:
            return part(whole(old, entry), old)

        written = await means.writer.update(served, change, write)
        return means.answer(request, served, written, write.ctx.warnings)

    return change_part


def _only_finalizers(new: Any, old: Any) -> Any:
    if new.metadata.name != old.metadata.name:
        raise bad_request("the name of the object does not match the name on the URL")
    old.metadata.resourceVersion = new.metadata.resourceVersion
    old.spec.finalizers = new.spec.finalizers
    return old


def not_found() -> Response:
    """What kube-apiserver answers for a path that nothing serves."""
    return Response(404, b"404 page not found\n", content_type="text/plain; charset=utf-8")
