"""Follows APIServices: which group versions other servers serve, whether they can be asked, and the list of our own.

The table of extension servers changes with the objects, at once; a worker checks each (again when its Service or
endpoints change, and from time to time) and writes its Available condition. Without extension servers nothing here
runs between changes of what is served.
"""

import asyncio
import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.api.apiregistration_v1 import APIService, APIServiceCondition
from wherry.api.core_v1 import Service
from wherry.api.discovery_v1 import EndpointSlice
from wherry.client.client import Client
from wherry.client.workqueue import WorkQueue, work
from wherry.meta.errors import StatusError, service_unavailable
from wherry.meta.resource import Resource
from wherry.meta.time import format_time
from wherry.rules import conditions
from wherry.server.aggregation.availability import available, discovery_fault, service_fault
from wherry.server.aggregation.documents import ASKING, Foreign, Others, fetch
from wherry.server.aggregation.local import plan
from wherry.server.aggregation.proxy import pass_on, unavailable, user_headers
from wherry.server.caches import Caches
from wherry.server.callouts.client import CalloutError, Callouts, Remote
from wherry.server.callouts.passing import PRIVATE
from wherry.server.http import Handler, Request, Response
from wherry.server.watchcache import Entry

CHECK_AGAIN_SECONDS = 60.0
RETRY_SECONDS, RETRY_SECONDS_MAX = 0.1, 30.0
_LOCAL = ""
"""The key of our own APIServices, all of them."""


@dataclass(frozen=True, slots=True)
class AggregationOptions:
    """What this server shows to extension servers: paths of PEM files."""

    proxy_client_certificate: str | None = None
    proxy_client_key: str | None = None
    private_headers: tuple[str, ...] = ()
    """Beginnings of headers by which proxies in front of this server say who asks, beyond the usual ones."""


@dataclass(slots=True)
class Extension:
    """A group version that another server serves."""

    foreign: Foreign
    remote: Remote | CalloutError
    namespace: str
    """Of its Service."""


