"""What can be done to pods beside the usual verbs: binding to a node, eviction, ephemeral containers, resize.

Source: kubernetes pkg/registry/core/pod/storage (binding, eviction) and pkg/registry/core/pod/strategy.go.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from wherry.api.core_v1 import Binding, Pod, PodCondition
from wherry.api.meta_v1 import DeleteOptions, Preconditions
from wherry.api.policy_v1 import Eviction, PodDisruptionBudget
from wherry.api.registry import resource_for
from wherry.meta import labels, wire
from wherry.meta.errors import StatusError, bad_request, conflict, invalid, not_supported, too_many_requests
from wherry.meta.object import KubernetesObject
from wherry.server.handlers.bodies import write_options
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.json_faults import type_fault
from wherry.server.negotiation import body_format, parse, reply
from wherry.server.registry import Registry, Served
from wherry.server.watchcache import Entry
from wherry.server.writer import Write, missing

K = TypeVar("K", bound=KubernetesObject)
_DONE = ("Succeeded", "Failed")
DISRUPTED_PODS_MAX = 2000
RETRY_SECONDS = 10


def success(status: int = 201) -> dict[str, Any]:
    """A Status that says yes."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": status}


def read(request: Request, kind: type[K]) -> K:
    """The body as `kind`. Raises 400."""
    value = parse(request.body, body_format(request), kind.__name__)
    try:
        return wire.convert(value, kind)
    except msgspec.ValidationError as error:
        fault = type_fault(str(error), kind, kind.__name__)
        raise bad_request(f'{kind.__name__} in version "v1" cannot be handled as a {kind.__name__}: {fault}') from error


async def bind(means: Means, pods: Served, request: Request) -> Response:
    """POST pods/<name>/binding or bindings: assign a pod to a node, once."""
    binding = read(request, Binding)
    name = binding.metadata.name or request.info.name
    if request.info.name and name != request.info.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({request.info.name})")
    if binding.target.kind not in (None, "", "Node"):
        raise invalid("Binding", name, [not_supported("target.kind", binding.target.kind, ["Node", "<empty>"])])
    node = binding.target.name
    if not node:
        from wherry.meta.errors import required

        raise invalid("Binding", name, [required("target.name")])
    write = means.write(request, write_options(request))
    write.name, write.subresource = name, "binding"

    await _admit(means, pods, write, binding, ("", "v1", "Binding"))

    def assign(pod: Pod, _: Entry) -> Pod:
        refusal = _unbindable(pod, node, binding)
        if refusal:
            raise conflict("pods/binding", name, refusal)
        pod.metadata.resourceVersion = None
        pod.spec.nodeName = node
        pod.metadata.annotations = {**pod.metadata.annotations, **binding.metadata.annotations}
        now = means.writer.now()
        others = [item for item in pod.status.conditions if item.type != "PodScheduled"]
        scheduled = PodCondition(type="PodScheduled", status="True", lastTransitionTime=now)
        pod.status.conditions = [*others, scheduled]
        return pod

    await means.writer.update(pods, assign, write)
    return reply(request, wire.encode(success()), 201)


async def _admit(means: Means, pods: Served, write: Write, obj: Any, kind: tuple[str, str, str]) -> None:
    """Admission sees what was created at the subresource; what comes of it for the pod passes."""
    writer = means.writer
    await writer.validate(await writer.admit("CREATE", pods, write, write.name, obj, None, kind))
    write.admitted = True


def _unbindable(pod: Pod, node: str, binding: Binding) -> str:
    if binding.metadata.uid and binding.metadata.uid != pod.metadata.uid:
        wanted, found = binding.metadata.uid, pod.metadata.uid
        return f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    if pod.metadata.deletionTimestamp:
        return f"pod {pod.metadata.name} is being deleted, cannot be assigned to a host"
    if pod.spec.nodeName:
        return f'pod {pod.metadata.name} is already assigned to node "{pod.spec.nodeName}"'
    if pod.spec.schedulingGates:
        return f"pod {pod.metadata.name} has non-empty .spec.schedulingGates"
    return ""


