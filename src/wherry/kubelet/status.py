"""What the kubelet reports of a pod: phase, conditions, container states, addresses. Pure.

`pod_status` derives the whole status from spec, runtime record and memory; `status_patch` is the strategic merge patch
from what the server has. Conditions that others own (readiness gates, PodScheduled, DisruptionTarget) are left alone.

Behaviour as in Kubernetes' pkg/kubelet/status and kubelet_pods.go (getPhase).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from wherry.api.core_v1 import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    HostIP,
    Pod,
    PodCondition,
    PodIP,
    PodStatus,
)
from wherry.kubelet.machine import AnyContainer, is_sidecar, is_started
from wherry.kubelet.memory import PodMemory, Reason
from wherry.kubelet.runtimes.protocol import CREATED, EXITED, RUNNING, ContainerRecord, PodRecord
from wherry.meta import wire
from wherry.meta.time import format_time
from wherry.rules import conditions, pods
from wherry.rules.requests import qos_class

OWNED_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")


def pod_status(
    pod: Pod,
    record: PodRecord,
    memory: PodMemory,
    now: datetime,
    *,
    runtime_name: str,
    host_ips: Sequence[str],
    waiting: dict[str, Reason] | None = None,
) -> PodStatus:
    """The status as it ought to be; `waiting` says why containers are not being started (the plan's)."""
    report = _Reporter(pod, record, memory, runtime_name, {**memory.waiting, **(waiting or {})})
    status = PodStatus(
        initContainerStatuses=[report.container(item, init=True) for item in pod.spec.initContainers],
        containerStatuses=[report.container(item) for item in pod.spec.containers],
        ephemeralContainerStatuses=[report.container(item) for item in pod.spec.ephemeralContainers],
        hostIP=host_ips[0] if host_ips else None,
        hostIPs=[HostIP(ip=ip) for ip in host_ips],
        startTime=pod.status.startTime or memory.start_time,
        qosClass=pod.status.qosClass or qos_class(pod),
        observedGeneration=pod.metadata.generation,
        nominatedNodeName=pod.status.nominatedNodeName,
    )
    ips = _pod_ips(pod, record, host_ips)
    status.podIP = ips[0] if ips else None
    status.podIPs = [PodIP(ip=ip) for ip in ips]
    status.phase = _phase_kept(pod, status, memory)
    if memory.failed:
        status.reason, status.message = memory.failed.reason, memory.failed.message
    elif pod.status.phase == "Failed":
        status.reason, status.message = pod.status.reason, pod.status.message
    status.conditions = _conditions(pod, status, record, now)
    return status


class _Reporter:
    def __init__(
        self, pod: Pod, record: PodRecord, memory: PodMemory, runtime_name: str, waiting: dict[str, Reason]
    ) -> None:
        self.pod, self.record, self.memory = pod, record, memory
        self.runtime_name, self.waiting = runtime_name, waiting

    def container(self, container: AnyContainer, init: bool = False) -> ContainerStatus:
        records = self.record.all_of(container.name)
        previous = pods.container_status(self.pod, container.name)
        if not records:
            return self._absent(container, previous)
        newest = records[0]
        status = ContainerStatus(
            name=container.name,
            image=newest.image or container.image or "",
            imageID=newest.image_ref,
            containerID=f"{self.runtime_name}://{newest.id}",
            restartCount=newest.restart_count,
            started=False,
        )
        ended = next((item for item in records[1:] if item.state == EXITED), None)
        if ended:
            status.lastState.terminated = self._terminated(ended)
        elif previous and previous.lastState.terminated and newest.restart_count > 0:
            status.lastState = previous.lastState
        self._state(status, container, newest)
        status.started = is_started(container, newest, self.memory)
        status.ready = self._ready(container, newest, status.started, init)
        return status

    def _state(self, status: ContainerStatus, container: AnyContainer, newest: ContainerRecord) -> None:
        why = self.waiting.get(container.name)
        if newest.state == RUNNING:
            status.state.running = ContainerStateRunning(startedAt=_time(newest.started_at))
        elif newest.state == EXITED:
            terminated = self._terminated(newest)
            if why and not self.memory.stopped:
                status.lastState = ContainerState(terminated=terminated)
                status.state.waiting = ContainerStateWaiting(reason=why.reason, message=why.message or None)
            else:
                status.state.terminated = terminated
        elif newest.state == CREATED:
            status.state.waiting = _wait(why or Reason("ContainerCreating"))
        else:
            status.state.waiting = _wait(why or Reason("ContainerStatusUnknown"))

    def _terminated(self, record: ContainerRecord) -> ContainerStateTerminated:
        reason = record.reason or ("Completed" if record.exit_code == 0 else "Error")
        return ContainerStateTerminated(
            exitCode=record.exit_code,
            reason=reason,
            message=self.memory.termination_messages.get(record.id) or record.message or None,
            startedAt=_time(record.started_at),
            finishedAt=_time(record.finished_at),
            containerID=f"{self.runtime_name}://{record.id}",
        )

    def _ready(self, container: AnyContainer, newest: ContainerRecord, started: bool, init: bool) -> bool:
        if init and not is_sidecar(container):
            return newest.state == EXITED and newest.exit_code == 0
        if newest.state != RUNNING or not started:
            return False
        return container.readinessProbe is None or self.memory.ready.get(newest.id, False)

    def _absent(self, container: AnyContainer, previous: ContainerStatus | None) -> ContainerStatus:
        """A container the runtime knows nothing of: not yet made, or gone."""
        if previous and previous.state.terminated:
            return wire.deep_copy(previous)
        status = ContainerStatus(name=container.name, image=container.image or "", started=False)
        if previous and previous.state.running:
            lost = "The container could not be located when the pod was terminated"
            gone = ContainerStateTerminated(exitCode=137, reason="ContainerStatusUnknown", message=lost)
            status.restartCount = previous.restartCount
            if self.memory.stopped:
                status.state.terminated = gone
                return status
            status.lastState.terminated = gone
        default = "PodInitializing" if self.pod.spec.initContainers else "ContainerCreating"
        status.state.waiting = _wait(self.waiting.get(container.name) or Reason(default))
        if self.memory.stopped and self.memory.failed:
            status.state.waiting = _wait(Reason(default))
        return status


def _wait(why: Reason) -> ContainerStateWaiting:
    return ContainerStateWaiting(reason=why.reason, message=why.message or None)


def _time(nanoseconds: int) -> str | None:
    return format_time(datetime.fromtimestamp(nanoseconds / 1e9, UTC)) if nanoseconds else None


def _pod_ips(pod: Pod, record: PodRecord, host_ips: Sequence[str]) -> list[str]:
    if pod.spec.hostNetwork:
        return list(host_ips)
    if record.sandbox and record.sandbox.ready and record.sandbox.ips:
        return list(record.sandbox.ips)
    return pods.pod_ips(pod)


# Phase ----------------------------------------------------------------------------------------------------------------


def _phase_kept(pod: Pod, status: PodStatus, memory: PodMemory) -> str:
    """Failed and Succeeded are for good."""
    if memory.failed:
        return "Failed"
    if pod.status.phase in ("Failed", "Succeeded"):
        return pod.status.phase
    phase = phase_of(pod, status)
    if memory.stopped and phase in ("Running", "Pending"):  # stopped from outside: what remains decides
        failed = any(item.state.terminated and item.state.terminated.exitCode for item in status.containerStatuses)
        over = all(item.state.terminated for item in status.containerStatuses)
        return ("Failed" if failed else "Succeeded") if over else phase
    return phase


def phase_of(pod: Pod, status: PodStatus) -> str:
    """Pending, Running, Succeeded or Failed from the containers' states."""
    policy = pod.spec.restartPolicy or "Always"
    pending = _init_pending(pod, status, policy)
    if pending is not None:
        return pending
    waiting = running = stopped = failed = 0
    for item in status.containerStatuses:
        if item.state.running:
            running += 1
        elif item.state.terminated or item.lastState.terminated:
            ended = item.state.terminated or item.lastState.terminated
            stopped += 1
            failed += bool(ended and ended.exitCode)
        else:
            waiting += 1
    if waiting:
        return "Pending"
    if running:
        return "Running"
    if policy == "Always" or (policy == "OnFailure" and failed):
        return "Running"
    return "Failed" if failed else "Succeeded"


def _init_pending(pod: Pod, status: PodStatus, policy: str) -> str | None:
    """The phase while initialization is under way, None when it is over."""
    if any(
        item.state.running or item.state.terminated or item.lastState.terminated for item in status.containerStatuses
    ):
        return None
    for container, item in zip(pod.spec.initContainers, status.initContainerStatuses, strict=True):
        ended = item.state.terminated or item.lastState.terminated
        if is_sidecar(container):
            if not item.started:
                return "Pending"
        elif ended is None or item.state.running or item.state.waiting:
            return "Pending"
        elif ended.exitCode:
            return "Failed" if policy == "Never" else "Pending"
    return None


# Conditions -----------------------------------------------------------------------------------------------------------


def _conditions(pod: Pod, status: PodStatus, record: PodRecord, now: datetime) -> list[PodCondition]:
    networked = bool(record.sandbox and record.sandbox.ready and (record.sandbox.ips or pod.spec.hostNetwork))
    containers_ready = _containers_ready(pod, status)
    wanted = [
        PodCondition(type="PodReadyToStartContainers", status=str(networked)),
        _initialized(pod, status),
        _pod_ready(pod, containers_ready),
        containers_ready,
    ]
    result = [wire.deep_copy(item) for item in pod.status.conditions]
    for condition in wanted:
        condition.lastTransitionTime = format_time(now)
        condition.observedGeneration = pod.metadata.generation
        conditions.put(result, condition)
    return result


def _initialized(pod: Pod, status: PodStatus) -> PodCondition:
    left = [
        container.name
        for container, item in zip(pod.spec.initContainers, status.initContainerStatuses, strict=True)
        if not (item.started if is_sidecar(container) else item.ready)
    ]
    if status.phase == "Succeeded":
        return PodCondition(type="Initialized", status="True", reason="PodCompleted")
    begun = any(item.containerID for item in status.containerStatuses)
    if left and not begun:
        text = f"containers with incomplete status: {_names(left)}"
        return PodCondition(type="Initialized", status="False", reason="ContainersNotInitialized", message=text)
    return PodCondition(type="Initialized", status="True")


def _containers_ready(pod: Pod, status: PodStatus) -> PodCondition:
    if status.phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if status.phase == "Succeeded" else "PodFailed"
        return PodCondition(type="ContainersReady", status="False", reason=reason)
    sidecars = [item for item in pod.spec.initContainers if is_sidecar(item)]
    by_name = {item.name: item for item in (*status.initContainerStatuses, *status.containerStatuses)}
    unready = [item.name for item in (*sidecars, *pod.spec.containers) if not by_name[item.name].ready]
    if not unready:
        return PodCondition(type="ContainersReady", status="True")
    text = f"containers with unready status: {_names(unready)}"
    return PodCondition(type="ContainersReady", status="False", reason="ContainersNotReady", message=text)


def _pod_ready(pod: Pod, containers_ready: PodCondition) -> PodCondition:
    if containers_ready.status != "True":
        return PodCondition(
            type="Ready", status="False", reason=containers_ready.reason, message=containers_ready.message
        )
    missing = []
    for gate in pod.spec.readinessGates:
        found = conditions.status(pod.status.conditions, gate.conditionType)
        if not found:
            missing.append(f'corresponding condition of pod readiness gate "{gate.conditionType}" does not exist.')
        elif found != "True":
            missing.append(f'the status of pod readiness gate "{gate.conditionType}" is not "True", but {found}')
    if missing:
        return PodCondition(type="Ready", status="False", reason="ReadinessGatesNotReady", message=", ".join(missing))
    return PodCondition(type="Ready", status="True")


def _names(names: Iterable[str]) -> str:
    return f"[{' '.join(names)}]"


# What is sent ---------------------------------------------------------------------------------------------------------


def status_patch(pod: Pod, status: PodStatus) -> dict[str, Any] | None:
    """A strategic merge patch from the pod's status as the server has it; None when nothing differs."""
    old, new = wire.to_builtins(pod.status), wire.to_builtins(status)
    change = {key: value for key, value in new.items() if old.get(key) != value}
    change |= {key: None for key in old if key not in new and key in _OWNED_FIELDS}
    if "conditions" in change:
        before = {item["type"]: item for item in old.get("conditions", ())}
        ours = [item for item in new["conditions"] if item["type"] in OWNED_CONDITIONS]
        change["conditions"] = [
            {**dict.fromkeys(before.get(item["type"], {})), **item} for item in ours if before.get(item["type"]) != item
        ]
    if "podIPs" in change:
        change["podIPs"] = [*change["podIPs"], {"$patch": "replace"}]
    return {"metadata": {"uid": pod.metadata.uid}, "status": change} if change else None


_OWNED_FIELDS = frozenset(
    {"phase", "reason", "message", "podIP", "podIPs", "initContainerStatuses", "containerStatuses"}
    | {"ephemeralContainerStatuses", "hostIP", "hostIPs", "startTime"}
)


def container_of(pod: Pod, name: str) -> AnyContainer | None:
    """The container of this name, of whatever sort."""
    everyone: tuple[AnyContainer, ...] = (
        *pod.spec.containers,
        *pod.spec.initContainers,
        *pod.spec.ephemeralContainers,
    )
    return next((item for item in everyone if item.name == name), None)


def field_path(pod: Pod, container: AnyContainer) -> str:
    """spec.containers{web}: where events about a container point."""
    for field_name, items in (
        ("initContainers", pod.spec.initContainers),
        ("ephemeralContainers", pod.spec.ephemeralContainers),
    ):
        if any(item.name == container.name for item in items):
            return f"spec.{field_name}{{{container.name}}}"
    return f"spec.containers{{{container.name}}}" if isinstance(container, Container) else ""
