"""Which policies there are, which bindings put them to use, and which of them a write concerns.

A policy alone does nothing; each binding says where it counts, and with which parameters. Policies and bindings go by
name. While none is bound the chain does not know these plugins (`concerns`), and CEL is not imported.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wherry.api.admissionregistration_v1 import NamedRuleWithOperations
from wherry.meta.resource import Resource
from wherry.server.admission.matching import CONFIGURATIONS, Matching
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.admission.versions import Versions
from wherry.server.rbac.authorizer import Authorizer
from wherry.server.registry import Registry
from wherry.server.strategies.strategy import Caches

if TYPE_CHECKING:
    from wherry.server.admission.policies.compiled import Compiled

EVERYTHING = NamedRuleWithOperations(apiGroups=["*"], apiVersions=["*"], operations=["*"], resources=["*/*"])


@dataclass(slots=True)
class Bound:
    """A policy, compiled, and its bindings with where each counts."""

    policy: Any
    compiled: "Compiled"
    matching: Matching
    bindings: list[tuple[Any, Matching | None]] = field(default_factory=list)


@dataclass(slots=True)
class Surroundings:
    """What policies need of the server."""

    caches: Caches
    registry: Registry
    versions: Versions
    authorizer: Authorizer
    changed: Callable[[], None]
    """Tells the chain that it may concern other kinds now."""


class Policies(AdmissionPlugin):
    """What both kinds share."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._policies: dict[str, Any] = {}
        self._bindings: dict[str, Any] = {}
        self._compiled: dict[str, tuple[Compiled, Matching]] = {}
        self._bound: list[Bound] = []

    def policy_changed(self, old: Any, new: Any) -> None:
        """A policy came, changed or went."""
        name = (old or new).metadata.name
        self._policies.pop(name, None)
        if new is not None:
            if old is None or old.spec != new.spec:
                self._compiled.pop(name, None)
            self._policies[name] = new
        else:
            self._compiled.pop(name, None)
        self._bind()

    def binding_changed(self, old: Any, new: Any) -> None:
        """A binding came, changed or went."""
        self._bindings.pop((old or new).metadata.name, None)
        if new is not None:
            self._bindings[new.metadata.name] = new
        self._bind()

    def resources_changed(self) -> None:
        """Kinds came or went."""
        for bound in self._bound:
            for matching in (bound.matching, *(item for _, item in bound.bindings if item is not None)):
                matching.forget()

    def _bind(self) -> None:
        found: dict[str, Bound] = {}
        for name in sorted(self._bindings):
            binding = self._bindings[name]
            policy = self._policies.get(binding.spec.policyName)
            if policy is not None:
                bound = found.get(policy.metadata.name) or found.setdefault(policy.metadata.name, self._made(policy))
                bound.bindings.append((binding, _matching(binding.spec.matchResources)))
        self._bound = [found[name] for name in sorted(found)]
        self._around.changed()

    def _made(self, policy: Any) -> Bound:
        name = policy.metadata.name
        if name not in self._compiled:
            from wherry.server.admission.policies.compiled import compile_policy

            matching = _matching(policy.spec.matchConstraints) or Matching([], None, None, None)
            self._compiled[name] = compile_policy(policy), matching
        return Bound(policy, *self._compiled[name])

    def concerns(self, operation: Operation, resource: Resource) -> bool:
        if (resource.group, resource.plural) in CONFIGURATIONS:
            return False
        served = [resource, *self._around.versions.equivalents(resource)]
        return any(bound.matching.ever(operation, served) for bound in self._bound)

    def _concerned(self, attributes: Attributes) -> Iterator[tuple[Bound, Resource, list[Any]]]:
        """Policies that match, the version in which they do, and the bindings that do too."""
        around = self._around
        for bound in self._bound:
            resource = bound.matching.match(attributes, around.versions.equivalents, around.caches)
            if resource is None:
                continue
            bindings = [
                binding
                for binding, matching in bound.bindings
                if matching is None or matching.match(attributes, around.versions.equivalents, around.caches)
            ]
            if bindings:
                yield bound, resource, bindings


def _matching(resources: Any) -> Matching | None:
    if resources is None:
        return None
    return Matching(
        resources.resourceRules or [EVERYTHING],
        resources.matchPolicy,
        resources.namespaceSelector,
        resources.objectSelector,
        resources.excludeResourceRules,
    )
