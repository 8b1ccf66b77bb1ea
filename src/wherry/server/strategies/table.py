"""Which strategy serves which kind. A kind with nothing of its own gets the plain one: metadata rules alone."""

from collections.abc import Callable

from wherry.api.registry import RESOURCES
from wherry.client.client import Client
from wherry.meta.resource import Resource
from wherry.server.allocators import Addresses, PortAllocator
from wherry.server.strategies import devices
from wherry.server.strategies.access import (
    RBAC,
    BindingStrategy,
    PriorityClassStrategy,
    RoleStrategy,
)
from wherry.server.strategies.advice import ADVICE
from wherry.server.strategies.apiservice import APIServiceStrategy
from wherry.server.strategies.autoscaler import AutoscalerStrategy, DisruptionBudgetStrategy
from wherry.server.strategies.bookkeeping import (
    EventStrategy,
    LeaseStrategy,
    NewEventStrategy,
    PodTemplateStrategy,
    RevisionStrategy,
    RuntimeClassStrategy,
)
from wherry.server.strategies.certificates import SigningRequestStrategy
from wherry.server.strategies.configmap import ConfigMapStrategy, SecretStrategy
from wherry.server.strategies.customresourcedefinition import CustomResourceDefinitionStrategy
from wherry.server.strategies.daemonset import DaemonSetStrategy
from wherry.server.strategies.deployment import DeploymentStrategy
from wherry.server.strategies.flowcontrol import FlowSchemaStrategy, PriorityLevelStrategy
from wherry.server.strategies.job import CronJobStrategy, JobStrategy
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.migration import MigrationStrategy
from wherry.server.strategies.namespace import NamespaceStrategy, NodeStrategy, ServiceAccountStrategy
from wherry.server.strategies.network import (
    EndpointSliceStrategy,
    EndpointsStrategy,
    IngressClassStrategy,
    IngressStrategy,
    IPAddressStrategy,
    NetworkPolicyStrategy,
    ServiceCIDRStrategy,
)
from wherry.server.strategies.pod import PodStrategy
from wherry.server.strategies.policies import PolicyStrategy
from wherry.server.strategies.quota import LimitRangeStrategy, QuotaStrategy
from wherry.server.strategies.replicaset import ReplicaSetStrategy, ReplicationControllerStrategy
from wherry.server.strategies.service import ServiceStrategy
from wherry.server.strategies.statefulset import StatefulSetStrategy
from wherry.server.strategies.storage import (
    AttachmentStrategy,
    ClaimStrategy,
    CSIDriverStrategy,
    CSINodeStrategy,
    StorageCapacityStrategy,
    StorageClassStrategy,
    VolumeAttributesClassStrategy,
    VolumeStrategy,
)
from wherry.server.strategies.strategy import Caches, Strategy
from wherry.server.strategies.webhooks import WebhookConfigurationStrategy

SERVICE_CIDR = "10.96.0.0/12"

