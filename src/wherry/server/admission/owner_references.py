"""OwnerReferencesPermissionEnforcement: who makes something somebody's dependant must be able to delete it.

And who makes the owner wait for it (blockOwnerDeletion) needs the finalizers subresource of the owner. Off by default,
as upstream. Source: kubernetes plugin/pkg/admission/gc.
"""

from collections.abc import Callable, Iterable
from typing import Any

from wherry.meta.errors import StatusError, forbidden
from wherry.meta.resource import Resource
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.http import RequestInfo
from wherry.server.rbac.authorizer import Authorizer, settled


class OwnerReferencesPermissionEnforcement(AdmissionPlugin):
    """`resources` are the kinds served."""

    name = "OwnerReferencesPermissionEnforcement"

    def __init__(self, authorizer: Authorizer, resources: Callable[[], Iterable[Resource]]) -> None:
        self._authorizer = authorizer
        self._resources = resources

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def validate(self, attributes: Attributes) -> None:
        resource = attributes.resource
        if (resource.group, resource.plural, attributes.subresource) == ("", "pods", "status"):
            return  # its strategy lets nobody change owners
        new, old = owners(attributes.object), owners(attributes.old_object)
        if new == old:
            return
        name = attributes.name
        delete = RequestInfo(
            "delete", resource.group, resource.version, resource.plural, "", attributes.namespace, name, True
        )
        allowed, reason = await settled(self._authorizer.authorize(attributes.user, delete))
        if not allowed:
            raise _refused(attributes, f"cannot set an ownerRef on a resource you can't delete: {reason}, <nil>")
        blocking = {owner["uid"] for owner in old if owner.get("blockOwnerDeletion")}
        for owner in new:
            if owner.get("blockOwnerDeletion") and owner["uid"] not in blocking:
                await self._check_owner(attributes, owner)

    async def _check_owner(self, attributes: Attributes, owner: dict[str, Any]) -> None:
        kinds = [r for r in self._resources() if (r.api_version, r.kind) == (owner["apiVersion"], owner["kind"])]
        if not kinds:
            why = f'no matches for kind "{owner["kind"]}" in version "{owner["apiVersion"]}"'
            text = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
            raise _refused(attributes, f"{text}{owner['apiVersion']} Kind {owner['kind']}: {why}")
        for kind in kinds:
            namespace = attributes.namespace if kind.namespaced else ""
            info = RequestInfo(
                "update", kind.group, kind.version, kind.plural, "finalizers", namespace, owner["name"], True
            )
            allowed, reason = await settled(self._authorizer.authorize(attributes.user, info))
            if not allowed:
                text = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set "
                raise _refused(attributes, f"{text}finalizers on: {reason}, <nil>")


def owners(obj: Any) -> list[dict[str, Any]]:
    """The owner references of an object, Struct or dict, as dicts."""
    if obj is None:
        return []
    if isinstance(obj, dict):
        return list((obj.get("metadata") or {}).get("ownerReferences") or [])
    return [
        {
            name: getattr(item, name)
            for name in ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
        }
        for item in obj.metadata.ownerReferences
    ]


def _refused(attributes: Attributes, why: str) -> StatusError:
    return forbidden(attributes.resource.group_resource, attributes.name, why)
