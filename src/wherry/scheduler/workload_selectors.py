"""What selects a pod: its Services and the workload that owns it; system default spreading goes by this (KEP-1258)."""

from wherry.api.apps_v1 import ReplicaSet, StatefulSet
from wherry.api.core_v1 import Pod, ReplicationController, Service
from wherry.client.informer import Informers
from wherry.meta.labels import EVERYTHING, Selector, from_map
from wherry.rules.owners import controller_of
from wherry.scheduler.affinity_terms import readable


class WorkloadSelectors:
    """Called with a pod, gives the one selector that all of these make together; an empty one when there are none."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.informer(Service)
        self._controllers = informers.informer(ReplicationController)
        self._replica_sets = informers.informer(ReplicaSet)
        self._stateful_sets = informers.informer(StatefulSet)

    def __call__(self, pod: Pod) -> Selector:
        namespace = pod.metadata.namespace or ""
        labels: dict[str, str] = {}
        for service in self._services.list(namespace):
            wanted = service.spec.selector
            if wanted and all(pod.metadata.labels.get(key) == value for key, value in wanted.items()):
                labels.update(wanted)
        owner = controller_of(pod.metadata)
        if owner is not None and owner.kind == "ReplicationController":
            controller = self._controllers.get(namespace, owner.name)
            labels.update(controller.spec.selector if controller is not None else {})
        selector = from_map(labels) if labels else EVERYTHING
        found: ReplicaSet | StatefulSet | None = None
        if owner is not None and owner.apiVersion == "apps/v1":
            if owner.kind == "ReplicaSet":
                found = self._replica_sets.get(namespace, owner.name)
            elif owner.kind == "StatefulSet":
                found = self._stateful_sets.get(namespace, owner.name)
        if found is None:
            return selector
        return Selector([*(selector.requirements or ()), *(readable(found.spec.selector).requirements or ())])
