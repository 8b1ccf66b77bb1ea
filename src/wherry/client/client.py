"""The typed client: every verb of the API, on any transport, bytes straight to Structs and back.

A kind is a Struct of wherry.api, whose `Resource` the registry knows; or pass `resource=` with `dict` or
`PartialObjectMetadata` for kinds known only at run time. Everything raises `StatusError` for a refusal and
`TransportError` for a connection that failed. For many reads of the same kind use client/informer.py instead.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api import registry
from wherry.api.resources import RESOURCES, SUBRESOURCE_KINDS
from wherry.client.transport import Response, Transport, status_error
from wherry.meta import wire
from wherry.meta.errors import StatusError, bad_request, quote
from wherry.meta.object import KubernetesObject, ListMeta, PartialObjectMetadata
from wherry.meta.resource import Resource

T = TypeVar("T")
R = TypeVar("R")
Query = dict[str, str]
PatchType = Literal["merge", "json", "strategic", "apply"]

_PATCH_TYPES: dict[str, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_RETRIES_MAX = 10  # as client-go: how often a server may answer "429, Retry-After" before the caller sees it
_PARTIAL = "application/json;as={};g=meta.k8s.io;v=v1,application/json"


@dataclass(slots=True)
class ListResult(Generic[T]):
    """One page of objects; `continue_` asks for the next, "" when this is the last."""

    items: list[T] = field(default_factory=list)
    resource_version: str = ""
    continue_: str = ""


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """ADDED, MODIFIED or DELETED with the object; a BOOKMARK's object holds only a resourceVersion."""

    type: str
    object: T


class Client:
    """One user's view of one API server."""

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock,
        entropy: Entropy,
        user_agent: str = "wherry",
        field_manager: str | None = None,
    ) -> None:
        self.transport = transport
        self.clock = clock
        self.entropy = entropy
        self._user_agent = user_agent
        self._field_manager = field_manager

    # One object -------------------------------------------------------------------------------------------------------

    async def get(
        self,
        kind: type[T],
        name: str,
        namespace: str | None = None,
        *,
        resource: Resource | None = None,
        subresource: str | None = None,
    ) -> T:
        """The object as it is now."""
        path = path_of(resource or _resource_for(kind), namespace, name, subresource)
        return self._one(kind, await self._send("GET", path, accept=_accept(kind)))

    async def create(
        self,
        obj: T,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        name: str | None = None,
        dry_run: bool = False,
        resource: Resource | None = None,
    ) -> T:
        """Post `obj`; with `subresource` (and the parent's `name` and `resource`): a binding, an eviction, a token."""
        kind = type(obj)
        resource = resource or _resource_for(kind)
        _identify(obj, resource)
        path = path_of(resource, namespace or _metadata(obj, "namespace"), name if subresource else None, subresource)
        query: Query = {"dryRun": "All"} if dry_run else {}
        response = await self._send("POST", path, query=self._managed(query), body=wire.encode(obj))
        if subresource and wire.decode(_Kind, response.body).kind == "Status":
            return obj
        return self._one(kind, response)

    async def update(self, obj: T, *, subresource: str | None = None, resource: Resource | None = None) -> T:
        """Replace the object; its resourceVersion, when set, must be the stored one (else 409 Conflict)."""
        kind = type(obj)
        resource = resource or _resource_for(kind)
        _identify(obj, resource)
        path = path_of(resource, _metadata(obj, "namespace"), _metadata(obj, "name") or "", subresource)
        return self._one(kind, await self._send("PUT", path, query=self._managed({}), body=wire.encode(obj)))

    async def update_status(self, obj: T, *, resource: Resource | None = None) -> T:
        """Replace the object's status alone."""
        return await self.update(obj, subresource="status", resource=resource)

    async def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str | None,
        patch: Any,
        *,
        patch_type: PatchType = "merge",
        subresource: str | None = None,
        force: bool = False,
        field_manager: str | None = None,
        resource: Resource | None = None,
    ) -> T:
        """Patch with plain dicts and lists (or Structs); `apply` creates what is missing and wants a field manager."""
        resource = resource or _resource_for(kind)
        if patch_type == "apply":
            _identify(patch, resource)
        path = path_of(resource, namespace, name, subresource)
        query = self._managed({"fieldManager": field_manager} if field_manager else {})
        if force:
            query["force"] = "true"
        body, content_type = wire.encode(patch), _PATCH_TYPES[patch_type]
        return self._one(kind, await self._send("PATCH", path, query=query, body=body, content_type=content_type))

    async def delete(
        self,
        kind: type[Any],
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        resource: Resource | None = None,
    ) -> None:
        """Delete the object; `uid` and `resource_version` are preconditions (409 when they do not hold)."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "gracePeriodSeconds": grace_period_seconds,
            "propagationPolicy": propagation_policy,
            "preconditions": wire.drop_nulls(preconditions) or None,
        }
        body = wire.encode({"kind": "DeleteOptions", "apiVersion": "v1"} | wire.drop_nulls(options))
        await self._send("DELETE", path_of(resource or _resource_for(kind), namespace, name), body=body)

    # Many objects -----------------------------------------------------------------------------------------------------

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
        resource: Resource | None = None,
    ) -> ListResult[T]:
        """Objects of one namespace or, with None, of all; `limit` 0 is everything at once."""
        resource = resource or _resource_for(kind)
        query = _selecting(label_selector, field_selector)
        query |= {"limit": str(limit)} if limit else {}
        query |= {"continue": continue_} if continue_ else {}
        query |= {"resourceVersion": resource_version} if resource_version else {}
        accept = _accept(kind, "PartialObjectMetadataList")
        response = await self._send("GET", path_of(resource, namespace), query=query, accept=accept)
        page = wire.decode(_Page[kind], response.body)  # type: ignore[valid-type]
        for item in page.items:  # items of a typed list carry neither kind nor apiVersion
            _identify(item, resource)
        return ListResult(page.items, page.metadata.resourceVersion, page.metadata.continue_ or "")

    async def delete_collection(
        self,
        kind: type[Any],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource: Resource | None = None,
    ) -> None:
        """Delete everything that the selectors choose."""
        query = _selecting(label_selector, field_selector)
        await self._send("DELETE", path_of(resource or _resource_for(kind), namespace), query=query)

    @asynccontextmanager
    async def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
        timeout_seconds: int | None = None,
        resource: Resource | None = None,
    ) -> AsyncIterator[AsyncIterator[WatchEvent[T]]]:
        """Events after `resource_version`; the iteration ends when the server closes, and raises its ERROR events."""
        resource = resource or _resource_for(kind)
        query = _selecting(label_selector, field_selector) | {"watch": "true", "resourceVersion": resource_version}
        query |= {"allowWatchBookmarks": "true"} if bookmarks else {}
        query |= {"timeoutSeconds": str(timeout_seconds)} if timeout_seconds is not None else {}
        headers = {"user-agent": self._user_agent, "accept": _accept(kind)}
        stream = self.transport.stream("GET", path_of(resource, namespace), query=query, headers=headers)
        async with stream as lines:
            yield _Events(lines, kind)

    # Everything else --------------------------------------------------------------------------------------------------

    async def post(self, path: str, body: Any, into: type[R]) -> R:
        """Post to a path of its own: TokenReview, SubjectAccessReview."""
        return wire.decode(into, (await self._send("POST", path, body=wire.encode(body))).body)

    async def raw(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
        """The body of any request that succeeds (/version, pods/log)."""
        return (await self._send(method, path, query=query, body=body, accept="*/*")).body

    def stream(
        self, path: str, *, query: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The lines of an endless GET (followed logs)."""
        return self.transport.stream("GET", path, query=query, headers={"user-agent": self._user_agent})

    async def close(self) -> None:
        """Close the transport."""
        await self.transport.close()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Response:
        headers = {"user-agent": self._user_agent, "accept": accept}
        if body:
            headers["content-type"] = content_type
        for attempt in range(_RETRIES_MAX + 1):
            response = await self.transport.request(method, path, query=query, body=body, headers=headers)
            if response.status < 300:
                return response
            wait = response.headers.get("retry-after", "")
            if response.status != 429 or not wait.isdigit() or attempt == _RETRIES_MAX:
                break
            await self.clock.sleep(float(wait))
        raise status_error(response.status, response.body)

    def _managed(self, query: Query) -> Query:
        if self._field_manager:
            query.setdefault("fieldManager", self._field_manager)
        return query

    @staticmethod
    def _one(kind: type[T], response: Response) -> T:
        return wire.decode(kind, response.body)


