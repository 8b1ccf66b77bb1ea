"""Objects that `up` itself puts into a cluster: the kube-dns Service and where it is answered from."""

from wherry.api.core_v1 import Service, ServicePort, ServiceSpec
from wherry.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from wherry.client.client import Client
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta

NAME = "kube-dns"
NAMESPACE = "kube-system"
LABELS = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
DNS_PORT = 53


async def publish_dns(client: Client, cluster_ip: str, address: str, port: int) -> None:
    """Make `cluster_ip`:53 lead to the DNS server at `address`:`port`. Raises StatusError."""
    service = Service(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels=dict(LABELS)),
        spec=ServiceSpec(
            clusterIP=cluster_ip,
            ports=[
                ServicePort(name="dns", port=DNS_PORT, protocol="UDP", targetPort=port),
                ServicePort(name="dns-tcp", port=DNS_PORT, protocol="TCP", targetPort=port),
            ],
        ),
    )
    try:
        await client.get(Service, NAME, NAMESPACE)
    except StatusError as error:
        if error.code != 404:
            raise
        await client.create(service)
    wanted = EndpointSlice(
        metadata=ObjectMeta(
            name=f"{NAME}-wherry",
            namespace=NAMESPACE,
            labels={"kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "wherry"},
        ),
        addressType="IPv4",
        endpoints=[Endpoint(addresses=[address], conditions=EndpointConditions(ready=True))],
        ports=[
            EndpointPort(name="dns", port=port, protocol="UDP"),
            EndpointPort(name="dns-tcp", port=port, protocol="TCP"),
        ],
    )
    try:
        found = await client.get(EndpointSlice, f"{NAME}-wherry", NAMESPACE)
    except StatusError as error:
        if error.code != 404:
            raise
        await client.create(wanted)
        return
    if (found.endpoints, found.ports) != (wanted.endpoints, wanted.ports):
        found.endpoints, found.ports = wanted.endpoints, wanted.ports
        await client.update(found)
