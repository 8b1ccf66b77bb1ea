"""Whether an extension server can be asked: its Service, its endpoints, and an answer to a discovery request.

Reasons and messages: kube-aggregator, pkg/controllers/status.
"""

import asyncio

from wherry.api.apiregistration_v1 import APIService, APIServiceCondition
from wherry.api.core_v1 import Service, ServicePort
from wherry.api.discovery_v1 import EndpointSlice
from wherry.meta.errors import StatusError, quote
from wherry.server.callouts.client import Callouts, Remote, explain, tls_options
from wherry.server.callouts.services import SERVICE_LABEL
from wherry.server.strategies.strategy import Caches

CHECK_SECONDS = 5.0


def available(status: str, reason: str, message: str) -> APIServiceCondition:
    """The Available condition."""
    return APIServiceCondition(type="Available", status=status, reason=reason, message=message)


def service_fault(item: APIService, caches: Caches) -> APIServiceCondition | None:
    """What is wrong with the Service before anybody is asked."""
    reference = item.spec.service
    assert reference is not None, "a local APIService has no service to look at"
    name, namespace, wanted = reference.name or "", reference.namespace or "", reference.port or 443
    about = f"service/{name} in {quote(namespace)}"
    service = caches.get(Service, namespace, name)
    if service is None:
        return available("False", "ServiceNotFound", f"{about} is not present")
    if service.spec.type == "ExternalName":
        return None
    port = next((it for it in service.spec.ports if it.port == wanted), None)
    if port is None:
        return available("False", "ServicePortError", f"{about} is not listening on port {wanted}")
    return _endpoints_fault(about, name, namespace, port, caches)


def _endpoints_fault(
    about: str, name: str, namespace: str, port: ServicePort, caches: Caches
) -> APIServiceCondition | None:
    slices = [it for it in caches.list(EndpointSlice, namespace) if it.metadata.labels.get(SERVICE_LABEL) == name]
    if not slices:
        return available("False", "EndpointsNotFound", f"cannot find endpointslices for {about}")
    ready = any(
        endpoint.conditions.ready is not False and endpoint.addresses
        for piece in slices
        if any((it.name or "") == (port.name or "") for it in piece.ports)
        for endpoint in piece.endpoints
    )
    if not ready:
        text = f"endpointslices for {about} have no addresses with port name {quote(port.name or '')}"
        return available("False", "MissingEndpoints", text)
    return None


async def discovery_fault(item: APIService, remote: Remote, headers: dict[str, str], callouts: Callouts) -> str:
    """Why the extension server does not answer for its group version; empty when it does."""
    from aiohttp import ClientError

    path = f"/apis/{item.spec.group}/{item.spec.version}"
    shown = f"{remote.url.rstrip('/')}{path}"
    try:
        base, host = remote.locate()
        async with asyncio.timeout(CHECK_SECONDS):
            answer = await callouts.session.get(
                f"{base}{path}", headers=headers | {"Host": host}, allow_redirects=False, **tls_options(remote)
            )
            async with answer:
                why = "" if 200 <= answer.status < 300 else f"bad status from {shown}: {answer.status}"
    except TimeoutError:
        why = f'Get "{shown}": context deadline exceeded'
    except StatusError as error:
        why = error.message
    except (ClientError, OSError) as error:
        why = f'Get "{shown}": {explain(error)}'
    return f"failing or missing response from {shown}: {why}" if why else ""
