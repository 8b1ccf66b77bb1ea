"""POST pods/<name>/eviction: a deletion that a disruption budget may refuse (429).

A budget is charged before the pod goes, as a quota is before an object comes; what the budget counts is the disruption
controller's.

Source: kubernetes pkg/registry/core/pod/storage/eviction.go.
"""

from collections.abc import Callable

from wherry.api.core_v1 import Pod, PodCondition
from wherry.api.meta_v1 import Condition, DeleteOptions, Preconditions
from wherry.api.policy_v1 import Eviction, PodDisruptionBudget
from wherry.api.registry import resource_for
from wherry.meta import labels, wire
from wherry.meta.errors import StatusError, bad_request, forbidden, too_many_requests
from wherry.rules import conditions
from wherry.rules.pods import is_ready, is_terminal
from wherry.server.deletion import check_preconditions
from wherry.server.handlers.bodies import write_options
from wherry.server.handlers.pods import admit_part, read, success
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.negotiation import reply
from wherry.server.registry import Registry, Served
from wherry.server.watchcache import Entry
from wherry.server.writer import missing

DISRUPTED_PODS_MAX = 2000
RETRY_SECONDS = 10
TRIES = 20
_REFUSAL = "Cannot evict pod as it would violate the pod's disruption budget."
_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


async def evict(means: Means, registry: Registry, pods: Served, request: Request) -> Response:
    """201 with a Status."""
    eviction = read(request, Eviction)
    name = request.info.name
    if eviction.metadata.name not in (None, "", name):
        raise bad_request("name in URL does not match name in Eviction object")
    options = eviction.deleteOptions or DeleteOptions()
    write = means.write(request, write_options(request))
    await admit_part(means, pods, write, eviction, ("policy", "v1", "Eviction"))
    if write.ctx.dry_run or "All" in options.dryRun:
        options.dryRun = ["All"]
    evicting = _Evicting(means, registry, pods, request, options)
    await evicting.run()
    return reply(request, wire.encode(success()), 201)


class _Evicting:
    """One eviction that admission has seen."""

    def __init__(
        self, means: Means, registry: Registry, pods: Served, request: Request, options: DeleteOptions
    ) -> None:
        self._means, self._registry, self._pods, self._request = means, registry, pods, request
        self._options = options
        self._version_given = bool(options.preconditions and options.preconditions.resourceVersion)

    def _pod(self) -> Pod:
        info = self._request.info
        entry = self._pods.cache.get(info.namespace, info.name)
        if entry is None:
            raise missing(self._pods, info.name)
        found: Pod = self._pods.stored_codec.decode(entry.data)
        found.metadata.resourceVersion = str(entry.revision)
        return found

    async def run(self) -> None:
        for attempt in range(TRIES):
            pod = self._pod()
            if not _is_unprotected(pod):
                await self._run_protected(pod)
                return
            try:
                # A pending pod may become ready meanwhile: then a budget must be asked.
                held = pod.status.phase == "Pending" and not pod.metadata.deletionTimestamp
                await self._delete(pod if held else None)
            except StatusError as error:
                if error.code != 409 or self._version_given or attempt == TRIES - 1:
                    raise
            else:
                return

    async def _run_protected(self, pod: Pod) -> None:
        budget = _budget_of(self._means.writer.caches.list(PodDisruptionBudget, pod.metadata.namespace), pod)
        free = budget is not None and not is_ready(pod) and _unhealthy_may_go(budget)
        if budget is not None and not free:
            await self._charge(budget, pod)
        try:
            await self._delete(pod if free else None)
        except StatusError as error:
            if error.code == 409 and free and budget is not None and not self._version_given:
                raise _in_process(budget.metadata.name) from error
            raise

    async def _charge(self, budget: PodDisruptionBudget, pod: Pod) -> None:
        served = self._registry.of(resource_for(PodDisruptionBudget))
        write = self._means.write(self._request, write_options(self._request))
        write.name, write.subresource = budget.metadata.name or "", "status"
        write.ctx.dry_run = bool(self._options.dryRun)
        await self._means.writer.update(served, _spend(pod, self._means.writer.now), write)

    async def _delete(self, held: Pod | None) -> None:
        """Say in the pod's status why it goes, then delete it; only as `held` says that it is, if given."""
        options = wire.deep_copy(self._options)
        if held is not None and not self._version_given:
            options.preconditions = options.preconditions or Preconditions()
            options.preconditions.resourceVersion = held.metadata.resourceVersion
        write = self._means.write(self._request, write_options(self._request))
        write.admitted, write.subresource, write.ctx.dry_run = True, "status", bool(options.dryRun)
        if not options.dryRun:
            await self._means.writer.update(self._pods, self._mark(options), write)
            if options.preconditions and options.preconditions.resourceVersion:
                options.preconditions.resourceVersion = self._pod().metadata.resourceVersion
        write.subresource = ""
        await self._means.deleter.delete(self._pods, options, write)

    def _mark(self, options: DeleteOptions) -> Callable[[Pod, Entry], Pod]:
        def change(pod: Pod, entry: Entry) -> Pod:
            pod.metadata.resourceVersion = str(entry.revision)
            check_preconditions(self._pods, pod, options)
            target = PodCondition(
                type="DisruptionTarget",
                status="True",
                reason="EvictionByEvictionAPI",
                message="Eviction API: evicting",
                observedGeneration=pod.metadata.generation,
                lastTransitionTime=self._means.writer.now(),
            )
            conditions.put(pod.status.conditions, target)
            return pod

        return change