_IDENTITIES = {item.type: (item.api_version, item.kind) for item in RESOURCES}
_IDENTITIES |= {kind: identity for identity, kind in SUBRESOURCE_KINDS.items()}


class _Kind(msgspec.Struct):
    kind: str = ""


class _Page(wire.Wire, Generic[T]):
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[T] = []


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw = msgspec.Raw(b"{}")


_LINE = msgspec.json.Decoder(_Line)


class _Events(Generic[T]):
    """Lines to events; not a generator, so that leaving it half read costs nothing."""

    def __init__(self, lines: AsyncIterator[bytes], kind: type[T]) -> None:
        self._lines = lines
        self._kind = kind

    def __aiter__(self) -> "_Events[T]":
        return self

    async def __anext__(self) -> WatchEvent[T]:
        line = _LINE.decode(await anext(self._lines))
        if line.type == "ERROR":
            raise StatusError.from_status(msgspec.json.decode(line.object), 500)
        return WatchEvent(line.type, wire.decode(self._kind, line.object))


def path_of(
    resource: Resource, namespace: str | None = None, name: str | None = None, subresource: str | None = None
) -> str:
    """The unescaped path of a collection (no name), an object or its subresource. Raises a 400 for impossible names."""
    parts = [resource.path]
    if namespace and resource.namespaced:
        parts += ["namespaces", _segment(namespace)]
    parts.append(resource.plural)
    if name is not None:
        parts.append(_segment(name))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)


def _segment(name: str) -> str:
    if not name:
        raise bad_request("resource name may not be empty")
    if name in (".", ".."):
        raise bad_request(f"invalid resource name {quote(name)}: [may not be '{name}']")
    for character in "/%":
        if character in name:
            raise bad_request(f"invalid resource name {quote(name)}: [may not contain '{character}']")
    return name


def _resource_for(kind: type[Any]) -> Resource:
    return registry.resource_for(kind)


def _accept(kind: type[Any], form: str = "PartialObjectMetadata") -> str:
    return _PARTIAL.format(form) if kind is PartialObjectMetadata else "application/json"


def _selecting(label_selector: str, field_selector: str) -> Query:
    query: Query = {}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return query


def _metadata(obj: Any, name: str) -> str | None:
    value = obj["metadata"].get(name) if isinstance(obj, dict) else getattr(obj.metadata, name)
    return value or None


def _identify(obj: Any, resource: Resource) -> None:
    """Fill in the apiVersion and kind of the object's type or, for run-time kinds, of the resource."""
    if isinstance(obj, dict):
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
    elif isinstance(obj, KubernetesObject) and not obj.kind and not isinstance(obj, PartialObjectMetadata):
        obj.apiVersion, obj.kind = _IDENTITIES.get(type(obj)) or (resource.api_version, resource.kind)
