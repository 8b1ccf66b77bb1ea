"""ResourceQuota: what a write would use, held against what its namespace may use.

Usage is added to the quotas' status before the write is done. Writes of one namespace come to one desk, which takes all
that wait at once and records them with one update per quota, so that no two of them share the last unit; when somebody
else has changed a quota meanwhile, they are held against it again. What a failed write took is given back by the quota
controller, which counts anew. How usage is measured: rules/quota.py.

Source: k8s.io/apiserver, plugin/pkg/admission/resourcequota.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Pod, ResourceRequirements
from wherry.api.core_v1 import ResourceQuota as Quota
from wherry.client.client import Client
from wherry.meta.errors import StatusError, forbidden
from wherry.meta.quantity import Quantity
from wherry.meta.resource import Resource
from wherry.rules import pods
from wherry.rules.quota import (
    CLAIMS,
    MEASURED,
    PODS,
    ZERO,
    Kind,
    Scope,
    Usage,
    add,
    concerning,
    in_scopes,
    matches,
    scopes_of,
    usage,
)
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

_TRIES = 10
_SUBRESOURCES = {PODS: ("resize",), CLAIMS: ("", "status")}
"""Through which updates may change what an object uses, where that is not the object itself alone."""
_REQUIRED = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
"""What every container must say when a quota counts it; upstream calls that a mistake and keeps it."""


@dataclass(frozen=True, slots=True)
class LimitedResource:
    """What nobody may use without a quota that covers it."""

    kind: Kind
    match_contains: tuple[str, ...]
    match_scopes: tuple[Scope, ...]


def limited_of(given: Mapping[str, Any]) -> tuple[LimitedResource, ...]:
    """The `limitedResources` of a ResourceQuotaConfiguration. Raises ValueError."""
    found = []
    for item in given.get("limitedResources") or ():
        if not item.get("resource"):
            raise ValueError("limitedResources: every item needs a resource")
        scopes = tuple(
            (str(it.get("scopeName")), str(it.get("operator")), list(it.get("values") or ()))
            for it in item.get("matchScopes") or ()
        )
        contains = tuple(item.get("matchContains") or ())
        found.append(LimitedResource((item.get("apiGroup") or "", item["resource"]), contains, scopes))
    return tuple(found)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A write at the desk, until `done` says that it may go on, or why not."""

    attributes: Attributes
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, error: BaseException | None = None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class ResourceQuota(AdmissionPlugin):
    """The desks, one per namespace while somebody waits there."""

    name = "ResourceQuota"

    def __init__(
        self, caches: Caches, client: Callable[[], Client], clock: Clock, limited: Iterable[LimitedResource] = ()
    ) -> None:
        self._caches = caches
        self._client = client
        self._clock = clock
        self._limited = tuple(limited)
        self._waiting: dict[str, list[_Waiting]] = {}
        self._desks: dict[str, asyncio.Task[None]] = {}

    def concerns(self, operation: Operation, resource: Resource) -> bool:
        if not resource.namespaced or resource.plural == "events":
            return False
        return operation == "CREATE" or (operation == "UPDATE" and (resource.group, resource.plural) in MEASURED)

    async def validate(self, attributes: Attributes) -> None:
        updated_through = _SUBRESOURCES.get(_kind(attributes), ("",))
        if attributes.subresource not in (("",) if attributes.operation == "CREATE" else updated_through):
            return
        namespace = attributes.namespace
        if not self._limited and not self._caches.list(Quota, namespace):
            return
        waiting = _Waiting(attributes)
        self._waiting.setdefault(namespace, []).append(waiting)
        if namespace not in self._desks:
            desk = asyncio.create_task(self._serve(namespace), name=f"quota of {namespace}")
            self._desks[namespace] = desk
        await waiting.done

    async def _serve(self, namespace: str) -> None:
        try:
            while batch := self._waiting.pop(namespace, None):
                [failure] = await asyncio.gather(self._decide(namespace, batch), return_exceptions=True)
                for waiting in batch:
                    waiting.settle(failure)
        finally:
            del self._desks[namespace]

    async def _decide(self, namespace: str, batch: list[_Waiting]) -> None:
        only: set[str] | None = None
        error: StatusError | None = None
        for _ in range(_TRIES):
            quotas = [it for it in self._caches.list(Quota, namespace) if only is None or it.metadata.name in only]
            before = [it.status.used for it in quotas]
            batch = [waiting for waiting in batch if not waiting.done.done() and self._charge(waiting, quotas)]
            changed = [it for it, used in zip(quotas, before, strict=True) if it.status.used != used]
            only = set()
            for quota in changed:
                try:
                    await self._client().update_status(quota)
                except StatusError as failure:
                    error = failure
                    only.add(quota.metadata.name or "")
            if not only:
                return
        if error is not None:
            raise error

    def _charge(self, waiting: _Waiting, quotas: list[Quota]) -> bool:
        """Add to the quotas what the write uses, in memory; False when that settles the write already."""
        try:
            charged = Request(waiting.attributes, self._clock.now()).charge(quotas, self._limited)
        except StatusError as error:
            waiting.settle(error)
            return False
        if not charged or waiting.attributes.dry_run:
            waiting.settle()
            return False
        for quota, used in charged:
            quota.status.used = used
        return True


