"""What a pod's spec and status say: ready, available, active, finished, sidecar, port by name.

Pure questions, asked alike by controllers, scheduler, kubelet, proxy and server. Amounts of CPU and memory are in
requests.py, tolerations in taints.py.
"""

from collections.abc import Iterator
from datetime import datetime

from wherry.api.core_v1 import Container, ContainerStatus, Pod, PodSpec
from wherry.meta.time import parse_time
from wherry.rules import conditions

PENDING, RUNNING, SUCCEEDED, FAILED, UNKNOWN = "Pending", "Running", "Succeeded", "Failed", "Unknown"

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
"""On the API object that stands for a static pod."""
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


def is_terminal(pod: Pod) -> bool:
    """Finished for good: phase Succeeded or Failed."""
    return pod.status.phase in (SUCCEEDED, FAILED)


def is_terminating(pod: Pod) -> bool:
    """Asked to go away."""
    return pod.metadata.deletionTimestamp is not None


def is_active(pod: Pod) -> bool:
    """Neither finished nor on its way out: what a ReplicaSet counts."""
    return not is_terminal(pod) and not is_terminating(pod)


def is_ready(pod: Pod) -> bool:
    """The Ready condition is true."""
    return conditions.is_true(pod.status.conditions, "Ready")


def is_available(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Ready, and for at least `min_ready_seconds`."""
    return is_ready(pod) and seconds_until_available(pod, min_ready_seconds, now) <= 0


def seconds_until_available(pod: Pod, min_ready_seconds: int, now: datetime) -> float:
    """How long a ready pod must stay ready before it counts as available; 0 or less when it does."""
    ready = conditions.find(pod.status.conditions, "Ready")
    if min_ready_seconds == 0 or ready is None or not ready.lastTransitionTime:
        return 0 if min_ready_seconds == 0 else float(min_ready_seconds)
    return min_ready_seconds - (now - parse_time(ready.lastTransitionTime)).total_seconds()


def is_scheduled(pod: Pod) -> bool:
    """Bound to a node."""
    return bool(pod.spec.nodeName)


def is_mirror(pod: Pod) -> bool:
    """Stands for a static pod that only its kubelet may change."""
    return MIRROR_ANNOTATION in pod.metadata.annotations


def is_critical(pod: Pod) -> bool:
    """May preempt and outlive others on a node: static, mirrored, or of a system priority class."""
    return is_mirror(pod) or (pod.spec.priority or 0) >= SYSTEM_CRITICAL_PRIORITY


def is_sidecar(container: Container) -> bool:
    """An init container that keeps running beside the others (restartPolicy Always)."""
    return container.restartPolicy == "Always"


def all_containers(spec: PodSpec) -> Iterator[Container]:
    """Init containers, then containers. Ephemeral ones are of another type."""
    yield from spec.initContainers
    yield from spec.containers


def all_statuses(pod: Pod) -> Iterator[ContainerStatus]:
    """Statuses of init, regular and ephemeral containers."""
    yield from pod.status.initContainerStatuses
    yield from pod.status.containerStatuses
    yield from pod.status.ephemeralContainerStatuses


def container_status(pod: Pod, name: str) -> ContainerStatus | None:
    """Status of the container of this name, of whatever sort."""
    return next((status for status in all_statuses(pod) if status.name == name), None)


def restart_count(pod: Pod) -> int:
    """Restarts over all regular containers."""
    return sum(status.restartCount for status in pod.status.containerStatuses)


def pod_ips(pod: Pod) -> list[str]:
    """All addresses, the primary first."""
    return [item.ip for item in pod.status.podIPs if item.ip] or ([pod.status.podIP] if pod.status.podIP else [])


def find_port(spec: PodSpec, target: int | str, protocol: str = "TCP") -> int | None:
    """The number behind a Service's targetPort: itself, or the container port of that name and protocol."""
    if isinstance(target, int):
        return target
    for container in (*spec.containers, *filter(is_sidecar, spec.initContainers)):
        for port in container.ports:
            if port.name == target and (port.protocol or "TCP") == protocol:
                return port.containerPort
    return None


def host_ports(spec: PodSpec) -> list[tuple[str, str, int]]:
    """(host IP, protocol, port) of every host port that the pod holds while it runs."""
    containers = (*spec.containers, *filter(is_sidecar, spec.initContainers))
    ports = (port for container in containers for port in container.ports if port.hostPort)
    return [(port.hostIP or "0.0.0.0", port.protocol or "TCP", port.hostPort or 0) for port in ports]


def phase_of(pod: Pod) -> str:
    """The phase, Pending for a pod that no one has looked at yet."""
    return pod.status.phase or PENDING
