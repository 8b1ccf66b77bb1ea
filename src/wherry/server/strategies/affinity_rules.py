"""Where pods may go: node selectors, affinity, tolerations, taints and spreading.

Source: kubernetes pkg/apis/core/validation.
"""

from collections.abc import Sequence

from wherry.api import core_v1 as core
from wherry.api.meta_v1 import LabelSelector
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_NO_OPERATOR = "not a valid selector operator"
_NO_SELECTOR = "must not be specified when labelSelector is not set"


def tolerations(path: str, items: Sequence[core.Toleration]) -> Faults:
    """Tolerations of a pod or a RuntimeClass."""
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        if item.key:
            yield from checks.named(f"{here}.key", item.key, names.qualified_name)
        elif item.operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield invalid_value(f"{here}.operator", item.operator or "", text)
        if item.tolerationSeconds is not None and item.effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid_value(f"{here}.effect", item.effect or "", text)
        if item.operator in (None, "", "Equal"):
            if faults := names.label_value(item.value or ""):
                yield invalid_value(f"{here}.operator", item.value, ";".join(faults))
        elif item.operator == "Exists":
            if item.value:
                yield invalid_value(f"{here}.operator", item.value, "value must be empty when `operator` is 'Exists'")
        elif item.operator not in ("Lt", "Gt"):
            yield not_supported(f"{here}.operator", item.operator, ("Equal", "Exists"))
        if item.effect and item.effect not in EFFECTS:
            yield not_supported(f"{here}.effect", item.effect, EFFECTS)


def taints(path: str, items: Sequence[core.Taint]) -> Faults:
    """Taints of a node: one of a key and effect."""
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        yield from checks.named(f"{here}.key", item.key, names.qualified_name)
        if faults := names.label_value(item.value or ""):
            yield invalid_value(f"{here}.value", item.value, ";".join(faults))
        if not item.effect:
            yield required(f"{here}.effect")
        elif item.effect not in EFFECTS:
            yield not_supported(f"{here}.effect", item.effect, EFFECTS)
        if (item.key, item.effect) in seen:
            fault = duplicate(here, item)
            yield type(fault)(fault.type, fault.field, fault.bad_value, "taints must be unique by key and effect pair")
        seen.add((item.key, item.effect))


def affinity(path: str, value: core.Affinity) -> Faults:
    """To nodes, to pods, and away from pods."""
    node = value.nodeAffinity
    if node is not None:
        required_terms = node.requiredDuringSchedulingIgnoredDuringExecution
        if required_terms is not None:
            yield from node_selector(f"{path}.nodeAffinity.{_REQUIRED}", required_terms)
        for index, preferred in enumerate(node.preferredDuringSchedulingIgnoredDuringExecution):
            here = f"{path}.nodeAffinity.{_PREFERRED}[{index}]"
            yield from _weight(here, preferred.weight)
            yield from _term(f"{here}.preference", preferred.preference, any_value=True)
    for name in ("podAffinity", "podAntiAffinity"):
        pods: core.PodAffinity | core.PodAntiAffinity | None = getattr(value, name)
        if pods is None:
            continue
        for index, term in enumerate(pods.requiredDuringSchedulingIgnoredDuringExecution):
            yield from _pod_term(f"{path}.{name}.{_REQUIRED}[{index}]", term)
        for index, weighted in enumerate(pods.preferredDuringSchedulingIgnoredDuringExecution):
            here = f"{path}.{name}.{_PREFERRED}[{index}]"
            yield from _weight(here, weighted.weight)
            yield from _pod_term(f"{here}.podAffinityTerm", weighted.podAffinityTerm)


def _weight(path: str, weight: int) -> Faults:
    if not 1 <= weight <= 100:
        yield invalid_value(f"{path}.weight", weight, "must be in the range 1-100")


def node_selector(path: str, value: core.NodeSelector) -> Faults:
    """At least one term, each well formed."""
    if not value.nodeSelectorTerms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(value.nodeSelectorTerms):
        yield from _term(f"{path}.nodeSelectorTerms[{index}]", term)


def _term(path: str, term: core.NodeSelectorTerm, *, any_value: bool = False) -> Faults:
    for index, item in enumerate(term.matchExpressions):
        yield from _expression(f"{path}.matchExpressions[{index}]", item, any_value)
    for index, item in enumerate(term.matchFields):
        here = f"{path}.matchFields[{index}]"
        if item.operator not in ("In", "NotIn"):
            yield invalid_value(f"{here}.operator", item.operator, _NO_OPERATOR)
        elif len(item.values) != 1:
            text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield required(f"{here}.values", text)
        if item.key != "metadata.name":
            yield invalid_value(f"{here}.key", item.key, "not a valid field selector key")
            continue
        for number, value in enumerate(item.values):
            yield from checks.named(f"{here}.values[{number}]", value, names.dns1123_subdomain)


