"""The pause image, made here so that a first pod needs no registry.

A pod sandbox needs one process that holds its namespaces, reaps what is re-parented to it and leaves on SIGTERM. That
is a few dozen machine instructions, so the program is assembled below as a static ELF file (x86-64 and arm64) and put
into a minimal OCI image archive that containerd imports. The program lets the kernel reap children (SIGCHLD ignored
with SA_NOCLDWAIT) and waits in pause(2); SIGTERM and SIGINT get a handler that exits, because pid 1 receives only
signals it handles (pid_namespaces(7)).
"""

import gzip
import hashlib
import io
import json
import platform
import struct
import tarfile

PAUSE_IMAGE = "registry.k8s.io/pause:3.10"

_BASE = 0x400000
_HEADERS = 64 + 56


def pause_program(machine: str) -> bytes:
    """The static ELF executable for `machine` ("x86_64" or "aarch64"). Raises ValueError for others."""
    if machine == "x86_64":
        return _elf(62, _x86_64())
    if machine == "aarch64":
        return _elf(183, _aarch64())
    raise ValueError(f"no pause program for machine {machine}: give --pause-image, an image that containerd has")


def pause_archive(machine: str | None = None) -> bytes:
    """An OCI image layout as a tar archive, named `PAUSE_IMAGE`, for `ctr images import`."""
    machine = machine or platform.machine()
    layer = _tar({"pause": (pause_program(machine), 0o755)})
    packed = gzip.compress(layer, mtime=0)
    config = _json(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[machine],
            "os": "linux",
            "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created_by": "wherry"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    )
    entry = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    names = {
        "io.containerd.image.name": PAUSE_IMAGE,
        "org.opencontainers.image.ref.name": PAUSE_IMAGE.rpartition(":")[2],
    }
    index = _json({"schemaVersion": 2, "manifests": [entry | {"annotations": names}]})
    files = {"oci-layout": (_json({"imageLayoutVersion": "1.0.0"}), 0o644), "index.json": (index, 0o644)}
    files |= {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": (blob, 0o644) for blob in (packed, config, manifest)}
    return _tar(files)


def _x86_64() -> bytes:
    """sigaction(TERM and INT, exit); sigaction(CHLD, ignore); loop pause()."""
    # struct kernel_sigaction {handler, flags, restorer, mask}: laid after the code, addressed rip-relative.
    code = bytearray()

    def sigaction(signal: int, label: str) -> None:
        code.extend(b"\xb8" + struct.pack("<I", 13))  # mov eax, rt_sigaction
        code.extend(b"\xbf" + struct.pack("<I", signal))  # mov edi, signal
        code.extend(b"\x48\x8d\x35")  # lea rsi, [rip + label]
        fixups.append((len(code), label))
        code.extend(b"\0\0\0\0")
        code.extend(b"\x31\xd2")  # xor edx, edx
        code.extend(b"\x41\xba\x08\0\0\0")  # mov r10d, 8
        code.extend(b"\x0f\x05")  # syscall

    fixups: list[tuple[int, str]] = []
    sigaction(15, "leave")
    sigaction(2, "leave")
    sigaction(17, "ignore")
    loop = len(code)
    code.extend(b"\xb8\x22\0\0\0\x0f\x05")  # mov eax, pause; syscall
    code.extend(b"\xeb" + struct.pack("b", loop - (len(code) + 2)))  # jmp loop
    handler = len(code)
    code.extend(b"\xb8\xe7\0\0\0\x31\xff\x0f\x05")  # mov eax, exit_group; xor edi, edi; syscall
    code.extend(b"\0" * (-len(code) % 8))
    entry = _BASE + _HEADERS
    restorer_flag, no_child_wait = 0x04000000, 0x2
    labels = {"leave": len(code)}
    code.extend(struct.pack("<QQQQ", entry + handler, restorer_flag, entry + handler, 0))
    labels["ignore"] = len(code)
    code.extend(struct.pack("<QQQQ", 1, restorer_flag | no_child_wait, entry + handler, 0))
    for at, label in fixups:
        code[at : at + 4] = struct.pack("<i", labels[label] - (at + 4))
    return bytes(code)


def _aarch64() -> bytes:
    """The same program; ppoll(NULL, 0, NULL, NULL, 0) stands for pause, which arm64 lacks."""
    words: list[int] = []
    fixups: list[tuple[int, str]] = []

    def move(register: int, value: int) -> None:
        words.append(0xD2800000 | (value << 5) | register)  # movz

    def sigaction(signal: int, label: str) -> None:
        move(8, 134)
        move(0, signal)
        fixups.append((len(words), label))
        words.append(0x10000001)  # adr x1, label
        move(2, 0)
        move(3, 8)
        words.append(0xD4000001)  # svc #0

    sigaction(15, "leave")
    sigaction(2, "leave")
    sigaction(17, "ignore")
    loop = len(words)
    for register in range(5):
        move(register, 0)
    move(8, 73)
    words.append(0xD4000001)
    words.append(0x14000000 | ((loop - len(words)) & 0x3FFFFFF))  # b loop
    handler = len(words)
    move(8, 94)
    move(0, 0)
    words.append(0xD4000001)
    if len(words) % 2:
        words.append(0xD503201F)  # nop
    entry = _BASE + _HEADERS
    data_at = len(words)
    labels = {"leave": data_at * 4, "ignore": data_at * 4 + 24}
    for at, label in fixups:
        delta = labels[label] - at * 4
        words[at] |= ((delta & 3) << 29) | (((delta >> 2) & 0x7FFFF) << 5)
    code = struct.pack(f"<{len(words)}I", *words)
    # arm64's kernel_sigaction has no restorer: {handler, flags, mask}.
    return code + struct.pack("<QQQ", entry + handler * 4, 0, 0) + struct.pack("<QQQ", 1, 0x2, 0)


def _elf(machine: int, code: bytes) -> bytes:
    size = _HEADERS + len(code)
    header = b"\x7fELF" + bytes([2, 1, 1]) + b"\0" * 9
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000) + code


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
