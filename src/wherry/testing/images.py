"""Container images without a registry or a container engine: archives made of files, here Debian's static busybox.

`python -m wherry.testing.images NAME OUT.tar` writes such an image for demonstrations; tests call `busybox_archive`.
"""

import hashlib
import io
import json
import os
import platform
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "sh ash awk basename cat chmod chown cp cut date dd df dirname du echo env expr false find free grep gunzip "
    "gzip head hostname httpd id ifconfig ip kill killall ln ls md5sum mkdir mknod mktemp more mount mv nc netstat "
    "nslookup od ping printf ps pwd rm rmdir route sed seq sha256sum sleep sort stat stty sync tail tar tee test "
    "time timeout top touch tr true tty umount uname uniq usleep vi wc wget which whoami xargs yes"
).split()


def busybox_archive(name: str, files: Mapping[str, bytes] | None = None, command: list[str] | None = None) -> bytes:
    """A docker-archive named `name` (repository:tag) with busybox, its applets and `files` (path → content).

    Raises FileNotFoundError when busybox-static is not installed.
    """
    layer = _layer(dict(files or {}))
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
            "os": "linux",
            "config": {"Env": ["PATH=/bin:/usr/bin"], "Cmd": command or ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        },
        sort_keys=True,
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in ((config_name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            _add(archive, path, data)
    return buffer.getvalue()


def _layer(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for directory, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("usr/bin", 0o755), ("root", 0o700)):
            info = tarfile.TarInfo(directory)
            info.type, info.mode = tarfile.DIRTYPE, mode
            archive.addfile(info)
        _add(archive, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        _add(archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        _add(archive, "etc/group", b"root:x:0:\nnobody:x:65534:\n")
        for path, data in sorted(files.items()):
            _add(archive, path.lstrip("/"), data, 0o755)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    name, out = sys.argv[1:]
    Path(out).write_bytes(busybox_archive(name))
    os.write(1, f"{out}\n".encode())
