"""NodeRestriction: a kubelet may write its own Node, its own pods, its own Lease and CSINode, and no other's."""

from wherry.meta.errors import StatusError, forbidden
from wherry.rules import pods
from wherry.server.admission.plugin import AdmissionPlugin, Attributes
from wherry.server.http import UserInfo

_PREFIX, _GROUP = "system:node:", "system:nodes"
_RESERVED_LABELS = "node-restriction.kubernetes.io/"


def node_of(user: UserInfo) -> str | None:
    """The node whose kubelet this is; None for everyone else."""
    if _GROUP in user.groups and user.name.startswith(_PREFIX):
        return user.name.removeprefix(_PREFIX)
    return None


class NodeRestriction(AdmissionPlugin):
    """Looks only at users in system:nodes."""

    name = "NodeRestriction"

    async def admit(self, attributes: Attributes) -> None:
        node = node_of(attributes.user)
        if node is None:
            return
        match attributes.resource.group, attributes.resource.plural:
            case "", "pods":
                self._pod(attributes, node)
            case "", "nodes":
                self._node(attributes, node)
            case ("coordination.k8s.io", "leases") | ("storage.k8s.io", "csinodes"):
                self._own_name(attributes, node)

    def _pod(self, attributes: Attributes, node: str) -> None:
        operation, sub = attributes.operation, attributes.subresource
        if operation == "CREATE" and not sub:
            if not pods.is_mirror(attributes.object):
                text = f'pod does not have "{pods.MIRROR_ANNOTATION}" annotation, '
                text += f'node "{node}" can only create mirror pods'
                raise _refused(attributes, text)
            if attributes.object.spec.nodeName != node:
                raise _refused(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
        elif operation == "DELETE" or (operation == "UPDATE" and sub == "status"):
            old = attributes.old_object
            if old is not None and old.spec.nodeName != node:
                verb = "delete" if operation == "DELETE" else "update pod status for"
                raise _refused(attributes, f'node "{node}" can only {verb} pods with spec.nodeName set to itself')
        elif operation == "UPDATE":
            raise _refused(
                attributes, f'unexpected operation {operation}, node "{node}" can only create and delete mirror pods'
            )

    def _node(self, attributes: Attributes, node: str) -> None:
        name = attributes.name or (attributes.object.metadata.name if attributes.object is not None else "")
        if name != node:
            text = f'is not allowed to modify node "{name}"'
            raise _refused(attributes, f'node "{node}" {text}')
        if attributes.operation == "CREATE":
            changed = set(attributes.object.metadata.labels)
        elif attributes.operation == "UPDATE":
            new, old = attributes.object, attributes.old_object
            if new.spec.taints != old.spec.taints and not attributes.subresource:
                raise _refused(attributes, f'node "{node}" is not allowed to modify taints')
            pairs = set(new.metadata.labels.items()) ^ set(old.metadata.labels.items())
            changed = {key for key, _ in pairs}
        else:
            return
        reserved = sorted(key for key in changed if _is_reserved(key))
        if reserved:
            text = f"is not allowed to modify labels: {', '.join(reserved)}"
            raise _refused(attributes, f'node "{node}" {text}')

    def _own_name(self, attributes: Attributes, node: str) -> None:
        name = attributes.name or (attributes.object.metadata.name if attributes.object is not None else "")
        if attributes.resource.plural == "leases" and attributes.namespace != "kube-node-lease":
            text = 'can only access leases in the "kube-node-lease" system namespace'
            raise _refused(attributes, f'node "{node}" {text}')
        if name != node:
            text = f"can only access {attributes.resource.kind} with the same name as the requesting node"
            raise _refused(attributes, text)


def _is_reserved(key: str) -> bool:
    prefix = key.partition("/")[0]
    return (prefix + "/").endswith(_RESERVED_LABELS)


def _refused(attributes: Attributes, text: str) -> StatusError:
    return forbidden(attributes.resource.group_resource, attributes.name, text)
