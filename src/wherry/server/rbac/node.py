"""The Node authorizer: a kubelet sees what the pods on its node need, and no more.

Which secrets, configmaps, claims, volumes and service accounts those are is in node_graph.py; this file is the order of
the questions. What admission's NodeRestriction checks (the content of writes) is allowed here.

Source: kubernetes plugin/pkg/auth/authorizer/node.
"""

from typing import Protocol

from wherry.meta import fields
from wherry.meta.errors import quote
from wherry.server.authn.identity import NODE_PREFIX, NODES_GROUP
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.rbac.authorizer import Held, Verdict, compile_rules
from wherry.server.rbac.bootstrap import node_rules
from wherry.server.rbac.evaluate import Binding, BindingKey, Index, RoleKey, Subject

NODE_LEASES = "kube-node-lease"
_OBJECT_VERBS = ("get", "create", "update", "patch", "delete")
_SLICE_VERBS = "get, watch, list, create, update, patch, delete, deletecollection"


class Graph(Protocol):
    """Knows what belongs to a node."""

    def reaches(self, node: str, kind: str, namespace: str, name: str) -> bool:
        """Whether the object (`kind` is the plural) is of a pod on `node`, or of the node itself."""


class NodeAuthorizer:
    """Speaks about group system:nodes alone."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._index = Index()
        key = RoleKey("", "system:node")
        self._index.put_role(key, compile_rules(node_rules()))
        subject = Subject("Group", NODES_GROUP, f"Group {quote(NODES_GROUP)}")
        self._index.put_binding(Binding(BindingKey("", "system:node"), key, (subject,)))

    def rules_for(self, user: UserInfo, namespace: str) -> Held:
        if NODES_GROUP in user.groups and user.name.startswith(NODE_PREFIX):
            return Held(errors=["node authorizer does not support user rule resolution"])
        return Held()

    def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict:
        if NODES_GROUP not in user.groups or not user.name.startswith(NODE_PREFIX):
            return None, ""
        node = user.name[len(NODE_PREFIX) :]
        if not node:
            return None, f"unknown node for user {quote(user.name)}"
        if not info.is_resource_request:
            return None, ""
        match info.api_group, info.resource:
            case "", "secrets" | "configmaps":
                return self._read(node, info)
            case "", "persistentvolumeclaims" if info.subresource == "status":
                return self._status(node, info)
            case (
                ("", "persistentvolumeclaims" | "persistentvolumes")
                | ("resource.k8s.io", "resourceclaims")
                | ("storage.k8s.io", "volumeattachments")
            ):
                return self._get(node, info)
            case "", "serviceaccounts":
                return self._account(node, info)
            case "coordination.k8s.io", "leases":
                return _lease(node, info)
            case "storage.k8s.io", "csinodes":
                return _csi_node(node, info)
            case "resource.k8s.io", "resourceslices":
                return self._slice(node, info)
            case "", "nodes":
                return _node(node, info)
            case "", "pods":
                return self._pod(node, info)
        allowed, _ = self._index.authorize(
            user, info.verb, info.api_group, info.resource, info.subresource, info.namespace, info.name
        )
        return allowed, ""

    def _related(self, node: str, info: RequestInfo) -> Verdict:
        if not info.name:
            return None, "No Object name found"
        if self._graph.reaches(node, info.resource, info.namespace, info.name):
            return True, ""
        return None, f"no relationship found between node '{node}' and this object"

    def _read(self, node: str, info: RequestInfo) -> Verdict:
        if info.verb not in ("get", "list", "watch"):
            return None, "can only read resources of this type"
        if info.subresource:
            return None, "cannot read subresource"
        if not info.namespace:
            return None, "can only read namespaced object of this type"
        return self._related(node, info)

    def _get(self, node: str, info: RequestInfo) -> Verdict:
        if info.verb != "get":
            return None, "can only get individual resources of this type"
        if info.subresource:
            return None, "cannot get subresource"
        return self._related(node, info)

    def _status(self, node: str, info: RequestInfo) -> Verdict:
        if info.verb not in ("update", "patch"):
            return None, "can only get/update/patch this type"
        return self._related(node, info)

    def _account(self, node: str, info: RequestInfo) -> Verdict:
        if info.verb == "get" and not info.subresource:  # an image's credentials may need the account's annotations
            return self._related(node, info)
        if info.verb != "create" or not info.name:
            return None, "can only create tokens for individual service accounts"
        if info.subresource != "token":
            return None, "can only create token subresource of serviceaccount"
        return self._related(node, info)

    def _slice(self, node: str, info: RequestInfo) -> Verdict:
        if info.subresource:
            return None, "cannot authorize ResourceSlice subresources"
        match info.verb:
            case "create":
                return True, ""
            case "get" | "update" | "patch" | "delete":
                return self._related(node, info)
            case "watch" | "list" | "deletecollection":
                if _selects(info, "spec.nodeName", node):
                    return True, ""
                return None, "can only list/watch/deletecollection resourceslices with nodeName field selector"
        return None, f"only the following verbs are allowed for a ResourceSlice: {_SLICE_VERBS}"

    def _pod(self, node: str, info: RequestInfo) -> Verdict:
        match info.subresource, info.verb:
            case "", "get":
                return self._related(node, info)
            case "", "list" | "watch":
                if _selects(info, "spec.nodeName", node):
                    return True, ""
                if info.name:
                    return self._related(node, info)
                return None, "can only list/watch pods with spec.nodeName field selector"
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return True, ""
        return None, ""


def _selects(info: RequestInfo, field: str, node: str) -> bool:
    try:
        return bool(info.field_selector) and fields.parse(info.field_selector).exact(field) == node
    except ValueError:
        return False


def _lease(node: str, info: RequestInfo) -> Verdict:
    if info.verb not in _OBJECT_VERBS:
        return None, "can only get, create, update, patch, or delete a node lease"
    if info.namespace != NODE_LEASES:
        return None, f"can only access leases in the {quote(NODE_LEASES)} system namespace"
    if info.verb != "create" and info.name != node:
        return None, "can only access node lease with the same name as the requesting node"
    return True, ""


def _csi_node(node: str, info: RequestInfo) -> Verdict:
    if info.verb not in _OBJECT_VERBS:
        return None, "can only get, create, update, patch, or delete a CSINode"
    if info.subresource:
        return None, "cannot authorize CSINode subresources"
    if info.verb != "create" and info.name != node:
        return None, "can only access CSINode with the same name as the requesting node"
    return True, ""


def _node(node: str, info: RequestInfo) -> Verdict:
    match info.subresource, info.verb:
        case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
            return True, ""
        case "", "get" | "list" | "watch":
            if info.name == node:
                return True, ""
            if not info.name:
                return None, f"node '{node}' cannot read all nodes, only its own Node object"
            return None, f"node '{node}' cannot read '{info.name}', only its own Node object"
    return None, ""