class Aggregator(Others):
    """One per server."""

    def __init__(
        self,
        options: AggregationOptions,
        caches: Caches,
        client: Callable[[], Client],
        callouts: Callouts,
        resources: Callable[[], Iterable[Resource]],
        changed: Callable[[], None],
    ) -> None:
        self._private = PRIVATE + options.private_headers
        self._certificate = _read(options.proxy_client_certificate)
        self._key = _read(options.proxy_client_key)
        self._caches, self._make_client, self._callouts = caches, client, callouts
        self._resources, self._changed = resources, changed
        self._extensions: dict[str, Extension] = {}
        self._queue: WorkQueue[str] = WorkQueue(base_delay_seconds=RETRY_SECONDS, max_delay_seconds=RETRY_SECONDS_MAX)
        self._worker: asyncio.Task[None] | None = None

    # Running

    def start(self) -> None:
        """Follow APIServices until `close`. The caches must have started."""
        self._caches.on_change(APIService, self._service_changed)
        for kind in (Service, EndpointSlice):
            self._caches.cache(kind).listeners.append(self._way_changed)
        self._queue.add(_LOCAL)
        job = work(self._queue, self.reconcile, name="apiservices")
        self._worker = asyncio.get_running_loop().create_task(job, name="apiservices")

    async def close(self) -> None:
        """Stop following."""
        self._queue.shutdown()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    def resources_changed(self) -> None:
        """Custom resources came or went: they have APIServices, too."""
        self._queue.add(_LOCAL)

    def _service_changed(self, old: APIService | None, new: APIService | None) -> None:
        name = str((new or old).metadata.name)  # type: ignore[union-attr]  # one of them is there
        if new is None and old is not None and old.spec.service is None:
            self._queue.add(_LOCAL)  # ours are not to be deleted
        before = self._extensions.pop(name, None)
        if new is not None and new.spec.service is not None:
            same = before is not None and old is not None and old.spec == new.spec
            self._extensions[name] = before if same and before is not None else self._extension(new)
            self._extensions[name].foreign.fresh = conditions.is_true(new.status.conditions, "Available")
            if not same:
                self._queue.add(name)
        if before is not None or name in self._extensions:
            self._changed()

    def _way_changed(self, old: Entry | None, new: Entry | None) -> None:
        if self._extensions:
            namespace = (new or old).namespace  # type: ignore[union-attr]  # one of them is there
            for name, extension in self._extensions.items():
                if extension.namespace == namespace:
                    self._queue.add(name)

    def _extension(self, item: APIService) -> Extension:
        spec, service = item.spec, item.spec.service
        assert service is not None, "asked only of remote ones"
        foreign = Foreign(spec.group or "", spec.version or "", spec.groupPriorityMinimum, spec.versionPriority)
        remote: Remote | CalloutError
        try:
            remote = self._callouts.to_service(
                service.namespace or "",
                service.name or "",
                service.port or 443,
                ca=base64.b64decode(spec.caBundle) if spec.caBundle else None,
                cert=self._certificate,
                key=self._key,
                insecure=bool(spec.insecureSkipTLSVerify),
            )
        except (CalloutError, ValueError) as error:
            remote = CalloutError(str(error))
        return Extension(foreign, remote, service.namespace or "")

    # Reconciling

    async def reconcile(self, name: str) -> None:
        """Check an extension server, or list our own. Raises StatusError to be called again."""
        if name == _LOCAL:
            await self._list_own()
            return
        item = self._caches.get(APIService, None, name)
        extension = self._extensions.get(name)
        if item is None or extension is None:
            return
        condition = await self._check(item, extension)
        fresh = condition.status == "True"
        if fresh and isinstance(extension.remote, Remote):
            await fetch(extension.foreign, extension.remote, self._callouts)
        extension.foreign.fresh = fresh
        self._changed()
        current = conditions.find(item.status.conditions, "Available")
        if current is None or (current.status, current.reason, current.message) != (
            condition.status, condition.reason, condition.message,
        ):  # fmt: skip
            kept = current is not None and current.status == condition.status
            now = format_time(self._callouts.clock.now())
            condition.lastTransitionTime = current.lastTransitionTime if kept and current is not None else now
            item.status.conditions = [it for it in item.status.conditions if it.type != "Available"] + [condition]
            await self._make_client().update_status(item)
        if not fresh:
            raise service_unavailable(condition.message or "")
        self._queue.add_after(name, CHECK_AGAIN_SECONDS)

    async def _check(self, item: APIService, extension: Extension) -> APIServiceCondition:
        fault = service_fault(item, self._caches)
        if fault is not None:
            return fault
        if isinstance(extension.remote, CalloutError):
            return available("False", "FailedDiscoveryCheck", str(extension.remote))
        why = await discovery_fault(item, extension.remote, dict(user_headers(ASKING)), self._callouts)
        if why:
            return available("False", "FailedDiscoveryCheck", why)
        return available("True", "Passed", "all checks passed")

    async def _list_own(self) -> None:
        client = self._make_client()
        create, update, delete = plan(self._resources(), self._caches.list(APIService))
        jobs: list[Any] = [client.create(item) for item in create]
        jobs += [client.update(item) for item in update]
        jobs += [client.delete(APIService, name) for name in delete]
        for result in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(result, StatusError) and result.reason in ("AlreadyExists", "NotFound"):
                continue  # another server of this cluster was faster
            if isinstance(result, BaseException):
                raise result

    # Asked by discovery, OpenAPI and the dispatcher

    def foreign(self) -> Sequence[Foreign]:
        found = [item.foreign for item in self._extensions.values()]
        return sorted(found, key=lambda it: (-it.group_priority, it.group, -it.version_priority, it.version))

    def handler(self, request: Request) -> Handler | None:
        if not self._extensions:
            return None
        parts = request.path.removeprefix("/openapi/v3").strip("/").split("/")
        if len(parts) < 3 or parts[0] != "apis":
            return None
        extension = self._extensions.get(f"{parts[2]}.{parts[1]}")
        if extension is None:
            return None

        async def serve(request: Request) -> Response:
            if not extension.foreign.fresh or isinstance(extension.remote, CalloutError):
                return unavailable()
            return await pass_on(request, extension.remote, self._callouts, self._private)

        return serve


def _read(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None
