"""Discovery and OpenAPI of extension servers, as `Discovery` and `OpenApi` put them beside our own.

They are fetched when a server becomes available and again each time it is checked; a server that does not answer any
more keeps what it said last, marked stale, as upstream does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from wherry.meta.errors import StatusError
from wherry.server.aggregation.proxy import user_headers
from wherry.server.callouts.client import ANSWER_BYTES_MAX, Callouts, Remote, tls_options
from wherry.server.http import Handler, Request, UserInfo

Json = dict[str, Any]
FETCH_SECONDS = 10.0
ASKING = UserInfo("system:kube-aggregator", groups=["system:masters"])


@dataclass(slots=True)
class Foreign:
    """What a group version of another server looks like."""

    group: str
    version: str
    group_priority: int = 0
    version_priority: int = 0
    fresh: bool = False
    resources: list[Json] = field(default_factory=list)
    """As the aggregated discovery document lists them."""
    openapi_v3: str = ""
    """Where its own index says that its OpenAPI document is; empty without one."""
    openapi_v2: Json = field(default_factory=dict)
    """Paths and definitions of its Swagger document."""

    @property
    def path(self) -> str:
        """apis/<group>/<version>."""
        return f"apis/{self.group}/{self.version}"


class Others:
    """Who else serves groups. This one: nobody."""

    def foreign(self) -> Sequence[Foreign]:
        """All of them, the highest priority first."""
        return ()

    def handler(self, request: Request) -> Handler | None:
        """Who answers a request below /apis/<group>/<version> (or its OpenAPI document)."""
        return None


async def fetch(found: Foreign, remote: Remote, callouts: Callouts) -> None:
    """Bring the documents up to date; what cannot be had is empty."""

    async def get(path: str) -> Json:
        return await _get(path, remote, callouts)

    listed = await get(f"/{found.path}")
    found.resources = aggregated(listed.get("resources") or [], found.group, found.version)
    found.openapi_v3, found.openapi_v2 = await asyncio.gather(_index(found, get), _swagger(found, get))


Get = Callable[[str], Awaitable[Json]]


async def _index(found: Foreign, get: Get) -> str:
    paths = (await get("/openapi/v3")).get("paths") or {}
    return str((paths.get(found.path) or {}).get("serverRelativeURL") or "")


async def _swagger(found: Foreign, get: Get) -> Json:
    whole = await get("/openapi/v2")
    prefix = f"/{found.path}/"
    paths = {path: item for path, item in (whole.get("paths") or {}).items() if path.startswith(prefix)}
    return {"paths": paths, "definitions": whole.get("definitions") or {}} if paths else {}


async def _get(path: str, remote: Remote, callouts: Callouts) -> Json:
    """A JSON document of the extension server; empty when there is none."""
    from aiohttp import ClientError

    try:
        base, host = remote.locate()
        headers = dict(user_headers(ASKING)) | {"Host": host, "Accept": "application/json"}
        async with (
            asyncio.timeout(FETCH_SECONDS),
            callouts.session.get(f"{base}{path}", headers=headers, **tls_options(remote)) as answer,
        ):
            body = await answer.content.read(ANSWER_BYTES_MAX) if answer.status == 200 else b"{}"
            while answer.status == 200 and (more := await answer.content.read(ANSWER_BYTES_MAX - len(body))):
                body += more
        value = orjson.loads(body)
    except (ClientError, OSError, TimeoutError, ValueError, StatusError):
        return {}
    return value if isinstance(value, dict) else {}


def aggregated(listed: Sequence[Json], group: str, version: str) -> list[Json]:
    """An APIResourceList's resources in the aggregated form."""
    made: dict[str, Json] = {}
    for item in sorted(listed, key=lambda it: "/" in str(it.get("name"))):
        name, _, sub = str(item.get("name")).partition("/")
        kind = {
            "group": item.get("group") or group,
            "version": item.get("version") or version,
            "kind": item.get("kind") or "",
        }
        verbs = item.get("verbs") or []
        if sub:
            parent = made.setdefault(name, {"resource": name, "verbs": []})
            parent.setdefault("subresources", []).append({"subresource": sub, "responseKind": kind, "verbs": verbs})
            continue
        made[name] = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if item.get("namespaced") else "Cluster",
            "singularResource": item.get("singularName") or "",
            "verbs": verbs,
            **{key: item[key] for key in ("shortNames", "categories") if item.get(key)},
        }
    return list(made.values())
