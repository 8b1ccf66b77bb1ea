"""Pods: READY, STATUS and RESTARTS as kubectl has always told them.

Source: k8s.io/kubernetes/pkg/printers/internalversion.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wherry.api.core_v1 import ContainerStateTerminated, ContainerStatus, Pod, PodTemplate
from wherry.meta.time import age
from wherry.rules import conditions, pods
from wherry.server.printers.table import containers, labels, or_none, printed, since


@dataclass(slots=True)
class _Summary:
    reason: str
    ready: int = 0
    restarts: int = 0
    last_restart: str = ""

    def count(self, status: ContainerStatus) -> None:
        self.restarts += status.restartCount
        terminated = status.lastState.terminated
        if terminated is not None and terminated.finishedAt:
            self.last_restart = max(self.last_restart, terminated.finishedAt)


def status(pod: Pod) -> str:
    """The STATUS cell."""
    return _summarize(pod).reason


def _summarize(pod: Pod) -> _Summary:
    summary = _Summary(pod.status.reason or pod.status.phase or "")
    scheduled = conditions.find(pod.status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.reason == "SchedulingGated":
        summary.reason = "SchedulingGated"
    sidecars = _Summary("")
    initializing = _init_containers(pod, summary, sidecars)
    if not initializing or conditions.is_true(pod.status.conditions, "Initialized"):
        summary.restarts, summary.last_restart = sidecars.restarts, sidecars.last_restart
        _containers(pod, summary)
    if pod.metadata.deletionTimestamp and pod.status.reason == "NodeLost":
        summary.reason = "Unknown"
    elif pod.metadata.deletionTimestamp and not pods.is_terminal(pod):
        summary.reason = "Terminating"
    return summary


def _init_containers(pod: Pod, summary: _Summary, sidecars: _Summary) -> bool:
    """Whether some init container is still at work; it then gives the reason."""
    restartable = {item.name for item in pod.spec.initContainers if pods.is_sidecar(item)}
    for index, item in enumerate(pod.status.initContainerStatuses):
        summary.count(item)
        if item.name in restartable:
            sidecars.count(item)
        terminated, waiting = item.state.terminated, item.state.waiting
        if terminated is not None and terminated.exitCode == 0:
            continue
        if item.name in restartable and item.started:
            summary.ready += item.ready
            continue
        if terminated is not None:
            summary.reason = f"Init:{_ending(terminated)}"
        elif waiting is not None and waiting.reason and waiting.reason != "PodInitializing":
            summary.reason = f"Init:{waiting.reason}"
        else:
            summary.reason = f"Init:{index}/{len(pod.spec.initContainers)}"
        return True
    return False


def _ending(terminated: ContainerStateTerminated) -> str:
    if terminated.reason:
        return terminated.reason
    return f"Signal:{terminated.signal}" if terminated.signal else f"ExitCode:{terminated.exitCode}"


def _containers(pod: Pod, summary: _Summary) -> None:
    running = False
    for item in reversed(pod.status.containerStatuses):
        summary.count(item)
        state = item.state
        if state.waiting is not None and state.waiting.reason:
            summary.reason = state.waiting.reason
        elif state.terminated is not None:
            summary.reason = _ending(state.terminated)
        elif item.ready and state.running is not None:
            running = True
            summary.ready += 1
    if summary.reason == "Completed" and running:
        summary.reason = "Running" if pods.is_ready(pod) else "NotReady"


def _row(pod: Pod, now: datetime) -> list[Any]:
    summary = _summarize(pod)
    total = len(pod.spec.containers) + sum(map(pods.is_sidecar, pod.spec.initContainers))
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts = f"{restarts} ({age(summary.last_restart, now)} ago)"
    addresses = pods.pod_ips(pod)
    return [
        pod.metadata.name,
        f"{summary.ready}/{total}",
        summary.reason,
        restarts,
        since(pod, now),
        or_none(addresses[0] if addresses else None),
        or_none(pod.spec.nodeName),
        or_none(pod.status.nominatedNodeName),
        _gates(pod),
    ]


def _gates(pod: Pod) -> str:
    gates = pod.spec.readinessGates
    passed = sum(conditions.is_true(pod.status.conditions, gate.conditionType) for gate in gates)
    return f"{passed}/{len(gates)}" if gates else or_none(None)


def _template(obj: PodTemplate, now: datetime) -> list[Any]:
    template = obj.template
    return [obj.metadata.name, *containers(template), labels(template.metadata.labels)]


PRINTED = {
    ("", "pods"): printed("Name, Ready, Status, Restarts, Age, +IP, +Node, +Nominated Node, +Readiness Gates", _row),
    ("", "podtemplates"): printed("Name, Containers, Images, Pod Labels", _template),
}
