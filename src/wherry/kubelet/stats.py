"""/stats/summary: what node, pods and containers use now, in kubelet's shape."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from wherry.api.core_v1 import Pod
from wherry.kubelet.machine_facts import MachineFacts
from wherry.kubelet.options import KubeletOptions
from wherry.kubelet.runtimes.protocol import ContainerStats
from wherry.meta.time import format_time


def summary(
    options: KubeletOptions, pods: Sequence[Pod], stats: Sequence[ContainerStats], now: datetime
) -> dict[str, Any]:
    """The Summary object."""
    facts, when = MachineFacts.read(options.data_dir), format_time(now)
    by_pod: dict[str, list[ContainerStats]] = {}
    for item in stats:
        by_pod.setdefault(item.pod_uid, []).append(item)
    memory = {
        "time": when,
        "availableBytes": facts.memory_available_bytes,
        "workingSetBytes": facts.memory_bytes - facts.memory_available_bytes,
    }
    disk = {"time": when, "availableBytes": facts.disk_free_bytes, "capacityBytes": facts.disk_bytes}
    node = {"nodeName": options.node_name, "startTime": when, "memory": memory, "fs": disk}
    return {"node": node, "pods": [_pod(pod, by_pod.get(pod.metadata.uid or "", []), when) for pod in pods]}


def _pod(pod: Pod, stats: Sequence[ContainerStats], when: str) -> dict[str, Any]:
    meta = pod.metadata
    return {
        "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "startTime": pod.status.startTime,
        "containers": [_container(item, when) for item in stats],
        "cpu": _cpu(sum(item.cpu_nanoseconds for item in stats), when),
        "memory": _memory(sum(item.memory_working_set_bytes for item in stats), when),
    }


def _container(item: ContainerStats, when: str) -> dict[str, Any]:
    usage = {"cpu": _cpu(item.cpu_nanoseconds, when), "memory": _memory(item.memory_working_set_bytes, when)}
    return {"name": item.name, **usage, "rootfs": {"time": when, "usedBytes": item.disk_bytes}}


def _cpu(nanoseconds: int, when: str) -> dict[str, Any]:
    return {"time": when, "usageCoreNanoSeconds": nanoseconds}


def _memory(working_set: int, when: str) -> dict[str, Any]:
    return {"time": when, "workingSetBytes": working_set}