def _is_unprotected(pod: Pod) -> bool:
    """Done, never started, or on its way out: no budget counts it."""
    return is_terminal(pod) or pod.status.phase == "Pending" or bool(pod.metadata.deletionTimestamp)


def _budget_of(budgets: list[PodDisruptionBudget], pod: Pod) -> PodDisruptionBudget | None:
    found = [
        budget
        for budget in budgets
        if budget.spec.selector is not None
        and labels.from_label_selector(budget.spec.selector).matches(pod.metadata.labels)
    ]
    if len(found) > 1:
        raise StatusError(500, "", _SEVERAL)
    return found[0] if found else None


def _unhealthy_may_go(budget: PodDisruptionBudget) -> bool:
    if budget.spec.unhealthyPodEvictionPolicy == "AlwaysAllow":
        return True
    status = budget.status
    return (status.currentHealthy or 0) >= (status.desiredHealthy or 0) > 0


def _refused(why: str, retry_after_seconds: int = 0) -> StatusError:
    return too_many_requests(_REFUSAL, retry_after_seconds, [{"reason": "DisruptionBudget", "message": why}])


def _in_process(name: str | None) -> StatusError:
    return _refused(f"The disruption budget {name} is still being processed by the server.", RETRY_SECONDS)


def _spend(pod: Pod, now: Callable[[], str]) -> Callable[[PodDisruptionBudget, Entry], PodDisruptionBudget]:
    """One disruption less in the budget. Raises 429 when there is none left."""

    def change(budget: PodDisruptionBudget, _: Entry) -> PodDisruptionBudget:
        status, name = budget.status, budget.metadata.name or ""
        allowed = status.disruptionsAllowed or 0
        if (status.observedGeneration or 0) < (budget.metadata.generation or 0):
            raise _in_process(name)
        if allowed < 0:
            raise forbidden("poddisruptionbudget.policy", name, "pdb disruptions allowed is negative")
        if len(status.disruptedPods) > DISRUPTED_PODS_MAX:
            text = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
            raise forbidden("poddisruptionbudget.policy", name, text)
        if allowed == 0:
            raise _refused(_why_not(budget))
        status.disruptionsAllowed = allowed - 1
        if allowed == 1:
            spent = Condition(type="DisruptionAllowed", status="False", reason="InsufficientPods")
            spent.lastTransitionTime, spent.observedGeneration = now(), status.observedGeneration
            conditions.put(status.conditions, spent)
        status.disruptedPods = {**status.disruptedPods, pod.metadata.name or "": now()}
        budget.metadata.resourceVersion = None
        return budget

    return change


def _why_not(budget: PodDisruptionBudget) -> str:
    status, subject = budget.status, f"The disruption budget {budget.metadata.name}"
    found = conditions.find(status.conditions, "DisruptionAllowed")
    said = found.message if found is not None and found.status == "False" else ""
    healthy, desired = status.currentHealthy or 0, status.desiredHealthy or 0
    if found is not None and said and found.reason == "SyncFailed":
        return f"{subject} does not allow evicting pods currently because it failed sync: {said}"
    if healthy <= desired:
        return f"{subject} needs {desired} healthy pods and has {healthy} currently"
    if found is not None and said:
        return f"{subject} does not allow evicting pods currently ({found.reason}): {said}"
    return f"{subject} does not allow evicting pods currently"
