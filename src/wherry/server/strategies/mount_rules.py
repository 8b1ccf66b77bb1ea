"""Where a container finds its volumes: mounts and block devices.

Source: kubernetes pkg/apis/core/validation.
"""

from collections.abc import Mapping

from wherry.api import core_v1 as core
from wherry.meta.errors import field_forbidden, field_not_found, invalid_value, required
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults

AnyContainer = core.Container | core.EphemeralContainer
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_READ_ONLY = ("Disabled", "Enabled", "IfPossible")


def mounts(path: str, container: AnyContainer, volumes: Mapping[str, core.Volume]) -> Faults:
    """`volumeMounts`."""
    paths: set[str] = set()
    devices = {item.name: item.devicePath for item in container.volumeDevices}
    for index, mount in enumerate(container.volumeMounts):
        name, where = mount.name, mount.mountPath
        if not name or name not in volumes or not where or where in paths or devices:
            yield from _mount_clashes(f"{path}[{index}]", mount, volumes, paths, devices)
        paths.add(where)
        if mount.subPath:
            yield from checks.descending(f"{path}.subPath", mount.subPath)
        if mount.subPathExpr:
            if mount.subPath:
                text = "subPathExpr and subPath are mutually exclusive"
                yield invalid_value(f"{path}[{index}].subPathExpr", mount.subPathExpr, text)
            yield from checks.descending(f"{path}.subPathExpr", mount.subPathExpr)
        if mount.mountPropagation is not None:
            yield from _propagation(f"{path}.mountPropagation", mount.mountPropagation, container)
        if mount.recursiveReadOnly is not None:
            yield from _read_only(f"{path}.recursiveReadOnly", mount)


def _mount_clashes(
    path: str,
    mount: core.VolumeMount,
    volumes: Mapping[str, core.Volume],
    taken: set[str],
    devices: Mapping[str, str],
) -> Faults:
    if not mount.name:
        yield required(f"{path}.name")
    if mount.name not in volumes:
        yield field_not_found(f"{path}.name", mount.name)
    if not mount.mountPath:
        yield required(f"{path}.mountPath")
    if mount.mountPath in taken:
        yield invalid_value(f"{path}.mountPath", mount.mountPath, "must be unique")
    if mount.name in devices:
        yield invalid_value(f"{path}.name", mount.name, "must not already exist in volumeDevices")
    if mount.mountPath in devices.values():
        text = "must not already exist as a path in volumeDevices"
        yield invalid_value(f"{path}.mountPath", mount.mountPath, text)


def _propagation(path: str, value: str, container: AnyContainer) -> Faults:
    yield from checks.one_of(path, value, _PROPAGATIONS)
    if value == "Bidirectional" and not (container.securityContext and container.securityContext.privileged):
        yield field_forbidden(path, "Bidirectional mount propagation is available only to privileged containers")


def _read_only(path: str, mount: core.VolumeMount) -> Faults:
    yield from checks.one_of(path, mount.recursiveReadOnly, _READ_ONLY)
    if mount.recursiveReadOnly in ("Enabled", "IfPossible"):
        if not mount.readOnly:
            yield field_forbidden(path, "may only be specified when readOnly is true")
        if mount.mountPropagation not in (None, "None"):
            yield field_forbidden(path, "may only be specified when mountPropagation is None or not specified")


def devices(path: str, container: AnyContainer, volumes: Mapping[str, core.Volume]) -> Faults:
    """`volumeDevices`: raw, and of claims only."""
    names: set[str] = set()
    paths: set[str] = set()
    mounted = {item.name: item.mountPath for item in container.volumeMounts}
    for index, device in enumerate(container.volumeDevices):
        here, name, where = f"{path}[{index}]", device.name, device.devicePath
        volume = volumes.get(name)
        if not name:
            yield required(f"{here}.name")
        if name in names:
            yield invalid_value(f"{here}.name", name, "must be unique")
        if volume is None:
            yield field_not_found(f"{here}.name", name)
        elif volume.persistentVolumeClaim is None and volume.ephemeral is None:
            text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid_value(f"{here}.name", name, text)
        if not where:
            yield required(f"{here}.devicePath")
        if where in paths:
            yield invalid_value(f"{here}.devicePath", where, "must be unique")
        if ".." in where.split("/"):
            yield invalid_value(f"{here}.devicePath", where, "can not contain backsteps ('..')")
        else:
            paths.add(where)
        if name in mounted:
            yield invalid_value(f"{here}.name", name, "must not already exist in volumeMounts")
        if where in mounted.values():
            yield invalid_value(f"{here}.devicePath", where, "must not already exist as a path in volumeMounts")
        names.add(name)
