"""A container's environment: services, envFrom, env with all its sources, in Kubernetes' order. Pure but for lookups.

`Lookup` finds ConfigMaps and Secrets; what is missing and not optional raises `ConfigFailure`, whose text becomes the
message of CreateContainerConfigError.
"""

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping

from wherry.api.core_v1 import ConfigMap, EnvFromSource, EnvVar, Pod, Secret, Service
from wherry.kubelet.downward import DownwardFailure, Node, container_resource, pod_field
from wherry.kubelet.expansion import expand
from wherry.kubelet.machine import AnyContainer
from wherry.meta.errors import quote

Lookup = Callable[[type, str, str], Awaitable[ConfigMap | Secret | None]]
"""(ConfigMap or Secret, namespace, name) to the object or None."""


class ConfigFailure(Exception):
    """A container cannot be configured as its spec wants."""


async def container_environment(
    pod: Pod,
    container: AnyContainer,
    lookup: Lookup,
    services: Iterable[Service],
    pod_ips: tuple[str, ...],
    node: Node,
) -> dict[str, str]:
    """Everything the container's process finds in its environment."""
    environment: dict[str, str] = {}
    for source in container.envFrom:
        for key, value in (await _env_from(pod, source, lookup)).items():
            environment[(source.prefix or "") + key] = value
    from_services = service_environment(
        services, pod.metadata.namespace or "", everything=pod.spec.enableServiceLinks is not False
    )
    environment |= {key: value for key, value in from_services.items() if key not in environment}
    for variable in container.env:
        found = await _value(pod, container, variable, environment, lookup, pod_ips, node)
        if found is not None:
            environment[variable.name] = found
    return environment


async def _env_from(pod: Pod, source: EnvFromSource, lookup: Lookup) -> dict[str, str]:
    for kind, reference in ((ConfigMap, source.configMapRef), (Secret, source.secretRef)):
        if reference is not None:
            found = await lookup(kind, pod.metadata.namespace or "", reference.name or "")
            if found is None:
                if reference.optional:
                    return {}
                raise ConfigFailure(missing(kind, reference.name or ""))
            return text_data(found)
    return {}


async def _value(
    pod: Pod,
    container: AnyContainer,
    variable: EnvVar,
    environment: Mapping[str, str],
    lookup: Lookup,
    pod_ips: tuple[str, ...],
    node: Node,
) -> str | None:
    source = variable.valueFrom
    if source is None:
        return expand(variable.value or "", environment)
    try:
        if source.fieldRef:
            return pod_field(pod, source.fieldRef, pod_ips, node)
        if source.resourceFieldRef:
            return container_resource(
                source.resourceFieldRef, _named(pod, source.resourceFieldRef.containerName, container), node
            )
    except DownwardFailure as error:
        raise ConfigFailure(str(error)) from error
    if source.configMapKeyRef:
        ref = source.configMapKeyRef
        return await _key(pod, ConfigMap, ref.name or "", ref.key, bool(ref.optional), lookup)
    if source.secretKeyRef:
        secret = source.secretKeyRef
        return await _key(pod, Secret, secret.name or "", secret.key, bool(secret.optional), lookup)
    raise ConfigFailure(f"env {variable.name}: this source of a value is not supported")


def _named(pod: Pod, name: str | None, default: AnyContainer) -> AnyContainer:
    everyone = (*pod.spec.containers, *pod.spec.initContainers)
    return next((item for item in everyone if item.name == name), default) if name else default


async def _key(pod: Pod, kind: type, name: str, key: str, optional: bool, lookup: Lookup) -> str | None:
    namespace = pod.metadata.namespace or ""
    found = await lookup(kind, namespace, name)
    if found is None:
        if optional:
            return None
        raise ConfigFailure(missing(kind, name))
    data = text_data(found)
    if key not in data:
        if optional:
            return None
        raise ConfigFailure(f"couldn't find key {key} in {kind.__name__} {namespace}/{name}")
    return data[key]


def missing(kind: type, name: str) -> str:
    """configmap "x" not found."""
    return f"{kind.__name__.lower()} {quote(name)} not found"


def text_data(found: ConfigMap | Secret) -> dict[str, str]:
    """A ConfigMap's data, or a Secret's decoded."""
    if isinstance(found, Secret):
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in found.data.items()}
    return found.data


def binary_data(found: ConfigMap | Secret) -> dict[str, bytes]:
    """Every key's bytes, as a volume holds them."""
    if isinstance(found, Secret):
        return {key: base64.b64decode(value) for key, value in found.data.items()}
    texts = {key: value.encode() for key, value in found.data.items()}
    return texts | {key: base64.b64decode(value) for key, value in found.binaryData.items()}


def service_environment(services: Iterable[Service], namespace: str, everything: bool) -> dict[str, str]:
    """NAME_SERVICE_HOST and the like (Docker's links too) for each service that has an address.

    The master's `kubernetes` service is always there; the rest of the namespace only when `everything`.
    """
    environment: dict[str, str] = {}
    for service in services:
        master = service.metadata.namespace == "default" and service.metadata.name == "kubernetes"
        address = service.spec.clusterIP
        if not address or address == "None" or not service.spec.ports:
            continue
        if master or (everything and service.metadata.namespace == namespace):
            environment.update(_one_service(service, address))
    return environment


def _one_service(service: Service, address: str) -> dict[str, str]:
    prefix = (service.metadata.name or "").upper().replace("-", "_")
    ports = service.spec.ports
    result = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0].port)}
    host = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        if port.name:
            result[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
        protocol = port.protocol or "TCP"
        url = f"{protocol.lower()}://{host}:{port.port}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        stem = f"{prefix}_PORT_{port.port}_{protocol}"
        result |= {
            stem: url,
            f"{stem}_PROTO": protocol.lower(),
            f"{stem}_PORT": str(port.port),
            f"{stem}_ADDR": address,
        }
    return result
