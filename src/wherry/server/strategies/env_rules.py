"""A container's environment: variables, where their values come from, and the downward API's field paths.

Source: kubernetes pkg/apis/core/validation.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import field_not_found, invalid_value, not_supported, required
from wherry.meta.quantity import Quantity
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults

FIELD_PATHS = (
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
VOLUME_FIELD_PATHS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN_PATHS = frozenset((*FIELD_PATHS, *VOLUME_FIELD_PATHS, "spec.restartPolicy", "spec.schedulerName"))
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_SIZES = ("1", *(f"1{unit}" for unit in ("k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))
_DIVISORS = (
    ("cpu", ("1m", "1"), "cpu resource"),
    ("memory", _SIZES, "memory resource"),
    ("ephemeral-storage", _SIZES, "local ephemeral storage resource"),
)


def environment(path: str, variables: Sequence[core.EnvVar], volumes: Mapping[str, core.Volume]) -> Faults:
    """`env`."""
    for index, variable in enumerate(variables):
        here = f"{path}[{index}]"
        yield from checks.named_required(f"{here}.name", variable.name, names.env_var_name)
        source = variable.valueFrom
        if source is not None:
            yield from _value_from(f"{here}.valueFrom", source, bool(variable.value), volumes)


def _value_from(path: str, source: core.EnvVarSource, valued: bool, volumes: Mapping[str, core.Volume]) -> Faults:
    chosen = [name for name in _SOURCES if getattr(source, name) is not None]
    for name in chosen:
        yield from _SOURCES[name](f"{path}.{name}", getattr(source, name))
    if source.fileKeyRef is not None:
        here, volume = f"{path}.fileKeyRef.volumeName", volumes.get(source.fileKeyRef.volumeName)
        if volume is None:
            yield field_not_found(here, source.fileKeyRef.volumeName)
        elif volume.emptyDir is None:
            yield invalid_value(here, volume.name, "referenced volume must be of type emptyDir")
    if not chosen:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        yield invalid_value(path, "", text)
    elif valued:
        yield invalid_value(path, "", "may not be specified when `value` is not empty")
    elif len(chosen) > 1:
        yield invalid_value(path, "", "may not have more than one field specified at a time")


def environment_from(path: str, sources: Sequence[core.EnvFromSource]) -> Faults:
    """`envFrom`."""
    for index, source in enumerate(sources):
        here = f"{path}[{index}]"
        if source.prefix:
            yield from checks.named(f"{here}.prefix", source.prefix, names.env_var_name)
        given = [(name, item) for name in ("configMapRef", "secretRef") if (item := getattr(source, name)) is not None]
        for name, item in given:
            yield from checks.named_required(f"{here}.{name}.name", item.name, names.dns1123_subdomain)
        if not given:
            yield invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield invalid_value(path, "", "may not have more than one field specified at a time")


def field_ref(path: str, field: core.ObjectFieldSelector, allowed: Collection[str] = FIELD_PATHS) -> Faults:
    """A path into the pod, possibly to one label or annotation."""
    value = field.fieldPath
    if not field.apiVersion:
        yield required(f"{path}.apiVersion")
    elif not value:
        yield required(f"{path}.fieldPath")
    elif value.endswith("']") and "['" in value:
        base, _, key = value[:-2].partition("['")
        if base == "metadata.annotations":
            yield from checks.named(path, key.lower(), names.qualified_name)
        elif base == "metadata.labels":
            yield from checks.named(path, key, names.qualified_name)
        elif base in _KNOWN_PATHS:
            yield invalid_value(path, base, "does not support subscript")
        else:
            yield _unconvertible(path, value)
    elif value not in _KNOWN_PATHS:
        yield _unconvertible(path, value)
    elif value not in allowed:
        yield not_supported(f"{path}.fieldPath", value, sorted(allowed))


def _unconvertible(path: str, value: str) -> Any:
    text = f"error converting fieldPath: field label not supported: {value}"
    return invalid_value(f"{path}.fieldPath", value, text)


def resource_ref(path: str, field: core.ResourceFieldSelector, *, named: bool = False) -> Faults:
    """A container's request or limit; `named`: the container must be."""
    resource = field.resource
    huge = resource.startswith(("requests.hugepages-", "limits.hugepages-"))
    if named and not field.containerName:
        yield required(f"{path}.containerName")
    elif not resource:
        yield required(f"{path}.resource")
    elif resource not in _RESOURCES and not huge:
        yield not_supported(f"{path}.resource", resource, _RESOURCES)
    if field.divisor is not None and not field.divisor.is_zero():
        yield from _divisor(f"{path}.divisor", resource, field.divisor)


def _divisor(path: str, resource: str, divisor: Quantity) -> Faults:
    kind = resource.partition(".")[2]
    table = [(name, sizes, what) for name, sizes, what in _DIVISORS if name == kind]
    if kind.startswith("hugepages-"):
        table = [(kind, _SIZES, "hugepages resource")]
    for _, sizes, what in table:
        if str(divisor) not in sizes:
            shown = " and ".join(sizes) if len(sizes) == 2 else ", ".join(sizes)
            yield invalid_value(path, resource, f"only divisor's values {shown} are supported with the {what}")


def _key_ref(path: str, reference: core.ConfigMapKeySelector | core.SecretKeySelector) -> Faults:
    yield from checks.named(f"{path}.name", reference.name or "", names.dns1123_subdomain)
    yield from checks.named_required(f"{path}.key", reference.key, names.config_key)


def _file_ref(path: str, reference: core.FileKeySelector) -> Faults:
    yield from checks.named_required(f"{path}.key", reference.key, names.env_var_name)
    yield from checks.named_required(f"{path}.volumeName", reference.volumeName, names.dns1123_label)
    yield from checks.present(f"{path}.path", reference.path)
    yield from checks.no_backsteps(f"{path}.path", reference.path)


_SOURCES: dict[str, Callable[[str, Any], Faults]] = {
    "fieldRef": field_ref,
    "resourceFieldRef": resource_ref,
    "configMapKeyRef": _key_ref,
    "secretKeyRef": _key_ref,
    "fileKeyRef": _file_ref,
}
