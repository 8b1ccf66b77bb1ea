"""CustomResourceDefinitions for tests: the smallest one that Kubernetes takes, and what to vary."""

from typing import Any

from tests.conformance.world import Json

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FREE: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def version(name: str = "v1", schema: Json | None = None, **more: Any) -> Json:
    """One version, served; the only one is the stored one too unless `storage=False`."""
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema or FREE}} | more


def definition(
    *versions: Json, kind: str = "Noxu", group: str = "example.com", scope: str = "Namespaced", **spec: Any
) -> Json:
    """A definition of `kind`, whose plural is the kind in lower case and an s."""
    plural = f"{kind.lower()}s"
    described = {
        "group": group,
        "scope": scope,
        "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
        "versions": list(versions) or [version()],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": described | spec,
    }


def instance(name: str, kind: str = "Noxu", api_version: str = "example.com/v1", **content: Any) -> Json:
    """An object of such a kind."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}} | content
