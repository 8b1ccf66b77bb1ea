"""The rules of a pod's volumes: one source each, and what each common source requires."""

from collections.abc import Callable, Sequence
from typing import Any

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, required
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.container_rules import local_path

SOURCES = tuple(name for name in core.Volume.__struct_fields__ if name != "name")
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX = 600, 1 << 32


def volumes(path: str, items: Sequence[core.Volume]) -> Faults:
    """All volumes of a pod."""
    seen: set[str] = set()
    for index, volume in enumerate(items):
        here = f"{path}[{index}]"
        faults = list(checks.named_required(f"{here}.name", volume.name, names.dns1123_label))
        yield from faults
        if not faults and volume.name in seen:
            yield duplicate(f"{here}.name", volume.name)
        seen.add(volume.name)
        yield from _source(here, volume)


def _source(path: str, volume: core.Volume) -> Faults:
    chosen = [name for name in SOURCES if getattr(volume, name) is not None]
    if not chosen:
        yield required(path, "must specify a volume type")
    for extra in chosen[1:]:
        yield field_forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
    for name in chosen[:1]:
        if rule := _RULES.get(name):
            yield from rule(f"{path}.{name}", getattr(volume, name))


def _mode(path: str, value: int | None) -> Faults:
    if value is not None and not 0 <= value <= 0o777:
        yield invalid_value(path, value, _MODE)


def _items(path: str, items: Sequence[core.KeyToPath]) -> Faults:
    for index, item in enumerate(items):
        here = f"{path}.items[{index}]"
        yield from checks.present(f"{here}.key", item.key)
        yield from _inner_path(f"{here}.path", item.path)
        yield from _mode(f"{here}.mode", item.mode)


def _inner_path(path: str, value: str) -> Faults:
    if not value:
        yield required(path)
        return
    yield from local_path(path, value)
    if value.startswith("..") and not value.startswith("../"):
        yield invalid_value(path, value, "must not start with '..'")


def _empty_dir(path: str, source: core.EmptyDirVolumeSource) -> Faults:
    if source.sizeLimit is not None:
        yield from checks.quantity_non_negative(f"{path}.sizeLimit", source.sizeLimit)


def _host_path(path: str, source: core.HostPathVolumeSource) -> Faults:
    if not source.path:
        yield required(f"{path}.path")
    elif ".." in source.path.split("/"):
        yield invalid_value(f"{path}.path", source.path, "must not contain '..'")
    yield from checks.one_of(f"{path}.type", source.type, _HOST_PATH_TYPES)


def _secret(path: str, source: core.SecretVolumeSource) -> Faults:
    yield from checks.present(f"{path}.secretName", source.secretName)
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    yield from _items(path, source.items)


def _config_map(path: str, source: core.ConfigMapVolumeSource) -> Faults:
    yield from checks.present(f"{path}.name", source.name)
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    yield from _items(path, source.items)


def _downward(path: str, source: core.DownwardAPIVolumeSource) -> Faults:
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    yield from _downward_files(path, source.items)


def _downward_files(path: str, items: Sequence[core.DownwardAPIVolumeFile]) -> Faults:
    for index, item in enumerate(items):
        here = f"{path}.items[{index}]"
        yield from _inner_path(f"{here}.path", item.path)
        if item.fieldRef is None and item.resourceFieldRef is None:
            yield required(here, "one of fieldRef and resourceFieldRef is required")
        elif item.fieldRef is not None and item.resourceFieldRef is not None:
            yield invalid_value(here, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif item.resourceFieldRef is not None and not item.resourceFieldRef.containerName:
            yield required(f"{here}.resourceFieldRef.containerName")
        yield from _mode(f"{here}.mode", item.mode)


def _projected(path: str, source: core.ProjectedVolumeSource) -> Faults:
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    for index, projection in enumerate(source.sources):
        here = f"{path}.sources[{index}]"
        chosen = [name for name in projection.__struct_fields__ if getattr(projection, name) is not None]
        for extra in chosen[1:]:
            yield field_forbidden(f"{here}.{extra}", "may not specify more than 1 volume type")
        if projection.secret is not None:
            yield from checks.present(f"{here}.secret.name", projection.secret.name)
            yield from _items(f"{here}.secret", projection.secret.items)
        elif projection.configMap is not None:
            yield from checks.present(f"{here}.configMap.name", projection.configMap.name)
            yield from _items(f"{here}.configMap", projection.configMap.items)
        elif projection.downwardAPI is not None:
            yield from _downward_files(f"{here}.downwardAPI", projection.downwardAPI.items)
        elif projection.serviceAccountToken is not None:
            yield from _token(f"{here}.serviceAccountToken", projection.serviceAccountToken)


def _token(path: str, token: core.ServiceAccountTokenProjection) -> Faults:
    seconds = token.expirationSeconds or 0
    if seconds < TOKEN_SECONDS_MIN:
        yield invalid_value(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif seconds > TOKEN_SECONDS_MAX:
        yield invalid_value(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    yield from _inner_path(f"{path}.path", token.path)


def _claim(path: str, source: core.PersistentVolumeClaimVolumeSource) -> Faults:
    yield from checks.present(f"{path}.claimName", source.claimName)


def _nfs(path: str, source: core.NFSVolumeSource) -> Faults:
    yield from checks.present(f"{path}.server", source.server)
    yield from checks.present(f"{path}.path", source.path)
    if source.path and not source.path.startswith("/"):
        yield invalid_value(f"{path}.path", source.path, "must be an absolute path")


def _csi(path: str, source: core.CSIVolumeSource) -> Faults:
    yield from checks.present(f"{path}.driver", source.driver)


def _ephemeral(path: str, source: core.EphemeralVolumeSource) -> Faults:
    yield from checks.present(f"{path}.volumeClaimTemplate", source.volumeClaimTemplate)


_RULES: dict[str, Callable[[str, Any], Faults]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "persistentVolumeClaim": _claim,
    "nfs": _nfs,
    "csi": _csi,
    "ephemeral": _ephemeral,
}
