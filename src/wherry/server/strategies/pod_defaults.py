"""Defaults of a PodSpec, for pods and for every template alike.

Idempotent: what is set stays. Source: k8s.io/kubernetes/pkg/apis/core/v1/defaults.go.
"""

from collections.abc import Callable, Iterable
from typing import Any

from wherry.api import core_v1 as core
from wherry.rules.pods import all_containers
from wherry.rules.requests import container_request_quantities

FILE_MODE = 0o644
TOKEN_EXPIRATION_SECONDS = 3600


def unset(target: Any, **defaults: Any) -> None:
    """Give each named field its default where it is None or empty text."""
    for name, value in defaults.items():
        present = getattr(target, name)
        if present is None or present == "":
            setattr(target, name, value)


def pod_spec(spec: core.PodSpec) -> None:
    """A pod's or template's spec."""
    unset(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30,
    )
    if spec.securityContext is None:
        spec.securityContext = core.PodSecurityContext()
    # The deprecated name follows the other; either may be given.
    spec.serviceAccountName = spec.serviceAccountName or spec.serviceAccount
    spec.serviceAccount = spec.serviceAccountName
    for volume in spec.volumes:
        _volume(volume)
    for container in all_containers(spec):
        _container(container, spec)
    for ephemeral in spec.ephemeralContainers:
        _container(ephemeral, spec)


def pod_only(spec: core.PodSpec) -> None:
    """What a pod gets beyond a template: requests from limits, service links."""
    unset(spec, enableServiceLinks=True)
    for container in all_containers(spec):
        resources = container.resources
        for name, quantity in resources.limits.items():
            resources.requests.setdefault(name, quantity)
    if spec.resources is not None:
        _pod_level_requests(spec, spec.resources)


def _pod_level_requests(spec: core.PodSpec, resources: core.ResourceRequirements) -> None:
    """Pod-level requests come from the containers' where they say, else from pod-level limits."""
    totals = container_request_quantities(spec)
    for name, quantity in resources.limits.items():
        if name in ("cpu", "memory") or name.startswith("hugepages-"):
            resources.requests.setdefault(name, totals.get(name, quantity))


def template(pod_template: core.PodTemplateSpec | None) -> None:
    """A workload's pod template."""
    if pod_template is not None:
        pod_spec(pod_template.spec)


def pull_policy(image: str | None) -> str:
    """Always for :latest and for no tag at all, else IfNotPresent."""
    if not image or "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _container(container: core.Container | core.EphemeralContainer, spec: core.PodSpec) -> None:
    unset(
        container,
        imagePullPolicy=pull_policy(container.image),
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    host_network = bool(spec.hostNetwork)
    for port in container.ports:
        unset(port, protocol="TCP")
        if host_network and not port.hostPort:
            port.hostPort = port.containerPort
    for probe in (container.livenessProbe, container.readinessProbe, container.startupProbe):
        if probe is not None:
            _probe(probe)
    if container.lifecycle is not None:
        for handler in (container.lifecycle.postStart, container.lifecycle.preStop):
            if handler is not None and handler.httpGet is not None:
                unset(handler.httpGet, path="/", scheme="HTTP")
    for variable in container.env:
        if variable.valueFrom is not None and variable.valueFrom.fieldRef is not None:
            unset(variable.valueFrom.fieldRef, apiVersion="v1")
    if container.securityContext is not None and container.securityContext.procMount == "":
        container.securityContext.procMount = "Default"


def _probe(probe: core.Probe) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not getattr(probe, name):
            setattr(probe, name, value)
    if probe.httpGet is not None:
        unset(probe.httpGet, path="/", scheme="HTTP")
    if probe.grpc is not None and probe.grpc.service is None:
        probe.grpc.service = ""


def _volume(volume: core.Volume) -> None:
    if not any(getattr(volume, name) is not None for name in _SOURCES):
        volume.emptyDir = core.EmptyDirVolumeSource()
    for name, fill in _SOURCE_DEFAULTS.items():
        source = getattr(volume, name)
        if source is not None:
            fill(source)


_SOURCES = tuple(name for name in core.Volume.__struct_fields__ if name != "name")


def _mode(source: Any) -> None:
    unset(source, defaultMode=FILE_MODE)


def _field_refs(items: Iterable[core.DownwardAPIVolumeFile]) -> None:
    for item in items:
        if item.fieldRef is not None:
            unset(item.fieldRef, apiVersion="v1")


def _downward(source: core.DownwardAPIVolumeSource) -> None:
    _mode(source)
    _field_refs(source.items)


def _projected(source: core.ProjectedVolumeSource) -> None:
    _mode(source)
    for projection in source.sources:
        if projection.downwardAPI is not None:
            _field_refs(projection.downwardAPI.items)
        if projection.serviceAccountToken is not None:
            unset(projection.serviceAccountToken, expirationSeconds=TOKEN_EXPIRATION_SECONDS)


def _host_path(source: core.HostPathVolumeSource) -> None:
    if source.type is None:
        source.type = ""


def _ephemeral(source: core.EphemeralVolumeSource) -> None:
    if source.volumeClaimTemplate is not None:
        unset(source.volumeClaimTemplate.spec, volumeMode="Filesystem")


def _image(source: core.ImageVolumeSource) -> None:
    unset(source, pullPolicy=pull_policy(source.reference))


def _iscsi(source: core.ISCSIVolumeSource) -> None:
    unset(source, iscsiInterface="default")


_SOURCE_DEFAULTS: dict[str, Callable[[Any], None]] = {
    "secret": _mode,
    "configMap": _mode,
    "downwardAPI": _downward,
    "projected": _projected,
    "hostPath": _host_path,
    "ephemeral": _ephemeral,
    "image": _image,
    "iscsi": _iscsi,
}
