"""Probes: one task for each probe of each running container, its verdict written into the pod's memory.

`judge` is the pure core: thresholds turn a run of single results into a verdict. A startup probe comes first and holds
back the others; liveness and startup verdicts get the container restarted by the machine, readiness only shows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Pod, Probe
from wherry.kubelet import actions
from wherry.kubelet.actions import Outcome
from wherry.kubelet.machine import AnyContainer, is_started
from wherry.kubelet.memory import PodMemory, Reason
from wherry.kubelet.runtimes.protocol import RUNNING, ContainerRecord, PodRecord, Runtime


@dataclass(slots=True)
class Judge:
    """A run of equal results against the thresholds."""

    success_threshold: int
    failure_threshold: int
    last: bool | None = None
    run: int = 0

    def judge(self, ok: bool) -> bool | None:
        """The verdict when this result completes a run, else None."""
        self.run = self.run + 1 if self.last is ok else 1
        self.last = ok
        needed = self.success_threshold if ok else self.failure_threshold
        return ok if self.run >= needed else None


Tell = Callable[[Pod, AnyContainer, str, str, str], None]


class Prober:
    """The probes of one pod."""

    def __init__(
        self,
        runtime: Runtime,
        memory: PodMemory,
        clock: Clock,
        entropy: Entropy,
        node_ip: str,
        tell: Tell,
        changed: Callable[[], None],
    ) -> None:
        self._runtime, self._memory, self._clock, self._entropy = runtime, memory, clock, entropy
        self._node_ip, self._tell, self._changed = node_ip, tell, changed
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def update(self, pod: Pod, record: PodRecord) -> None:
        """Start probes of containers that run, stop those of containers that do not."""
        wanted: dict[tuple[str, str], Callable[[], Awaitable[None]]] = {}
        sidecars = [item for item in pod.spec.initContainers if item.restartPolicy == "Always"]
        for container in (*pod.spec.containers, *sidecars):
            newest = record.newest(container.name)
            if newest is None or newest.state != RUNNING:
                continue
            for kind, probe in self._due(container, newest):
                address = actions.pod_address(pod, self._node_ip, record.sandbox.ips if record.sandbox else ())
                wanted[newest.id, kind] = _bound(self._probe, pod, container, newest, kind, probe, address)
        for key in [key for key in self._tasks if key not in wanted]:
            self._tasks.pop(key).cancel()
        for key, start in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = asyncio.ensure_future(start())

    def _due(self, container: AnyContainer, newest: ContainerRecord) -> list[tuple[str, Probe]]:
        if container.startupProbe and not self._memory.started.get(newest.id):
            return [("startup", container.startupProbe)]
        if not is_started(container, newest, self._memory):
            return []
        found = [("readiness", container.readinessProbe)]
        if not self._memory.terminating:
            found.append(("liveness", container.livenessProbe))
        return [(kind, probe) for kind, probe in found if probe]

    async def stop(self) -> None:
        """End all probes."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(
        self, pod: Pod, container: AnyContainer, record: ContainerRecord, kind: str, probe: Probe, address: str
    ) -> None:
        judge = Judge(probe.successThreshold or 1, probe.failureThreshold or 3)
        running = self._clock.now().timestamp() - record.started_at / 1e9
        await self._clock.sleep(max(0.0, (probe.initialDelaySeconds or 0) - running))
        while True:
            outcome = await self._try(container, record, probe, address)
            if not outcome.ok:
                text = f"{kind.capitalize()} probe failed: {outcome.message}"
                self._tell(pod, container, "Warning", "Unhealthy", text)
            verdict = judge.judge(outcome.ok)
            if verdict is not None and self._conclude(kind, record.id, verdict):
                return
            await self._clock.sleep(probe.periodSeconds or 10)

    async def _try(self, container: AnyContainer, record: ContainerRecord, probe: Probe, address: str) -> Outcome:
        outcome = Outcome(False, "no probe handler")
        timeout = float(probe.timeoutSeconds or 1)
        if probe.exec:
            outcome = await actions.run_command(self._runtime, record.id, probe.exec.command, timeout)
        elif probe.httpGet:
            outcome = await actions.get_http(probe.httpGet, container, address, timeout)
        elif probe.tcpSocket:
            outcome = await actions.connect_tcp(probe.tcpSocket, container, address, timeout)
        elif probe.grpc:
            outcome = await actions.check_grpc(probe.grpc, address, timeout)
        return outcome

    def _conclude(self, kind: str, container_id: str, ok: bool) -> bool:
        """Write the verdict down; True when this probe has nothing more to do."""
        memory = self._memory
        if kind == "readiness":
            if memory.ready.get(container_id, False) != ok:
                memory.ready[container_id] = ok
                self._changed()
            return False
        if ok:
            if kind == "startup":
                memory.started[container_id] = True
                self._changed()
            return kind == "startup"
        memory.unhealthy[container_id] = Reason(kind, f"failed {kind} probe")
        self._changed()
        return True


def _bound(function: Callable[..., Awaitable[None]], *arguments: object) -> Callable[[], Awaitable[None]]:
    return lambda: function(*arguments)
