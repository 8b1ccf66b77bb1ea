"""Namespaces, nodes and service accounts: the objects that others live in, on and as."""

from wherry.api.core_v1 import Namespace, NamespaceStatus, Node, NodeSpec
from wherry.meta import names
from wherry.meta.errors import FieldError, field_forbidden, invalid_value
from wherry.server.strategies import addresses, affinity_rules, metadata
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import RequestContext

NAME_LABEL = "kubernetes.io/metadata.name"


class NamespaceStrategy(KindStrategy):
    """v1 Namespace. Its own finalizer, in spec, waits until everything in it is gone."""

    name_check = staticmethod(names.dns1123_label)

    def default(self, obj: Namespace) -> None:
        unset(obj.status, phase="Active")
        if obj.metadata.name and obj.metadata.labels.get(NAME_LABEL) != obj.metadata.name:
            obj.metadata.labels = {**obj.metadata.labels, NAME_LABEL: obj.metadata.name}

    def prepare_for_create(self, obj: Namespace, ctx: RequestContext) -> None:
        obj.status = NamespaceStatus(phase="Active")
        if "kubernetes" not in obj.spec.finalizers:
            obj.spec.finalizers = [*obj.spec.finalizers, "kubernetes"]
        if obj.metadata.name:
            obj.metadata.labels = {**obj.metadata.labels, NAME_LABEL: obj.metadata.name}

    def prepare_for_update(self, new: Namespace, old: Namespace, ctx: RequestContext) -> None:
        super().prepare_for_update(new, old, ctx)
        new.spec.finalizers = old.spec.finalizers

    def validate_status_update(self, new: Namespace, old: Namespace) -> list[FieldError]:
        errors = list(metadata.validate_update(new.metadata, old.metadata))
        terminating = new.metadata.deletionTimestamp is not None
        wanted = "Terminating" if terminating else "Active"
        if new.status.phase != wanted:
            text = f"may only be '{wanted}' if `deletionTimestamp` is {'not ' if terminating else ''}empty"
            errors.append(invalid_value("status.Phase", new.status.phase, text))
        return errors

    def fields(self, obj: Namespace) -> dict[str, str]:
        return {"status.phase": obj.status.phase or ""}


class NodeStrategy(KindStrategy):
    """v1 Node. A registering kubelet may set its status at once."""

    def default(self, obj: Node) -> None:
        """A node's amounts are given as they are; capacity stands in for what allocatable leaves out."""
        for name, quantity in obj.status.capacity.items():
            obj.status.allocatable.setdefault(name, quantity)

    def prepare_for_create(self, obj: Node, ctx: RequestContext) -> None:
        """Keeps the status, unlike other kinds."""

    def rules(self, obj: Node) -> Faults:
        yield from affinity_rules.taints("metadata.taints", obj.spec.taints)
        for index, block in enumerate(obj.spec.podCIDRs):
            yield from addresses.cidr(f"spec.podCIDRs[{index}]", block)
        if obj.spec.podCIDR and obj.spec.podCIDRs and obj.spec.podCIDR != obj.spec.podCIDRs[0]:
            text = "must match `podCIDRs[0]`"
            yield invalid_value("spec.podCIDR", obj.spec.podCIDR, text)

    def update_rules(self, new: Node, old: Node) -> Faults:
        if old.spec.podCIDRs and new.spec.podCIDRs != old.spec.podCIDRs:
            yield field_forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
        if old.spec.providerID and new.spec.providerID != old.spec.providerID:
            yield field_forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')

    def fields(self, obj: Node) -> dict[str, str]:
        spec: NodeSpec = obj.spec
        return {"spec.unschedulable": "true" if spec.unschedulable else "false"}


class ServiceAccountStrategy(KindStrategy):
    """v1 ServiceAccount."""
