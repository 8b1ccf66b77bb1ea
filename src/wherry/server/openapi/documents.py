"""/openapi/v2, and /openapi/v3 with a document per group version.

Documents are built when first asked for and kept as bytes until the records change (`refresh`); their hashes come from
the records alone, so that the index costs nothing. A client that asks with a current hash may keep the answer forever.
"""

from collections.abc import Callable, Iterable
from hashlib import sha512
from typing import Any

from wherry import __version__
from wherry.meta.errors import generic, not_acceptable
from wherry.meta.resource import Resource
from wherry.meta.wire import encode
from wherry.server.aggregation.documents import Others
from wherry.server.http import Handler, Request, Response
from wherry.server.openapi import gnostic
from wherry.server.openapi.paths import CustomSchema, PathBuilder
from wherry.server.openapi.schemas import Schemas

Json = dict[str, Any]
_SECURITY: Json = {
    "BearerToken": {
        "type": "apiKey",
        "description": "Bearer Token authentication",
        "name": "authorization",
        "in": "header",
    }
}


def no_custom_schema(resource: Resource) -> Json | None:
    """For servers without custom resources."""
    return None


class OpenApi:
    """All OpenAPI documents of one set of resources."""

    def __init__(
        self,
        resources: Callable[[], Iterable[Resource]],
        kubernetes_version: str,
        custom_schema: CustomSchema = no_custom_schema,
    ) -> None:
        self._resources = resources
        self._info = {"title": "Kubernetes", "version": kubernetes_version}
        self._custom_schema = custom_schema
        self.others = Others()
        """Extension servers."""
        self._by_path: dict[str, list[Resource]] = {}
        self._hashes: dict[str, str] = {}
        self._documents: dict[str, bytes] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the records again; call it when custom resources come, go or change."""
        self._documents = {}
        self._by_path = {}
        for resource in self._resources():
            self._by_path.setdefault(resource.path.strip("/"), []).append(resource)
        self._hashes = {path: self._hash(listed) for path, listed in self._by_path.items()}

    async def v2(self, request: Request) -> Response:
        """GET /openapi/v2, as JSON or, for those who ask for it first, as protobuf."""
        if _protobuf_first(request):
            return self._v2_protobuf(request)
        _require_json(request)
        body = self._documents.get("v2")
        if body is None:
            body = self._documents["v2"] = encode(self._build_v2())
        return _cached(request, body)

    def _v2_protobuf(self, request: Request) -> Response:
        body = self._documents.get("v2 protobuf")
        if body is None:
            body = self._documents["v2 protobuf"] = gnostic.encode(self._build_v2())
        response = _cached(request, body)
        response.headers["Content-Type"] = gnostic.CONTENT_TYPE
        return response

    async def v3(self, request: Request) -> Response:
        """GET /openapi/v3: where each group version's document is."""
        paths = {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"} for path, digest in self._hashes.items()
        }
        for it in self.others.foreign():
            if it.openapi_v3:
                paths[it.path] = {"serverRelativeURL": it.openapi_v3}
        return _cached(request, encode({"paths": paths}))

    async def v3_group_version(self, request: Request) -> Response:
        """GET /openapi/v3/api/v1, /openapi/v3/apis/<group>/<version>."""
        _require_json(request)
        path = request.path.removeprefix("/openapi/v3/").strip("/")
        if path not in self._by_path:
            handler = self.others.handler(request)
            if handler is None:
                raise generic(404)
            return await handler(request)
        asked = request.first("hash")
        current = self._hashes[path]
        if asked and asked != current:
            return Response(301, b"", headers={"Location": f"/openapi/v3/{path}?hash={current}"})
        body = self._documents.get(path)
        if body is None:
            body = self._documents[path] = encode(self._build_v3(self._by_path[path]))
        response = _cached(request, body)
        if asked:
            response.headers["Cache-Control"] = "public, immutable, max-age=31536000"
        return response

    def _hash(self, listed: list[Resource]) -> str:
        custom = [self._custom_schema(resource) for resource in listed if resource.type is None]
        return sha512(repr((__version__, listed, custom)).encode()).hexdigest().upper()

    def _build_v2(self) -> Json:
        schemas = Schemas(2)
        builder = PathBuilder(schemas, self._custom_schema)
        for listed in self._by_path.values():
            for resource in listed:
                builder.add(resource)
        paths, definitions = dict(builder.paths), dict(schemas.made)
        for it in self.others.foreign():
            paths |= it.openapi_v2.get("paths", {})
            definitions = it.openapi_v2.get("definitions", {}) | definitions  # ours where both know a name
        return {
            "swagger": "2.0",
            "info": self._info,
            "paths": dict(sorted(paths.items())),
            "definitions": dict(sorted(definitions.items())),
            "securityDefinitions": _SECURITY,
            "security": [{"BearerToken": []}],
        }

    def _build_v3(self, listed: list[Resource]) -> Json:
        schemas = Schemas(3)
        builder = PathBuilder(schemas, self._custom_schema)
        for resource in listed:
            builder.add(resource)
        return {
            "openapi": "3.0.0",
            "info": self._info,
            "paths": dict(sorted(builder.paths.items())),
            "components": {"schemas": dict(sorted(schemas.made.items())), "securitySchemes": _SECURITY},
        }


def _cached(request: Request, body: bytes) -> Response:
    etag = f'"{sha512(body).hexdigest().upper()}"'
    headers = {"ETag": etag, "Vary": "Accept"}
    if request.headers.get("if-none-match") == etag:
        return Response(304, b"", headers=headers)
    return Response(200, body, headers=headers)


def _accepted(request: Request) -> list[str]:
    return [item.split(";")[0].strip() for item in request.headers.get("accept", "").split(",") if item.strip()]


def _protobuf_first(request: Request) -> bool:
    kinds = [item for item in _accepted(request) if item in (*gnostic.ACCEPTED, "application/json", "*/*")]
    return bool(kinds) and kinds[0] in gnostic.ACCEPTED


def _require_json(request: Request) -> None:
    kinds = _accepted(request)
    if kinds and not any(kind in ("application/json", "application/*", "*/*") for kind in kinds):
        raise not_acceptable(["application/json"])


def routes(openapi: OpenApi) -> list[tuple[str, str, Handler]]:
    """What app.py registers; longest first."""
    return [
        ("GET", "/openapi/v2", openapi.v2),
        ("GET", "/openapi/v3", openapi.v3),
        ("GET", "/openapi/v3/{path:.*}", openapi.v3_group_version),
    ]
