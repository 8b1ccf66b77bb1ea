"""What every API server makes sure exists: system namespaces, priority classes, RBAC's roles, its own Service.

Runs once at start through the server's own client, and writes only what is missing or wrong, so a restart writes
nothing. Source of the behaviour: kube-apiserver's post-start hooks (system-namespaces-controller, rbac/bootstrap-roles,
scheduling/bootstrap-system-priority-classes, bootstrap-controller).
"""

import logging
from dataclasses import dataclass
from typing import TypeVar

import orjson

from wherry.api.core_v1 import (
    ConfigMap,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Namespace,
    Service,
    ServicePort,
    ServiceSpec,
)
from wherry.api.discovery_v1 import Endpoint, EndpointConditions, EndpointSlice
from wherry.api.discovery_v1 import EndpointPort as SlicePort
from wherry.api.meta_v1 import Condition
from wherry.api.networking_v1 import ServiceCIDR, ServiceCIDRSpec
from wherry.api.scheduling_v1 import PriorityClass
from wherry.client.client import Client
from wherry.meta.errors import StatusError
from wherry.meta.object import KubernetesObject, ObjectMeta
from wherry.meta.time import format_time
from wherry.server import address_repair
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.rbac import bootstrap as rbac
from wherry.server.strategies.strategy import Caches

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
PRIORITY_CLASSES = {
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
}
SERVICE_LABELS = {"component": "apiserver", "provider": "kubernetes"}

T = TypeVar("T", bound=KubernetesObject)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Advertised:
    """How clients inside the cluster reach this server."""

    service_ip: str
    """The first address of the service CIDR."""
    address: str
    port: int


async def bootstrap(
    client: Client, caches: Caches, advertised: Advertised, authentication: AuthenticationOptions, service_cidr: str
) -> None:
    """Bring everything into place. Raises StatusError."""
    for name in NAMESPACES:
        if caches.get(Namespace, None, name) is None:
            await _create(client, Namespace(metadata=ObjectMeta(name=name)))
    await rbac.reconcile(client, caches)
    for name, (value, description) in PRIORITY_CLASSES.items():
        if caches.get(PriorityClass, None, name) is None:
            meta = ObjectMeta(name=name)
            await _create(client, PriorityClass(metadata=meta, value=value, description=description))
    await publish_authentication(client, caches, authentication)
    await _publish_range(client, caches, service_cidr)
    await address_repair.try_repair(client, caches)
    await _publish_service(client, caches, advertised)


def trust(options: AuthenticationOptions) -> dict[str, str]:
    """What extension servers must know to believe this server (and its clients). Raises OSError."""
    data = {"client-ca-file": options.client_ca.read_text()} if options.client_ca else {}
    proxy = options.front_proxy
    if proxy is not None:
        lists = {
            "allowed-names": proxy.names,
            "extra-headers-prefix": proxy.extra_prefixes,
            "group-headers": proxy.group_headers,
            "username-headers": proxy.username_headers,
        }
        if proxy.uid_headers:
            lists["uid-headers"] = proxy.uid_headers
        data |= {f"requestheader-{name}": orjson.dumps(values).decode() for name, values in lists.items()}
        data["requestheader-client-ca-file"] = proxy.ca.read_text()
    return data


async def publish_authentication(client: Client, caches: Caches, options: AuthenticationOptions) -> None:
    """Keep the ConfigMap in which extension servers look it up. Raises StatusError, OSError."""
    name, data = "extension-apiserver-authentication", trust(options)
    found = caches.get(ConfigMap, "kube-system", name)
    if found is None:
        await _create(client, ConfigMap(metadata=ObjectMeta(name=name, namespace="kube-system"), data=data))
    elif found.data != data:
        found.data = data
        await client.update(found)


async def _publish_range(client: Client, caches: Caches, service_cidr: str) -> None:
    """The ServiceCIDR that the flag asks for. One that is there stays, whatever the flag says."""
    found = caches.get(ServiceCIDR, None, "kubernetes")
    if found is None:
        made = ServiceCIDR(metadata=ObjectMeta(name="kubernetes"), spec=ServiceCIDRSpec(cidrs=[service_cidr]))
        await _create(client, made)
        found = caches.get(ServiceCIDR, None, "kubernetes") or made
    if found.spec.cidrs != [service_cidr]:
        _log.warning("ServiceCIDR kubernetes has %s, and keeps it; the flag says %s", found.spec.cidrs, service_cidr)
    elif not found.status.conditions:
        since = format_time(client.clock.now())
        text = "Kubernetes default Service CIDR is ready"
        found.status.conditions = [Condition(type="Ready", status="True", message=text, lastTransitionTime=since)]
        await client.update_status(found)


async def _publish_service(client: Client, caches: Caches, advertised: Advertised) -> None:
    service = Service(
        metadata=ObjectMeta(name="kubernetes", namespace="default", labels=dict(SERVICE_LABELS)),
        spec=ServiceSpec(
            type="ClusterIP",
            clusterIP=advertised.service_ip,
            ports=[ServicePort(name="https", protocol="TCP", port=443, targetPort=advertised.port)],
        ),
    )
    found = caches.get(Service, "default", "kubernetes")
    if found is None:
        await _create(client, service)
    elif found.spec.ports[0].targetPort != advertised.port:
        found.spec.ports[0].targetPort = advertised.port
        await client.update(found)
    endpoints = Endpoints(
        metadata=ObjectMeta(
            name="kubernetes",
            namespace="default",
            labels={"endpointslice.kubernetes.io/skip-mirror": "true"},
        ),
        subsets=[
            EndpointSubset(
                addresses=[EndpointAddress(ip=advertised.address)],
                ports=[EndpointPort(name="https", port=advertised.port, protocol="TCP")],
            )
        ],
    )
    known = caches.get(Endpoints, "default", "kubernetes")
    if known is None:
        await _create(client, endpoints)
    elif known.subsets != endpoints.subsets:
        known.subsets = endpoints.subsets
        await client.update(known)
    await _publish_slice(client, caches, advertised)


async def _publish_slice(client: Client, caches: Caches, advertised: Advertised) -> None:
    wanted = EndpointSlice(
        metadata=ObjectMeta(
            name="kubernetes", namespace="default", labels={"kubernetes.io/service-name": "kubernetes"}
        ),
        addressType="IPv4",
        endpoints=[Endpoint(addresses=[advertised.address], conditions=EndpointConditions(ready=True))],
        ports=[SlicePort(name="https", port=advertised.port, protocol="TCP")],
    )
    found = caches.get(EndpointSlice, "default", "kubernetes")
    if found is None:
        await _create(client, wanted)
    elif (found.endpoints, found.ports) != (wanted.endpoints, wanted.ports):
        found.endpoints, found.ports = wanted.endpoints, wanted.ports
        await client.update(found)


async def _create(client: Client, obj: T) -> None:
    try:
        await client.create(obj)
    except StatusError as error:
        # Several API servers start at once: whoever came first wrote the same.
        if error.reason != "AlreadyExists":
            raise
