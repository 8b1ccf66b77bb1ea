"""DELETE of one object or of a collection. Options come in the body, the query, or both (then the body counts).

What deletion does is decided in server/deletion.py.
"""

import asyncio
from typing import Any

import msgspec

from wherry.api.meta_v1 import DeleteOptions, Preconditions
from wherry.meta import wire
from wherry.meta.errors import (
    FieldError,
    StatusError,
    bad_request,
    invalid,
    invalid_value,
    not_supported,
)
from wherry.server.deletion import Deleted
from wherry.server.features import Features
from wherry.server.handlers.bodies import WriteOptions
from wherry.server.handlers.corrupt import GATE, OPTION, check_readable, delete_corrupt, option_faults
from wherry.server.handlers.list import selection_of
from wherry.server.handlers.parameters import integer, list_parameters, truth
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.negotiation import body_format, parse, reply
from wherry.server.registry import Served
from wherry.server.writer import Write

_RETURNS_OBJECT = frozenset(
    "pods podtemplates services serviceaccounts persistentvolumeclaims persistentvolumes resourcequotas "
    "priorityclasses volumeattachments csistoragecapacities namespaces".split()
)
"""Kinds whose deletion answers the object even when it is gone at once."""
PARALLEL_MAX = 16
_POLICIES = ("Foreground", "Background", "Orphan")


async def delete(means: Means, served: Served, request: Request) -> Response:
    """200 with a Status or the object; 202 when the client asked to cascade and it is not gone yet."""
    options = delete_options(request, means.features)
    if options.ignoreStoreReadErrorWithClusterBreakingPotential:
        return await delete_corrupt(means, served, request)
    write = _write(means, request, options)
    deleted = await means.deleter.delete(served, options, write)
    if deleted.gone and served.resource.plural not in _RETURNS_OBJECT:
        return reply(request, wire.encode(_success(served, deleted)), warnings=write.ctx.warnings)
    status = 202 if not deleted.gone and options.orphanDependents is False else 200
    return means.show(request, served, deleted.data, status, write.ctx.warnings)


async def delete_collection(means: Means, served: Served, request: Request) -> Response:
    """200 with the list of what was deleted, as it was."""
    parameters = list_parameters(request, means.features)
    options = delete_options(request, means.features)
    if options.ignoreStoreReadErrorWithClusterBreakingPotential:
        text = "is not allowed with DELETECOLLECTION, try again after removing the option"
        raise invalid("DeleteOptions.meta.k8s.io", "", [invalid_value(OPTION, True, text)])
    selection = selection_of(request, served, parameters)
    if served.cache.unreadable:
        check_readable(means, served, selection.namespace)
    revision = means.writer.caches.revision
    entries, _ = served.cache.page(selection, "", parameters.limit)
    slots = asyncio.Semaphore(PARALLEL_MAX)

    async def remove(namespace: str, name: str) -> None:
        write = _write(means, request, options)
        write.namespace, write.name = namespace, name
        async with slots:
            try:
                await means.deleter.delete(served, options, write)
            except StatusError as error:
                if error.code != 404:  # somebody else was faster
                    raise

    if served.convert is not None and served.convert.ahead is not None:
        await served.convert.ahead(entries)
    results = await asyncio.gather(*(remove(e.namespace, e.name) for e in entries), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return means.shapes.reply_list(request, served, entries, revision)


def _write(means: Means, request: Request, options: DeleteOptions) -> Write:
    write = means.write(request, WriteOptions(bool(options.dryRun), "", "Ignore"))
    write.options = wire.to_builtins(options)
    return write


def delete_options(request: Request, features: Features) -> DeleteOptions:
    """DeleteOptions of body and query. Raises 400, 415, 422."""
    if request.body.strip():
        value = parse(request.body, body_format(request), "DeleteOptions")
        try:
            options = wire.convert(value, DeleteOptions)
        except msgspec.ValidationError as error:
            raise bad_request(f"DeleteOptions cannot be read: {error}") from error
        if options.kind not in ("", "DeleteOptions"):
            raise bad_request(
                f'the object provided is unrecognized (must be of type DeleteOptions): no kind "{options.kind}" is '
                f'registered for version "{options.apiVersion}"'
            )
    else:
        options = _from_query(request)
    if not features.enabled(GATE):
        options.ignoreStoreReadErrorWithClusterBreakingPotential = None
    _check(options)
    return options


def _from_query(request: Request) -> DeleteOptions:
    options = DeleteOptions()
    if not request.query:
        return options
    options.dryRun = request.query.get("dryRun", [])
    options.propagationPolicy = request.first("propagationPolicy") or None
    options.gracePeriodSeconds = integer(request.first("gracePeriodSeconds"))
    for name in ("orphanDependents", OPTION):
        if name in request.query:
            setattr(options, name, truth(request.first(name)))
    uid, version = request.first("uid"), request.first("resourceVersion")
    if uid or version:
        options.preconditions = Preconditions(uid=uid or None, resourceVersion=version or None)
    return options


def _check(options: DeleteOptions) -> None:
    errors: list[FieldError] = []
    if options.propagationPolicy and options.orphanDependents is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(invalid_value("propagationPolicy", options.propagationPolicy, text))
    if options.propagationPolicy and options.propagationPolicy not in _POLICIES:
        errors.append(not_supported("propagationPolicy", options.propagationPolicy, [*_POLICIES, "nil"]))
    if any(item != "All" for item in options.dryRun):
        errors.append(not_supported("dryRun", options.dryRun, ["All"]))
    if options.gracePeriodSeconds is not None and options.gracePeriodSeconds < 0:
        options.gracePeriodSeconds = 1  # as upstream: "now, but not by force"
    errors += option_faults(
        frozenset(name for name in options.__struct_fields__ if getattr(options, name) not in (None, [], ""))
    )
    if errors:
        raise invalid("DeleteOptions.meta.k8s.io", "", errors)


def _success(served: Served, deleted: Deleted) -> dict[str, Any]:
    resource, meta = served.resource, deleted.obj.metadata
    details = {"name": meta.name, "group": resource.group, "kind": resource.plural, "uid": meta.uid}
    shown = {key: value for key, value in details.items() if value}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": shown}
