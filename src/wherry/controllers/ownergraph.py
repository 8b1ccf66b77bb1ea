"""Who owns whom, over every object of the cluster: the garbage collector's memory. Pure.

An edge goes from an owner's uid to its dependents. An owner that dependents name but no informer has shown is kept as
a virtual node until the server has been asked about it. Changes return the uids to look at: to delete, or to orphan.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wherry.meta.object import ObjectMeta, OwnerReference
from wherry.meta.resource import Resource

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"

_NO_DEPENDENTS: dict[str, "Node"] = {}
"""Of the many that own nothing. Never changed."""


@dataclass(slots=True, eq=False)
class Node:
    """One object."""

    uid: str
    api_version: str
    kind: str
    namespace: str | None
    name: str
    owners: Sequence[OwnerReference] = ()
    dependents: dict[str, "Node"] = field(default_factory=lambda: _NO_DEPENDENTS)
    is_virtual: bool = False
    is_deleting: bool = False
    waits_for_dependents: bool = False
    """It is being deleted in the foreground: dependents that block it go first."""

    def blocking_dependents(self) -> list["Node"]:
        """Dependents that this owner's foreground deletion waits for."""
        return [node for node in self.dependents.values() if node.blocks(self.uid)]

    def blocks(self, owner_uid: str) -> bool:
        """Whether a reference to this owner asks for blockOwnerDeletion."""
        return any(owner.uid == owner_uid and owner.blockOwnerDeletion for owner in self.owners)


@dataclass(slots=True)
class Work:
    """Uids to look at after a change."""

    delete: list[str] = field(default_factory=list)
    orphan: list[str] = field(default_factory=list)


class OwnerGraph:
    """Nodes by uid."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def observed(self, resource: Resource, metadata: ObjectMeta) -> Work:
        """An object was added or changed."""
        work = Work()
        uid = metadata.uid or ""
        node = self.nodes.get(uid)
        if node is None:
            node = self.nodes[uid] = Node(uid, "", "", None, "")
        node.api_version, node.kind, node.is_virtual = resource.api_version, resource.kind, False
        node.namespace, node.name = metadata.namespace, metadata.name or ""
        if list(node.owners) != metadata.ownerReferences:
            self._set_owners(node, metadata.ownerReferences, work)
        was_deleting = node.is_deleting
        node.is_deleting = metadata.deletionTimestamp is not None
        if node.is_deleting and ORPHAN in metadata.finalizers:
            work.orphan.append(uid)
        waits = node.is_deleting and FOREGROUND in metadata.finalizers
        if waits and not node.waits_for_dependents:
            work.delete += [uid, *node.dependents]
        elif node.is_deleting and not was_deleting:
            work.delete += self._waiting_owners(node)
        node.waits_for_dependents = waits
        return work

    def removed(self, uid: str) -> Work:
        """An object is gone."""
        work = Work()
        node = self.nodes.pop(uid, None)
        if node is None:
            return work
        work.delete += node.dependents
        work.delete += self._waiting_owners(node)
        for reference in node.owners:
            self._detach(reference.uid, node)
        if node.dependents:
            # They still name it; the node stays, virtual, so that they can be found until their references go.
            self.nodes[uid] = Node(uid, node.api_version, node.kind, node.namespace, node.name, is_virtual=True)
            self.nodes[uid].dependents = node.dependents
        return work

    def _waiting_owners(self, node: Node) -> list[str]:
        owners = (self.nodes.get(reference.uid) for reference in node.owners)
        return [owner.uid for owner in owners if owner is not None and owner.waits_for_dependents]

    def _set_owners(self, node: Node, references: list[OwnerReference], work: Work) -> None:
        before = {reference.uid: reference for reference in node.owners}
        after = {reference.uid: reference for reference in references}
        work.delete += self._waiting_owners(node)
        node.owners = list(references)
        for uid in before.keys() - after.keys():
            self._detach(uid, node)
        for uid, reference in after.items():
            owner = self.nodes.get(uid)
            if owner is None:
                owner = Node(uid, reference.apiVersion, reference.kind, node.namespace, reference.name, is_virtual=True)
                self.nodes[uid] = owner
            if owner.dependents is _NO_DEPENDENTS:
                owner.dependents = {}
            owner.dependents[node.uid] = node
            if uid not in before and (owner.is_virtual or owner.waits_for_dependents):
                work.delete.append(node.uid)

    def _detach(self, owner_uid: str, node: Node) -> None:
        owner = self.nodes.get(owner_uid)
        if owner is None:
            return
        owner.dependents.pop(node.uid, None)
        if owner.is_virtual and not owner.dependents:
            del self.nodes[owner_uid]
