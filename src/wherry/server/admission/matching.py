"""Which writes concern a webhook or policy: rules, match policy, and the selectors of namespaces and objects.

Rules are looked at in every version that an object is served in, and the answer is the version in which a write
concerns whoever asks (matchPolicy Equivalent may choose another than the request's). What rules say of a kind does not
change from write to write and is remembered. Source: k8s.io/apiserver, admission/plugin/webhook/predicates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from wherry.api.core_v1 import Namespace
from wherry.meta import labels
from wherry.meta.errors import not_found
from wherry.meta.resource import Resource
from wherry.server.admission.plugin import Attributes
from wherry.server.strategies.strategy import Caches

CONFIGURATIONS = frozenset(
    ("admissionregistration.k8s.io", f"{kind}{suffix}")
    for kind, suffix in (
        ("validatingwebhook", "configurations"),
        ("mutatingwebhook", "configurations"),
        ("validatingadmission", "policies"),
        ("validatingadmission", "policybindings"),
        ("mutatingadmission", "policies"),
        ("mutatingadmission", "policybindings"),
    )
)
"""Never intercepted, by group and plural: who misconfigures must be able to mend it."""

Equivalents = Callable[[Resource], Sequence[Resource]]
"""Every version in which a stored kind is served."""


def rule_matches(rule: Any, operation: str, resource: Resource, subresource: str, namespaced: bool) -> bool:
    """Whether one rule speaks of this. `namespaced`: the request is about something in a namespace."""
    return (
        _has(rule.operations, operation)
        and _has(rule.apiGroups, resource.group)
        and _has(rule.apiVersions, resource.version)
        and any(_is(item, resource.plural, subresource) for item in rule.resources)
        and (rule.scope in (None, "*") or (rule.scope == "Namespaced") == namespaced)
    )


def _has(allowed: Sequence[str], value: str) -> bool:
    return "*" in allowed or value in allowed


def _is(rule: str, plural: str, subresource: str) -> bool:
    name, _, sub = rule.partition("/")
    return name in ("*", plural) and sub in ("*", subresource)


class Matching:
    """Compiled match rules. Raises ValueError for selectors that are none."""

    def __init__(
        self,
        rules: Sequence[Any],
        match_policy: str | None,
        namespace_selector: Any,
        object_selector: Any,
        excluded: Sequence[Any] = (),
    ) -> None:
        self._rules = rules
        self._excluded = excluded
        self._equivalent = match_policy != "Exact"
        self._namespaces = _selector(namespace_selector)
        self._objects = _selector(object_selector)
        self._by_names = any(getattr(rule, "resourceNames", ()) for rule in (*rules, *excluded))
        self._known: dict[tuple[str, str, str, str, bool], Resource | None] = {}

    def forget(self) -> None:
        """What is served has changed."""
        self._known.clear()

    def ever(self, operation: str, served: Iterable[Resource]) -> bool:
        """Whether this operation on a kind served as these can ever match."""
        return any(
            _has(rule.operations, operation)
            and _has(rule.apiGroups, resource.group)
            and any(item.partition("/")[0] in ("*", resource.plural) for item in rule.resources)
            for rule in self._rules
            for resource in served
        )

    def match(self, attributes: Attributes, equivalents: Equivalents, caches: Caches) -> Resource | None:
        """The version in which this write matches; None when it does not. Raises 404 for a namespace that is not."""
        requested = attributes.requested
        namespaced = bool(attributes.namespace) and not _is_namespace(attributes)
        if self._by_names:
            found = self._by_rules(attributes, namespaced, equivalents)
        else:
            key = (attributes.operation, requested.api_version, requested.plural, attributes.subresource, namespaced)
            if key not in self._known:
                self._known[key] = self._by_rules(attributes, namespaced, equivalents)
            found = self._known[key]
        if found is None or not self._object_selected(attributes) or not self._namespace_selected(attributes, caches):
            return None
        return found

    def _by_rules(self, attributes: Attributes, namespaced: bool, equivalents: Equivalents) -> Resource | None:
        asked = attributes.requested
        versions = [asked]
        if self._equivalent:
            versions += [item for item in equivalents(attributes.resource) if item.api_version != asked.api_version]

        def matched(rules: Sequence[Any], resource: Resource) -> bool:
            return any(
                rule_matches(rule, attributes.operation, resource, attributes.subresource, namespaced)
                and (not (names := getattr(rule, "resourceNames", ())) or attributes.name in names)
                for rule in rules
            )

        if any(matched(self._excluded, item) for item in versions):
            return None
        return next((item for item in versions if matched(self._rules, item)), None)

    def _object_selected(self, attributes: Attributes) -> bool:
        selector = self._objects
        if selector.empty:
            return True
        either = (attributes.object, attributes.old_object)
        return any(selector.matches(found) for item in either if (found := labels_of(item)) is not None)

    def _namespace_selected(self, attributes: Attributes, caches: Caches) -> bool:
        selector = self._namespaces
        if selector.empty:
            return True
        if _is_namespace(attributes):
            if attributes.operation in ("CREATE", "UPDATE") and not attributes.subresource:
                return selector.matches(labels_of(attributes.object) or {})
        elif not attributes.namespace:
            return True
        name = attributes.namespace or attributes.name
        namespace = caches.peek(Namespace, None, name)
        if namespace is None:
            raise not_found("namespaces", name)
        return selector.matches(namespace.metadata.labels)


def labels_of(obj: Any) -> Mapping[str, str] | None:
    """An object's labels; None for what has no metadata (options of a connection) or is not there."""
    metadata = getattr(obj, "metadata", None)
    return None if metadata is None else metadata.labels


def _selector(selector: Any) -> labels.Selector:
    return labels.EVERYTHING if selector is None else labels.from_label_selector(selector)


def _is_namespace(attributes: Attributes) -> bool:
    return attributes.resource.plural == "namespaces" and not attributes.resource.group
