"""OpenAPI paths of the served resources: which verb, with which parameters, takes and gives which schema.

kubectl reads from them whether PATCH takes strategic merges and whether `fieldValidation` is understood; generators
read operation ids. `operations` is the same for both OpenAPI versions but for where bodies and formats are written.
"""

from collections.abc import Callable

from wherry.api.meta_v1 import DeleteOptions, Status
from wherry.api.registry import kind_type, list_type
from wherry.meta.resource import Resource, Subresource
from wherry.server.openapi.schemas import META, Schema, Schemas

CustomSchema = Callable[[Resource], Schema | None]
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_STREAM = [f"{JSON};stream=watch"]
_GIVEN = [JSON, YAML]
_PATCHES = ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
_STRATEGIC = "application/strategic-merge-patch+json"

_LIST_PARAMETERS = {
    "allowWatchBookmarks": "boolean",
    "continue": "string",
    "fieldSelector": "string",
    "labelSelector": "string",
    "limit": "integer",
    "resourceVersion": "string",
    "resourceVersionMatch": "string",
    "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer",
    "watch": "boolean",
}
_WRITE_PARAMETERS = {"dryRun": "string", "fieldManager": "string", "fieldValidation": "string"}
_PATCH_PARAMETERS = _WRITE_PARAMETERS | {"force": "boolean"}
_DELETE_PARAMETERS = {
    "dryRun": "string",
    "gracePeriodSeconds": "integer",
    "ignoreStoreReadErrorWithClusterBreakingPotential": "boolean",
    "orphanDependents": "boolean",
    "propagationPolicy": "string",
}
_COLLECTION = [("list", "get"), ("create", "post"), ("deletecollection", "delete")]
_ONE = [("get", "get"), ("update", "put"), ("delete", "delete"), ("patch", "patch")]
_ACTIONS = {"list": "list", "create": "post", "deletecollection": "deletecollection", "get": "get", "update": "put"} | {
    "delete": "delete",
    "patch": "patch",
}
_NAMES = {"create": "create", "deletecollection": "deleteCollection", "get": "read", "update": "replace"}
_STREAMS = frozenset({"attach", "exec", "portforward", "proxy"})
_PARAMETERS = {
    "list": _LIST_PARAMETERS,
    "deletecollection": _LIST_PARAMETERS | _DELETE_PARAMETERS,
    "create": _WRITE_PARAMETERS,
    "update": _WRITE_PARAMETERS,
    "patch": _PATCH_PARAMETERS,
    "delete": _DELETE_PARAMETERS,
    "get": {},
}


