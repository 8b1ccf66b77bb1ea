"""What pods and nodes are given for scheduling's sake: Priority, DefaultTolerationSeconds, TaintNodesByCondition,
RuntimeClass and PodTopologyLabels.
"""

from collections.abc import Mapping

from wherry.api.core_v1 import Node, Pod, Taint, Toleration
from wherry.api.node_v1 import RuntimeClass as RuntimeClassObject
from wherry.api.scheduling_v1 import PriorityClass
from wherry.meta.errors import forbidden
from wherry.meta.quantity import Quantity
from wherry.rules import taints
from wherry.server.admission.kinds import writes
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

TOLERATION_SECONDS = 300
SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
"""They hold whether or not their objects have been created yet."""
USER_PRIORITY_MAX = 1_000_000_000


class Priority(AdmissionPlugin):
    """priorityClassName becomes a number and a preemption policy."""

    name = "Priority"
    kinds = frozenset({("", "pods"), ("scheduling.k8s.io", "priorityclasses")})

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def admit(self, attributes: Attributes) -> None:
        if writes(attributes, "", "pods", "UPDATE"):
            # A writer that does not know these fields must not clear them.
            new, old = attributes.object.spec, attributes.old_object.spec
            new.priority = old.priority if new.priority is None else new.priority
            new.preemptionPolicy = new.preemptionPolicy or old.preemptionPolicy
        elif writes(attributes, "", "pods"):
            self._admit_pod(attributes, attributes.object)

    def _admit_pod(self, attributes: Attributes, pod: Pod) -> None:
        name = pod.spec.priorityClassName
        chosen = self._caches.get(PriorityClass, None, name) if name else self._global_default()
        if chosen is not None:
            value, policy = chosen.value or 0, chosen.preemptionPolicy or "PreemptLowerPriority"
            name = chosen.metadata.name
        elif not name:
            value, policy = 0, "PreemptLowerPriority"
        elif name in SYSTEM_CLASSES:
            value, policy = SYSTEM_CLASSES[name], "PreemptLowerPriority"
        else:
            raise forbidden("pods", attributes.name, f"no PriorityClass with name {name} was found")
        if pod.spec.priority is not None and pod.spec.priority != value:
            text = (
                f"the integer value of priority ({pod.spec.priority}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise forbidden("pods", attributes.name, text)
        if pod.spec.preemptionPolicy and pod.spec.preemptionPolicy != policy:
            text = (
                f"the string value of PreemptionPolicy ({pod.spec.preemptionPolicy}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name"
            )
            raise forbidden("pods", attributes.name, text)
        pod.spec.priorityClassName, pod.spec.priority, pod.spec.preemptionPolicy = name, value, policy

    def _global_default(self) -> PriorityClass | None:
        defaults = [item for item in self._caches.list(PriorityClass) if item.globalDefault]
        return min(defaults, key=lambda item: item.value or 0, default=None)

    async def validate(self, attributes: Attributes) -> None:
        for operation in ("CREATE", "UPDATE"):
            if (
                writes(attributes, "scheduling.k8s.io", "priorityclasses", operation)
                and attributes.object.globalDefault
            ):
                present = self._global_default()
                if present is not None and present.metadata.name != attributes.object.metadata.name:
                    text = (
                        f"PriorityClass {present.metadata.name} is already marked as default. "
                        "Only one default can exist"
                    )
                    raise forbidden("priorityclasses.scheduling.k8s.io", attributes.name, text)


class DefaultTolerationSeconds(AdmissionPlugin):
    """Pods outlive a failing node by five minutes unless they say otherwise."""

    name = "DefaultTolerationSeconds"
    kinds = frozenset({("", "pods")})

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def admit(self, attributes: Attributes) -> None:
        if not writes(attributes, "", "pods", attributes.operation):
            return
        spec = attributes.object.spec
        added = [
            Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=TOLERATION_SECONDS)
            for key in (taints.NOT_READY, taints.UNREACHABLE)
            if not any(_covers(item, key) for item in spec.tolerations)
        ]
        if added:
            spec.tolerations = [*spec.tolerations, *added]


def _covers(toleration: Toleration, key: str) -> bool:
    return (toleration.key or key) == key and (toleration.effect or "NoExecute") == "NoExecute"


class TaintNodesByCondition(AdmissionPlugin):
    """A new node takes no pods until it is known to be ready."""

    name = "TaintNodesByCondition"
    kinds = frozenset({("", "nodes")})

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        if writes(attributes, "", "nodes"):
            node: Node = attributes.object
            taint = Taint(key=taints.NOT_READY, effect=taints.NO_SCHEDULE)
            if not any(taints.same_taint(item, taint) for item in node.spec.taints):
                node.spec.taints = [*node.spec.taints, taint]


class PodTopologyLabels(AdmissionPlugin):
    """A bound pod carries its node's zone and region."""

    name = "PodTopologyLabels"
    kinds = frozenset({("", "pods")})
    _LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        if attributes.resource.plural != "pods" or attributes.resource.group:
            return
        if attributes.subresource == "binding":
            node_name = attributes.object.target.name
        elif not attributes.subresource:
            node_name = attributes.object.spec.nodeName
        else:
            return
        node = self._caches.get(Node, None, node_name) if node_name else None
        if node is None:
            return
        metadata = attributes.object.metadata
        found = {key: node.metadata.labels[key] for key in self._LABELS if key in node.metadata.labels}
        if found:
            metadata.labels = {**metadata.labels, **found}


class RuntimeClass(AdmissionPlugin):
    """A pod of a runtime class takes its overhead, node selector and tolerations, and has no overhead otherwise."""

    name = "RuntimeClass"
    kinds = frozenset({("", "pods")})

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        if not writes(attributes, "", "pods") or not attributes.object.spec.runtimeClassName:
            return
        runtime, spec = self._class_of(attributes), attributes.object.spec
        if runtime is None:
            raise forbidden("pods", attributes.name, f'pod rejected: RuntimeClass "{spec.runtimeClassName}" not found')
        if runtime.overhead is not None:
            _check_overhead(attributes, spec.overhead or runtime.overhead.podFixed, runtime.overhead.podFixed)
            spec.overhead = dict(runtime.overhead.podFixed)
        if runtime.scheduling is None:
            return
        wanted = runtime.scheduling.nodeSelector
        for key, value in spec.nodeSelector.items():
            if wanted.get(key, value) != value:
                text = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted[key]}; "
                text += f"pod.spec.nodeSelector[{key}] = {value}"
                raise forbidden("pods", attributes.name, text)
        spec.nodeSelector = {**spec.nodeSelector, **wanted}
        spec.tolerations = taints.merged(spec.tolerations, runtime.scheduling.tolerations)

    async def validate(self, attributes: Attributes) -> None:
        if not writes(attributes, "", "pods"):
            return
        spec = attributes.object.spec
        if not spec.overhead and not spec.runtimeClassName:
            return
        runtime = self._class_of(attributes)
        if runtime is not None and runtime.overhead is not None:
            _check_overhead(attributes, spec.overhead, runtime.overhead.podFixed)
        elif spec.overhead:
            text = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise forbidden("pods", attributes.name, text)

    def _class_of(self, attributes: Attributes) -> RuntimeClassObject | None:
        name = attributes.object.spec.runtimeClassName
        return self._caches.get(RuntimeClassObject, None, name) if name else None


def _check_overhead(attributes: Attributes, given: Mapping[str, Quantity], defined: Mapping[str, Quantity]) -> None:
    if given.keys() != defined.keys() or any(given[name].compare(amount) for name, amount in defined.items()):
        text = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        raise forbidden("pods", attributes.name, text)
