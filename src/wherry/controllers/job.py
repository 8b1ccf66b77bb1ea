"""Jobs: pods that run to completion, counted exactly, retried with growing waits, stopped at their limits.

One reconcile: sort the pods, note in the status what has finished (uids first, so that nothing is lost), take off
their finalizers, judge, then start or stop pods. The deciding is in jobplan.py.

Source of the behaviour: kubernetes pkg/controller/job.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.batch_v1 import Job, UncountedTerminatedPods
from wherry.api.core_v1 import Pod
from wherry.api.registry import resource_for
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.client.workqueue import meta_key
from wherry.controllers import jobplan
from wherry.controllers.controller import (
    BY_CONTROLLER,
    Controller,
    Key,
    adoption_patch,
    index_by_controller,
    orphans_of,
    release_patch,
)
from wherry.controllers.jobplan import FINALIZER, Tally, Verdict, index_of
from wherry.controllers.overlay import Overlay
from wherry.controllers.podcontrol import BURST_MAX, Failure, PodControl, all_of, in_slow_batches, pod_from_template
from wherry.controllers.podrank import first_to_go
from wherry.controllers.replicaset import plan_claims
from wherry.meta.errors import StatusError
from wherry.meta.labels import from_label_selector
from wherry.meta.time import format_time
from wherry.meta.wire import deep_copy, to_builtins
from wherry.rules import conditions
from wherry.rules.owners import controller_of, controller_reference
from wherry.rules.pods import is_ready

MANAGER = "kubernetes.io/job-controller"
RESOURCE = resource_for(Job)


@dataclass(slots=True)
class _Backoff:
    """Failures since the last success."""

    failures: int = 0
    last: datetime | None = None


class JobController(Controller):
    """Runs Jobs."""

    name = "job-controller"

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._jobs = self.watch(Job, self.enqueue)
        self._pods = self.watch(Pod)
        index_by_controller(self._pods)
        self._pods.add_handler(self.enqueue_controller(Job, self._jobs))
        self._overlay = Overlay(self._pods)
        self._own = Overlay(self._jobs)
        self._control = PodControl(client, self.recorder)
        self._backoffs: dict[Key, _Backoff] = {}

    def enqueue_adopters(self, informer: Informer[Any], orphan: Any) -> None:
        for job in informer.list(orphan.metadata.namespace):
            if from_label_selector(job.spec.selector).matches(orphan.metadata.labels):
                self.queue.add(meta_key(job))

    async def reconcile(self, key: Key) -> None:
        cached = self._jobs.get(*key)
        if cached is None or cached.metadata.deletionTimestamp is not None:
            await self._let_go(key)
        if cached is None:
            for memory in (self._overlay, self._own):
                memory.forget(key)
            self._backoffs.pop(key, None)
            return
        if cached.spec.managedBy not in (None, MANAGER) or cached.metadata.deletionTimestamp is not None:
            return
        job = deep_copy(self._own.latest(cached))
        if jobplan.is_finished(job):
            await self._let_go(key)
            self._backoffs.pop(key, None)
            return
        await self._step(key, job)

    async def _step(self, key: Key, job: Job) -> None:
        before = deep_copy(job.status)
        now = self.clock.now()
        pods = await self._claim(key, job)
        found = jobplan.tally(job, pods)
        self._follow_suspension(job, now)
        completed = self._note_finished(key, job, pods, found, now)
        succeeded, failed = self._totals(job, completed)
        failure = jobplan.failure_of(job, failed, found, now)
        refused: Failure | None = None
        if failure is not None:
            jobplan.put_condition(job.status, jobplan.FAILURE_TARGET, "True", failure, now)
            refused = await self._stop(key, job, found, found.active)
        elif jobplan.is_successful(job, succeeded, len(found.active)):
            jobplan.put_condition(job.status, jobplan.SUCCESS_CRITERIA_MET, "True", jobplan.REACHED, now)
            refused = await self._stop(key, job, found, found.active)
        else:
            refused = await self._manage(key, job, found, succeeded, completed)
        self._count_pods(job, found)
        await self._store_if_changed(job, before)
        await self._settle(key, job, pods, found)
        await self._finish(job, found, failure)
        if refused is not None:
            raise refused
        left_seconds = jobplan.seconds_to_deadline(job, self.clock.now())
        if left_seconds is not None and not jobplan.is_finished(job):
            self.queue.add_after(key, max(0.01, left_seconds))

    # Counting ---------------------------------------------------------------------------------------------------------

    def _note_finished(self, key: Key, job: Job, pods: list[Pod], found: Tally, now: datetime) -> set[int]:
        """Put what has finished into the status, by uid; completed indexes are their own record."""
        status = job.status
        uncounted = status.uncountedTerminatedPods or UncountedTerminatedPods()
        held = {pod.metadata.uid for pod in pods if FINALIZER in pod.metadata.finalizers}
        backoff = self._backoffs.setdefault(key, _Backoff())
        settled = [uid for uid in uncounted.succeeded if uid not in held]
        status.succeeded = (status.succeeded or 0) + len(settled)
        lost = [uid for uid in uncounted.failed if uid not in held]
        status.failed = (status.failed or 0) + len(lost)
        uncounted.succeeded = [uid for uid in uncounted.succeeded if uid in held]
        uncounted.failed = [uid for uid in uncounted.failed if uid in held]
        completed = jobplan.parse_indexes(status.completedIndexes)
        for pod in found.succeeded:
            index, uid = index_of(pod), pod.metadata.uid or ""
            if jobplan.is_indexed(job):
                if index is not None and index < (job.spec.completions or 0) and index not in completed:
                    completed.add(index)
                    backoff.failures = 0
            elif uid not in uncounted.succeeded:
                uncounted.succeeded.append(uid)
                backoff.failures = 0
        for pod in found.failed:
            uid = pod.metadata.uid or ""
            if uid not in uncounted.failed:
                uncounted.failed.append(uid)
                backoff.failures += 1
                ended = jobplan.finished_at(pod, now)
                backoff.last = ended if backoff.last is None else max(backoff.last, ended)
        if jobplan.is_indexed(job):
            status.completedIndexes = jobplan.format_indexes(completed) or None
            status.succeeded = len(completed)
        status.uncountedTerminatedPods = uncounted
        return completed

    def _totals(self, job: Job, completed: set[int]) -> tuple[int, int]:
        uncounted = job.status.uncountedTerminatedPods or UncountedTerminatedPods()
        failed = (job.status.failed or 0) + len(uncounted.failed)
        if jobplan.is_indexed(job):
            return len(completed), failed
        return (job.status.succeeded or 0) + len(uncounted.succeeded), failed

    async def _settle(self, key: Key, job: Job, pods: list[Pod], found: Tally) -> None:
        """What the status records needs its finalizer no longer; then it moves from the uids to the counts."""
        finished = [*found.succeeded, *found.failed, *found.ignored]
        if not finished:
            return
        failure = await all_of([self._take_finalizer(key, pod) for pod in finished])
        if failure is not None:
            raise failure
        before = deep_copy(job.status)
        uncounted = job.status.uncountedTerminatedPods or UncountedTerminatedPods()
        job.status.failed = (job.status.failed or 0) + len(uncounted.failed)
        if not jobplan.is_indexed(job):
            job.status.succeeded = (job.status.succeeded or 0) + len(uncounted.succeeded)
        job.status.uncountedTerminatedPods = UncountedTerminatedPods()
        await self._store_if_changed(job, before)

    async def _take_finalizer(self, key: Key, pod: Pod) -> None:
        patch = {"metadata": {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
        try:
            name, namespace = pod.metadata.name or "", pod.metadata.namespace
            patched = await self.client.patch(Pod, name, namespace, patch, patch_type="strategic")
        except StatusError as error:
            if error.code not in (404, 409):  # gone, or another pod of that name
                raise
        else:
            self._overlay.wrote(key, patched)

    async def _let_go(self, key: Key) -> None:
        """Nobody counts these pods any more."""
        held = [
            pod
            for pod in self._pods.list(key[0])
            if FINALIZER in pod.metadata.finalizers
            and (owner := controller_of(pod.metadata)) is not None
            and (owner.kind, owner.name) == ("Job", key[1])
        ]
        failure = await all_of([self._take_finalizer(key, pod) for pod in held])
        if failure is not None:
            raise failure

    # Pods -------------------------------------------------------------------------------------------------------------

    async def _claim(self, key: Key, job: Job) -> list[Pod]:
        owned = self._pods.by_index(BY_CONTROLLER, job.metadata.uid or "")
        orphans = self._pods.by_index(BY_CONTROLLER, orphans_of(key[0]))
        claims = plan_claims(job, from_label_selector(job.spec.selector), self._overlay.view(key, [*owned, *orphans]))
        reference = to_builtins(controller_reference(job, RESOURCE))
        for pod in claims.adopt:
            patch = adoption_patch(pod.metadata, reference)
            patch["metadata"]["finalizers"] = [FINALIZER]
            claims.owned.append(await self._patch(key, pod, patch))
        for pod in claims.release:
            patch = release_patch(pod.metadata, job.metadata)
            patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = [FINALIZER]
            await self._patch(key, pod, patch)
        return claims.owned

    async def _patch(self, key: Key, pod: Pod, patch: dict[str, Any]) -> Pod:
        name, namespace = pod.metadata.name or "", pod.metadata.namespace
        patched = await self.client.patch(Pod, name, namespace, patch, patch_type="strategic")
        self._overlay.wrote(key, patched)
        return patched

    async def _manage(self, key: Key, job: Job, found: Tally, succeeded: int, completed: set[int]) -> Failure | None:
        active = found.active
        wanted = jobplan.wanted_active(job, succeeded, len(active))
        surplus = first_to_go(active, active, self.clock.now())[: max(0, len(active) - wanted)]
        if jobplan.is_indexed(job):
            seen: set[int | None] = set()
            for pod in active:
                index = index_of(pod)
                if (index is None or index in seen or index in completed) and pod not in surplus:
                    surplus.append(pod)
                seen.add(index)
        if surplus:
            return await self._stop(key, job, found, surplus)
        waiting = len(found.terminating) if job.spec.podReplacementPolicy == "Failed" else 0
        count = min(wanted - len(active) - waiting, BURST_MAX)
        if count <= 0:
            return None
        backoff = self._backoffs.get(key, _Backoff())
        if backoff.failures and backoff.last is not None:
            past_seconds = (self.clock.now() - backoff.last).total_seconds()
            left_seconds = jobplan.backoff_seconds(backoff.failures) - past_seconds
            if left_seconds > 0:
                self.queue.add_after(key, left_seconds)
                return None
        return await self._start(key, job, found, completed, count)

    async def _start(self, key: Key, job: Job, found: Tally, completed: set[int], count: int) -> Failure | None:
        indexes: list[int] | None = None
        if jobplan.is_indexed(job):
            indexes = jobplan.missing_indexes(job, completed, [*found.active, *self._unreplaced(job, found)], count)
            count = len(indexes)

        async def one(number: int) -> None:
            pod = pod_from_template(job.spec.template, key[0], key[1], controller_reference(job, RESOURCE))
            pod.metadata.finalizers = [*pod.metadata.finalizers, FINALIZER]
            if indexes is not None:
                jobplan.set_index(job, pod, indexes[number])
            created = await self._control.create(pod, job)
            if created is not None:
                self._overlay.wrote(key, created)
                found.active.append(created)

        return await in_slow_batches(count, one)

    def _unreplaced(self, job: Job, found: Tally) -> list[Pod]:
        return found.terminating if job.spec.podReplacementPolicy == "Failed" else []

    async def _stop(self, key: Key, job: Job, found: Tally, pods: list[Pod]) -> Failure | None:
        async def one(pod: Pod) -> None:
            await self._control.delete(pod, job)
            self._overlay.deleted(key, pod)
            found.active.remove(pod)
            found.terminating.append(pod)

        return await all_of([one(pod) for pod in list(pods)])

    # Status -----------------------------------------------------------------------------------------------------------

    def _follow_suspension(self, job: Job, now: datetime) -> None:
        status = job.status
        suspended = conditions.is_true(status.conditions, "Suspended")
        if job.spec.suspend:
            if not suspended:
                jobplan.put_condition(status, "Suspended", "True", ("JobSuspended", "Job suspended"), now)
                self.recorder.event(job, "Normal", "Suspended", "Job suspended")
            status.startTime = None
            return
        if suspended:
            jobplan.put_condition(status, "Suspended", "False", ("JobResumed", "Job resumed"), now)
            self.recorder.event(job, "Normal", "Resumed", "Job resumed")
        if status.startTime is None:
            status.startTime = format_time(now)

    @staticmethod
    def _count_pods(job: Job, found: Tally) -> None:
        job.status.active = len(found.active) or None
        job.status.ready = sum(map(is_ready, found.active))
        job.status.terminating = len(found.terminating)

    async def _finish(self, job: Job, found: Tally, failure: Verdict | None) -> None:
        """The final condition, once no pod is left that could still do something."""
        if found.active or found.terminating:
            return
        before, now = deep_copy(job.status), self.clock.now()
        if failure is not None:
            jobplan.put_condition(job.status, jobplan.FAILED, "True", failure, now)
        elif conditions.is_true(job.status.conditions, jobplan.SUCCESS_CRITERIA_MET):
            jobplan.put_condition(job.status, jobplan.COMPLETE, "True", jobplan.REACHED, now)
            job.status.completionTime = format_time(now)
        else:
            return
        await self._store_if_changed(job, before)
        if failure is not None:
            self.recorder.event(job, "Warning", failure[0], failure[1])
        else:
            self.recorder.event(job, "Normal", "Completed", "Job completed")

    async def _store_if_changed(self, job: Job, before: Any) -> None:
        for name in ("succeeded", "failed"):
            setattr(job.status, name, getattr(job.status, name) or None)
        if job.status == before:
            return
        stored = await self.client.update_status(job)
        self._own.wrote(meta_key(stored), stored)
        job.metadata, job.status = stored.metadata, stored.status
