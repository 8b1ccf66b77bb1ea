"""Objects whose stored values cannot be read: what requests that meet them are told, and the one way to be rid of them.

A value that cannot be deciphered or decoded fails the requests that would have to show it, and no others. With feature
gate AllowUnsafeMalformedObjectDeletion such an object can be deleted unseen: no admission, no finalizers (KEP-3926).
"""

from wherry.meta import wire
from wherry.meta.errors import (
    FieldError,
    StatusError,
    conflict,
    forbidden,
    internal_error,
    invalid,
    invalid_value,
    quote,
)
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, RequestInfo, Response, UserInfo
from wherry.server.negotiation import reply
from wherry.server.rbac.authorizer import settled
from wherry.server.registry import Served

GATE = "AllowUnsafeMalformedObjectDeletion"
OPTION = "ignoreStoreReadErrorWithClusterBreakingPotential"
_VERB = "unsafe-delete-ignore-read-errors"
_AUDITED = "apiserver.k8s.io/unsafe-delete-ignore-read-error"
_CAUSES_MAX = 100
_EXCLUSIVE = ("dryRun", "propagationPolicy", "orphanDependents", "gracePeriodSeconds", "preconditions")


def check_readable(means: Means, served: Served, namespace: str) -> None:
    """Raise 500 when something that belongs into a list cannot be read."""
    inside = {
        key: why for key, why in served.cache.unreadable.items() if not namespace or key.startswith(f"{namespace}/")
    }
    if not inside:
        return
    if not means.features.enabled(GATE):
        raise internal_error(next(iter(inside.values())))
    causes = []
    for key, why in list(inside.items())[:_CAUSES_MAX]:
        path = f"{served.stored.storage_prefix}{key}"
        text = f"StorageError: corrupt object, Code: 7, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: {why}"
        causes.append({"reason": "UnexpectedServerResponse", "message": text, "field": path})
    if len(inside) >= _CAUSES_MAX:
        causes.append({"reason": "FieldValueTooMany", "message": "too many errors, the list is truncated"})
    resource = served.resource
    details = {"name": "list", "group": resource.group, "kind": resource.plural, "causes": causes}
    text = f"failed to read one or more {resource.group_resource} from the storage"
    raise StatusError(500, "StorageReadError", text, details)


def option_faults(given: frozenset[str]) -> list[FieldError]:
    """What the option does not go together with; `given` are the names of the options that are set."""
    if OPTION not in given:
        return []
    return [invalid_value(OPTION, True, f"cannot be set together with .{name}") for name in _EXCLUSIVE if name in given]


async def delete_corrupt(means: Means, served: Served, request: Request) -> Response:
    """200 when the object could not be read and is gone now. Raises 403, 409, 422."""
    info, resource, writer = request.info, served.resource, means.writer
    request.audit[_AUDITED] = ""
    asked = RequestInfo(
        _VERB,
        info.api_group,
        info.api_version,
        info.resource,
        namespace=info.namespace,
        name=info.name,
        is_resource_request=True,
    )
    allowed, reason = await settled(means.authorize(request.user or UserInfo(), asked))
    if not allowed:
        why = f"not permitted to do {quote(_VERB)}, reason: {reason}"
        raise forbidden(resource.group_resource, info.name, why)
    key = served.key(info.namespace, info.name)
    if key.decode().removeprefix(served.stored.storage_prefix) not in served.cache.unreadable:
        text = "is exclusively used to delete corrupt object(s), try again by removing this option"
        raise invalid(resource.group_resource, info.name, [invalid_value(OPTION, True, text)])
    found = await writer.store.range(key)
    if found.kvs:
        swap = await writer.store.delete_if(key, found.kvs[0].mod_revision)
        if not swap.succeeded:
            raise conflict(resource.group_resource, info.name, "the object was written while it was being deleted")
        await writer.caches.wait_for(swap.revision)
    details = {"name": info.name, "kind": resource.kind}
    return reply(
        request,
        wire.encode({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
    )
