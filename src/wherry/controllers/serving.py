"""Which pods stand behind a Service, and on which ports: what endpointslice.py and endpoints.py share."""

from collections.abc import Callable
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.core_v1 import ObjectReference, Pod, Service
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.client.workqueue import meta_key
from wherry.controllers.controller import Controller
from wherry.rules.pods import find_port, is_ready, is_terminal, is_terminating, phase_of, pod_ips

HEADLESS_LABEL = "service.kubernetes.io/headless"
PortFacts = tuple[str, str, int, str | None]
"""(name, protocol, number, appProtocol)."""


def selects(service: Service, pod: Pod) -> bool:
    """Whether the Service's selector, which must not be empty, chooses the pod."""
    selector = service.spec.selector
    return bool(selector) and selector.items() <= pod.metadata.labels.items()


def is_managed(service: Service) -> bool:
    """Endpoints are ours to keep: a selector, and an address of the cluster's."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def is_headless(service: Service) -> bool:
    """Without an address of its own."""
    return service.spec.clusterIP == "None"


def belongs(pod: Pod, *, also_terminating: bool) -> bool:
    """Worth an endpoint at all: has an address and may still serve."""
    if is_terminal(pod) or not pod_ips(pod):
        return False
    return also_terminating or not is_terminating(pod)


def ports_of(service: Service, pod: Pod) -> list[PortFacts]:
    """The Service's ports as numbers on this pod; those whose name the pod does not know are left out."""
    found = []
    for port in service.spec.ports:
        protocol = port.protocol or "TCP"
        number = find_port(pod.spec, port.targetPort if port.targetPort is not None else port.port, protocol)
        if number is not None:
            found.append((port.name or "", protocol, number, port.appProtocol))
    return found


def hostname_of(service: Service, pod: Pod) -> str | None:
    """The DNS name of the pod within a Service that is its subdomain."""
    return pod.spec.hostname if pod.spec.hostname and pod.spec.subdomain == service.metadata.name else None


def reference_of(pod: Pod) -> ObjectReference:
    """targetRef of an endpoint."""
    metadata = pod.metadata
    return ObjectReference(kind="Pod", namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)


class ServiceFollower(Controller):
    """Reconciles Services whenever they, or pods they select, change in a way that endpoints show."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self.services = self.watch(Service, self.enqueue)
        self.pods = self.watch(Pod, self._pod_changed)

    def selected(self, service: Service) -> list[Pod]:
        """Pods the Service selects."""
        return [pod for pod in self.pods.list(service.metadata.namespace) if selects(service, pod)]

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and _facts(old) == _facts(new):
            return
        some = new if old is None else old
        for service in self.services.list(some.metadata.namespace if some else None):
            if any(pod is not None and selects(service, pod) for pod in (old, new)):
                self.queue.add(meta_key(service))


def _facts(pod: Pod) -> tuple[Any, ...]:
    return (
        pod.metadata.uid,
        pod.metadata.labels,
        pod_ips(pod),
        is_ready(pod),
        is_terminating(pod),
        phase_of(pod),
        pod.spec.nodeName,
    )


def follow(informer: Informer[Any], add: Callable[[tuple[str, str]], None], service_of: Callable[[Any], str]) -> None:
    """Reconcile the Service that `service_of` names whenever a derived object changes."""

    def changed(old: Any, new: Any) -> None:
        obj = old if new is None else new
        name = service_of(obj)
        if name:
            add((obj.metadata.namespace or "", name))

    informer.add_handler(changed)
