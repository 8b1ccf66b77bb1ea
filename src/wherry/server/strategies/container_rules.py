"""The rules of one container, regular, init or ephemeral.

What it consists of has files of its own: environment (env_rules.py), mounts (mount_rules.py), resources
(resource_rules.py), probes and restarts (probe_rules.py), security (security_rules.py).

Source: kubernetes pkg/apis/core/validation.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, field_not_found, invalid_value, not_supported, required
from wherry.server.strategies import checks, env_rules, mount_rules, probe_rules, resource_rules, security_rules
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.mount_rules import AnyContainer
from wherry.server.strategies.service_rules import PROTOCOLS

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_NOT_EPHEMERAL = (
    "ports resources lifecycle livenessProbe readinessProbe startupProbe resizePolicy restartPolicy "
    "restartPolicyRules".split()
)
_EPHEMERAL = "cannot be set for an Ephemeral Container"


@dataclass(frozen=True, slots=True)
class Scope:
    """What the rules of a container must know of its pod."""

    volumes: Mapping[str, core.Volume]
    """Those without faults, by name."""
    claims: Collection[str]
    """Names of the pod's resource claims."""
    spec: core.PodSpec

    @property
    def system(self) -> str | None:
        """linux, windows, or not said."""
        return self.spec.os.name if self.spec.os is not None else None


def containers(path: str, items: Sequence[core.Container], scope: Scope) -> Faults:
    """The regular containers: at least one, names that differ, host ports that differ."""
    if not items:
        yield required(path)
    seen: set[str] = set()
    for index, container in enumerate(items):
        here = f"{path}[{index}]"
        yield from common(here, container, scope)
        if container.name in seen:
            yield duplicate(f"{here}.name", container.name)
        seen.add(container.name)
        yield from probe_rules.watched(here, container, scope.spec.terminationGracePeriodSeconds, scope.system)
        yield from probe_rules.restarts(here, container, init=False)
    yield from _host_ports(path, items)


def init_containers(path: str, items: Sequence[core.Container], scope: Scope) -> Faults:
    """Init containers: names unlike the regular ones'; probes and handlers only for sidecars."""
    seen = {item.name for item in scope.spec.containers}
    for index, container in enumerate(items):
        here = f"{path}[{index}]"
        yield from common(here, container, scope)
        yield from probe_rules.restarts(here, container, init=True)
        if container.name in seen:
            yield duplicate(f"{here}.name", container.name)
        elif container.name:
            seen.add(container.name)
        yield from _host_ports(path, [container])
        if container.restartPolicy == "Always":
            yield from probe_rules.watched(here, container, scope.spec.terminationGracePeriodSeconds, scope.system)
        else:
            yield from probe_rules.unwatched(here, container)


def ephemeral_containers(path: str, items: Sequence[core.EphemeralContainer], scope: Scope) -> Faults:
    """Ephemeral containers: names unlike all others', and nothing that a pod could come to rely on."""
    others = {item.name for item in (*scope.spec.containers, *scope.spec.initContainers)}
    seen = set(others)
    for index, container in enumerate(items):
        here = f"{path}[{index}]"
        yield from common(here, container, scope)
        yield from trimmed(f"{here}.image", container.image)
        if container.name in seen:
            yield duplicate(f"{here}.name", container.name)
        seen.add(container.name)
        target = container.targetContainerName
        if target and target not in others:
            yield field_not_found(f"{here}.targetContainerName", target)
        for name in _NOT_EPHEMERAL:
            value = getattr(container, name)
            if value not in (None, []) and value != core.ResourceRequirements():
                yield field_forbidden(f"{here}.{name}", _EPHEMERAL)
        for number, mount in enumerate(container.volumeMounts):
            for name in ("subPath", "subPathExpr"):
                if getattr(mount, name):
                    yield field_forbidden(f"{here}.volumeMounts[{number}].{name}", _EPHEMERAL)


def trimmed(path: str, image: str | None) -> Faults:
    """Of pods only: templates have always been allowed blanks."""
    if image and image != image.strip():
        yield invalid_value(path, image, "must not have leading or trailing whitespace")


def common(path: str, container: AnyContainer, scope: Scope) -> Faults:
    """What holds for containers of every sort."""
    yield from checks.named_required(f"{path}.name", container.name, names.dns1123_label)
    if not container.image:
        yield required(f"{path}.image")
    policy = container.terminationMessagePolicy
    if policy not in _MESSAGE_POLICIES:
        here = f"{path}.terminationMessagePolicy"
        yield not_supported(here, policy, ("File", "FallbackToLogsOnError")) if policy else required(here)
    if container.ports:
        yield from ports(f"{path}.ports", container.ports)
    if container.env:
        yield from env_rules.environment(f"{path}.env", container.env, scope.volumes)
    if container.envFrom:
        yield from env_rules.environment_from(f"{path}.envFrom", container.envFrom)
    if container.volumeMounts:
        yield from mount_rules.mounts(f"{path}.volumeMounts", container, scope.volumes)
    if container.volumeDevices:
        yield from mount_rules.devices(f"{path}.volumeDevices", container, scope.volumes)
    if container.imagePullPolicy not in PULL_POLICIES:
        yield from checks.one_of_required(f"{path}.imagePullPolicy", container.imagePullPolicy, PULL_POLICIES)
    resources = container.resources
    if resources.limits or resources.requests or resources.claims:
        yield from resource_rules.requirements(f"{path}.resources", resources, scope.claims)
    if container.resizePolicy:
        restart = scope.spec.restartPolicy
        yield from probe_rules.resize_policy(f"{path}.resizePolicy", container.resizePolicy, restart)
    if container.securityContext is not None:
        host_users = scope.spec.hostUsers is not False
        yield from security_rules.container_context(f"{path}.securityContext", container.securityContext, host_users)


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
        if port.protocol not in PROTOCOLS:
            yield from checks.one_of_required(f"{here}.protocol", port.protocol, PROTOCOLS)


def _host_ports(path: str, items: Sequence[core.Container]) -> Faults:
    """Two containers of a pod cannot hold one host port."""
    seen: set[str] = set()
    for index, container in enumerate(items):
        for number, port in enumerate(container.ports):
            if port.hostPort:
                held = f"{port.protocol}/{port.hostIP or ''}/{port.hostPort}"
                if held in seen:
                    yield duplicate(f"{path}[{index}].ports[{number}].hostPort", held)
                seen.add(held)