class PathBuilder:
    """The paths of resources, schemas gathered on the way."""

    def __init__(self, schemas: Schemas, custom_schema: CustomSchema) -> None:
        self._schemas = schemas
        self._custom_schema = custom_schema
        self.paths: dict[str, Schema] = {}

    def add(self, resource: Resource) -> None:
        """Every path of one resource."""
        one = self._kind(resource)
        many = None
        if "list" in resource.verbs:
            many = self._schemas.add_list(resource, one, list_type(resource))
        base = f"{resource.path}/namespaces/{{namespace}}" if resource.namespaced else resource.path
        base = f"{base}/{resource.plural}"
        self._path(base, resource, None, _COLLECTION, one, many)
        if "get" in resource.verbs:
            self._path(f"{base}/{{name}}", resource, None, _ONE, one, many)
        if resource.namespaced and many is not None:
            everywhere = f"{resource.path}/{resource.plural}"
            self._path(everywhere, resource, None, [("list", "get")], one, many, "ForAllNamespaces")
        for sub in resource.subresources:
            verbs = [*_ONE, ("create", "post")]
            self._path(f"{base}/{{name}}/{sub.name}", resource, sub, verbs, self._sub_kind(resource, sub, one), None)

    def _kind(self, resource: Resource) -> Schema:
        if resource.type is None:
            return self._schemas.add_custom(resource, self._custom_schema(resource))
        return self._schemas.add_kind(resource.type, resource.group, resource.version, resource.kind)

    def _sub_kind(self, resource: Resource, sub: Subresource, parent: Schema) -> Schema:
        group, version = (sub.group or "", sub.version) if sub.version else (resource.group, resource.version)
        if sub.kind == resource.kind:
            return parent
        kind = kind_type(f"{group}/{version}" if group else version, sub.kind)
        return self._schemas.add_kind(kind, group, version, sub.kind) if kind else {"type": "string"}

    def _path(
        self,
        path: str,
        resource: Resource,
        sub: Subresource | None,
        verbs: list[tuple[str, str]],
        one: Schema,
        many: Schema | None,
        suffix: str = "",
    ) -> None:
        served = sub.verbs if sub else resource.verbs
        item: Schema = {}
        for verb, method in verbs:
            if verb in served:
                item[method] = self._operation(resource, sub, verb, one, many, path, suffix)
        if not item:
            return
        names = [name for name in ("name", "namespace") if f"{{{name}}}" in path]
        item["parameters"] = [self._parameter(name, "string", "path") for name in names]
        item["parameters"].append(self._parameter("pretty", "string", "query"))
        self.paths[path] = item

    def _operation(
        self,
        resource: Resource,
        sub: Subresource | None,
        verb: str,
        one: Schema,
        many: Schema | None,
        path: str,
        suffix: str,
    ) -> Schema:
        stream = sub is not None and sub.name in _STREAMS
        group, version, kind = resource.group, resource.version, resource.kind
        if sub and sub.version:
            group, version, kind = sub.group or "", sub.version, sub.kind
        elif sub:
            kind = sub.kind
        answer = many if verb == "list" else self._schemas.refer(Status) if verb == "deletecollection" else one
        if verb == "delete" and resource.plural not in ("pods", "services"):
            answer = self._schemas.refer(Status)
        action = "connect" if stream else _ACTIONS[verb]
        operation: Schema = {
            "tags": [f"{_snake(resource.group)}_{resource.version}"],
            "operationId": _operation_id(resource, sub, verb, "{namespace}" in path, suffix),
            "parameters": [self._parameter(n, t, "query") for n, t in _PARAMETERS[verb].items() if not stream],
            "responses": self._responses(verb, answer, stream),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
        }
        if not stream:
            self._add_body(operation, resource, verb, one)
        if self._schemas.version == 2:
            operation["produces"] = ["*/*"] if stream else _GIVEN + (_STREAM if verb == "list" else [])
            operation["schemes"] = ["https"]
        return operation

    def _add_body(self, operation: Schema, resource: Resource, verb: str, one: Schema) -> None:
        if verb in ("create", "update"):
            body, formats = one, [JSON, YAML] if self._schemas.version == 2 else ["*/*"]
        elif verb == "patch":
            body = self._schemas.refer_fixed(f"{META}.Patch")
            formats = _PATCHES + ([_STRATEGIC] if resource.type is not None else [])
        elif verb in ("delete", "deletecollection"):
            body, formats = self._schemas.refer(DeleteOptions), [JSON, YAML] if self._schemas.version == 2 else ["*/*"]
        else:
            return
        required = verb in ("create", "update", "patch")
        if self._schemas.version == 2:
            operation["consumes"] = formats
            parameter: Schema = {"name": "body", "in": "body", "schema": body}
            operation["parameters"].append(parameter | ({"required": True} if required else {}))
        else:
            operation["requestBody"] = {"content": {name: {"schema": body} for name in formats}}
            if required:
                operation["requestBody"]["required"] = True

    def _responses(self, verb: str, answer: Schema | None, stream: bool) -> Schema:
        codes = {"200": "OK"} | ({"201": "Created"} if verb in ("create", "update", "patch") and not stream else {})
        codes |= {"202": "Accepted"} if verb in ("create", "delete") and not stream else {}
        schema = {"type": "string"} if stream or answer is None else answer
        if self._schemas.version == 2:
            made: Schema = {code: {"description": text, "schema": schema} for code, text in codes.items()}
        else:
            formats = ["*/*"] if stream else _GIVEN + (_STREAM if verb == "list" else [])
            content = {name: {"schema": schema} for name in formats}
            made = {code: {"description": text, "content": content} for code, text in codes.items()}
        return made | {"401": {"description": "Unauthorized"}}

    def _parameter(self, name: str, kind: str, place: str) -> Schema:
        unique: Schema = {"type": kind, "uniqueItems": True}
        parameter: Schema = {"name": name, "in": place} | ({"required": True} if place == "path" else {})
        return parameter | unique if self._schemas.version == 2 else parameter | {"schema": unique}


def _snake(group: str) -> str:
    parts = group.removesuffix(".k8s.io").split(".")
    return "".join([parts[0], *(part.title() for part in parts[1:])]) if group else "core"


def _operation_id(resource: Resource, sub: Subresource | None, verb: str, namespaced: bool, suffix: str) -> str:
    group = "".join(part.title() for part in (resource.group.removesuffix(".k8s.io") or "core").split("."))
    scope = "Namespaced" if namespaced else ""
    if verb == "deletecollection":
        scope = f"Collection{scope}"
    name = {"deletecollection": "delete"}.get(verb, _NAMES.get(verb, verb))
    if sub and sub.name in _STREAMS:
        name = {"get": "connectGet", "create": "connectPost"}.get(verb, f"connect{verb.title()}")
    tail = sub.name[:1].upper() + sub.name[1:] if sub else ""
    return f"{name}{group}{resource.version.title()}{scope}{resource.kind}{tail}{suffix}"
