"""The rules of one container: image, ports, environment, mounts, probes, resources.

Source: k8s.io/kubernetes/pkg/apis/core/validation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import (
    duplicate,
    field_forbidden,
    field_not_found,
    invalid_value,
    not_supported,
    required,
)
from wherry.meta.quantity import Quantity
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults

AnyContainer = core.Container | core.EphemeralContainer

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_RESOURCE_FIELDS = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_STANDARD_RESOURCES = ("cpu", "ephemeral-storage", "memory")


def containers(path: str, items: Sequence[core.Container], volumes: Mapping[str, core.Volume]) -> Faults:
    """The regular containers: at least one, names that differ, host ports that differ."""
    if not items:
        yield required(path)
    yield from _unique_names(path, items, set())
    for index, container in enumerate(items):
        here = f"{path}[{index}]"
        yield from common(here, container, volumes)
        if container.readinessProbe is not None:
            yield from _probe(f"{here}.readinessProbe", container.readinessProbe)
        yield from _startup_and_liveness(here, container)
        yield from _lifecycle(f"{here}.lifecycle", container.lifecycle)
    yield from _host_ports(path, items)


def init_containers(
    path: str, items: Sequence[core.Container], regular: Sequence[core.Container], volumes: Mapping[str, core.Volume]
) -> Faults:
    """Init containers: names unlike the regular ones'; probes and handlers only for sidecars."""
    yield from _unique_names(path, items, {item.name for item in regular})
    for index, container in enumerate(items):
        here = f"{path}[{index}]"
        yield from common(here, container, volumes)
        if container.restartPolicy is not None and container.restartPolicy not in ("Always", "Never", "OnFailure"):
            yield not_supported(f"{here}.restartPolicy", container.restartPolicy, ("Always", "Never", "OnFailure"))
        if container.restartPolicy == "Always":
            if container.readinessProbe is not None:
                yield from _probe(f"{here}.readinessProbe", container.readinessProbe)
            yield from _startup_and_liveness(here, container)
            yield from _lifecycle(f"{here}.lifecycle", container.lifecycle)
            continue
        text = "may not be set for init containers without restartPolicy=Always"
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if getattr(container, name) is not None:
                yield field_forbidden(f"{here}.{name}", text)


def _unique_names(path: str, items: Sequence[AnyContainer], taken: set[str]) -> Faults:
    seen = set(taken)
    for index, container in enumerate(items):
        if container.name and container.name in seen:
            yield duplicate(f"{path}[{index}].name", container.name)
        seen.add(container.name)


def common(path: str, container: AnyContainer, volumes: Mapping[str, core.Volume]) -> Faults:
    """What holds for containers of every sort."""
    yield from checks.named_required(f"{path}.name", container.name, names.dns1123_label)
    yield from _image(f"{path}.image", container.image)
    if container.terminationMessagePolicy not in (None, "File", "FallbackToLogsOnError"):
        allowed = ("FallbackToLogsOnError", "File")
        yield not_supported(f"{path}.terminationMessagePolicy", container.terminationMessagePolicy, allowed)
    yield from ports(f"{path}.ports", container.ports)
    for index, variable in enumerate(container.env):
        yield from _env(f"{path}.env[{index}]", variable)
    for index, source in enumerate(container.envFrom):
        yield from _env_from(f"{path}.envFrom[{index}]", source)
    yield from _mounts(f"{path}.volumeMounts", container, volumes)
    yield from checks.one_of(f"{path}.imagePullPolicy", container.imagePullPolicy, _PULL_POLICIES)
    yield from resources(f"{path}.resources", container.resources)
    if container.securityContext is not None:
        yield from _security(f"{path}.securityContext", container.securityContext)


def _image(path: str, image: str | None) -> Faults:
    if not image:
        yield required(path)
    elif image != image.strip():
        yield invalid_value(path, image, "must not have leading or trailing whitespace")


def ports(path: str, items: Sequence[core.ContainerPort]) -> Faults:
    """Container ports."""
    seen: set[str] = set()
    for index, port in enumerate(items):
        here = f"{path}[{index}]"
        if port.name:
            faults = names.port_name(port.name)
            for text in faults:
                yield invalid_value(f"{here}.name", port.name, text)
            if not faults and port.name in seen:
                yield duplicate(f"{here}.name", port.name)
            seen.add(port.name)
        if not port.containerPort:
            yield required(f"{here}.containerPort")
        else:
            yield from checks.port(f"{here}.containerPort", port.containerPort)
        if port.hostPort:
            yield from checks.port(f"{here}.hostPort", port.hostPort)
        if port.protocol not in _PROTOCOLS:
            yield from checks.one_of_required(f"{here}.protocol", port.protocol, _PROTOCOLS)


