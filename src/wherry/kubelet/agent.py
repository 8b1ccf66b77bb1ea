"""One pod's agent: asks the machine what to do, does it, reports. One task for each pod of the node.

The loop wakes when the pod changes, when the runtime tells of a change, when a probe has a verdict or an object that
the pod uses changes, and when the plan said so. A deletion interrupts whatever is under way (an image pull, a postStart
hook) and leads to `_terminate`; a shorter grace period interrupts that in turn. starting.py starts containers.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from wherry.api.core_v1 import Pod
from wherry.client.transport import TransportError
from wherry.kubelet.configs import sandbox_config
from wherry.kubelet.context import NodeContext
from wherry.kubelet.hooks import run_hook
from wherry.kubelet.machine import AnyContainer, Kill, Plan, full_name, plan, stop_order
from wherry.kubelet.memory import PodMemory, Reason
from wherry.kubelet.prober import Prober
from wherry.kubelet.runtimes.protocol import EXITED, ContainerRecord, PodRecord, RuntimeFailure
from wherry.kubelet.starting import Starter
from wherry.kubelet.status import pod_status, status_patch
from wherry.kubelet.termination_message import read_message
from wherry.kubelet.volumes.sources import VolumeFailure
from wherry.meta import wire
from wherry.meta.errors import StatusError
from wherry.meta.time import format_time
from wherry.rules import pods

log = logging.getLogger(__name__)

RETRY_MIN_SECONDS, RETRY_MAX_SECONDS = 0.5, 30.0
GRACE_MIN_AFTER_HOOK_SECONDS = 2
RECORDS_KEPT = 2
"""Containers of one name that stay in the runtime: the present one and the one before, for `logs --previous`."""


class PodAgent:
    """Brings one pod to life, keeps it so and takes it away."""

    def __init__(self, node: NodeContext, pod: Pod) -> None:
        self.node = node
        self.pod = pod
        self.uid = pod.metadata.uid or ""
        self.memory = PodMemory(start_time=pod.status.startTime or format_time(node.clock.now()))
        self.gone = False  # from the server
        self._wake = asyncio.Event()
        self._interrupt = asyncio.Event()
        self._grace_seconds: int | None = None
        self._failures = 0
        self._prober = Prober(
            node.runtime, self.memory, node.clock, node.entropy, node.options.node_ip, node.tell_container, self.wake
        )
        self._starter = Starter(node, self.memory)

    # What others tell it ----------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may have changed."""
        self._wake.set()

    def update(self, pod: Pod) -> None:
        """The server's pod changed."""
        self.pod = pod
        self._consider_grace()
        self._wake.set()

    def remove(self) -> None:
        """The pod is gone from the server: it is stopped, and nothing more is reported."""
        self.gone = True
        self._consider_grace()
        self._wake.set()

    def _consider_grace(self) -> None:
        if not self._ending:
            return
        grace = self._wanted_grace()
        if self._grace_seconds is None or grace < self._grace_seconds:
            self._grace_seconds = grace
            self._interrupt.set()

    @property
    def _ending(self) -> bool:
        return self.gone or pods.is_terminating(self.pod)

    def _wanted_grace(self) -> int:
        asked = self.pod.metadata.deletionGracePeriodSeconds
        if asked is None:
            asked = self.pod.spec.terminationGracePeriodSeconds
        return max(1, 30 if asked is None else asked)

    # The loop ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the pod is gone or the kubelet ends; in the latter case its containers go on."""
        self._consider_grace()
        try:
            while not self._ending:
                self._wake.clear()
                delay = await self._interruptible(self._sync_guarded())
                if not self._ending:
                    await self._sleep(delay)
            while not await self._attempt_end():
                await self._sleep(self._retry_seconds())
        finally:
            await self._prober.stop()

    async def _attempt_end(self) -> bool:
        self._interrupt.clear()
        ended = False

        async def end() -> float | None:
            nonlocal ended
            await self._terminate()
            ended = True
            return None

        await self._interruptible(self._guarded(end()))
        return ended

    async def _interruptible(self, work: Coroutine[Any, Any, float | None]) -> float | None:
        task = asyncio.ensure_future(work)
        interrupt = asyncio.ensure_future(self._interrupt.wait())
        try:
            await asyncio.wait((task, interrupt), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else 0.0
        finally:
            for item in (task, interrupt):
                item.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _sleep(self, seconds: float | None) -> None:
        if seconds is None:
            await self._wake.wait()
            return
        waiter = asyncio.ensure_future(self._wake.wait())
        timer = asyncio.ensure_future(self.node.clock.sleep(seconds))
        try:
            await asyncio.wait((waiter, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            timer.cancel()

    async def _sync_guarded(self) -> float | None:
        return await self._guarded(self._sync())

    async def _guarded(self, work: Coroutine[Any, Any, float | None]) -> float | None:
        try:
            delay = await work
            self._failures = 0
        except (RuntimeFailure, VolumeFailure, StatusError, TransportError, OSError, TimeoutError) as error:
            self._failures += 1
            log.warning("pod %s: %s", full_name(self.pod), error or type(error).__name__)
            return self._retry_seconds()
        except Exception:  # a fault of ours in one pod must not take the node's other pods along
            self._failures += 1
            log.exception("pod %s", full_name(self.pod))
            return self._retry_seconds()
        return delay

    def _retry_seconds(self) -> float:
        return min(RETRY_MIN_SECONDS * 2.0 ** max(0, self._failures - 1), RETRY_MAX_SECONDS)

    # One step of life -------------------------------------------------------------------------------------------------

    async def _sync(self) -> float | None:
        """Do what the plan says; the seconds after which to look again, None for "when something changes"."""
        record = await self._record()
        await self._note_ended(record)
        step = plan(self.pod, record, self.memory, self.node.clock.now())
        if step.failed and not self.memory.failed:
            self.memory.failed = step.failed
            self.node.tell(self.pod, "Normal", step.failed.reason, step.failed.message)
        self._prober.update(self.pod, record)
        await self._report(record, step.waiting)
        if step.finished:
            await self._finish(record)
            return None
        for name, why in step.waiting.items():
            if why.reason == "CrashLoopBackOff":
                self._tell_backoff(name)
        if step.kill:
            await asyncio.gather(*(self._kill_unhealthy(item) for item in step.kill))
            return 0.0
        if step.sandbox_attempt is not None:
            await self._make_sandbox(record, step.sandbox_attempt)
            return 0.0
        await self._starter.refresh_volumes(self.pod, record)
        retry = await self._start(step, record)
        waits = [
            item
            for item in (step.wake_after_seconds, retry, self.node.tokens.refresh_seconds(self.uid))
            if item is not None
        ]
        return min(waits) if waits else None

    async def _start(self, step: Plan, record: PodRecord) -> float | None:
        """Start what is due; 0 when something was started, the delay before another try when something could not be."""
        delay: float | None = None
        for item in step.start:
            await self._drop_old(record, item.container.name)
            retry = await self._starter.start(self.pod, item, record)
            delay = retry if delay is None else min(delay, retry)
        return delay

    async def _make_sandbox(self, record: PodRecord, attempt: int) -> None:
        for sandbox in record.sandboxes:
            await self.node.runtime.stop_sandbox(sandbox.id)
        if record.sandbox:
            self.node.tell(
                self.pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
            )
        try:
            await self._starter.prepare_volumes(self.pod, ())
        except VolumeFailure as error:
            self.node.tell(self.pod, "Warning", "FailedMount", str(error))
            raise
        config = sandbox_config(self.pod, attempt, self.node.options)
        (self.node.options.logs_dir).mkdir(parents=True, exist_ok=True)
        try:
            await self.node.runtime.run_sandbox(config)
        except RuntimeFailure as error:
            self.node.tell(self.pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            raise
        for sandbox in record.sandboxes:
            if not any(item.sandbox_id == sandbox.id for item in record.containers):
                await self.node.runtime.remove_sandbox(sandbox.id)

    async def _kill_unhealthy(self, kill: Kill) -> None:
        probe = kill.container.livenessProbe if kill.cause == "liveness" else kill.container.startupProbe
        own = probe.terminationGracePeriodSeconds if probe and kill.cause else None
        spec = self.pod.spec.terminationGracePeriodSeconds
        grace = own if own is not None else (30 if spec is None else spec)
        await self._stop_container(kill.container, kill.record, grace, kill.message)

    def _tell_backoff(self, name: str) -> None:
        everyone = (*self.pod.spec.containers, *self.pod.spec.initContainers)
        container = next(item for item in everyone if item.name == name)
        text = f"Back-off restarting failed container {name} in pod {full_name(self.pod)}"
        self.node.tell_container(self.pod, container, "Warning", "BackOff", text)

    async def _drop_old(self, record: PodRecord, name: str) -> None:
        """Keep one ended container of this name beside the one about to be made."""
        for old in record.all_of(name)[RECORDS_KEPT - 1 :]:
            await self.node.runtime.remove_container(old.id)

    # The end ----------------------------------------------------------------------------------------------------------

    async def _finish(self, record: PodRecord) -> None:
        """A pod that has run its course (or failed): nothing runs on, its records stay for status and logs."""
        if not self.memory.stopped:
            spec = self.pod.spec.terminationGracePeriodSeconds
            record = await self._stop_all(record, 30 if spec is None else spec)
            self.memory.stopped = True
            self.node.objects.release(self.uid)
        await self._report(record, {})

    async def _terminate(self) -> None:
        self.memory.terminating = True
        record = await self._record()
        self._prober.update(self.pod, record)
        grace = self._grace_seconds if self._grace_seconds is not None else self._wanted_grace()
        record = await self._stop_all(record, grace)
        self.memory.stopped = True
        await self._prober.stop()
        await self._report(record, {})
        for container in record.containers:
            await self.node.runtime.remove_container(container.id)
        for sandbox in record.sandboxes:
            await self.node.runtime.remove_sandbox(sandbox.id)
        self.node.objects.release(self.uid)
        self.node.tokens.forget(self.uid)
        self.node.images.forget(self.uid)
        await self.node.volumes.remove(self.uid)
        await self.node.remove_logs(self.pod)
        if not self.gone:
            await self._delete()

    async def _delete(self) -> None:
        name, namespace = self.pod.metadata.name or "", self.pod.metadata.namespace
        try:
            await self.node.client.delete(Pod, name, namespace, grace_period_seconds=0, uid=self.uid)
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    async def _stop_all(self, record: PodRecord, grace_seconds: int) -> PodRecord:
        clock = self.node.clock
        deadline = clock.monotonic() + grace_seconds
        for group in stop_order(self.pod, record):
            left = max(0 if grace_seconds == 0 else 1, round(deadline - clock.monotonic()))
            await asyncio.gather(
                *(self._stop_container(item, found, left, f"Stopping container {item.name}") for item, found in group)
            )
        for sandbox in record.sandboxes:
            await self.node.runtime.stop_sandbox(sandbox.id)
        record = await self._record()
        await self._note_ended(record)
        return record

    async def _stop_container(
        self, container: AnyContainer, record: ContainerRecord, grace_seconds: int, message: str
    ) -> None:
        node, began = self.node, self.node.clock.monotonic()
        hook = container.lifecycle.preStop if container.lifecycle else None
        node.tell_container(self.pod, container, "Normal", "Killing", message)
        if hook and grace_seconds > 0 and record.id not in self._starter.pre_stopped:
            self._starter.pre_stopped.add(record.id)
            address = self._starter.address(self.pod)
            outcome = await run_hook(hook, container, record, node.runtime, node.clock, address, grace_seconds)
            if not outcome.ok:
                # As with kubelet, no output: it may hold secrets.
                node.tell_container(self.pod, container, "Warning", "FailedPreStopHook", "PreStopHook failed")
            spent = node.clock.monotonic() - began
            grace_seconds = max(GRACE_MIN_AFTER_HOOK_SECONDS, round(grace_seconds - spent))
        await node.runtime.stop_container(record.id, grace_seconds)

    # What is known and told -------------------------------------------------------------------------------------------

    async def _record(self) -> PodRecord:
        found = await self.node.runtime.pod(self.uid)
        return found or PodRecord(self.uid, self.pod.metadata.name or "", self.pod.metadata.namespace or "")

    async def _note_ended(self, record: PodRecord) -> None:
        """Read termination messages once, and drop what was remembered of containers that run no more."""
        for container in record.containers:
            if container.state == EXITED and container.id not in self.memory.termination_messages:
                self.memory.termination_messages[container.id] = await read_message(container)
                for known in (self.memory.ready, self.memory.started, self.memory.unhealthy):
                    known.pop(container.id, None)

    async def _report(self, record: PodRecord, waiting: dict[str, Reason]) -> None:
        """Send the status if it differs from what the server has."""
        if self.gone:
            return
        options = self.node.options
        status = pod_status(
            self.pod,
            record,
            self.memory,
            self.node.clock.now(),
            runtime_name=self.node.runtime_scheme,
            host_ips=(options.node_ip,),
            waiting=waiting,
        )
        patch = status_patch(self.pod, status)
        if patch is None:
            return
        try:
            sent = await self.node.client.patch(
                Pod,
                self.pod.metadata.name or "",
                self.pod.metadata.namespace,
                patch,
                patch_type="strategic",
                subresource="status",
            )
        except StatusError as error:
            if error.code in (404, 409):
                return  # gone or another pod of this name: the watch will tell
            raise
        if sent.metadata.uid == self.uid:
            self.pod = wire.deep_copy(sent) if not self._ending else self._keep_deletion(sent)

    def _keep_deletion(self, sent: Pod) -> Pod:
        if sent.metadata.deletionTimestamp is None:
            sent.metadata.deletionTimestamp = self.pod.metadata.deletionTimestamp
            sent.metadata.deletionGracePeriodSeconds = self.pod.metadata.deletionGracePeriodSeconds
        return sent
