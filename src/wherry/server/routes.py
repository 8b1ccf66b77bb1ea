"""What a request is about, read from its URL and method: Kubernetes' RequestInfo.

Paths are /api/v1/… and /apis/<group>/<version>/…, then either <resource>[/<name>[/<subresource>]] or the same below
namespaces/<namespace>. Anything else is no resource request. Source: k8s.io/apiserver, endpoints/request.
"""

from wherry.meta import fields
from wherry.server.http import Request, RequestInfo

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
_OF_NAMESPACES = frozenset({"finalize", "status"})


def request_info(request: Request) -> RequestInfo:
    """Read a request's path, method and query."""
    path = request.path
    info = RequestInfo(verb=request.method.lower(), path=path)
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        if len(parts) < 3:
            return info
        info.api_version, rest = parts[1], parts[2:]
    elif parts[0] == "apis":
        if len(parts) < 4:
            return info
        info.api_group, info.api_version, rest = parts[1], parts[2], parts[3:]
    else:
        return info
    info.is_resource_request = True
    info.verb = _VERBS.get(request.method, "")
    if rest[0] in ("watch", "proxy") and len(rest) > 1:  # the watch/ and proxy/ prefixes of old
        info.verb, rest = rest[0], rest[1:]
    if rest[0] == "namespaces" and len(rest) > 1:
        info.namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _OF_NAMESPACES:
            rest = rest[2:]
    info.resource = rest[0]
    if len(rest) > 1:
        info.name = rest[1]
    if len(rest) > 2:
        info.subresource = rest[2]
        info.rest = "/".join(rest[3:])
    if not info.name:
        _collection(request, info)
    return info


def _collection(request: Request, info: RequestInfo) -> None:
    if info.verb == "delete":
        info.verb = "deletecollection"
    elif info.verb == "get":
        watch = request.query.get("watch")
        info.verb = "watch" if watch and watch[0] not in ("0", "false") else "list"
    if info.verb in ("list", "watch", "deletecollection"):
        labels = request.query.get("labelSelector")
        if labels:
            info.label_selector = labels[0]
        selector = request.query.get("fieldSelector")
        if selector:
            info.field_selector = selector[0]
            # who may read one named object may also watch it
            try:
                info.name = fields.parse(selector[0]).exact("metadata.name") or ""
            except ValueError:
                info.name = ""
