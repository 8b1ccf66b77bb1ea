"""From a Service to an address that answers for it.

The server need not run where Services' cluster addresses lead somewhere, so it goes to a ready endpoint itself.
Source of messages: k8s.io/apiserver, pkg/util/proxy.
"""

from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Service, ServicePort
from wherry.api.discovery_v1 import EndpointSlice
from wherry.meta.errors import not_found, quote, service_unavailable
from wherry.server.kubelets import Endpoint
from wherry.server.strategies.strategy import Caches

SERVICE_LABEL = "kubernetes.io/service-name"


def service_endpoint(caches: Caches, entropy: Entropy, namespace: str, name: str, port: int) -> Endpoint:
    """One of the ready endpoints behind a Service's numbered port. Raises 404, 503."""
    service = caches.get(Service, namespace, name)
    if service is None:
        raise not_found("services", name)
    if service.spec.type == "ExternalName":
        return Endpoint(service.spec.externalName or "", port)
    found = next((item for item in service.spec.ports if item.port == port), None)
    if found is None:
        raise service_unavailable(f"no service port {port} found for service {quote(name)}")
    return pick(caches, entropy, service, found)


def pick(caches: Caches, entropy: Entropy, service: Service, port: ServicePort) -> Endpoint:
    """One of the ready endpoints behind a Service's port, at random. Raises 503 when there is none."""
    name = service.metadata.name or ""
    found = [
        Endpoint(address, item.port or 0)
        for piece in caches.list(EndpointSlice, service.metadata.namespace)
        if piece.metadata.labels.get(SERVICE_LABEL) == name
        for item in piece.ports
        if (item.name or "") == (port.name or "")
        for endpoint in piece.endpoints
        if endpoint.conditions.ready is not False
        for address in endpoint.addresses
    ]
    if not found:
        raise service_unavailable(f"no endpoints available for service {quote(name)}")
    return found[entropy.below(len(found))]
