"""The filters again, node by node and pod by pod, as plainly as can be: what the columns are compared with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wherry.api.core_v1 import Node, Pod, PodAffinityTerm
from wherry.meta.labels import from_label_selector, node_selector_requirements
from wherry.rules.requests import in_scheduler_units, pod_requests
from wherry.rules.taints import first_untolerated

Labels = Mapping[str, str]


@dataclass
class World:
    nodes: list[Node]
    placed: dict[str, list[Pod]] = field(default_factory=dict)

    def pods_on(self, node: Node) -> list[Pod]:
        return self.placed.get(node.metadata.name or "", [])

    def everywhere(self) -> Iterable[tuple[Node, Pod]]:
        return ((node, pod) for node in self.nodes for pod in self.pods_on(node))


def fits(new: Pod, node: Node, world: World) -> bool:
    """Whether `new` may run on `node`."""
    return (
        not node.spec.unschedulable
        and first_untolerated(node.spec.taints, new.spec.tolerations) is None
        and selected(new, node)
        and has_room(new, node, world.pods_on(node))
        and ports_free(new, world.pods_on(node))
        and spread(new, node, world)
        and bears_company(new, node, world)
    )


def selected(new: Pod, node: Node) -> bool:
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in new.spec.nodeSelector.items()):
        return False
    affinity = new.spec.affinity.nodeAffinity if new.spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    if required is None:
        return True
    return any(
        term.matchExpressions and node_selector_requirements(term.matchExpressions).matches(labels)
        for term in required.nodeSelectorTerms
    )


def has_room(new: Pod, node: Node, pods: list[Pod]) -> bool:
    room = {name: in_scheduler_units(name, amount.nanos()) for name, amount in node.status.allocatable.items()}
    if len(pods) + 1 > room.get("pods", 0):
        return False
    for name, amount in pod_requests(new).items():
        used = sum(pod_requests(pod).get(name, 0) for pod in pods)
        if amount and used + amount > room.get(name, 0):
            return False
    return True


def ports_free(new: Pod, pods: list[Pod]) -> bool:
    wanted = {port.hostPort for each in new.spec.containers for port in each.ports if port.hostPort}
    return not any(port.hostPort in wanted for pod in pods for each in pod.spec.containers for port in each.ports)


def spread(new: Pod, node: Node, world: World) -> bool:
    constraints = [item for item in new.spec.topologySpreadConstraints if item.whenUnsatisfiable == "DoNotSchedule"]
    keys = [item.topologyKey for item in constraints]
    for item in constraints:
        if item.topologyKey not in node.metadata.labels:
            return False
        selector = from_label_selector(item.labelSelector)
        counts: dict[str, int] = {}
        for other in world.nodes:
            if not all(key in other.metadata.labels for key in keys) or not selected(new, other):
                continue
            domain = other.metadata.labels[item.topologyKey]
            here = [pod for pod in world.pods_on(other) if pod.metadata.deletionTimestamp is None]
            same = [pod for pod in here if pod.metadata.namespace == new.metadata.namespace]
            counts[domain] = counts.get(domain, 0) + sum(selector.matches(pod.metadata.labels) for pod in same)
        least = min(counts.values()) if counts and len(counts) >= (item.minDomains or 1) else 0
        itself = int(selector.matches(new.metadata.labels))
        if counts.get(node.metadata.labels[item.topologyKey], 0) + itself - least > item.maxSkew:
            return False
    return True


def terms(pod: Pod, *, anti: bool) -> list[PodAffinityTerm]:
    affinity = pod.spec.affinity
    side = (affinity.podAntiAffinity if anti else affinity.podAffinity) if affinity else None
    return side.requiredDuringSchedulingIgnoredDuringExecution if side else []


def means(term: PodAffinityTerm, owner: Pod, other: Pod) -> bool:
    namespaces = term.namespaces or [owner.metadata.namespace or ""]
    inside = (other.metadata.namespace or "") in namespaces
    return inside and from_label_selector(term.labelSelector).matches(other.metadata.labels)


def together(one: Node, other: Node, key: str) -> bool:
    return key in one.metadata.labels and one.metadata.labels[key] == other.metadata.labels.get(key)


def bears_company(new: Pod, node: Node, world: World) -> bool:
    for term in terms(new, anti=True):
        if any(together(node, at, term.topologyKey) and means(term, new, pod) for at, pod in world.everywhere()):
            return False
    for at, pod in world.everywhere():
        if any(together(node, at, term.topologyKey) and means(term, pod, new) for term in terms(pod, anti=True)):
            return False
    wanted = terms(new, anti=False)
    friends = [(at, pod) for at, pod in world.everywhere() if all(means(term, new, pod) for term in wanted)]
    friends = [(at, pod) for at, pod in friends if any(term.topologyKey in at.metadata.labels for term in wanted)]
    if wanted and not friends and all(means(term, new, new) for term in wanted):
        return all(term.topologyKey in node.metadata.labels for term in wanted)
    return all(any(together(node, at, term.topologyKey) for at, _ in friends) for term in wanted)
