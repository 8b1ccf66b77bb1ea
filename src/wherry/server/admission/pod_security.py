"""PodSecurity: each namespace's labels say which Pod Security Standard its pods keep to.

    pod-security.kubernetes.io/enforce: restricted      refuses pods
    pod-security.kubernetes.io/warn: baseline           warns whoever writes pods or workloads
    pod-security.kubernetes.io/audit: baseline          notes in the audit log what violates it
    pod-security.kubernetes.io/audit-version: v1.30     each mode may name a version

The standards are in pod_standards.py. Source: k8s.io/pod-security-admission.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wherry.api import core_v1 as core
from wherry.meta.errors import FieldError, forbidden, invalid, invalid_value
from wherry.rules.owners import controller_of
from wherry.server.admission import pod_standards
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", pod_standards.BASELINE, pod_standards.RESTRICTED)
"""From lax to strict."""
PODS_CHECKED_MAX = 3000
"""How many pods of a namespace are held against a stricter level before it is set."""
_IGNORED = frozenset({"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"})
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")
_WORKLOADS: dict[tuple[str, str], Callable[[Any], core.PodTemplateSpec | None]] = {
    ("", "podtemplates"): lambda obj: obj.template,
    ("", "replicationcontrollers"): lambda obj: obj.spec.template,
    ("apps", "daemonsets"): lambda obj: obj.spec.template,
    ("apps", "deployments"): lambda obj: obj.spec.template,
    ("apps", "replicasets"): lambda obj: obj.spec.template,
    ("apps", "statefulsets"): lambda obj: obj.spec.template,
    ("batch", "cronjobs"): lambda obj: obj.spec.jobTemplate.spec.template,
    ("batch", "jobs"): lambda obj: obj.spec.template,
}


@dataclass(frozen=True, slots=True)
class Standard:
    """A level of one version; None: the latest."""

    level: str = "privileged"
    minor: int | None = None

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor is None else f'v1.{self.minor}'}"

    def violations(self, meta: Any, spec: core.PodSpec) -> list[pod_standards.Found]:
        """What a pod does against it."""
        if self.level == "privileged":
            return []
        minor = pod_standards.LATEST if self.minor is None else self.minor
        return pod_standards.violations(self.level, minor, meta.annotations, spec)


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds in a namespace."""

    enforce: Standard = field(default_factory=Standard)
    audit: Standard = field(default_factory=Standard)
    warn: Standard = field(default_factory=Standard)


@dataclass(frozen=True, slots=True)
class PodSecurityOptions:
    """Where nothing is said, and who is not asked."""

    defaults: Policy = field(default_factory=Policy)
    usernames: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()

    @classmethod
    def from_configuration(cls, value: Mapping[str, Any]) -> "PodSecurityOptions":
        """A PodSecurityConfiguration. Raises ValueError with what is wrong."""
        given: Mapping[str, str] = value.get("defaults") or {}
        policy, faults = policy_of({PREFIX + key: text for key, text in given.items()}, Policy(), configured=True)
        if faults:
            raise ValueError("; ".join(f"defaults: {item.bad_value!r} {item.detail}" for item in faults))
        exempt: Mapping[str, list[str]] = value.get("exemptions") or {}
        return cls(
            policy,
            tuple(exempt.get("usernames") or ()),
            tuple(exempt.get("namespaces") or ()),
            tuple(exempt.get("runtimeClasses") or ()),
        )


def policy_of(
    labels: Mapping[str, str], defaults: Policy, *, configured: bool = False
) -> tuple[Policy, list[FieldError]]:
    """What a namespace's labels say, and their faults; a faulty enforcement is the strictest one."""
    if not any(key.startswith(PREFIX) for key in labels):
        return defaults, []
    policy, faults = defaults, list[FieldError]()
    for mode in ("enforce", "audit", "warn"):
        standard: Standard = getattr(policy, mode)
        level, version = labels.get(PREFIX + mode), labels.get(f"{PREFIX}{mode}-version")
        if level in LEVELS:
            standard = replace(standard, level=level)
        elif level is not None:
            standard = replace(standard, level="restricted" if mode == "enforce" else "privileged")
            faults.append(_fault(mode, level, f"must be one of {', '.join(LEVELS)}"))
        if version is not None:
            match = _VERSION.fullmatch(version)
            standard = replace(standard, minor=int(match[1]) if match else None)
            if match is None and version != "latest":
                faults.append(_fault(f"{mode}-version", version, 'must be "latest" or "v1.x"'))
        policy = replace(policy, **{mode: standard})
    # Whoever enforces is warned as well, unless they say what to warn of.
    stated = labels.get(PREFIX + "enforce") in LEVELS and PREFIX + "warn" not in labels
    if stated and not configured and _stricter(policy.enforce, policy.warn):
        minor = policy.warn.minor if f"{PREFIX}warn-version" in labels else policy.enforce.minor
        policy = replace(policy, warn=Standard(policy.enforce.level, minor))
    return policy, faults


