"""Pods' volumes on this node's disk: made before the sandbox, kept up to date, removed with the pod.

Directories are upstream's: `<data>/pods/<uid>/volumes/kubernetes.io~<plugin>/<name>`. What a volume of objects holds
is computed in sources.py and swapped in by atomic.py. Add a volume type as a branch of `_make`.
"""

import asyncio
import ctypes
import os
import shutil
import stat
from pathlib import Path

from wherry.aio.clock import Clock
from wherry.api.core_v1 import HostPathVolumeSource, Pod, Volume
from wherry.kubelet.volumes import atomic
from wherry.kubelet.volumes.sources import Sources, VolumeFailure, volume_files

_MNT_DETACH, _MS_NOSUID, _MS_NODEV = 2, 2, 4


class Volumes:
    """All pods' volumes below one directory."""

    def __init__(self, pods_dir: Path, clock: Clock) -> None:
        self._pods_dir = pods_dir
        self._clock = clock

    async def prepare(self, pod: Pod, sources: Sources) -> dict[str, Path]:
        """Make or refresh every volume; host paths by volume name. Raises VolumeFailure naming the volume."""
        paths = {}
        for volume in pod.spec.volumes:
            try:
                paths[volume.name] = await self._make(pod, volume, sources)
            except (VolumeFailure, atomic.PathFailure, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
                raise VolumeFailure(f'MountVolume.SetUp failed for volume "{volume.name}" : {why}') from error
        return paths

    async def remove(self, uid: str) -> None:
        """Unmount and delete everything of a pod."""
        await asyncio.to_thread(_remove_tree, self._pods_dir / uid)

    def uids(self) -> list[str]:
        """Pods that have a directory."""
        return [item.name for item in self._pods_dir.iterdir()] if self._pods_dir.is_dir() else []

    async def _make(self, pod: Pod, volume: Volume, sources: Sources) -> Path:
        files = await volume_files(pod, volume, sources)
        group = pod.spec.securityContext.fsGroup if pod.spec.securityContext else None
        if files is not None:
            path = self._path(pod, _plugin(volume), volume.name)
            atomic.write(path, files, self._clock.now(), group)
            return path
        if volume.emptyDir:
            path = self._path(pod, "empty-dir", volume.name)
            if not path.is_dir():
                size = volume.emptyDir.sizeLimit
                await asyncio.to_thread(_empty_dir, path, volume.emptyDir.medium, size.value() if size else 0, group)
            return path
        if volume.hostPath:
            return host_path(volume.hostPath)
        raise VolumeFailure(f"no volume plugin matched: volume {volume.name} is of a type that is not supported here")

    def _path(self, pod: Pod, plugin: str, name: str) -> Path:
        return self._pods_dir / (pod.metadata.uid or "") / "volumes" / f"kubernetes.io~{plugin}" / name


def _plugin(volume: Volume) -> str:
    if volume.configMap:
        return "configmap"
    if volume.secret:
        return "secret"
    return "downward-api" if volume.downwardAPI else "projected"


def _empty_dir(path: Path, medium: str | None, size_bytes: int, group: int | None) -> None:
    path.mkdir(parents=True)
    if medium == "Memory":
        options = f"size={size_bytes}" if size_bytes else ""
        mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    elif medium:
        path.rmdir()
        raise VolumeFailure(f"storage medium {medium!r} is not supported")
    path.chmod(0o777)
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o2777)


def host_path(source: HostPathVolumeSource) -> Path:
    """The path itself, checked or made as its type says. Raises VolumeFailure."""
    path, kind = Path(source.path), source.type or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    checks = {
        "Directory": (Path.is_dir, "is not a directory"),
        "DirectoryOrCreate": (Path.is_dir, "is not a directory"),
        "File": (Path.is_file, "is not a file"),
        "FileOrCreate": (Path.is_file, "is not a file"),
        "Socket": (Path.is_socket, "is not a socket file"),
        "CharDevice": (Path.is_char_device, "is not a character device"),
        "BlockDevice": (Path.is_block_device, "is not a block device"),
    }
    if kind in checks and not checks[kind][0](path):
        raise VolumeFailure(f"hostPath type check failed: {source.path} {checks[kind][1]}")
    return path


def sub_path(volume: Path, relative: str) -> Path:
    """A path inside a volume, made as a directory if missing. Raises VolumeFailure when it would lead out."""
    if ".." in relative.split("/") or relative.startswith("/"):
        raise VolumeFailure(f"subPath {relative!r} must stay within the volume")
    root = volume.resolve()
    wanted = (root / relative).resolve()
    if wanted != root and root not in wanted.parents:
        raise VolumeFailure(f"subPath {relative!r} leads out of the volume")
    if not wanted.exists():
        wanted.mkdir(parents=True)
        wanted.chmod(stat.S_IMODE(root.stat().st_mode) | 0o750)
    return wanted


# Mounts ---------------------------------------------------------------------------------------------------------------


def mount(source: str, target: Path, filesystem: str, flags: int, options: str) -> None:
    """mount(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), filesystem.encode(), flags, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mounting {filesystem} on {target}: {os.strerror(code)}")


def unmount(target: Path) -> None:
    """umount2(2), lazily: files still open do not keep it. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(target), _MNT_DETACH):
        code = ctypes.get_errno()
        raise OSError(code, f"unmounting {target}: {os.strerror(code)}")


def _remove_tree(top: Path) -> None:
    if not top.exists():
        return
    for path in sorted(top.glob("volumes/*/*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and path.is_mount():
            unmount(path)
    shutil.rmtree(top)