def _host_ports(path: str, items: Sequence[core.Container]) -> Faults:
    """Two containers of a pod cannot hold one host port."""
    seen: set[tuple[str | None, str | None, int]] = set()
    for index, container in enumerate(items):
        for number, port in enumerate(container.ports):
            if port.hostPort:
                key = (port.protocol, port.hostIP, port.hostPort)
                if key in seen:
                    shown = f"{port.protocol}/{port.hostIP or ''}/{port.hostPort}"
                    yield duplicate(f"{path}[{index}].ports[{number}].hostPort", shown)
                seen.add(key)


def _env(path: str, variable: core.EnvVar) -> Faults:
    if not variable.name:
        yield required(f"{path}.name")
    else:
        yield from checks.named(f"{path}.name", variable.name, names.env_var_name)
    source = variable.valueFrom
    if source is None:
        return
    here = f"{path}.valueFrom"
    chosen = [name for name in source.__struct_fields__ if getattr(source, name) is not None]
    if not chosen:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        yield invalid_value(here, "", text)
    elif variable.value:
        yield invalid_value(here, "", "may not be specified when `value` is not empty")
    elif len(chosen) > 1:
        yield invalid_value(here, "", "may not have more than one field specified at a time")
    if source.fieldRef is not None:
        yield from _field_ref(f"{here}.fieldRef", source.fieldRef)
    if source.resourceFieldRef is not None:
        yield from resource_field(f"{here}.resourceFieldRef", source.resourceFieldRef)
    for name, reference in (("configMapKeyRef", source.configMapKeyRef), ("secretKeyRef", source.secretKeyRef)):
        if reference is not None:
            if not reference.name:
                yield required(f"{here}.{name}.name")
            yield from checks.named_required(f"{here}.{name}.key", reference.key, names.config_key)


def _field_ref(path: str, reference: core.ObjectFieldSelector) -> Faults:
    yield from checks.present(f"{path}.apiVersion", reference.apiVersion)
    field = reference.fieldPath
    if not field:
        yield required(f"{path}.fieldPath")
    elif field.startswith(("metadata.annotations[", "metadata.labels[")) and field.endswith("]"):
        key = field.partition("['")[2].removesuffix("']")
        check = names.qualified_name(key.lower() if "annotations" in field else key)
        for text in check:
            yield invalid_value(path, key, text)
    elif field not in _FIELD_PATHS:
        if not field.startswith(("metadata.", "spec.", "status.")):
            text = f"error converting fieldPath: field label not supported: {field}"
            yield invalid_value(f"{path}.fieldPath", field, text)
        else:
            yield not_supported(f"{path}.fieldPath", field, _FIELD_PATHS)


def resource_field(path: str, reference: core.ResourceFieldSelector) -> Faults:
    """limits.cpu, requests.memory, …"""
    name = reference.resource
    if not name:
        yield required(f"{path}.resource")
    elif name not in _RESOURCE_FIELDS and not name.startswith(("limits.hugepages-", "requests.hugepages-")):
        yield not_supported(f"{path}.resource", name, _RESOURCE_FIELDS)


