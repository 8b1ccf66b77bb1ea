"""The APIServices of what this server serves itself: built-in groups and custom resources.

They say nothing new, but `kubectl get apiservices` lists them, and clients order groups by their priorities. Source of
the figures: kubernetes pkg/controlplane/apiserver and kube-aggregator's autoregister.
"""

from collections.abc import Iterable, Iterator

from wherry.api.apiregistration_v1 import APIService, APIServiceSpec
from wherry.meta.object import ObjectMeta
from wherry.meta.resource import Resource

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
OWN_GROUP = "apiregistration.k8s.io"
"""The aggregator's own, which it does not list."""
_CUSTOM = (1000, 100)
_VERSION = 15
_GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "internal.apiserver.k8s.io": 16000,
    "resource.k8s.io": 15900,
}
_VERSIONS = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}


def wanted(resources: Iterable[Resource]) -> Iterator[APIService]:
    """One for each group version."""
    seen = set()
    for resource in resources:
        key = (resource.group, resource.version)
        if key in seen or resource.group == OWN_GROUP:
            continue
        seen.add(key)
        custom = resource.type is None
        group = _CUSTOM[0] if custom else _GROUPS.get(resource.group, 1000)
        version = _CUSTOM[1] if custom else _VERSIONS.get(key, _VERSION)
        yield APIService(
            metadata=ObjectMeta(
                name=f"{resource.version}.{resource.group}", labels={AUTOMANAGED: "true" if custom else "onstart"}
            ),
            spec=APIServiceSpec(
                group=resource.group or None,
                version=resource.version,
                groupPriorityMinimum=group,
                versionPriority=version,
            ),
        )


def plan(
    resources: Iterable[Resource], existing: Iterable[APIService]
) -> tuple[list[APIService], list[APIService], list[str]]:
    """What to create, what to update, and the names to delete. Those that nobody here manages are left alone."""
    there = {item.metadata.name: item for item in existing}
    create, update = [], []
    for item in wanted(resources):
        found = there.pop(item.metadata.name, None)
        if found is None:
            create.append(item)
        elif found.metadata.labels.get(AUTOMANAGED) and found.spec != item.spec:
            found.spec = item.spec
            update.append(found)
    delete = [name for name, item in there.items() if name and item.metadata.labels.get(AUTOMANAGED)]
    return create, update, delete
