"""What can be done to pods beside the usual verbs: binding to a node, ephemeral containers, resize.

Source: kubernetes pkg/registry/core/pod/storage and pkg/registry/core/pod/strategy.go. Read eviction.py next.
"""

from typing import Any, TypeVar

import msgspec

from wherry.api.core_v1 import Binding, Pod, PodCondition
from wherry.meta import wire
from wherry.meta.errors import StatusError, bad_request, conflict, not_supported, required
from wherry.meta.object import KubernetesObject
from wherry.rules import conditions
from wherry.server.handlers.bodies import write_options
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.json_faults import type_fault
from wherry.server.negotiation import body_format, parse, reply
from wherry.server.registry import Served
from wherry.server.watchcache import Entry
from wherry.server.writer import Write

K = TypeVar("K", bound=KubernetesObject)


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
        raise bad_request("name in URL does not match name in Binding object")
    faults = []
    if binding.target.kind not in (None, "", "Node"):
        faults.append(not_supported("target.kind", binding.target.kind, ["Node", "<empty>"]))
    if not binding.target.name:
        faults.append(required("target.name"))
    if faults:  # upstream makes no status of these
        shown = [str(fault) for fault in faults]
        raise StatusError(500, "", shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]")
    write = means.write(request, write_options(request))
    write.name, write.subresource = name, "binding"
    await admit_part(means, pods, write, binding, ("", "v1", "Binding"))

    def assign(pod: Pod, entry: Entry) -> Pod:
        refusal = _unbindable(pod)
        if stale := _stale(pod, entry, binding):
            key = pods.key(write.namespace, name).decode()
            text = f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {stale}"
            raise conflict("pods", name, text)
        if refusal:
            raise conflict("pods/binding", name, refusal)
        meta = pod.metadata
        meta.resourceVersion = None
        pod.spec.nodeName = binding.target.name
        meta.annotations = {**meta.annotations, **binding.metadata.annotations}
        meta.labels = {**meta.labels, **binding.metadata.labels}
        scheduled = PodCondition(type="PodScheduled", status="True", observedGeneration=meta.generation)
        scheduled.lastTransitionTime = means.writer.now()
        conditions.put(pod.status.conditions, scheduled)
        return pod

    await means.writer.update(pods, assign, write)
    return reply(request, wire.encode(success()), 201)


async def admit_part(means: Means, pods: Served, write: Write, obj: Any, kind: tuple[str, str, str]) -> None:
    """Admission sees what was created at the subresource; what comes of it for the pod passes."""
    writer = means.writer
    await writer.validate(await writer.admit("CREATE", pods, write, write.name, obj, None, kind))
    write.admitted = True


def _stale(pod: Pod, entry: Entry, binding: Binding) -> str:
    for what, wanted, found in (
        ("UID", binding.metadata.uid, pod.metadata.uid),
        ("ResourceVersion", binding.metadata.resourceVersion, str(entry.revision)),
    ):
        if wanted and wanted != found:
            return f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
    return ""


def _unbindable(pod: Pod) -> str:
    if pod.metadata.deletionTimestamp:
        return f"pod {pod.metadata.name} is being deleted, cannot be assigned to a host"
    if pod.spec.nodeName:
        return f'pod {pod.metadata.name} is already assigned to node "{pod.spec.nodeName}"'
    if pod.spec.schedulingGates:
        return f"pod {pod.metadata.name} has non-empty .spec.schedulingGates"
    return ""


def only_ephemeral_containers(new: Pod, old: Pod) -> Pod:
    """A change through pods/ephemeralcontainers: everything else stays."""
    kept = wire.deep_copy(old)
    kept.metadata.resourceVersion = new.metadata.resourceVersion
    kept.spec.ephemeralContainers = new.spec.ephemeralContainers
    return kept


def only_resources(new: Pod, old: Pod) -> Pod:
    """A change through pods/resize: the pod's and containers' resources, and resize policies; everything else stays."""
    kept = wire.deep_copy(old)
    kept.spec.resources = new.spec.resources
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
