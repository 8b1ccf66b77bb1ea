"""The pod state machine: what is to be done for one pod now. Pure; agent.py performs it, status.py reports it.

`plan` compares the pod's spec with the runtime's record and with the kubelet's memory and answers with a `Plan`. It
is asked again after every change, so a plan never looks further than one step: create a sandbox, kill what is
unhealthy, start what may start. Order of life: sandbox → init containers one by one (a sidecar only until it has
started) → containers. A finished pod keeps its records and loses its sandbox.

Behaviour as in Kubernetes' kuberuntime: restart policies, CrashLoopBackOff, sidecars (KEP-753).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from wherry.api.core_v1 import Container, EphemeralContainer, Pod
from wherry.kubelet.memory import PodMemory, Reason
from wherry.kubelet.runtimes.protocol import EXITED, RUNNING, ContainerRecord, PodRecord
from wherry.meta.time import parse_time

IMAGE_ANNOTATION = "wherry.dev/image"
"""The image as the spec had it when the container was created: a change restarts the container."""
AnyContainer = Container | EphemeralContainer


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop a container; `message` is the event's."""

    container: AnyContainer
    record: ContainerRecord
    message: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container as the `restart_count`-th of its name."""

    container: AnyContainer
    restart_count: int


@dataclass(slots=True)
class Plan:
    """One step. `wake_after_seconds`: look again then, though nothing may have changed."""

    sandbox_attempt: int | None = None
    kill: list[Kill] = field(default_factory=list)
    start: list[Start] = field(default_factory=list)
    waiting: dict[str, Reason] = field(default_factory=dict)
    wake_after_seconds: float | None = None
    finished: bool = False
    failed: Reason | None = None

    def wake(self, seconds: float) -> None:
        """Look again in `seconds`, or earlier if something else wants it."""
        if self.wake_after_seconds is None or seconds < self.wake_after_seconds:
            self.wake_after_seconds = max(0.0, seconds)


@dataclass(frozen=True, slots=True)
class _View:
    pod: Pod
    record: PodRecord
    memory: PodMemory
    now: datetime

    @property
    def policy(self) -> str:
        return self.pod.spec.restartPolicy or "Always"

    def newest(self, container: AnyContainer) -> ContainerRecord | None:
        return self.record.newest(container.name)

    def here(self, container: AnyContainer) -> ContainerRecord | None:
        """The latest container of this name in the present sandbox."""
        found, sandbox = self.newest(container), self.record.sandbox
        return found if found and sandbox and found.sandbox_id == sandbox.id else None


def plan(pod: Pod, record: PodRecord, memory: PodMemory, now: datetime) -> Plan:
    """The next step of a pod that is not being terminated."""
    view, step = _View(pod, record, memory, now), Plan()
    if memory.failed or past_deadline(view, step):
        step.failed = memory.failed or Reason(
            "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
        )
        step.finished = True
        return step
    sandbox = record.sandbox
    if sandbox is None or not sandbox.ready:
        _plan_sandbox(view, step)
        return step
    _plan_ephemeral(view, step)
    if _plan_init(view, step):
        _plan_containers(view, step)
    return step


def past_deadline(view: _View, step: Plan) -> bool:
    """Whether activeDeadlineSeconds is over; else be woken when it is."""
    limit = view.pod.spec.activeDeadlineSeconds
    if limit is None or view.memory.start_time is None:
        return False
    left = limit - (view.now - parse_time(view.memory.start_time)).total_seconds()
    if left > 0:
        step.wake(left)
    return left <= 0


def _plan_sandbox(view: _View, step: Plan) -> None:
    """A sandbox is wanted when some container is still to run; a pod that is done needs none."""
    containers = view.pod.spec.containers
    done = [record for item in containers if (record := view.newest(item)) and not _restarts(view.policy, item, record)]
    init_failed = view.policy == "Never" and any(
        record.state == EXITED and record.exit_code != 0
        for item in view.pod.spec.initContainers
        if not is_sidecar(item) and (record := view.newest(item))
    )
    if len(done) == len(containers) or init_failed:
        step.finished = True
        return
    step.sandbox_attempt = view.record.sandbox.attempt + 1 if view.record.sandbox else 0


def _plan_init(view: _View, step: Plan) -> bool:
    """True when all init containers are done, and the sidecars among them started: the others may run."""
    initialized = any(view.here(item) for item in view.pod.spec.containers)
    for container in view.pod.spec.initContainers:
        record = view.here(container)
        if is_sidecar(container):
            _plan_running(view, step, container, record, "Always")
            if not initialized and not (record and is_started(container, record, view.memory)):
                return False
        elif not initialized and (record is None or record.state != EXITED or record.exit_code != 0):
            return _plan_init_step(view, step, container, record)
    return True


def _plan_init_step(view: _View, step: Plan, container: Container, record: ContainerRecord | None) -> bool:
    if record is not None and record.state == EXITED and view.policy == "Never":
        step.finished = True
        return False
    # An init container that fails is run again, also under OnFailure and Always; 0 never comes here.
    _plan_running(view, step, container, record, "OnFailure")
    return False


def _plan_containers(view: _View, step: Plan) -> None:
    alive = False
    for container in view.pod.spec.containers:
        record = view.here(container) or view.newest(container)
        if record is None or record.state != EXITED or _restarts(view.policy, container, record):
            alive = True
            _plan_running(view, step, container, record, view.policy)
    if not alive:
        step.finished = True
        step.start.clear()  # sidecars end with the others


def _plan_ephemeral(view: _View, step: Plan) -> None:
    step.start += [Start(item, 0) for item in view.pod.spec.ephemeralContainers if view.newest(item) is None]


def _plan_running(view: _View, step: Plan, container: Container, record: ContainerRecord | None, policy: str) -> None:
    """Start, restart or kill one container that ought to run (or, with an exit code, to have run)."""
    if record is None:
        before = view.newest(container)  # in an earlier sandbox
        step.start.append(Start(container, before.restart_count + 1 if before else _lost_restarts(view, container)))
    elif record.state == RUNNING:
        unhealthy = view.memory.unhealthy.get(record.id)
        if unhealthy:
            text = f"Container {container.name} {unhealthy.message}"
            step.kill.append(
                Kill(container, record, text + (", will be restarted" if policy != "Never" else ""), unhealthy.reason)
            )
        elif record.annotations.get(IMAGE_ANNOTATION, container.image) != container.image:
            text = f"Container {container.name} definition changed, will be restarted"
            step.kill.append(Kill(container, record, text))
    else:
        _plan_restart(view, step, container, record)


def _plan_restart(view: _View, step: Plan, container: Container, record: ContainerRecord) -> None:
    ended = (record.finished_at or record.created_at) / 1e9
    left = view.memory.backoff.remaining(container.name, ended, view.now.timestamp())
    if record.state == EXITED and left > 0:
        delay = format_seconds(view.memory.backoff.delay_seconds(container.name))
        text = f"back-off {delay} restarting failed container={container.name} pod={full_name(view.pod)}"
        step.waiting[container.name] = Reason("CrashLoopBackOff", text)
        step.wake(left)
        return
    step.start.append(Start(container, record.restart_count + 1))


def _lost_restarts(view: _View, container: Container) -> int:
    """The restart count when the runtime knows nothing, from the status that an earlier kubelet wrote."""
    for status in (*view.pod.status.initContainerStatuses, *view.pod.status.containerStatuses):
        if status.name == container.name and status.containerID:
            return status.restartCount + 1
    return 0


def _restarts(policy: str, container: Container, record: ContainerRecord) -> bool:
    if record.state != EXITED:
        return True
    return policy == "Always" or (policy == "OnFailure" and record.exit_code != 0)


def is_sidecar(container: AnyContainer) -> bool:
    """An init container that runs beside the others."""
    return container.restartPolicy == "Always"


def is_started(container: AnyContainer, record: ContainerRecord, memory: PodMemory) -> bool:
    """Running, its postStart hook over, and its startup probe, if any, passed."""
    if record.state != RUNNING or record.id in memory.hooks_pending:
        return False
    return container.startupProbe is None or memory.started.get(record.id, False)


def stop_order(pod: Pod, record: PodRecord) -> Iterator[list[tuple[AnyContainer, ContainerRecord]]]:
    """What to stop together, group after group: everything but sidecars, then the sidecars, last started first."""
    running = {item.name: item for item in reversed(record.containers) if item.state == RUNNING}
    sidecars = [item for item in pod.spec.initContainers if is_sidecar(item)]
    apart = {item.name for item in sidecars}
    everyone: tuple[AnyContainer, ...] = (*pod.spec.initContainers, *pod.spec.containers, *pod.spec.ephemeralContainers)
    yield [(item, running[item.name]) for item in everyone if item.name in running and item.name not in apart]
    for item in reversed(sidecars):
        if item.name in running:
            yield [(item, running[item.name])]


def full_name(pod: Pod) -> str:
    """name_namespace(uid), as messages write it."""
    return f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"


def format_seconds(seconds: float) -> str:
    """10s, 1m20s, 5m0s: a duration as Go writes it."""
    whole = int(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
