"""Access and admission: RBAC, webhook configurations, policies, priority classes."""

from typing import Any

from wherry.api.rbac_v1 import PolicyRule, Subject
from wherry.api.scheduling_v1 import PriorityClass
from wherry.meta import names
from wherry.meta.errors import field_forbidden, invalid_value, not_supported, required
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import RequestContext

RBAC = "rbac.authorization.k8s.io"
USER_PRIORITY_MAX = 1_000_000_000


class RoleStrategy(KindStrategy):
    """Role and ClusterRole; only the latter may speak of paths that are no resources."""

    name_check = staticmethod(names.path_segment)

    def rules(self, obj: Any) -> Faults:
        for index, rule in enumerate(obj.rules):
            yield from self._rule(f"rules[{index}]", rule)
        aggregation = getattr(obj, "aggregationRule", None)
        if aggregation is not None:
            path = "aggregationRule.clusterRoleSelectors"
            if not aggregation.clusterRoleSelectors:
                yield required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
            for index, selector in enumerate(aggregation.clusterRoleSelectors):
                yield from checks.label_selector(f"{path}[{index}]", selector)

    def _rule(self, path: str, rule: PolicyRule) -> Faults:
        if not rule.verbs:
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if rule.nonResourceURLs:
            if self.namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                yield invalid_value(f"{path}.nonResourceURLs", rule.nonResourceURLs, text)
            if rule.apiGroups or rule.resources or rule.resourceNames:
                text = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid_value(f"{path}.nonResourceURLs", rule.nonResourceURLs, text)
            return
        if not rule.apiGroups:
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.resources:
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


class BindingStrategy(KindStrategy):
    """RoleBinding and ClusterRoleBinding; what they grant never changes, only to whom."""

    name_check = staticmethod(names.path_segment)

    def default(self, obj: Any) -> None:
        unset(obj.roleRef, apiGroup=RBAC)
        for subject in obj.subjects:
            unset(subject, apiGroup=None if subject.kind == "ServiceAccount" else RBAC)

    def rules(self, obj: Any) -> Faults:
        reference = obj.roleRef
        yield from checks.one_of("roleRef.apiGroup", reference.apiGroup, (RBAC,))
        yield from checks.one_of(
            "roleRef.kind", reference.kind, ("ClusterRole", "Role") if self.namespaced else ("ClusterRole",)
        )
        yield from checks.named_required("roleRef.name", reference.name, names.path_segment)
        for index, subject in enumerate(obj.subjects):
            yield from self._subject(f"subjects[{index}]", subject)

    def _subject(self, path: str, subject: Subject) -> Faults:
        yield from checks.present(f"{path}.name", subject.name)
        match subject.kind:
            case "ServiceAccount":
                if subject.name:
                    yield from checks.named(f"{path}.name", subject.name, names.dns1123_subdomain)
                if subject.apiGroup:
                    yield not_supported(f"{path}.apiGroup", subject.apiGroup, ("",))
                if not self.namespaced and not subject.namespace:
                    yield required(f"{path}.namespace")
            case "User" | "Group":
                yield from checks.one_of(f"{path}.apiGroup", subject.apiGroup, (RBAC,))
            case kind:
                yield not_supported(f"{path}.kind", kind, ("Group", "ServiceAccount", "User"))

    def update_rules(self, new: Any, old: Any) -> Faults:
        if new.roleRef != old.roleRef:
            yield invalid_value("roleRef", new.roleRef, "cannot change roleRef")


class PriorityClassStrategy(KindStrategy):
    """scheduling.k8s.io PriorityClass; its value is fixed, for pods have copied it."""

    def default(self, obj: PriorityClass) -> None:
        unset(obj, value=0, preemptionPolicy="PreemptLowerPriority")

    def prepare_for_create(self, obj: PriorityClass, ctx: RequestContext) -> None:
        obj.metadata.generation = 1

    def rules(self, obj: PriorityClass) -> Faults:
        name, value = obj.metadata.name or "", obj.value or 0
        if value > USER_PRIORITY_MAX and not name.startswith("system-"):
            text = f"maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"
            yield field_forbidden("value", text)
        if name.startswith("system-") and name not in ("system-cluster-critical", "system-node-critical"):
            text = "priority class names with 'system-' prefix are reserved for system use only. error: "
            yield field_forbidden("metadata.name", f"{text}{name} is not a known system priority class")
        yield from checks.one_of("preemptionPolicy", obj.preemptionPolicy, ("Never", "PreemptLowerPriority"))

    def update_rules(self, new: PriorityClass, old: PriorityClass) -> Faults:
        if new.value != old.value:
            yield field_forbidden("value", "may not be changed in an update.")
        yield from checks.immutable("preemptionPolicy", new.preemptionPolicy, old.preemptionPolicy)