async def evict(means: Means, registry: Registry, pods: Served, request: Request) -> Response:
    """POST pods/<name>/eviction: a deletion that disruption budgets may refuse (429)."""
    eviction = read(request, Eviction)
    name = request.info.name
    if eviction.metadata.name not in (None, "", name):
        raise bad_request("name in URL does not match name in Eviction object")
    options = eviction.deleteOptions or DeleteOptions()
    write = means.write(request, write_options(request))
    await _admit(means, pods, write, eviction, ("policy", "v1", "Eviction"))
    write.subresource = ""
    write.ctx.dry_run = write.ctx.dry_run or "All" in options.dryRun
    entry = pods.cache.get(write.namespace, name)
    if entry is None:
        raise missing(pods, name)
    pod = pods.stored_codec.decode(entry.data)
    if _counts(pod):
        await _ask_budget(means, registry, pod, request)
        if options.preconditions is None:
            options.preconditions = Preconditions(uid=pod.metadata.uid)
    await means.deleter.delete(pods, options, write)
    return reply(request, wire.encode(success()), 201)


def _counts(pod: Pod) -> bool:
    """Whether budgets protect the pod: not when it is done, was never placed, or goes already."""
    finished = pod.status.phase in (*_DONE, "Pending")
    return not finished and not pod.metadata.deletionTimestamp


def _ready(pod: Pod) -> bool:
    return any(item.type == "Ready" and item.status == "True" for item in pod.status.conditions)


async def _ask_budget(means: Means, registry: Registry, pod: Pod, request: Request) -> None:
    caches = means.writer.caches
    namespace = pod.metadata.namespace or ""
    budgets = [
        budget
        for budget in caches.list(PodDisruptionBudget, namespace)
        if budget.spec.selector is not None
        and labels.from_label_selector(budget.spec.selector).matches(pod.metadata.labels)
    ]
    if len(budgets) > 1:
        why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(500, "InternalError", why)
    if not budgets:
        return
    budget = budgets[0]
    if not _ready(pod) and _unhealthy_may_go(budget):
        return
    served = registry.of(resource_for(PodDisruptionBudget))
    write = means.write(request, write_options(request))
    write.name, write.subresource = budget.metadata.name or "", "status"
    await means.writer.update(served, _spend(pod, means.writer.now), write)


def _unhealthy_may_go(budget: PodDisruptionBudget) -> bool:
    if budget.spec.unhealthyPodEvictionPolicy == "AlwaysAllow":
        return True
    status = budget.status
    return (status.currentHealthy or 0) >= (status.desiredHealthy or 0) and (status.desiredHealthy or 0) > 0


def _spend(pod: Pod, now: Callable[[], str]) -> Callable[[PodDisruptionBudget, Entry], PodDisruptionBudget]:
    """One disruption less in the budget. Raises 429 when there is none left."""

    def change(budget: PodDisruptionBudget, _: Entry) -> PodDisruptionBudget:
        status, name = budget.status, budget.metadata.name
        refusal = "Cannot evict pod as it would violate the pod's disruption budget."
        if (status.observedGeneration or 0) < (budget.metadata.generation or 0):
            why = f"The disruption budget {name} is still being processed by the server."
            raise too_many_requests(refusal, RETRY_SECONDS, [{"reason": "DisruptionBudget", "message": why}])
        if len(status.disruptedPods) > DISRUPTED_PODS_MAX:
            raise StatusError(
                403, "Forbidden", "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
            )
        if (status.disruptionsAllowed or 0) <= 0:
            why = (
                f"The disruption budget {name} needs {status.desiredHealthy or 0} healthy pods and has "
                f"{status.currentHealthy or 0} currently"
            )
            raise too_many_requests(refusal, 0, [{"reason": "DisruptionBudget", "message": why}])
        status.disruptionsAllowed = (status.disruptionsAllowed or 0) - 1
        status.disruptedPods = {**status.disruptedPods, pod.metadata.name or "": now()}
        budget.metadata.resourceVersion = None
        return budget

    return change


def only_ephemeral_containers(new: Pod, old: Pod) -> Pod:
    """A change through pods/ephemeralcontainers: everything else stays."""
    kept = wire.deep_copy(old)
    kept.metadata.resourceVersion = new.metadata.resourceVersion
    kept.spec.ephemeralContainers = new.spec.ephemeralContainers
    return kept


def only_resources(new: Pod, old: Pod) -> Pod:
    """A change through pods/resize: container resources and resize policies, everything else stays."""
    kept = wire.deep_copy(old)
    kept.metadata.resourceVersion = new.metadata.resourceVersion
    for ours, theirs in (
        (kept.spec.containers, new.spec.containers),
        (kept.spec.initContainers, new.spec.initContainers),
    ):
        given = {container.name: container for container in theirs}
        for container in ours:
            if container.name in given:
                container.resources = given[container.name].resources
                container.resizePolicy = given[container.name].resizePolicy
    return kept
