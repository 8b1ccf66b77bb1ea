"""One record per kind: the single source of routes, discovery, RBAC names, storage keys, short names and categories.

The records of the built-in kinds stand beside their types in api/; CustomResourceDefinitions make records of the same
shape at run time. Read api/registry.py next.
"""

from dataclasses import dataclass, field

from wherry.meta.object import KubernetesObject

# Keys are etcd's as kube-apiserver writes them: kinds of its own without their group but for two, some by old names.
_GROUPS_IN_KEYS = frozenset({"apiextensions.k8s.io", "apiregistration.k8s.io"})
_PREFIXES = {
    ("", "replicationcontrollers"): "controllers",
    ("", "endpoints"): "services/endpoints",
    ("", "nodes"): "minions",
    ("", "services"): "services/specs",
    ("networking.k8s.io", "ingresses"): "ingress",
}
ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """One subresource of a kind, as discovery lists it (pods/log, deployments/scale)."""

    name: str
    kind: str
    verbs: tuple[str, ...] = ("get", "patch", "update")
    group: str | None = None
    """Group of `kind` when it is not the parent's (autoscaling for Scale, policy for Eviction)."""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """What is served at /apis/<group>/<version>/[namespaces/<ns>/]<plural>."""

    group: str
    """"" for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool
    type: type[KubernetesObject] | None
    """The Struct of one object; None for custom resources, which stay plain dicts."""
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    """Dotted paths beyond metadata.name and metadata.namespace that field selectors may use."""
    storage_version: str = ""
    """group/version (or version) under which objects are stored when it is not this one (events, autoscaling/v1)."""

    deprecated: str = ""
    """What everybody who uses this is warned of."""

    storage_prefix: str = field(init=False)
    """Key prefix of all objects, with a trailing slash: "/registry/deployments/", "/registry/<group>/<plural>/"."""

    def __post_init__(self) -> None:
        alone = self.type is not None and self.group not in _GROUPS_IN_KEYS
        path = _PREFIXES.get((self.group, self.plural), self.plural) if alone else f"{self.group}/{self.plural}"
        object.__setattr__(self, "storage_prefix", f"/registry/{path}/")

    @property
    def api_version(self) -> str:
        """`apiVersion` of an object: "v1", "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        """Kind of a list of these objects."""
        return f"{self.kind}List"

    @property
    def group_resource(self) -> str:
        """The name Kubernetes uses in messages: "pods", "deployments.apps"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def path(self) -> str:
        """The URL prefix of the group version: "/api/v1", "/apis/apps/v1"."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def key(self, namespace: str | None, name: str) -> str:
        """Storage key of one object."""
        if self.namespaced:
            return f"{self.storage_prefix}{namespace}/{name}"
        return f"{self.storage_prefix}{name}"
