"""PodNodeSelector: a namespace says which nodes its pods may go to.

The annotation scheduler.alpha.kubernetes.io/node-selector ("zone=a,disk=ssd") is added to every pod's nodeSelector; the
configuration gives a default (clusterDefaultNodeSelector) and whitelists by namespace.
"""

from collections.abc import Mapping
from typing import Any

from wherry.api.core_v1 import Namespace, Pod
from wherry.meta.errors import forbidden
from wherry.server.admission.kinds import writes
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"
DEFAULT = "clusterDefaultNodeSelector"


class PodNodeSelector(AdmissionPlugin):
    """On pods that are made. Raises ValueError for selectors that cannot be read."""

    name = "PodNodeSelector"
    kinds = frozenset({("", "pods")})

    def __init__(self, caches: Caches, configuration: Mapping[str, Any]) -> None:
        self._caches = caches
        self._selectors = selectors_of(configuration)

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        if not writes(attributes, "", "pods"):
            return
        pod: Pod = attributes.object
        wanted = self._of_namespace(attributes)
        self._check(attributes, pod, wanted)
        pod.spec.nodeSelector = {**wanted, **pod.spec.nodeSelector}

    async def validate(self, attributes: Attributes) -> None:
        if not writes(attributes, "", "pods"):
            return
        selector = attributes.object.spec.nodeSelector
        self._check(attributes, attributes.object, self._of_namespace(attributes))
        allowed = self._selectors.get(attributes.namespace)
        if allowed and any(allowed.get(key) != value for key, value in selector.items()):
            text = "pod node label selector labels conflict with its namespace whitelist"
            raise forbidden("pods", attributes.name, text)

    def _check(self, attributes: Attributes, pod: Pod, wanted: Mapping[str, str]) -> None:
        if any(pod.spec.nodeSelector.get(key, value) != value for key, value in wanted.items()):
            text = "pod node label selector conflicts with its namespace node label selector"
            raise forbidden("pods", attributes.name, text)

    def _of_namespace(self, attributes: Attributes) -> Mapping[str, str]:
        namespace = self._caches.peek(Namespace, None, attributes.namespace)
        text = namespace.metadata.annotations.get(ANNOTATION) if namespace is not None else None
        if text is None:
            return self._selectors.get(DEFAULT, {})
        try:
            return parsed(text)
        except ValueError as error:
            raise forbidden("pods", attributes.name, str(error)) from error


def selectors_of(configuration: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The configured selectors by namespace, and the default. Raises ValueError."""
    given: Mapping[str, str] = configuration.get("podNodeSelectorPluginConfig") or configuration
    return {name: parsed(text) for name, text in given.items() if name not in ("apiVersion", "kind")}


def parsed(text: str) -> dict[str, str]:
    """zone=a,disk=ssd as a map. Raises ValueError."""
    found = {}
    for part in text.split(",") if text.strip() else ():
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"invalid selector: [{part.strip()}]")
        found[key.strip()] = value.strip()
    return found