_KINDS: dict[tuple[str, str], type[KindStrategy]] = {
    ("", "configmaps"): ConfigMapStrategy,
    ("", "endpoints"): EndpointsStrategy,
    ("", "events"): EventStrategy,
    ("", "limitranges"): LimitRangeStrategy,
    ("", "namespaces"): NamespaceStrategy,
    ("", "nodes"): NodeStrategy,
    ("", "persistentvolumeclaims"): ClaimStrategy,
    ("", "persistentvolumes"): VolumeStrategy,
    ("", "pods"): PodStrategy,
    ("", "podtemplates"): PodTemplateStrategy,
    ("", "replicationcontrollers"): ReplicationControllerStrategy,
    ("", "resourcequotas"): QuotaStrategy,
    ("", "secrets"): SecretStrategy,
    ("", "serviceaccounts"): ServiceAccountStrategy,
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"): PolicyStrategy,
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"): PolicyStrategy,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): WebhookConfigurationStrategy,
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): PolicyStrategy,
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): PolicyStrategy,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): WebhookConfigurationStrategy,
    ("apiextensions.k8s.io", "customresourcedefinitions"): CustomResourceDefinitionStrategy,
    ("apiregistration.k8s.io", "apiservices"): APIServiceStrategy,
    ("apps", "controllerrevisions"): RevisionStrategy,
    ("apps", "daemonsets"): DaemonSetStrategy,
    ("apps", "deployments"): DeploymentStrategy,
    ("apps", "replicasets"): ReplicaSetStrategy,
    ("apps", "statefulsets"): StatefulSetStrategy,
    ("batch", "cronjobs"): CronJobStrategy,
    ("autoscaling", "horizontalpodautoscalers"): AutoscalerStrategy,
    ("batch", "jobs"): JobStrategy,
    ("certificates.k8s.io", "certificatesigningrequests"): SigningRequestStrategy,
    ("coordination.k8s.io", "leases"): LeaseStrategy,
    ("discovery.k8s.io", "endpointslices"): EndpointSliceStrategy,
    ("events.k8s.io", "events"): NewEventStrategy,
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): FlowSchemaStrategy,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): PriorityLevelStrategy,
    ("networking.k8s.io", "ingressclasses"): IngressClassStrategy,
    ("networking.k8s.io", "ipaddresses"): IPAddressStrategy,
    ("networking.k8s.io", "servicecidrs"): ServiceCIDRStrategy,
    ("node.k8s.io", "runtimeclasses"): RuntimeClassStrategy,
    ("networking.k8s.io", "ingresses"): IngressStrategy,
    ("networking.k8s.io", "networkpolicies"): NetworkPolicyStrategy,
    ("policy", "poddisruptionbudgets"): DisruptionBudgetStrategy,
    (RBAC, "clusterrolebindings"): BindingStrategy,
    (RBAC, "clusterroles"): RoleStrategy,
    (RBAC, "rolebindings"): BindingStrategy,
    (RBAC, "roles"): RoleStrategy,
    ("resource.k8s.io", "deviceclasses"): devices.DeviceClassStrategy,
    ("resource.k8s.io", "resourceclaims"): devices.ClaimStrategy,
    ("resource.k8s.io", "resourceclaimtemplates"): devices.TemplateStrategy,
    ("resource.k8s.io", "resourceslices"): devices.ResourceSliceStrategy,
    ("scheduling.k8s.io", "priorityclasses"): PriorityClassStrategy,
    ("storage.k8s.io", "csidrivers"): CSIDriverStrategy,
    ("storage.k8s.io", "csinodes"): CSINodeStrategy,
    ("storage.k8s.io", "csistoragecapacities"): StorageCapacityStrategy,
    ("storage.k8s.io", "storageclasses"): StorageClassStrategy,
    ("storage.k8s.io", "volumeattachments"): AttachmentStrategy,
    ("storage.k8s.io", "volumeattributesclasses"): VolumeAttributesClassStrategy,
    ("storagemigration.k8s.io", "storageversionmigrations"): MigrationStrategy,
}


def strategies(
    caches: Caches,
    service_cidr: str = SERVICE_CIDR,
    ports: PortAllocator | None = None,
    client: Callable[[], Client] | None = None,
) -> dict[tuple[str, str], Strategy]:
    """A strategy for every built-in kind, by group and plural."""
    table: dict[tuple[str, str], Strategy] = {}
    for resource in RESOURCES:
        kind = _KINDS.get((resource.group, resource.plural), KindStrategy)
        made = table[resource.group, resource.plural] = kind(
            namespaced=resource.namespaced, has_status=_has_status(resource)
        )
        made.advice = ADVICE.get((resource.group, resource.plural))
    services = ServiceStrategy(caches, Addresses(caches, service_cidr, client), ports or PortAllocator())
    services.advice = ADVICE["", "services"]
    table["", "services"] = services
    return table


def _has_status(resource: Resource) -> bool:
    return any(item.name == "status" for item in resource.subresources)
