"""Discovery: what this server serves, as documents at /api, /apis and below, plain and aggregated.

`Discovery` is fed Resource records (the built-in ones and those of custom resources) and keeps each finished document
as bytes until the records change (`refresh`). The aggregated form (KEP-3352), one document with everything, is what
kubectl and client-go ask for first, with an ETag.
"""

from collections.abc import Callable, Iterable
from hashlib import sha512
from typing import Any

from wherry.meta.errors import generic
from wherry.meta.resource import Resource
from wherry.meta.wire import encode
from wherry.server.aggregation.documents import Others
from wherry.server.http import Handler, Request, Response

Json = dict[str, Any]
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


def version_rank(version: str) -> tuple[int, int, int]:
    """Sorts v2 before v1 before v1beta1 before v1alpha1 (ascending)."""
    for position, stage in ((2, "alpha"), (1, "beta")):
        major, found, minor = version.partition(stage)
        if found:
            return position, -_number(major[1:]), -_number(minor)
    return 0, -_number(version[1:]), 0


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


class Discovery:
    """All documents of one set of resources."""

    def __init__(self, resources: Callable[[], Iterable[Resource]], address: str = "") -> None:
        self._resources = resources
        self._address = address
        """host:port that /api tells clients of old."""
        self.others = Others()
        """Extension servers."""
        self._groups: dict[str, dict[str, list[Resource]]] = {}
        self._documents: dict[str, bytes] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the records again; call it when custom resources come or go."""
        self._documents = {}
        groups: dict[str, dict[str, list[Resource]]] = {}
        for resource in self._resources():
            groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        by_rank = {
            g: sorted(versions.items(), key=lambda item: version_rank(item[0])) for g, versions in groups.items()
        }
        self._groups = {group: dict(versions) for group, versions in by_rank.items()}

    def group_versions(self) -> list[tuple[str, str]]:
        """Every (group, version), the core group first."""
        return [(group, version) for group, versions in self._groups.items() for version in versions]

    async def api(self, request: Request) -> Response:
        """GET /api: the versions of the core group, or the aggregated form."""
        aggregated = self._aggregated(request, core=True)
        if aggregated:
            return aggregated
        return self._plain("/api", lambda: _api_versions(self._address))

    async def apis(self, request: Request) -> Response:
        """GET /apis: all other groups, or the aggregated form."""
        aggregated = self._aggregated(request, core=False)
        if aggregated:
            return aggregated
        return self._plain("/apis", self._group_list)

    async def group(self, request: Request) -> Response:
        """GET /apis/<group>."""
        name = request.path.strip("/").split("/")[1]
        if not name or name not in (*self._groups, *(it.group for it in self.others.foreign())):
            raise generic(404)
        return self._plain(f"/apis/{name}", lambda: {"kind": "APIGroup", "apiVersion": "v1", **self._group(name)})

    async def version(self, request: Request) -> Response:
        """GET /api/v1 and /apis/<group>/<version>."""
        parts = request.path.strip("/").split("/")
        group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
        resources = self._groups.get(group, {}).get(version)
        if resources is None:
            handler = self.others.handler(request)
            if handler is None:
                raise generic(404)
            return await handler(request)
        return self._plain(request.path.rstrip("/"), lambda: resource_list(group, version, resources))

    def _plain(self, path: str, make: Callable[[], Json]) -> Response:
        body = self._documents.get(path)
        if body is None:
            body = self._documents[path] = encode(make()) + b"\n"
        return Response(200, body)

    def _aggregated(self, request: Request, *, core: bool) -> Response | None:
        version = wanted_aggregation(request.headers.get("accept", ""))
        if not version:
            return None
        key = f"{version} {core}"
        body = self._documents.get(key)
        if body is None:
            body = self._documents[key] = encode(self._aggregate(version, core=core)) + b"\n"
        etag = f'"{sha512(body).hexdigest().upper()}"'
        headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "public"}
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", headers=headers, content_type=_AGGREGATED.format(version))
        return Response(200, body, headers=headers, content_type=_AGGREGATED.format(version))

    def _aggregate(self, version: str, *, core: bool) -> Json:
        items = [
            {
                "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
                "versions": [
                    {"version": name, "resources": [_aggregated_resource(r) for r in listed], "freshness": "Current"}
                    for name, listed in versions.items()
                ],
            }
            for group, versions in self._groups.items()
            if (group == "") == core
        ]
        if not core:
            self._add_others(items)
        api_version = f"apidiscovery.k8s.io/{version}"
        return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}

    def _add_others(self, items: list[Json]) -> None:
        by_name = {item["metadata"].get("name"): item for item in items}
        for it in self.others.foreign():
            item = by_name.get(it.group)
            if item is None:
                meta = {"name": it.group, "creationTimestamp": None}
                item = by_name[it.group] = {"metadata": meta, "versions": []}
                items.append(item)
            freshness = "Current" if it.fresh else "Stale"
            item["versions"].append({"version": it.version, "resources": it.resources, "freshness": freshness})

    def _group_list(self) -> Json:
        names = dict.fromkeys([*self._groups, *(it.group for it in self.others.foreign())])
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(n) for n in names if n]}

    def _group(self, name: str) -> Json:
        served = [*self._groups.get(name, ()), *(it.version for it in self.others.foreign() if it.group == name)]
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in served]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def wanted_aggregation(accept: str) -> str:
    """The apidiscovery version that an Accept header asks for before plain JSON; "" for none."""
    for item in accept.split(","):
        fields = dict(part.strip().partition("=")[::2] for part in item.split(";"))
        if fields.get("as") == "APIGroupDiscoveryList" and fields.get("v") in ("v2", "v2beta1"):
            return fields["v"]
        if next(iter(fields), "") in ("application/json", "*/*"):
            return ""
    return ""


def _api_versions(address: str) -> Json:
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}] if address else []
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def resource_list(group: str, version: str, resources: list[Resource]) -> Json:
    """The APIResourceList of one group version."""
    listed: list[Json] = []
    for resource in sorted(resources, key=lambda item: item.plural):
        listed.append(_plain_resource(resource))
        for sub in sorted(resource.subresources, key=lambda item: item.name):
            entry: Json = {
                "name": f"{resource.plural}/{sub.name}",
                "singularName": "",
                "namespaced": resource.namespaced,
            }
            if sub.version:
                entry |= {"group": sub.group or "", "version": sub.version}
            listed.append(entry | {"kind": sub.kind, "verbs": sorted(sub.verbs)})
    kind: Json = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    return kind | {"groupVersion": f"{group}/{version}" if group else version, "resources": listed}


def _plain_resource(resource: Resource) -> Json:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _aggregated_resource(resource: Resource) -> Json:
    entry: Json = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {
                    "group": sub.group if sub.version and sub.group is not None else resource.group,
                    "version": sub.version or resource.version,
                    "kind": sub.kind,
                },
                "verbs": sorted(sub.verbs),
            }
            for sub in sorted(resource.subresources, key=lambda item: item.name)
        ]
    return entry


def routes(discovery: Discovery) -> Iterable[tuple[str, str, Handler]]:
    """What app.py registers."""
    return [
        ("GET", "/api", discovery.api),
        ("GET", "/apis", discovery.apis),
        ("GET", "/api/{version}", discovery.version),
        ("GET", "/apis/{group}", discovery.group),
        ("GET", "/apis/{group}/{version}", discovery.version),
    ]
