"""ReplicaSets: as many pods of one template as asked for, no more and no fewer.

A reconcile reads the pods it owns (overlay.py lays its own unseen writes over the cache), adopts matching orphans and
releases what no longer matches, creates or deletes the difference, and writes the status. replicationcontroller.py is
the same for the older kind. Read next: podrank.py (who goes first), podcontrol.py (how pods are made).

Source of the behaviour: kubernetes pkg/controller/replicaset.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wherry.aio.clock import Clock
from wherry.api.apps_v1 import ReplicaSet, ReplicaSetCondition, ReplicaSetStatus
from wherry.api.core_v1 import Pod
from wherry.api.registry import resource_for
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.client.workqueue import meta_key
from wherry.controllers.controller import (
    BY_CONTROLLER,
    Controller,
    Key,
    adoption_patch,
    index_by_controller,
    is_missing,
    orphans_of,
    release_patch,
)
from wherry.controllers.overlay import Overlay
from wherry.controllers.podcontrol import BURST_MAX, Failure, PodControl, all_of, in_slow_batches, pod_from_template
from wherry.controllers.podrank import first_to_go
from wherry.meta.errors import StatusError
from wherry.meta.labels import Selector, from_label_selector
from wherry.meta.time import format_time
from wherry.meta.wire import deep_copy, to_builtins
from wherry.rules import conditions
from wherry.rules.owners import controller_of, controller_reference, is_controlled_by
from wherry.rules.pods import is_active, is_ready, is_terminal, is_terminating, seconds_until_available

REPLICA_FAILURE = "ReplicaFailure"


@dataclass(slots=True)
class Claims:
    """Sorting of the pods at hand: ours, to be adopted, to be let go."""

    owned: list[Pod] = field(default_factory=list)
    adopt: list[Pod] = field(default_factory=list)
    release: list[Pod] = field(default_factory=list)


def plan_claims(owner: Any, selector: Selector, pods: Sequence[Pod]) -> Claims:
    """Pods of another controller are left alone; one that is ending neither adopts nor releases."""
    claims = Claims()
    ending = owner.metadata.deletionTimestamp is not None
    for pod in pods:
        matches = selector.matches(pod.metadata.labels)
        if controller_of(pod.metadata) is None:
            if matches and not ending and is_active(pod):
                claims.adopt.append(pod)
        elif is_controlled_by(pod.metadata, owner.metadata):
            (claims.owned if matches or ending else claims.release).append(pod)
    return claims


def plan_replicas(wanted: int, active: Sequence[Pod], related: Sequence[Pod], now: datetime) -> tuple[int, list[Pod]]:
    """How many to create, or which to delete."""
    difference = wanted - len(active)
    if difference >= 0:
        return min(difference, BURST_MAX), []
    surplus = min(-difference, BURST_MAX)
    return 0, first_to_go(active, related, now)[:surplus]


def plan_status(rs: Any, owned: Sequence[Pod], failure: Failure | None, creating: bool, now: datetime) -> Any:
    """The status that follows from the pods; equal to the present one when there is nothing to write."""
    active = [pod for pod in owned if is_active(pod)]
    ready = [pod for pod in active if is_ready(pod)]
    template = template_labels(rs)
    min_ready_seconds = rs.spec.minReadySeconds or 0
    available = [pod for pod in ready if seconds_until_available(pod, min_ready_seconds, now) <= 0]
    status = deep_copy(rs.status)
    status.replicas = len(active)
    status.fullyLabeledReplicas = sum(template.items() <= pod.metadata.labels.items() for pod in active) or None
    status.readyReplicas = len(ready) or None
    status.availableReplicas = len(available) or None
    status.observedGeneration = rs.metadata.generation
    if isinstance(status, ReplicaSetStatus):
        status.terminatingReplicas = sum(is_terminating(pod) and not is_terminal(pod) for pod in owned)
    if failure is None:
        conditions.remove(status.conditions, REPLICA_FAILURE)
    elif conditions.find(status.conditions, REPLICA_FAILURE) is None:
        condition = ReplicaSetCondition(
            type=REPLICA_FAILURE,
            status="True",
            reason="FailedCreate" if creating else "FailedDelete",
            message=str(failure),
            lastTransitionTime=format_time(now),
        )
        status.conditions.append(condition)
    return status


def template_labels(rs: Any) -> dict[str, str]:
    """Labels of the template."""
    labels: dict[str, str] = rs.spec.template.metadata.labels if rs.spec.template else {}
    return labels


class ReplicaSetController(Controller):
    """Keeps the pods of ReplicaSets."""

    name = "replicaset-controller"
    kind: type[Any] = ReplicaSet

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._sets: Informer[Any] = self.watch(self.kind, self.enqueue)
        self._pods = self.watch(Pod)
        index_by_controller(self._pods)
        index_by_controller(self._sets)
        self._pods.add_handler(self.enqueue_controller(self.kind, self._sets))
        self._overlay = Overlay(self._pods)
        self._own: Overlay[Any] = Overlay(self._sets)
        self._control = PodControl(client, self.recorder)

    def selector_of(self, rs: Any) -> Selector:
        """What it selects."""
        return from_label_selector(rs.spec.selector)

    def enqueue_adopters(self, informer: Informer[Any], orphan: Any) -> None:
        for rs in informer.list(orphan.metadata.namespace):
            if self.selector_of(rs).matches(orphan.metadata.labels):
                self.queue.add(meta_key(rs))

    async def reconcile(self, key: Key) -> None:
        cached = self._sets.get(*key)
        if cached is None:
            self._overlay.forget(key)
            self._own.forget(key)
            return
        rs = self._own.latest(cached)
        owned = await self._claim(key, rs)
        failure: Failure | None = None
        creating = False
        if rs.metadata.deletionTimestamp is None:
            active = [pod for pod in owned if is_active(pod)]
            creating = len(active) < (rs.spec.replicas or 0)
            failure = await self._manage(key, rs, active)
            present = self._overlay.view(key, self._pods.by_index(BY_CONTROLLER, rs.metadata.uid or ""))
            owned = [pod for pod in present if is_controlled_by(pod.metadata, rs.metadata)]
        await self._write_status(rs, owned, failure, creating)
        if failure is not None:
            raise failure
        self._requeue_for_availability(key, rs, owned)

    # Whose pods are they ----------------------------------------------------------------------------------------------

    async def _claim(self, key: Key, rs: Any) -> list[Pod]:
        owned = self._pods.by_index(BY_CONTROLLER, rs.metadata.uid or "")
        orphans = self._pods.by_index(BY_CONTROLLER, orphans_of(key[0]))
        claims = plan_claims(rs, self.selector_of(rs), self._overlay.view(key, [*owned, *orphans]))
        if claims.adopt and await self._is_still_there(rs):
            reference = to_builtins(controller_reference(rs, resource_for(self.kind)))
            for pod in claims.adopt:
                adopted = await self._patch(key, pod, adoption_patch(pod.metadata, reference))
                if adopted is not None:
                    claims.owned.append(adopted)
        for pod in claims.release:
            await self._patch(key, pod, release_patch(pod.metadata, rs.metadata))
        return claims.owned

    async def _is_still_there(self, rs: Any) -> bool:
        """Asked of the server itself: the cache may show an owner that is gone."""
        try:
            fresh = await self.client.get(self.kind, rs.metadata.name or "", rs.metadata.namespace)
        except StatusError as error:
            if is_missing(error):
                return False
            raise
        return bool(fresh.metadata.uid == rs.metadata.uid and fresh.metadata.deletionTimestamp is None)

    async def _patch(self, key: Key, pod: Pod, patch: dict[str, Any]) -> Pod | None:
        try:
            name, namespace = pod.metadata.name or "", pod.metadata.namespace
            patched = await self.client.patch(Pod, name, namespace, patch, patch_type="strategic")
        except StatusError as error:
            if is_missing(error) or error.code == 422:  # another pod of that name by now, or no such reference
                return None
            raise
        self._overlay.wrote(key, patched)
        return patched

    # How many of them -------------------------------------------------------------------------------------------------

    async def _manage(self, key: Key, rs: Any, active: list[Pod]) -> Failure | None:
        wanted = rs.spec.replicas or 0
        related = self._related(rs, active) if wanted < len(active) else []
        count, surplus = plan_replicas(wanted, active, related, self.clock.now())
        if count:
            return await in_slow_batches(count, lambda _: self._create(key, rs))
        return await all_of([self._delete(key, rs, pod) for pod in surplus])

    def _related(self, rs: Any, active: list[Pod]) -> list[Pod]:
        owner = controller_of(rs.metadata)
        if owner is None:
            return active
        siblings = self._sets.by_index(BY_CONTROLLER, owner.uid)
        pods = (pod for item in siblings for pod in self._pods.by_index(BY_CONTROLLER, item.metadata.uid or ""))
        return [pod for pod in pods if is_active(pod)]

    async def _create(self, key: Key, rs: Any) -> None:
        reference = controller_reference(rs, resource_for(self.kind))
        pod = pod_from_template(rs.spec.template, key[0], key[1], reference)
        created = await self._control.create(pod, rs)
        if created is not None:
            self._overlay.wrote(key, created)

    async def _delete(self, key: Key, rs: Any, pod: Pod) -> None:
        await self._control.delete(pod, rs)
        self._overlay.deleted(key, pod)

    # What is told -----------------------------------------------------------------------------------------------------

    async def _write_status(self, rs: Any, owned: list[Pod], failure: Failure | None, creating: bool) -> None:
        status = plan_status(rs, owned, failure, creating, self.clock.now())
        if status == rs.status:
            return
        changed = deep_copy(rs)
        changed.status = status
        try:
            self._own.wrote(meta_key(rs), await self.client.update_status(changed))
        except StatusError as error:
            if not is_missing(error):
                raise

    def _requeue_for_availability(self, key: Key, rs: Any, owned: list[Pod]) -> None:
        min_ready_seconds = rs.spec.minReadySeconds or 0
        if not min_ready_seconds:
            return
        now = self.clock.now()
        ready = (pod for pod in owned if is_active(pod) and is_ready(pod))
        waits = [seconds_until_available(pod, min_ready_seconds, now) for pod in ready]
        later = [seconds for seconds in waits if seconds > 0]
        if later:
            self.queue.add_after(key, min(later))