def _env_from(path: str, source: core.EnvFromSource) -> Faults:
    if source.prefix:
        yield from checks.named(f"{path}.prefix", source.prefix, names.env_var_name)
    given = [(name, item) for name in ("configMapRef", "secretRef") if (item := getattr(source, name)) is not None]
    if not given:
        yield invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`")
    elif len(given) > 1:
        yield invalid_value(path, "", "may not have more than one field specified at a time")
    for name, item in given:
        yield from checks.named_required(f"{path}.{name}.name", item.name, names.dns1123_subdomain)


def _mounts(path: str, container: AnyContainer, volumes: Mapping[str, core.Volume]) -> Faults:
    seen: set[str] = set()
    for index, mount in enumerate(container.volumeMounts):
        here = f"{path}[{index}]"
        if not mount.name:
            yield required(f"{here}.name")
        elif mount.name not in volumes:
            yield field_not_found(f"{here}.name", mount.name)
        if not mount.mountPath:
            yield required(f"{here}.mountPath")
        if mount.mountPath in seen:
            yield invalid_value(f"{here}.mountPath", mount.mountPath, "must be unique")
        seen.add(mount.mountPath)
        if mount.subPath and mount.subPathExpr:
            yield invalid_value(
                f"{here}.subPathExpr", mount.subPathExpr, "subPathExpr and subPath are mutually exclusive"
            )
        for name in ("subPath", "subPathExpr"):
            if value := getattr(mount, name):
                yield from local_path(f"{here}.{name}", value)
        yield from checks.one_of(f"{here}.mountPropagation", mount.mountPropagation, _PROPAGATIONS)
        bidirectional = mount.mountPropagation == "Bidirectional"
        if bidirectional and not (container.securityContext and container.securityContext.privileged):
            text = "Bidirectional mount propagation is available only to privileged containers"
            yield field_forbidden(f"{here}.mountPropagation", text)


_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")


def local_path(path: str, value: str) -> Faults:
    """A relative path that stays within its root."""
    if value.startswith("/"):
        yield invalid_value(path, value, "must be a relative path")
    if ".." in value.split("/"):
        yield invalid_value(path, value, "must not contain '..'")


def resources(path: str, value: core.ResourceRequirements | None) -> Faults:
    """Names, non-negative amounts, requests within limits."""
    if value is None:
        return
    for side in ("limits", "requests"):
        for name, quantity in getattr(value, side).items():
            here = f"{path}.{side}[{name}]"
            yield from resource_name(f"{path}.{side}", name)
            yield from checks.quantity_non_negative(here, quantity)
            if not _is_fractional(name) and quantity.nanos() % 1_000_000_000:
                yield invalid_value(here, str(quantity), "must be an integer")
    for name, request in value.requests.items():
        limit = value.limits.get(name)
        if limit is not None:
            yield from _within_limit(f"{path}.requests", name, request, limit)
        elif name.startswith("hugepages-") or _is_extended(name):
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")


def _within_limit(path: str, name: str, request: Quantity, limit: Quantity) -> Faults:
    if (_is_extended(name) or name.startswith("hugepages-")) and request.compare(limit):
        yield invalid_value(path, str(request), f"must be equal to {name} limit of {limit}")
    elif request.compare(limit) > 0:
        yield invalid_value(path, str(request), f"must be less than or equal to {name} limit of {limit}")


def resource_name(path: str, name: str) -> Faults:
    """A standard resource, huge pages, or an extended resource with a domain."""
    faults = names.qualified_name(name)
    for text in faults:
        yield invalid_value(path, name, text)
    if not faults and "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        yield invalid_value(path, name, "must be a standard resource type or fully qualified")
        yield invalid_value(path, name, "must be a standard resource for containers")


def _is_extended(name: str) -> bool:
    return "/" in name and not name.partition("/")[0].endswith("kubernetes.io")


def _is_fractional(name: str) -> bool:
    return name in _STANDARD_RESOURCES


def _security(path: str, context: core.SecurityContext) -> Faults:
    yield from checks.non_negative(f"{path}.runAsUser", context.runAsUser)
    yield from checks.non_negative(f"{path}.runAsGroup", context.runAsGroup)
    if context.allowPrivilegeEscalation is False:
        if context.privileged:
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield invalid_value(path, context, text)
        added = context.capabilities.add if context.capabilities is not None else []
        if any(item in ("CAP_SYS_ADMIN", "SYS_ADMIN") for item in added):
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid_value(path, context, text)


def _startup_and_liveness(path: str, container: core.Container) -> Faults:
    for name in ("livenessProbe", "startupProbe"):
        probe: core.Probe | None = getattr(container, name)
        if probe is not None:
            yield from _probe(f"{path}.{name}", probe)
            if probe.successThreshold != 1:
                yield invalid_value(f"{path}.{name}.successThreshold", probe.successThreshold, "must be 1")


def _probe(path: str, probe: core.Probe) -> Faults:
    yield from _handler(path, probe, ("exec", "httpGet", "tcpSocket", "grpc"))
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from checks.non_negative(f"{path}.{name}", getattr(probe, name))
    if probe.terminationGracePeriodSeconds is not None:
        yield from checks.positive(f"{path}.terminationGracePeriodSeconds", probe.terminationGracePeriodSeconds)


def _lifecycle(path: str, lifecycle: core.Lifecycle | None) -> Faults:
    if lifecycle is None:
        return
    for name in ("postStart", "preStop"):
        handler = getattr(lifecycle, name)
        if handler is not None:
            yield from _handler(f"{path}.{name}", handler, ("exec", "httpGet", "tcpSocket", "sleep"))


def _handler(path: str, handler: Any, kinds: Sequence[str]) -> Faults:
    chosen = [name for name in kinds if getattr(handler, name) is not None]
    if not chosen:
        yield required(path, "must specify a handler type")
    for extra in chosen[1:]:
        yield field_forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    for name in chosen[:1]:
        action = getattr(handler, name)
        here = f"{path}.{name}"
        if name == "exec":
            yield from checks.present(f"{here}.command", action.command)
        elif name in ("httpGet", "tcpSocket", "grpc"):
            yield from checks.port(f"{here}.port", action.port)
        if name == "httpGet":
            yield from checks.present(f"{here}.path", action.path)
            yield from checks.one_of(f"{here}.scheme", action.scheme, ("HTTP", "HTTPS"))
            for index, header in enumerate(action.httpHeaders):
                yield from checks.named(f"{here}.httpHeaders[{index}].name", header.name, names.http_header_name)
