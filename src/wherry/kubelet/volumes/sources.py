"""What configMap, secret, downwardAPI and projected volumes hold: files computed from objects. No disk here.

`VolumeFailure` says why a volume cannot be made, in the words of kubelet's FailedMount events.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from wherry.api.core_v1 import (
    ConfigMap,
    DownwardAPIVolumeFile,
    KeyToPath,
    Pod,
    ProjectedVolumeSource,
    Secret,
    ServiceAccountTokenProjection,
    Volume,
)
from wherry.kubelet.downward import DownwardFailure, Node, container_resource, pod_field
from wherry.kubelet.environment import Lookup, binary_data, missing
from wherry.kubelet.volumes.atomic import File

DEFAULT_MODE = 0o644
TOKEN_MODE = 0o600


class VolumeFailure(Exception):
    """A volume cannot be made now."""


TokenSource = Callable[[Pod, ServiceAccountTokenProjection], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where contents come from."""

    lookup: Lookup
    token: TokenSource
    node: Node
    pod_ips: tuple[str, ...] = ()


async def volume_files(pod: Pod, volume: Volume, sources: Sources) -> dict[str, File] | None:
    """The files of a volume that is made of objects; None for volumes of other types."""
    if volume.configMap:
        found = volume.configMap
        return await _object(pod, ConfigMap, found.name or "", found.items, found.defaultMode, found.optional, sources)
    if volume.secret:
        secret = volume.secret
        name = secret.secretName or ""
        return await _object(pod, Secret, name, secret.items, secret.defaultMode, secret.optional, sources)
    if volume.downwardAPI:
        return downward_files(pod, volume.downwardAPI.items, volume.downwardAPI.defaultMode, sources)
    if volume.projected:
        return await _projected(pod, volume.projected, sources)
    return None


async def _projected(pod: Pod, projected: ProjectedVolumeSource, sources: Sources) -> dict[str, File]:
    files: dict[str, File] = {}
    mode = projected.defaultMode
    for source in projected.sources:
        if source.configMap:
            config = source.configMap
            files |= await _object(pod, ConfigMap, config.name or "", config.items, mode, config.optional, sources)
        elif source.secret:
            secret = source.secret
            files |= await _object(pod, Secret, secret.name or "", secret.items, mode, secret.optional, sources)
        elif source.downwardAPI:
            files |= downward_files(pod, source.downwardAPI.items, mode, sources)
        elif source.serviceAccountToken:
            token = await sources.token(pod, source.serviceAccountToken)
            files[source.serviceAccountToken.path] = _token_file(pod, token, mode)
        else:
            raise VolumeFailure("this source of a projected volume is not supported")
    return files


def _token_file(pod: Pod, token: str, mode: int | None) -> File:
    """0600 of the one user that all containers run as, if there is one; else as the volume's mode says."""
    context = pod.spec.securityContext
    if context is not None and context.fsGroup is not None:
        return File(token.encode(), TOKEN_MODE)
    users = {
        item.securityContext.runAsUser
        if item.securityContext and item.securityContext.runAsUser is not None
        else (context.runAsUser if context else None)
        for item in (*pod.spec.initContainers, *pod.spec.containers)
    }
    only = users.pop() if len(users) == 1 else None
    if only is not None:
        return File(token.encode(), TOKEN_MODE, uid=only)
    return File(token.encode(), DEFAULT_MODE if mode is None else mode)


async def _object(
    pod: Pod,
    kind: type,
    name: str,
    items: Sequence[KeyToPath],
    mode: int | None,
    optional: bool | None,
    sources: Sources,
) -> dict[str, File]:
    found = await sources.lookup(kind, pod.metadata.namespace or "", name)
    if found is None:
        if optional:
            return {}
        raise VolumeFailure(missing(kind, name))
    default, data = DEFAULT_MODE if mode is None else mode, binary_data(found)
    if not items:
        return {key: File(value, default) for key, value in data.items()}
    files = {}
    for item in items:
        if item.key in data:
            files[item.path] = File(data[item.key], default if item.mode is None else item.mode)
        elif not optional:
            raise VolumeFailure(f"references non-existent {kind.__name__.lower().replace('map', '')} key: {item.key}")
    return files


def downward_files(
    pod: Pod, items: Sequence[DownwardAPIVolumeFile], mode: int | None, sources: Sources
) -> dict[str, File]:
    """The pod's own fields as files."""
    default, files = DEFAULT_MODE if mode is None else mode, {}
    for item in items:
        try:
            if item.fieldRef:
                text = pod_field(pod, item.fieldRef, sources.pod_ips, sources.node)
            elif item.resourceFieldRef:
                name = item.resourceFieldRef.containerName
                container = next(
                    found for found in (*pod.spec.containers, *pod.spec.initContainers) if found.name == name
                )
                text = container_resource(item.resourceFieldRef, container, sources.node)
            else:
                raise VolumeFailure(f"{item.path}: neither fieldRef nor resourceFieldRef")
        except DownwardFailure as error:
            raise VolumeFailure(str(error)) from error
        except StopIteration as error:
            raise VolumeFailure(f"container {name} not found") from error
        files[item.path] = File(text.encode(), default if item.mode is None else item.mode)
    return files
