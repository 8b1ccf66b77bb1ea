"""Files that change all at once: the ..data symlink that Kubernetes' AtomicWriter made a convention.

A volume's files live in a directory named after the time; ..data points to it, and each visible name points through
..data. A new payload is written beside the old one and ..data is renamed over: a reader sees all old or all new files.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

DATA = "..data"


class PathFailure(Exception):
    """A path that would leave the volume."""


@dataclass(frozen=True, slots=True)
class File:
    """Content, permissions and owner of one file; -1 keeps the owner or group."""

    data: bytes
    mode: int = 0o644
    uid: int = -1


def write(target: Path, files: Mapping[str, File], now: datetime, group: int | None = None) -> bool:
    """Make `target` show exactly `files` (relative paths); False when it does already. Raises PathFailure, OSError."""
    for path in files:
        _check(path)
    target.mkdir(parents=True, exist_ok=True)
    if _current(target) == {path: (item.data, _mode(item, group)) for path, item in files.items()}:
        return False
    fresh = _fresh_directory(target, now)
    for path, item in files.items():
        full = fresh / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(item.data)
        full.chmod(_mode(item, group))
        if item.uid >= 0 or group is not None:
            os.chown(full, item.uid, -1 if group is None else group)
    old = (target / DATA).readlink() if (target / DATA).is_symlink() else None
    link = target / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.rename(target / DATA)
    _link_names(target, files)
    if old:
        shutil.rmtree(target / old, ignore_errors=True)
    return True


def _check(path: str) -> None:
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts:
        raise PathFailure(f"invalid path: must be relative and stay within the volume: {path}")
    if parts[0].startswith(".."):
        raise PathFailure(f"invalid path: must not start with '..': {path}")


def _mode(item: File, group: int | None) -> int:
    return item.mode | 0o440 if group is not None else item.mode


def _fresh_directory(target: Path, now: datetime) -> Path:
    stem = now.strftime("..%Y_%m_%d_%H_%M_%S.")
    for attempt in range(1_000_000):
        fresh = target / f"{stem}{now.microsecond * 1000 + attempt:09d}"
        try:
            fresh.mkdir(mode=0o755)
        except FileExistsError:
            continue
        fresh.chmod(0o755)
        return fresh
    raise FileExistsError(str(target))


def _current(target: Path) -> dict[str, tuple[bytes, int]] | None:
    data = target / DATA
    if not data.is_dir():
        return None
    return {
        str(path.relative_to(data)): (path.read_bytes(), path.stat().st_mode & 0o7777)
        for path in data.rglob("*")
        if path.is_file()
    }


def _link_names(target: Path, files: Mapping[str, File]) -> None:
    names = {path.partition("/")[0] for path in files}
    for name in names:
        visible = target / name
        if not visible.is_symlink():
            visible.symlink_to(f"{DATA}/{name}")
    for visible in target.iterdir():
        if visible.is_symlink() and not visible.name.startswith("..") and visible.name not in names:
            visible.unlink()
