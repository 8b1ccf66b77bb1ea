"""The built-in plugins in kube-apiserver's order, and which of them are on.

Webhooks, policies and whatever else the composition root (server/app.py) brings come before ResourceQuota, which must
count what is really written. `--enable-admission-plugins` and its opposite choose by name (AdmissionChoice); what
single plugins are told comes from `--admission-control-config-file` (configuration.py).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wherry.aio.clock import Clock
from wherry.client.client import Client
from wherry.server.admission import opt_in
from wherry.server.admission.event_rate_limit import EventRateLimit, limits_of
from wherry.server.admission.limit_ranger import LimitRanger
from wherry.server.admission.namespace_lifecycle import NamespaceLifecycle
from wherry.server.admission.node_restriction import NodeRestriction
from wherry.server.admission.plugin import AdmissionPlugin
from wherry.server.admission.pod_node_selector import PodNodeSelector, selectors_of
from wherry.server.admission.pod_security import PodSecurity, PodSecurityOptions
from wherry.server.admission.resource_quota import ResourceQuota, limited_of
from wherry.server.admission.scheduling import (
    DefaultTolerationSeconds,
    PodTopologyLabels,
    Priority,
    RuntimeClass,
    TaintNodesByCondition,
)
from wherry.server.admission.service_account import ServiceAccount
from wherry.server.admission.storage import (
    DefaultIngressClass,
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from wherry.server.strategies.strategy import Caches

Configuration = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AdmissionChoice:
    """Which plugins are asked, and what they are told."""

    enabled: tuple[str, ...] = ()
    """Beyond those that are on by default."""
    disabled: tuple[str, ...] = ()
    configurations: Mapping[str, Configuration] = field(default_factory=dict)
    """By plugin name: PodSecurityConfiguration and the like, as they are written."""

    def check(self) -> None:
        """Raises ValueError for names that are no plugins, and for what those that are on cannot be told."""
        for name in (*self.enabled, *self.disabled, *self.configurations):
            if name not in NAMES:
                raise ValueError(f"unknown admission plugin {name}; known are {', '.join(sorted(NAMES))}")
        if both := sorted({*self.enabled} & {*self.disabled}):
            raise ValueError(f"{both[0]} is both enabled and disabled")
        for name, parse in _PARSED.items():
            if self.is_on(name):
                try:
                    parse(self.configurations.get(name) or {})
                except ValueError as error:
                    raise ValueError(f"admission plugin {name}: {error}") from error

    def is_on(self, name: str) -> bool:
        """Whether this plugin is asked."""
        return name not in self.disabled and (name in self.enabled or name not in OFF)


@dataclass(frozen=True, slots=True)
class Means:
    """What plugins are made of. `client` is the server's own road to itself, for plugins that write."""

    caches: Caches
    client: Callable[[], Client]
    clock: Clock


Make = Callable[[Means, Configuration], AdmissionPlugin]

# Name, whether it is on by default, and how it is made, in the order they are asked.
_BEFORE: tuple[tuple[str, bool, Make], ...] = (
    ("AlwaysAdmit", False, lambda means, given: opt_in.AlwaysAdmit()),
    ("NamespaceAutoProvision", False, lambda means, given: opt_in.NamespaceAutoProvision(means.caches, means.client)),
    ("NamespaceLifecycle", True, lambda means, given: NamespaceLifecycle(means.caches)),
    ("NamespaceExists", False, lambda means, given: opt_in.NamespaceExists(means.caches)),
    ("LimitPodHardAntiAffinityTopology", False, lambda means, given: opt_in.LimitPodHardAntiAffinityTopology()),
    ("LimitRanger", True, lambda means, given: LimitRanger(means.caches)),
    ("ServiceAccount", True, lambda means, given: ServiceAccount(means.caches)),
    ("NodeRestriction", True, lambda means, given: NodeRestriction()),
    ("TaintNodesByCondition", True, lambda means, given: TaintNodesByCondition()),
    ("AlwaysPullImages", False, lambda means, given: opt_in.AlwaysPullImages()),
    (
        "PodSecurity",
        True,
        lambda means, given: PodSecurity(means.caches, PodSecurityOptions.from_configuration(given)),
    ),
    ("PodNodeSelector", False, lambda means, given: PodNodeSelector(means.caches, given)),
    ("Priority", True, lambda means, given: Priority(means.caches)),
    ("DefaultTolerationSeconds", True, lambda means, given: DefaultTolerationSeconds()),
    ("EventRateLimit", False, lambda means, given: EventRateLimit(means.clock, given)),
    ("ExtendedResourceToleration", False, lambda means, given: opt_in.ExtendedResourceToleration()),
    ("DefaultStorageClass", True, lambda means, given: DefaultStorageClass(means.caches)),
    ("StorageObjectInUseProtection", True, lambda means, given: StorageObjectInUseProtection()),
    ("PersistentVolumeClaimResize", True, lambda means, given: PersistentVolumeClaimResize(means.caches)),
    ("RuntimeClass", True, lambda means, given: RuntimeClass(means.caches)),
    ("DefaultIngressClass", True, lambda means, given: DefaultIngressClass(means.caches)),
    ("PodTopologyLabels", True, lambda means, given: PodTopologyLabels(means.caches)),
    ("DenyServiceExternalIPs", False, lambda means, given: opt_in.DenyServiceExternalIPs()),
)
_AFTER: tuple[tuple[str, bool, Make], ...] = (
    (
        "ResourceQuota",
        True,
        lambda means, given: ResourceQuota(means.caches, means.client, means.clock, limited_of(given)),
    ),
    ("AlwaysDeny", False, lambda means, given: opt_in.AlwaysDeny()),
)
CONFIGURED = (
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "OwnerReferencesPermissionEnforcement",
)
"""Plugins that stand elsewhere; naming them changes nothing but for leaving them out."""
NAMES = frozenset((*(name for name, _, _ in (*_BEFORE, *_AFTER)), *CONFIGURED))
OFF = frozenset(name for name, default, _ in (*_BEFORE, *_AFTER) if not default)
"""Unless enabled."""
_PARSED: Mapping[str, Callable[[Configuration], object]] = {
    "PodSecurity": PodSecurityOptions.from_configuration,
    "PodNodeSelector": selectors_of,
    "EventRateLimit": limits_of,
    "ResourceQuota": limited_of,
}
"""What reads the configurations there are."""


def built_in_plugins(
    caches: Caches,
    client: Callable[[], Client],
    clock: Clock,
    configured: Iterable[AdmissionPlugin] = (),
    choice: AdmissionChoice | None = None,
) -> list[AdmissionPlugin]:
    """Those that are on. Raises ValueError for a choice that cannot be."""
    choice = choice or AdmissionChoice()
    choice.check()
    means = Means(caches, client, clock)

    def made(rows: Iterable[tuple[str, bool, Make]]) -> list[AdmissionPlugin]:
        return [make(means, choice.configurations.get(name) or {}) for name, _, make in rows if choice.is_on(name)]

    others = [plugin for plugin in configured if plugin.name not in choice.disabled]
    return [*made(_BEFORE), *others, *made(_AFTER)]
