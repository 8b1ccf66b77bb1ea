"""A pod's affinity to other pods, compiled once: which pods a term is about, and over which topology.

Terms are values: the thousand pods of one Deployment share one, so that PodIndex can count them by term instead of
by pod. `matchLabelKeys` and `mismatchLabelKeys` become part of the selector, as the API server makes them (KEP-3633).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wherry.api.core_v1 import Pod, PodAffinityTerm, WeightedPodAffinityTerm
from wherry.meta.labels import NOTHING, Requirement, Selector, from_label_selector

Labels = Mapping[str, str]

HARD_AFFINITY_WEIGHT = 1
"""What a required affinity of a running pod counts for a newcomer that it selects (kube-scheduler's default)."""


@dataclass(frozen=True, slots=True)
class Term:
    """Pods of these namespaces that `selector` selects, within one value of `topology_key`."""

    topology_key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector
    weight: int = HARD_AFFINITY_WEIGHT

    def matches(self, namespace: str, labels: Labels, namespace_labels: Labels) -> bool:
        """Whether a pod with these labels in that namespace is meant."""
        inside = namespace in self.namespaces or self.namespace_selector.matches(namespace_labels)
        return inside and self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class PodTerms:
    """All terms of one pod."""

    required: tuple[Term, ...] = ()
    required_anti: tuple[Term, ...] = ()
    preferred: tuple[Term, ...] = ()
    preferred_anti: tuple[Term, ...] = ()

    def items(self) -> tuple[tuple[str, tuple[Term, ...]], ...]:
        """(sort of term, terms), as PodIndex counts them."""
        return (
            ("required", self.required),
            ("required_anti", self.required_anti),
            ("preferred", self.preferred),
            ("preferred_anti", self.preferred_anti),
        )


NO_TERMS = PodTerms()


def terms_of(pod: Pod) -> PodTerms:
    """The terms of `pod`; a selector that cannot be read selects nothing."""
    affinity = pod.spec.affinity
    if affinity is None or (affinity.podAffinity is None and affinity.podAntiAffinity is None):
        return NO_TERMS
    near, apart = affinity.podAffinity, affinity.podAntiAffinity
    return PodTerms(
        _required(pod, near.requiredDuringSchedulingIgnoredDuringExecution if near else ()),
        _required(pod, apart.requiredDuringSchedulingIgnoredDuringExecution if apart else ()),
        _weighted(pod, near.preferredDuringSchedulingIgnoredDuringExecution if near else ()),
        _weighted(pod, apart.preferredDuringSchedulingIgnoredDuringExecution if apart else ()),
    )


def _required(pod: Pod, terms: Sequence[PodAffinityTerm]) -> tuple[Term, ...]:
    return tuple(_term(pod, term, HARD_AFFINITY_WEIGHT) for term in terms)


def _weighted(pod: Pod, terms: Sequence[WeightedPodAffinityTerm]) -> tuple[Term, ...]:
    return tuple(_term(pod, item.podAffinityTerm, item.weight) for item in terms)


def _term(pod: Pod, term: PodAffinityTerm, weight: int) -> Term:
    namespaces = frozenset(term.namespaces)
    if not namespaces and term.namespaceSelector is None:
        namespaces = frozenset({pod.metadata.namespace or ""})
    selector = with_keys(readable(term.labelSelector), pod.metadata.labels, term.matchLabelKeys, term.mismatchLabelKeys)
    return Term(term.topologyKey, selector, namespaces, readable(term.namespaceSelector), weight)


def readable(selector: object) -> Selector:
    """A LabelSelector compiled; nothing when there is none or it is malformed."""
    try:
        return from_label_selector(selector)
    except ValueError:
        return NOTHING


def with_keys(selector: Selector, labels: Labels, match: Sequence[str], mismatch: Sequence[str] = ()) -> Selector:
    """`selector`, and the pod's own values of the `match` keys and other values of the `mismatch` keys."""
    if selector.requirements is None or not (match or mismatch):
        return selector
    more = [Requirement(key, "in", (labels[key],)) for key in match if key in labels]
    more += [Requirement(key, "notin", (labels[key],)) for key in mismatch if key in labels]
    return Selector([*selector.requirements, *(item for item in more if item not in selector.requirements)])
