"""What this machine is and has: from /proc, /sys and /etc, with honest blanks where something cannot be read."""

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from wherry.api.core_v1 import NodeCondition
from wherry.kubelet.options import cpu_count
from wherry.meta.quantity import Quantity

MEMORY_PRESSURE_BYTES = 100 * 1024 * 1024
DISK_PRESSURE_FRACTION = 0.10
PID_PRESSURE_FRACTION = 0.10


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """One look at the machine."""

    cpus: int = 1
    memory_bytes: int = 0
    memory_available_bytes: int = 0
    disk_bytes: int = 0
    disk_free_bytes: int = 0
    pids_max: int = 0
    pids: int = 0
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    kernel: str = ""
    os_image: str = ""

    @classmethod
    def read(cls, data_dir: Path) -> "MachineFacts":
        """This machine; the disk is the one that holds `data_dir`."""
        memory = _meminfo()
        place = next(path for path in (data_dir, *data_dir.absolute().parents) if path.is_dir())
        disk = shutil.disk_usage(place)
        return cls(
            cpus=cpu_count(),
            memory_bytes=memory.get("MemTotal", 0),
            memory_available_bytes=memory.get("MemAvailable", 0),
            disk_bytes=disk.total,
            disk_free_bytes=disk.free,
            pids_max=int(_text("/proc/sys/kernel/pid_max") or 0),
            pids=int((_text("/proc/loadavg") or "0 0 0 0/0").split()[3].partition("/")[2] or 0),
            machine_id=_text("/etc/machine-id"),
            system_uuid=_text("/sys/class/dmi/id/product_uuid") or _text("/etc/machine-id"),
            boot_id=_text("/proc/sys/kernel/random/boot_id"),
            kernel=platform.release(),
            os_image=_os_image(),
        )

    def capacity(self, max_pods: int) -> dict[str, Quantity]:
        """cpu, memory, ephemeral-storage, hugepages and pods."""
        return {
            "cpu": Quantity.of_nanos(self.cpus * 10**9),
            "ephemeral-storage": Quantity.of_value(self.disk_bytes // 1024 * 1024),
            "memory": Quantity.of_value(self.memory_bytes),
            "pods": Quantity.of_value(max_pods, "DecimalSI"),
        }


def pressure_conditions(facts: MachineFacts) -> list[NodeCondition]:
    """MemoryPressure, DiskPressure and PIDPressure with kubelet's reasons and messages."""
    memory = facts.memory_bytes > 0 and facts.memory_available_bytes < MEMORY_PRESSURE_BYTES
    disk = facts.disk_bytes > 0 and facts.disk_free_bytes < DISK_PRESSURE_FRACTION * facts.disk_bytes
    pids = facts.pids_max > 0 and facts.pids > (1 - PID_PRESSURE_FRACTION) * facts.pids_max
    return [
        _pressure(
            "MemoryPressure",
            memory,
            "KubeletHasInsufficientMemory",
            "insufficient memory available",
            "sufficient memory available",
        ),
        _pressure("DiskPressure", disk, "KubeletHasDiskPressure", "disk pressure", "no disk pressure"),
        _pressure(
            "PIDPressure", pids, "KubeletHasInsufficientPID", "insufficient PID available", "sufficient PID available"
        ),
    ]


_GOOD = {
    "MemoryPressure": "KubeletHasSufficientMemory",
    "DiskPressure": "KubeletHasNoDiskPressure",
    "PIDPressure": "KubeletHasSufficientPID",
}


def _pressure(kind: str, under: bool, reason: str, bad: str, good: str) -> NodeCondition:
    if under:
        return NodeCondition(type=kind, status="True", reason=reason, message=f"kubelet has {bad}")
    return NodeCondition(type=kind, status="False", reason=_GOOD[kind], message=f"kubelet has {good}")


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _meminfo() -> dict[str, int]:
    lines = (line.split() for line in _text("/proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1 and words[1].isdigit()}


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()
