"""Plugins that are off until asked for, each a few lines."""

from collections.abc import Callable

from wherry.api import core_v1 as core
from wherry.client.client import Client
from wherry.meta.errors import StatusError, already_exists, forbidden, internal_error, not_found
from wherry.meta.object import ObjectMeta
from wherry.rules import pods
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies import resource_rules
from wherry.server.strategies.strategy import Caches

_HOSTNAME = "kubernetes.io/hostname"


class AlwaysAdmit(AdmissionPlugin):
    """Says yes; kept because clusters name it."""

    name = "AlwaysAdmit"

    def handles(self, operation: Operation) -> bool:
        return False


class AlwaysDeny(AdmissionPlugin):
    """Refuses every write."""

    name = "AlwaysDeny"

    async def admit(self, attributes: Attributes) -> None:
        text = "admission control is denying all modifications"
        raise forbidden(attributes.resource.group_resource, attributes.name, text)


class AlwaysPullImages(AdmissionPlugin):
    """Nobody runs another's private image because it happens to lie on the node."""

    name = "AlwaysPullImages"
    kinds = frozenset({("", "pods")})

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def admit(self, attributes: Attributes) -> None:
        if not self._looks_at(attributes):
            return
        spec = attributes.object.spec
        for container in (*spec.initContainers, *spec.containers, *spec.ephemeralContainers):
            container.imagePullPolicy = "Always"
        for volume in spec.volumes:
            if volume.image is not None and volume.image.reference:
                volume.image.pullPolicy = "Always"

    async def validate(self, attributes: Attributes) -> None:
        if not self._looks_at(attributes):
            return
        spec = attributes.object.spec
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            for index, container in enumerate(getattr(spec, kind)):
                if container.imagePullPolicy != "Always":
                    path = f"spec.{kind}[{index}].imagePullPolicy"
                    text = f'{path}: Unsupported value: "{container.imagePullPolicy}": supported values: "Always"'
                    raise forbidden("pods", attributes.name, text)

    def _looks_at(self, attributes: Attributes) -> bool:
        if attributes.subresource not in ("", "ephemeralcontainers"):
            return False
        if attributes.operation == "CREATE":
            return True
        new, old = attributes.object.spec, attributes.old_object.spec
        images = [
            {item.image for item in (*spec.initContainers, *spec.containers, *spec.ephemeralContainers)}
            for spec in (new, old)
        ]
        return not images[0] <= images[1]


class ExtendedResourceToleration(AdmissionPlugin):
    """Pods that ask for a device tolerate the taint that keeps others off its nodes."""

    name = "ExtendedResourceToleration"
    kinds = frozenset({("", "pods")})

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def admit(self, attributes: Attributes) -> None:
        if attributes.subresource:
            return
        spec: core.PodSpec = attributes.object.spec
        wanted = sorted(
            {
                name
                for container in pods.all_containers(spec)
                for name in container.resources.requests
                if resource_rules.is_extended(name)
            }
        )
        for name in wanted:
            added = core.Toleration(key=name, operator="Exists")
            if added not in spec.tolerations:
                spec.tolerations = [*spec.tolerations, added]


class DenyServiceExternalIPs(AdmissionPlugin):
    """No Service may claim an address that is not the cluster's to give."""

    name = "DenyServiceExternalIPs"
    kinds = frozenset({("", "services")})

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def validate(self, attributes: Attributes) -> None:
        if attributes.subresource:
            return
        old = attributes.old_object.spec.externalIPs if attributes.old_object is not None else []
        if any(address not in old for address in attributes.object.spec.externalIPs):
            text = "Use of external IPs is denied by admission control"
            raise forbidden("services", attributes.name, text)


class LimitPodHardAntiAffinityTopology(AdmissionPlugin):
    """Pods may keep others away from their node, not from a whole zone."""

    name = "LimitPodHardAntiAffinityTopology"
    kinds = frozenset({("", "pods")})

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def validate(self, attributes: Attributes) -> None:
        affinity = attributes.object.spec.affinity if not attributes.subresource else None
        anti = affinity.podAntiAffinity if affinity is not None else None
        for term in anti.requiredDuringSchedulingIgnoredDuringExecution if anti is not None else ():
            if term.topologyKey != _HOSTNAME:
                text = (
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey "
                    f"{term.topologyKey} but only key {_HOSTNAME} is allowed"
                )
                raise forbidden("pods", attributes.name, text)


class NamespaceExists(AdmissionPlugin):
    """Every write into a namespace finds it there."""

    name = "NamespaceExists"

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation != "CONNECT"

    async def validate(self, attributes: Attributes) -> None:
        namespace = attributes.namespace
        if not namespace or attributes.resource.plural == "namespaces":
            return
        if self._caches.get(core.Namespace, None, namespace) is None:
            raise not_found("namespaces", namespace)


class NamespaceAutoProvision(AdmissionPlugin):
    """Whoever writes into a namespace that is missing makes it."""

    name = "NamespaceAutoProvision"

    def __init__(self, caches: Caches, client: Callable[[], Client]) -> None:
        self._caches = caches
        self._client = client

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        name = attributes.namespace
        if not name or attributes.resource.plural == "namespaces" or attributes.dry_run:
            return
        if self._caches.get(core.Namespace, None, name) is not None:
            return
        try:
            await self._client().create(core.Namespace(metadata=ObjectMeta(name=name)))
        except StatusError as error:
            if error.reason != already_exists("namespaces", name).reason:
                raise internal_error(f"namespace {name} cannot be made: {error}") from error