def _expression(path: str, item: core.NodeSelectorRequirement, any_value: bool) -> Faults:
    match item.operator:
        case "In" | "NotIn":
            if not item.values:
                yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if item.values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield field_forbidden(f"{path}.values", text)
        case "Gt" | "Lt":
            if len(item.values) != 1:
                yield required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        case _:
            yield invalid_value(f"{path}.operator", item.operator, _NO_OPERATOR)
    yield from checks.named(f"{path}.key", item.key, names.qualified_name)
    for index, value in enumerate(() if any_value else item.values):
        yield from checks.named(f"{path}.values[{index}]", value, names.label_value)


def _pod_term(path: str, term: core.PodAffinityTerm) -> Faults:
    yield from checks.label_selector(f"{path}.labelSelector", term.labelSelector)
    yield from checks.label_selector(f"{path}.namespaceSelector", term.namespaceSelector)
    for namespace in term.namespaces:
        yield from checks.named(f"{path}.namespace", namespace, names.dns1123_label)
    yield from _label_keys(path, term.labelSelector, term.matchLabelKeys, term.mismatchLabelKeys)
    if not term.topologyKey:
        yield required(f"{path}.topologyKey", "can not be empty")
    yield from checks.named(f"{path}.topologyKey", term.topologyKey, names.qualified_name)


def _label_keys(path: str, selector: LabelSelector | None, match: Sequence[str], mismatch: Sequence[str]) -> Faults:
    """Keys whose values the pod itself brings: well formed, and none said twice."""
    for name, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            yield field_forbidden(f"{path}.{name}", _NO_SELECTOR)
            continue
        for index, key in enumerate(keys):
            yield from checks.named(f"{path}.{name}[{index}]", key, names.qualified_name)
    if selector is not None and match:
        said = set(selector.matchLabels)
        for expression in selector.matchExpressions:
            if expression.key in match and expression.key in said:
                text = "exists in both matchLabelKeys and labelSelector"
                yield invalid_value(f"{path}[{match.index(expression.key)}]", expression.key, text)
            said.add(expression.key)
    for index, key in enumerate(match):
        if key in mismatch:
            text = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield invalid_value(f"{path}.matchLabelKeys[{index}]", key, text)


def spread(path: str, items: Sequence[core.TopologySpreadConstraint]) -> Faults:
    """Topology spread constraints: one of a key and action."""
    pairs = [(item.topologyKey, item.whenUnsatisfiable) for item in items]
    actions = ("DoNotSchedule", "ScheduleAnyway")
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        yield from checks.positive(f"{here}.maxSkew", item.maxSkew)
        if not item.topologyKey:
            yield required(f"{here}.topologyKey", "can not be empty")
        yield from checks.one_of(f"{here}.whenUnsatisfiable", item.whenUnsatisfiable, actions)
        if pairs[index] in pairs[index + 1 :]:
            yield duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{', '.join(pairs[index])}}}")
        if item.minDomains is not None:
            yield from checks.positive(f"{here}.minDomains", item.minDomains)
            if item.whenUnsatisfiable != "DoNotSchedule":
                text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {item.whenUnsatisfiable}"
                yield invalid_value(f"{here}.minDomains", item.minDomains, text)
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            yield from checks.one_of(f"{here}.{name}", getattr(item, name), ("Honor", "Ignore"))
        yield from _label_keys(here, item.labelSelector, item.matchLabelKeys, ())
        yield from checks.label_selector(f"{here}.labelSelector", item.labelSelector)


def topology_terms(path: str, items: Sequence[core.TopologySelectorTerm]) -> Faults:
    """A storage class's allowed topologies: no term and no key twice."""
    seen: list[dict[str, set[str]]] = []
    for index, term in enumerate(items):
        here, raw = f"{path}[{index}]", dict[str, set[str]]()
        for number, item in enumerate(term.matchLabelExpressions):
            place = f"{here}.matchLabelExpressions[{number}]"
            if not item.values:
                yield required(f"{place}.values")
            yield from checks.unique((f"{place}.values[{i}]", value) for i, value in enumerate(item.values))
            yield from checks.named(f"{place}.key", item.key, names.qualified_name)
            if item.key in raw:
                yield duplicate(f"{place}.key", item.key)
            raw[item.key] = set(item.values)
        if raw in seen:
            yield duplicate(f"{here}.matchLabelExpressions", "")
        seen.append(raw)
