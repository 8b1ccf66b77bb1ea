"""Deployments: ReplicaSets that come and go so that a change of template rolls out without an outage.

This is the shell: it finds the ReplicaSets, performs the steps rollout.py decides, and writes revision and status. One
reconcile makes one step; the ReplicaSets' own status changes bring it back for the next.

Source of the behaviour: kubernetes pkg/controller/deployment. Read rollout.py next.
"""

from typing import Any

from wherry.aio.clock import Clock
from wherry.api.apps_v1 import Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec
from wherry.api.core_v1 import Pod
from wherry.api.meta_v1 import LabelSelector
from wherry.api.registry import resource_for
from wherry.client.client import Client
from wherry.client.informer import Informer, Informers
from wherry.client.workqueue import meta_key
from wherry.controllers import rollout
from wherry.controllers.controller import (
    BY_CONTROLLER,
    Controller,
    Key,
    adoption_patch,
    index_by_controller,
    is_missing,
    is_namespace_ending,
    orphans_of,
    release_patch,
)
from wherry.controllers.overlay import Overlay
from wherry.controllers.rollout import PROGRESSING, condition, put_condition, size
from wherry.meta.errors import StatusError
from wherry.meta.labels import from_label_selector
from wherry.meta.object import ObjectMeta
from wherry.meta.wire import deep_copy, to_builtins
from wherry.rules import conditions
from wherry.rules.owners import controller_of, controller_reference, is_controlled_by
from wherry.rules.pods import is_terminal
from wherry.rules.templates import POD_TEMPLATE_HASH, same_template, template_hash

RESOURCE = resource_for(Deployment)