def _kind(attributes: Attributes) -> Kind:
    return attributes.resource.group, attributes.resource.plural


class Request:
    """One write held against the quotas of its namespace."""

    def __init__(self, attributes: Attributes, now: datetime) -> None:
        self._attributes = attributes
        self._kind = _kind(attributes)
        self._now = now

    def charge(self, quotas: list[Quota], limited: Iterable[LimitedResource] = ()) -> list[tuple[Quota, Usage]]:
        """The quotas that count this write, each with its usage after it. Raises StatusError when one has no room."""
        attributes = self._attributes
        relevant = [quota for quota in quotas if self._counts(quota, attributes.object)]
        for quota in relevant:
            self._check_known(quota)
        full = usage(attributes.object, self._kind, self._now)
        negative = sorted(name for name, amount in full.items() if amount.nanos() < 0)
        if negative:
            raise self._refused(f"quota usage is negative for resource(s): {','.join(negative)}")
        delta = full
        if attributes.operation == "UPDATE":
            old = usage(attributes.old_object, self._kind, self._now)
            delta = {name: amount.sub(old[name]) if name in old else amount for name, amount in full.items()}
        deltas = [(quota, delta if self._counted_before(quota) else full) for quota in relevant]
        wanted = [(quota, _positive(change)) for quota, change in deltas]
        if not any(change for _, change in wanted) and (relevant or not _positive(delta)):
            return []
        self._check_covered(limited, quotas, relevant, full)
        return [
            (quota, used) for quota, change in wanted if (used := self._room(quota, change)) is not quota.status.used
        ]

    def _counted_before(self, quota: Quota) -> bool:
        return self._attributes.operation == "UPDATE" and self._counts(quota, self._attributes.old_object)

    def _counts(self, quota: Quota, obj: Any) -> bool:
        return bool(concerning(quota.status.hard, self._kind)) and in_scopes(quota, obj)

    def _refused(self, text: str) -> StatusError:
        return forbidden(self._attributes.resource.group_resource, self._attributes.name, text)

    def _check_known(self, quota: Quota) -> None:
        """Pods say what they need where that is counted, and the controller has counted everything."""
        names = concerning(quota.status.hard, self._kind)
        obj = self._attributes.object
        if isinstance(obj, Pod) and (missing := _unspecified(obj, _REQUIRED.intersection(names))):
            shown = "; ".join(f"{name} for: {','.join(sorted(containers))}" for name, containers in missing.items())
            raise self._refused(f"failed quota: {quota.metadata.name}: must specify {shown}")
        if any(name not in quota.status.used for name in names):
            shown = ",".join(sorted(names))
            raise self._refused(f"status unknown for quota: {quota.metadata.name}, resources: {shown}")

    def _check_covered(
        self, limited: Iterable[LimitedResource], quotas: list[Quota], relevant: list[Quota], full: Usage
    ) -> None:
        if not limited:
            return
        obj = self._attributes.object
        needed = {
            name
            for item in limited if item.kind == self._kind
            for name, amount in full.items() if amount.nanos() > 0 and any(it in name for it in item.match_contains)
        }  # fmt: skip
        covered = {name for quota in relevant for name in concerning(quota.status.hard, self._kind)}
        if uncovered := sorted(needed - covered):
            raise self._refused(f"insufficient quota to consume: {','.join(uncovered)}")
        held = {scope[0] for quota in quotas for scope in scopes_of(quota) if matches(scope, obj)}
        scopes = [it for item in limited for it in item.match_scopes if matches(it, obj) and it[0] not in held]
        if scopes:
            shown = " ".join(f"{{{name} {operator} [{' '.join(values)}]}}" for name, operator, values in scopes)
            raise self._refused(f"insufficient quota to match these scopes: [{shown}]")

    def _room(self, quota: Quota, change: Usage) -> Usage:
        """The quota's usage after the write; its very own when the write is nothing to it."""
        hard, used = quota.status.hard, quota.status.used
        wanted = {name: amount for name, amount in change.items() if name in hard}
        if not wanted:
            return used
        after = add(used, wanted)
        over = sorted(name for name in wanted if after[name].compare(hard[name]) > 0)
        if over and self._attributes.subresource != "status":
            requested, held, limit = (_shown(over, amounts) for amounts in (wanted, used, hard))
            name = quota.metadata.name
            raise self._refused(f"exceeded quota: {name}, requested: {requested}, used: {held}, limited: {limit}")
        return after


def _positive(change: Usage) -> Usage:
    return {name: amount for name, amount in change.items() if amount.nanos() > 0}


def _shown(names: list[str], amounts: Mapping[str, Quantity]) -> str:
    return ",".join(f"{name}={amounts.get(name, ZERO)}" for name in names)


def _unspecified(pod: Pod, required: frozenset[str]) -> dict[str, set[str]]:
    """The resources that containers do not speak of, by name, with the containers."""
    if not required or (pod.spec.resources and (pod.spec.resources.requests or pod.spec.resources.limits)):
        return {}
    missing = {
        name: {item.name for item in pods.all_containers(pod.spec) if not _says(item.resources, name)}
        for name in sorted(required)
    }
    return {name: containers for name, containers in missing.items() if containers}


def _says(resources: ResourceRequirements, name: str) -> bool:
    side, _, resource = name.rpartition(".")
    return resource in (resources.limits if side == "limits" else resources.requests)
