"""Which strategy serves which kind. A kind with nothing of its own gets the plain one: metadata rules alone."""

from wherry.api.registry import RESOURCES
from wherry.meta.resource import Resource
from wherry.server.allocators import AddressAllocator, PortAllocator
from wherry.server.strategies.configmap import ConfigMapStrategy, SecretStrategy
from wherry.server.strategies.daemonset import DaemonSetStrategy
from wherry.server.strategies.deployment import DeploymentStrategy
from wherry.server.strategies.job import CronJobStrategy, JobStrategy
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.namespace import NamespaceStrategy, NodeStrategy, ServiceAccountStrategy
from wherry.server.strategies.pod import PodStrategy
from wherry.server.strategies.replicaset import ReplicaSetStrategy, ReplicationControllerStrategy
from wherry.server.strategies.service import ServiceStrategy
from wherry.server.strategies.statefulset import StatefulSetStrategy
from wherry.server.strategies.strategy import Caches, Strategy

SERVICE_CIDR = "10.96.0.0/12"
NODE_PORT_RANGE = (30000, 32767)

_KINDS: dict[tuple[str, str], type[KindStrategy]] = {
    ("", "configmaps"): ConfigMapStrategy,
    ("", "namespaces"): NamespaceStrategy,
    ("", "nodes"): NodeStrategy,
    ("", "pods"): PodStrategy,
    ("", "replicationcontrollers"): ReplicationControllerStrategy,
    ("", "secrets"): SecretStrategy,
    ("", "serviceaccounts"): ServiceAccountStrategy,
    ("apps", "daemonsets"): DaemonSetStrategy,
    ("apps", "deployments"): DeploymentStrategy,
    ("apps", "replicasets"): ReplicaSetStrategy,
    ("apps", "statefulsets"): StatefulSetStrategy,
    ("batch", "cronjobs"): CronJobStrategy,
    ("batch", "jobs"): JobStrategy,
}


def strategies(
    caches: Caches, service_cidr: str = SERVICE_CIDR, node_port_range: tuple[int, int] = NODE_PORT_RANGE
) -> dict[tuple[str, str], Strategy]:
    """A strategy for every built-in kind, by group and plural."""
    table: dict[tuple[str, str], Strategy] = {}
    for resource in RESOURCES:
        kind = _KINDS.get((resource.group, resource.plural), KindStrategy)
        table[resource.group, resource.plural] = kind(namespaced=resource.namespaced, has_status=_has_status(resource))
    table["", "services"] = ServiceStrategy(caches, AddressAllocator(service_cidr), PortAllocator(*node_port_range))
    return table


def _has_status(resource: Resource) -> bool:
    return any(item.name == "status" for item in resource.subresources)
