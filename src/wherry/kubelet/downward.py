"""The downward API: a pod's own fields and its containers' resources as text, for environment and volumes. Pure."""

import re
from dataclasses import dataclass

from wherry.api.core_v1 import ObjectFieldSelector, Pod, ResourceFieldSelector
from wherry.kubelet.machine import AnyContainer
from wherry.meta.errors import quote

_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$")


class DownwardFailure(Exception):
    """A field or resource that cannot be had."""


@dataclass(frozen=True, slots=True)
class Node:
    """What containers without limits may use, and where they are."""

    name: str = ""
    ips: tuple[str, ...] = ()
    cpu_nanos: int = 10**9
    memory_bytes: int = 0
    ephemeral_storage_bytes: int = 0


def pod_field(pod: Pod, selector: ObjectFieldSelector, pod_ips: tuple[str, ...], node: Node) -> str:
    """The text of one field. Raises DownwardFailure."""
    path = selector.fieldPath
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        found: dict[str, str] = getattr(pod.metadata, subscript[1])
        return found.get(subscript[2], "")
    simple = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.nodeName,
        "spec.serviceAccountName": pod.spec.serviceAccountName,
        "status.hostIP": node.ips[0] if node.ips else "",
        "status.hostIPs": ",".join(node.ips),
        "status.podIP": pod_ips[0] if pod_ips else "",
        "status.podIPs": ",".join(pod_ips),
    }
    if path in ("metadata.labels", "metadata.annotations"):
        return format_map(getattr(pod.metadata, path.partition(".")[2]))
    if path not in simple:
        raise DownwardFailure(f"unsupported fieldPath: {path}")
    return simple[path] or ""


def format_map(values: dict[str, str]) -> str:
    """key="value" lines, sorted."""
    return "\n".join(f"{key}={quote(values[key])}" for key in sorted(values))


def container_resource(selector: ResourceFieldSelector, container: AnyContainer, node: Node) -> str:
    """limits.cpu and so on in units of the divisor, rounded up; the node's amount where no limit is set."""
    side, _, name = selector.resource.partition(".")
    if side not in ("limits", "requests") or name not in ("cpu", "memory", "ephemeral-storage"):
        raise DownwardFailure(f"unsupported container resource : {selector.resource}")
    amount = (container.resources.limits if side == "limits" else container.resources.requests).get(name)
    nanos = amount.nanos() if amount is not None else 0
    if amount is None and side == "limits":
        whole = {"memory": node.memory_bytes, "ephemeral-storage": node.ephemeral_storage_bytes}
        nanos = node.cpu_nanos if name == "cpu" else whole[name] * 10**9
    divisor = (selector.divisor.nanos() if selector.divisor is not None else 0) or 10**9
    return str(-(-nanos // divisor))