class DeploymentController(Controller):
    """Rolls out Deployments."""

    name = "deployment-controller"

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._deployments = self.watch(Deployment, self.enqueue)
        self._sets = self.watch(ReplicaSet)
        self._pods = self.watch(Pod)
        index_by_controller(self._sets)
        index_by_controller(self._pods)
        self._sets.add_handler(self.enqueue_controller(Deployment, self._deployments))
        self._pods.add_handler(self._pod_changed)
        self._overlay = Overlay(self._sets)
        self._own = Overlay(self._deployments)

    def enqueue_adopters(self, informer: Informer[Any], orphan: Any) -> None:
        for deployment in informer.list(orphan.metadata.namespace):
            if from_label_selector(deployment.spec.selector).matches(orphan.metadata.labels):
                self.queue.add(meta_key(deployment))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A pod has ended: Recreate may be waiting for the last of the old ones."""
        if old is None or (new is not None and not (is_terminal(new) and not is_terminal(old))):
            return
        reference = controller_of(old.metadata)
        rs = self._sets.get(old.metadata.namespace, reference.name) if reference is not None else None
        owner = controller_of(rs.metadata) if rs is not None else None
        deployment = self._deployments.get(old.metadata.namespace, owner.name) if owner is not None else None
        if deployment is not None and not rollout.is_rolling(deployment):
            self.queue.add(meta_key(deployment))

    async def reconcile(self, key: Key) -> None:
        cached = self._deployments.get(*key)
        if cached is None:
            self._overlay.forget(key)
            self._own.forget(key)
            return
        deployment = deep_copy(self._own.latest(cached))
        sets = await self._claim(key, deployment)
        new = find_new_set(deployment, sets)
        if deployment.metadata.deletionTimestamp is not None:
            await self._write_counts(deployment, new, sets)
            return
        await self._note_pause(deployment)
        old = [rs for rs in sets if rs is not new]
        if new is not None:
            new = await self._keep_revision(key, deployment, new, old)
        if deployment.spec.paused or rollout.is_scaling(deployment, sets):
            await self._scale_all(key, deployment, rollout.plan_scaling(deployment, new, old))
            if deployment.spec.paused:
                await self._clean_up(deployment, new, old)
            current = self._current(key, deployment)
            await self._write_counts(deployment, find_new_set(deployment, current), current)
            return
        await self._roll(key, deployment, new, old)

    async def _roll(self, key: Key, deployment: Deployment, new: ReplicaSet | None, old: list[ReplicaSet]) -> None:
        if rollout.is_rolling(deployment):
            new = new or await self._create_new_set(key, deployment, old)
            if new is None:
                return
            await self._scale_all(key, deployment, rollout.plan_rolling_update(deployment, new, old))
        else:
            shrinking = [rollout.Scale(rs, 0) for rs in old if size(rs)]
            await self._scale_all(key, deployment, shrinking)
            if not shrinking and not self._has_pods(old):
                new = new or await self._create_new_set(key, deployment, old)
                if new is None:
                    return
                if size(new) != rollout.wanted(deployment):
                    await self._scale_all(key, deployment, [rollout.Scale(new, rollout.wanted(deployment))])
        current = self._current(key, deployment)
        new = find_new_set(deployment, current)
        if rollout.is_complete(deployment, deployment.status):
            await self._clean_up(deployment, new, [rs for rs in current if rs is not new])
        now = self.clock.now()
        status = rollout.plan_status(deployment, new, current, now)
        await self._write_status(deployment, status)
        wait_seconds = rollout.seconds_until_stuck(deployment, status, now)
        if wait_seconds is not None:
            self.queue.add_after(key, wait_seconds)

    # ReplicaSets ------------------------------------------------------------------------------------------------------

    def _current(self, key: Key, deployment: Deployment) -> list[ReplicaSet]:
        cached = self._sets.by_index(BY_CONTROLLER, deployment.metadata.uid or "")
        owned = [rs for rs in self._overlay.view(key, cached) if is_controlled_by(rs.metadata, deployment.metadata)]
        return sorted(owned, key=lambda rs: (rs.metadata.creationTimestamp or "", rs.metadata.name or ""))

    async def _claim(self, key: Key, deployment: Deployment) -> list[ReplicaSet]:
        """The ReplicaSets that are ours, the oldest first; orphans that match come in, others go."""
        if deployment.metadata.deletionTimestamp is None:
            selector = from_label_selector(deployment.spec.selector)
            reference = to_builtins(controller_reference(deployment, RESOURCE))
            for rs in self._sets.by_index(BY_CONTROLLER, orphans_of(key[0])):
                if selector.matches(rs.metadata.labels) and rs.metadata.deletionTimestamp is None:
                    await self._patch(key, rs, adoption_patch(rs.metadata, reference))
            for rs in self._current(key, deployment):
                if not selector.matches(rs.metadata.labels):
                    await self._patch(key, rs, release_patch(rs.metadata, deployment.metadata))
        return self._current(key, deployment)

    async def _patch(self, key: Key, rs: ReplicaSet, patch: dict[str, Any]) -> None:
        name, namespace = rs.metadata.name or "", rs.metadata.namespace
        self._overlay.wrote(key, await self.client.patch(ReplicaSet, name, namespace, patch, patch_type="strategic"))

    def _has_pods(self, old: list[ReplicaSet]) -> bool:
        pods = (pod for rs in old for pod in self._pods.by_index(BY_CONTROLLER, rs.metadata.uid or ""))
        return any(not is_terminal(pod) for pod in pods)

    async def _keep_revision(
        self, key: Key, deployment: Deployment, new: ReplicaSet, old: list[ReplicaSet]
    ) -> ReplicaSet:
        """Have the new ReplicaSet carry the newest revision, and the Deployment the same."""
        newest = max((rollout.revision(rs) for rs in old), default=0) + 1
        annotations = rollout.annotations_for(deployment, new, newest)
        min_ready_seconds = deployment.spec.minReadySeconds or None
        if annotations != new.metadata.annotations or (new.spec.minReadySeconds or None) != min_ready_seconds:
            new = deep_copy(new)
            new.metadata.annotations = annotations
            new.spec.minReadySeconds = min_ready_seconds
            new = await self.client.update(new)
            self._overlay.wrote(key, new)
        changed = _note_revision(deployment, new)
        if rollout.has_deadline(deployment) and conditions.find(deployment.status.conditions, PROGRESSING) is None:
            text = f'Found new replica set "{new.metadata.name}"'
            found = condition(PROGRESSING, "True", "FoundNewReplicaSet", text, self.clock.now())
            changed |= put_condition(deployment.status, found)
        if changed:
            await self._store(deployment)
        return new

    async def _create_new_set(self, key: Key, deployment: Deployment, old: list[ReplicaSet]) -> ReplicaSet | None:
        rs = new_set(deployment, old)
        try:
            created = await self.client.create(rs)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                await self._creation_failed(deployment, rs, error)
                return None
            created = await self._existing(deployment, rs)
        else:
            if size(created):
                self._scaled(deployment, created, 0, size(created))
        self._overlay.wrote(key, created)
        _note_revision(deployment, created)
        if rollout.has_deadline(deployment):
            text = f'Created new replica set "{created.metadata.name}"'
            put_condition(
                deployment.status, condition(PROGRESSING, "True", "NewReplicaSetCreated", text, self.clock.now())
            )
        await self._store(deployment)
        return created

    async def _existing(self, deployment: Deployment, rs: ReplicaSet) -> ReplicaSet:
        """Ours from before, which the cache does not show yet; or a collision of hashes, which is counted."""
        present = await self.client.get(ReplicaSet, rs.metadata.name or "", rs.metadata.namespace)
        ours = is_controlled_by(present.metadata, deployment.metadata)
        if ours and present.spec.template and same_template(present.spec.template, deployment.spec.template):
            return present
        deployment.status.collisionCount = (deployment.status.collisionCount or 0) + 1
        await self._store(deployment)
        raise StatusError(409, "Conflict", f"replica set {rs.metadata.name} is another's; trying another hash")

    async def _creation_failed(self, deployment: Deployment, rs: ReplicaSet, error: StatusError) -> None:
        if is_namespace_ending(error):
            return
        text = f'Failed to create new replica set "{rs.metadata.name}": {error}'
        if rollout.has_deadline(deployment):
            failed = condition(PROGRESSING, "False", "ReplicaSetCreateError", text, self.clock.now())
            if put_condition(deployment.status, failed):
                await self._store(deployment)
        self.recorder.event(deployment, "Warning", "ReplicaSetCreateError", text)
        raise error

    async def _scale_all(self, key: Key, deployment: Deployment, scales: list[rollout.Scale]) -> None:
        for scale in scales:
            current = next(rs for rs in self._current(key, deployment) if rs.metadata.uid == scale.rs.metadata.uid)
            annotations = current.metadata.annotations | rollout.size_annotations(deployment)
            before = size(current)
            if before == scale.replicas and annotations == current.metadata.annotations:
                continue
            changed = deep_copy(current)
            changed.spec.replicas = scale.replicas
            changed.metadata.annotations = annotations
            self._overlay.wrote(key, await self.client.update(changed))
            if before != scale.replicas:
                self._scaled(deployment, current, before, scale.replicas)

    def _scaled(self, deployment: Deployment, rs: ReplicaSet, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        text = f"Scaled {direction} replica set {rs.metadata.name} from {before} to {after}"
        self.recorder.event(deployment, "Normal", "ScalingReplicaSet", text)

    async def _clean_up(self, deployment: Deployment, new: ReplicaSet | None, old: list[ReplicaSet]) -> None:
        for rs in rollout.plan_cleanup(deployment, [item for item in old if item is not new]):
            try:
                await self.client.delete(ReplicaSet, rs.metadata.name or "", rs.metadata.namespace, uid=rs.metadata.uid)
            except StatusError as error:
                if not is_missing(error):
                    raise

    # The Deployment itself --------------------------------------------------------------------------------------------

    async def _note_pause(self, deployment: Deployment) -> None:
        """A paused rollout makes no progress and misses no deadline."""
        if not rollout.has_deadline(deployment):
            return
        present = conditions.find(deployment.status.conditions, PROGRESSING)
        if present is not None and present.reason == rollout.TIMED_OUT:
            return
        noted = present is not None and present.reason == "DeploymentPaused"
        now = self.clock.now()
        if deployment.spec.paused and not noted:
            item = condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)
        elif noted and not deployment.spec.paused:
            item = condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        else:
            return
        put_condition(deployment.status, item)
        await self._store(deployment)

    async def _write_counts(self, deployment: Deployment, new: ReplicaSet | None, sets: list[ReplicaSet]) -> None:
        await self._write_status(deployment, rollout.plan_counts(deployment, new, sets, self.clock.now()))

    async def _write_status(self, deployment: Deployment, status: DeploymentStatus) -> None:
        if status != deployment.status:
            deployment.status = status
            await self._store(deployment)

    async def _store(self, deployment: Deployment) -> None:
        """Write status (and the revision, an annotation); later writes of this reconcile go on from the answer."""
        stored = await self.client.update_status(deployment)
        self._own.wrote(meta_key(stored), stored)
        deployment.metadata, deployment.status = stored.metadata, stored.status


def find_new_set(deployment: Deployment, sets: list[ReplicaSet]) -> ReplicaSet | None:
    """The ReplicaSet of the present template; of several (hashes once collided) the oldest."""
    template = deployment.spec.template
    return next((rs for rs in sets if rs.spec.template and same_template(rs.spec.template, template)), None)


def new_set(deployment: Deployment, old: list[ReplicaSet]) -> ReplicaSet:
    """The ReplicaSet of the present template, sized as the strategy allows."""
    spec = deployment.spec
    template = deep_copy(spec.template)
    hashed = template_hash(spec.template, deployment.status.collisionCount)
    template.metadata.labels = {**template.metadata.labels, POD_TEMPLATE_HASH: hashed}
    selector = deep_copy(spec.selector) if spec.selector else LabelSelector()
    selector.matchLabels = {**selector.matchLabels, POD_TEMPLATE_HASH: hashed}
    newest = max((rollout.revision(rs) for rs in old), default=0) + 1
    return ReplicaSet(
        apiVersion="apps/v1",
        kind="ReplicaSet",
        metadata=ObjectMeta(
            name=f"{deployment.metadata.name}-{hashed}",
            namespace=deployment.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations=rollout.annotations_for(deployment, None, newest),
            ownerReferences=[controller_reference(deployment, RESOURCE)],
        ),
        spec=ReplicaSetSpec(
            replicas=rollout.new_set_size(deployment, old, None),
            minReadySeconds=spec.minReadySeconds or None,
            selector=selector,
            template=template,
        ),
    )


def _note_revision(deployment: Deployment, rs: ReplicaSet) -> bool:
    revision = rs.metadata.annotations.get(rollout.REVISION, "")
    if deployment.metadata.annotations.get(rollout.REVISION) == revision:
        return False
    deployment.metadata.annotations = {**deployment.metadata.annotations, rollout.REVISION: revision}
    return True
