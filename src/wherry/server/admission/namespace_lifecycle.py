"""NamespaceLifecycle: nothing is made in a namespace that is missing or on its way out; the system's own stay."""

from wherry.api.core_v1 import Namespace
from wherry.meta.errors import forbidden, not_found
from wherry.server.admission.kinds import writes
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

IMMORTAL = ("default", "kube-system", "kube-public")
_REVIEWS = ("localsubjectaccessreviews",)


class NamespaceLifecycle(AdmissionPlugin):
    """Looks namespaces up in the server's own cache, which every write passes."""

    name = "NamespaceLifecycle"

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation != "CONNECT"

    async def admit(self, attributes: Attributes) -> None:
        if writes(attributes, "", "namespaces", "DELETE") and attributes.name in IMMORTAL:
            raise forbidden("namespaces", attributes.name, "this namespace may not be deleted")
        if not attributes.namespace or attributes.operation != "CREATE":
            return
        if attributes.resource.plural in _REVIEWS or attributes.resource.plural == "namespaces":
            return
        namespace = self._caches.peek(Namespace, None, attributes.namespace)
        if namespace is None:
            raise not_found("namespaces", attributes.namespace)
        if namespace.metadata.deletionTimestamp is None and namespace.status.phase != "Terminating":
            return
        text = f"unable to create new content in namespace {attributes.namespace} because it is being terminated"
        error = forbidden(attributes.resource.group_resource, attributes.name, text)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {attributes.namespace} is being terminated",
            "field": "metadata.namespace",
        }
        error.details["causes"] = [cause]
        raise error