def _fault(label: str, value: str, text: str) -> FieldError:
    return invalid_value(f"metadata.labels[{PREFIX}{label}]", value, text)


def _stricter(one: Standard, other: Standard) -> bool:
    return LEVELS.index(one.level) > LEVELS.index(other.level)


class PodSecurity(AdmissionPlugin):
    """Asked about namespaces, pods, and the workloads that make pods."""

    name = "PodSecurity"
    kinds = frozenset({("", "namespaces"), ("", "pods"), *_WORKLOADS})

    def __init__(self, caches: Caches, options: PodSecurityOptions | None = None) -> None:
        self._caches = caches
        self._options = options or PodSecurityOptions()

    def handles(self, operation: Operation) -> bool:
        return operation in ("CREATE", "UPDATE")

    async def validate(self, attributes: Attributes) -> None:
        plural = attributes.resource.plural
        if plural == "namespaces":
            if not attributes.subresource:
                self._namespace(attributes)
        elif plural == "pods":
            if attributes.subresource not in _IGNORED:
                self._pod(attributes)
        elif not attributes.subresource:
            self._workload(attributes)

    def _namespace(self, attributes: Attributes) -> None:
        new, labels = attributes.object, attributes.object.metadata.labels
        policy, faults = policy_of(labels, self._options.defaults)
        if attributes.operation == "CREATE":
            if faults:
                raise invalid("Namespace", attributes.name, faults)
            self._ignored(attributes, policy)
            return
        old, old_faults = policy_of(attributes.old_object.metadata.labels, self._options.defaults)
        if faults and faults != old_faults:
            raise invalid("Namespace", attributes.name, faults)
        enforce, before = policy.enforce, old.enforce
        relaxed = enforce.minor == before.minor and not _stricter(enforce, before)
        if enforce == before or enforce.level == "privileged" or relaxed:
            return
        if not self._ignored(attributes, policy):
            attributes.warnings += self._standing(new.metadata.name or "", enforce)

    def _ignored(self, attributes: Attributes, policy: Policy) -> bool:
        """Whether the namespace is exempt; warns whose labels mean nothing therefore."""
        name, labels = attributes.object.metadata.name or "", attributes.object.metadata.labels
        if name not in self._options.namespaces:
            return False
        stated = [
            f"{mode}={standard}"
            for mode in ("enforce", "audit", "warn")
            if (standard := getattr(policy, mode)).level != "privileged"
            and (PREFIX + mode in labels or f"{PREFIX}{mode}-version" in labels)
        ]
        if policy != self._options.defaults and stated:
            told = ", ".join(stated)
            text = f'namespace "{name}" is exempt from Pod Security, and the policy ({told}) will be ignored'
            attributes.warnings.append(text)
        return True

    def _pod(self, attributes: Attributes) -> None:
        if self._is_exempt(attributes):
            return
        policy, faults = self._policy(attributes)
        if policy == Policy() and not faults:
            _note(attributes, "enforce-policy", str(policy.enforce))
            return
        pod = attributes.object
        if attributes.operation == "CREATE" or _significant(pod.spec, attributes.old_object.spec):
            self._evaluate(attributes, policy, faults, pod, enforce=True)

    def _workload(self, attributes: Attributes) -> None:
        if self._is_exempt(attributes):
            return
        policy, faults = self._policy(attributes)
        if policy.warn.level == policy.audit.level == "privileged" and not faults:
            return
        template = _WORKLOADS[attributes.resource.group, attributes.resource.plural](attributes.object)
        if template is not None:
            self._evaluate(attributes, policy, faults, template, enforce=False)

    def _evaluate(
        self,
        attributes: Attributes,
        policy: Policy,
        faults: list[FieldError],
        pod: core.Pod | core.PodTemplateSpec,
        enforce: bool,
    ) -> None:
        """Refuse what must not be, note what is to be noted, warn of what is to be warned of."""
        if (pod.spec.runtimeClassName or "") in self._options.runtime_classes:
            _note(attributes, "exempt", "runtimeClass")
            return
        if faults:
            texts = [str(fault) for fault in faults]
            told = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
            _note(attributes, "error", f"Failed to parse policy: {told}")
        modes = {policy.audit, policy.warn, *([policy.enforce] if enforce else [])}
        found = {standard: standard.violations(pod.metadata, pod.spec) for standard in modes}
        if enforce:
            _note(attributes, "enforce-policy", str(policy.enforce))
        if found[policy.audit]:
            text = f'would violate PodSecurity "{policy.audit}": {_told(found[policy.audit])}'
            _note(attributes, "audit-violations", text)
        if enforce and found[policy.enforce]:
            text = f'violates PodSecurity "{policy.enforce}": {_told(found[policy.enforce])}'
            raise forbidden("pods", attributes.name or pod.metadata.name or "", text)
        if found[policy.warn]:
            attributes.warnings.append(f'would violate PodSecurity "{policy.warn}": {_told(found[policy.warn])}')

    def _is_exempt(self, attributes: Attributes) -> bool:
        if attributes.namespace in self._options.namespaces:
            _note(attributes, "exempt", "namespace")
        elif attributes.user.name in self._options.usernames:
            _note(attributes, "exempt", "user")
        else:
            return False
        return True

    def _policy(self, attributes: Attributes) -> tuple[Policy, list[FieldError]]:
        """What holds in the namespace, and what is wrong with its labels."""
        namespace = self._caches.get(core.Namespace, None, attributes.namespace)
        return policy_of(namespace.metadata.labels if namespace is not None else {}, self._options.defaults)

    def _standing(self, namespace: str, enforce: Standard) -> list[str]:
        """Warnings about pods that are there already: one of each controller first, like faults together."""
        pods, rest, seen = list[core.Pod](), list[core.Pod](), set[str]()
        for pod in self._caches.list(core.Pod, namespace):
            if (pod.spec.runtimeClassName or "") in self._options.runtime_classes:
                continue
            owner = controller_of(pod.metadata)
            if owner is not None and owner.uid in seen:
                rest.append(pod)
                continue
            if owner is not None:
                seen.add(owner.uid)
            pods.append(pod)
        pods += rest
        by_fault: dict[str, list[str]] = {}
        for pod in pods[:PODS_CHECKED_MAX]:
            found = enforce.violations(pod.metadata, pod.spec)
            if found:
                by_fault.setdefault(", ".join(name for name, _ in found), []).append(pod.metadata.name or "")
        warnings = []
        if len(pods) > PODS_CHECKED_MAX:
            text = "new PodSecurity enforce level only checked against the first"
            warnings.append(f"{text} {PODS_CHECKED_MAX} of {len(pods)} existing pods")
        if by_fault:
            text = f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{enforce}"'
            warnings.append(text)
        return warnings + sorted(f"{_some(names)}: {fault}" for fault, names in by_fault.items())


def _note(attributes: Attributes, key: str, value: str) -> None:
    """For the audit log."""
    attributes.ctx.audit[PREFIX + key] = value


def _some(names: list[str]) -> str:
    others = len(names) - 1
    return min(names) + (f" (and {others} other pod{'s' if others > 1 else ''})" if others else "")


def _told(found: list[pod_standards.Found]) -> str:
    return ", ".join(f"{name} ({detail})" if detail else name for name, detail in found)


def _significant(new: core.PodSpec, old: core.PodSpec) -> bool:
    """Whether an update makes the pod run something else."""
    for name in ("containers", "initContainers"):
        mine, theirs = getattr(new, name), getattr(old, name)
        if [item.image for item in mine] != [item.image for item in theirs]:
            return True
    before = {item.name: item.image for item in old.ephemeralContainers}
    return any(before.get(item.name) != item.image for item in new.ephemeralContainers)
