"""The parameter objects that a binding names: one by name, or all that a selector selects.

Source: apiserver, admission/plugin/policy/generic/policy_dispatcher.go.
"""

from typing import Any

import orjson

from wherry.meta import labels
from wherry.server.registry import Registry, Served


class ConfigurationError(Exception):
    """The policy or the binding cannot be put to use; its failure policy says what follows."""


def params_of(policy: Any, binding: Any, namespace: str, registry: Registry) -> list[Any]:
    """Objects as JSON; [None] for a policy without parameters. Raises ConfigurationError."""
    kind, ref = policy.spec.paramKind, binding.spec.paramRef
    if kind is None or ref is None:
        return [None]
    served = _served(kind, registry)
    if served is None:
        text = f"&ParamKind{{APIVersion:{kind.apiVersion},Kind:{kind.kind},}}"
        raise ConfigurationError(f"paramKind kind `{text}` not known")
    found = _selected(served, ref, _namespace(served, ref, namespace))
    if not found and ref.parameterNotFoundAction == "Deny":
        raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found


def _served(kind: Any, registry: Registry) -> Served | None:
    wanted = kind.apiVersion, kind.kind
    return next((it for it in registry.served() if (it.resource.api_version, it.resource.kind) == wanted), None)


def _namespace(served: Served, ref: Any, namespace: str) -> str | None:
    if not served.resource.namespaced:
        if ref.namespace:
            raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        return None
    if not (ref.namespace or namespace):
        text = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
        raise ConfigurationError(text)
    return ref.namespace or namespace


def _selected(served: Served, ref: Any, namespace: str | None) -> list[Any]:
    if ref.name:
        entry = served.cache.get(namespace or "", ref.name)
        return [] if entry is None else [orjson.loads(served.present(entry))]
    if ref.selector is None:
        raise ConfigurationError("one of name or selector must be provided")
    selector = labels.from_label_selector(ref.selector)
    entries = [
        item
        for item in served.cache.entries.values()
        if (namespace is None or item.namespace == namespace) and selector.matches(item.labels)
    ]
    return [orjson.loads(served.present(item)) for item in entries]
