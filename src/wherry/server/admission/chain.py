"""The built-in plugins in kube-apiserver's order, and the loop that asks them.

Webhooks, policies and whatever else the composition root (server/app.py) brings come before ResourceQuota, which must
count what is really written.
"""

from collections.abc import Callable, Iterable

from wherry.aio.clock import Clock
from wherry.client.client import Client
from wherry.server.admission.limit_ranger import LimitRanger
from wherry.server.admission.namespace_lifecycle import NamespaceLifecycle
from wherry.server.admission.node_restriction import NodeRestriction
from wherry.server.admission.plugin import AdmissionPlugin
from wherry.server.admission.resource_quota import ResourceQuota
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


def built_in_plugins(
    caches: Caches, client: Callable[[], Client], clock: Clock, configured: Iterable[AdmissionPlugin] = ()
) -> list[AdmissionPlugin]:
    """All of them. `client` is the server's own road to itself, for plugins that write (quota)."""
    return [
        NamespaceLifecycle(caches),
        LimitRanger(caches),
        ServiceAccount(caches),
        NodeRestriction(),
        TaintNodesByCondition(),
        Priority(caches),
        DefaultTolerationSeconds(),
        DefaultStorageClass(caches),
        StorageObjectInUseProtection(),
        PersistentVolumeClaimResize(caches),
        RuntimeClass(caches),
        DefaultIngressClass(caches),
        PodTopologyLabels(caches),
        *configured,
        ResourceQuota(caches, client),
    ]
