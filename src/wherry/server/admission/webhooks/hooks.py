"""Webhook configurations compiled: whom to ask about what, in which order.

A configuration is compiled once, when it changes. One that cannot be compiled (a broken caBundle) is kept with its
fault, which its failure policy then weighs like any failed call.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from wherry.server.admission.matching import Matching
from wherry.server.callouts.client import CalloutError, Callouts, Remote

DEFAULT_TIMEOUT_SECONDS = 10
VERSIONS = ("v1", "v1beta1")
"""Of AdmissionReview, as this server speaks them."""


@dataclass(slots=True, eq=False)
class Hook:
    """One webhook, ready to be asked."""

    name: str
    configuration: str
    matching: Matching
    remote: Remote | CalloutError
    version: str
    timeout_seconds: int
    ignore_failure: bool
    dry_run_safe: bool
    reinvoke: bool
    conditions: list[Any]


def compile_hooks(configuration: Any, callouts: Callouts) -> list[Hook]:
    """The webhooks of a MutatingWebhookConfiguration or ValidatingWebhookConfiguration, in their order."""
    name = configuration.metadata.name or ""
    return [_hook(name, webhook, callouts) for webhook in configuration.webhooks]


def _hook(configuration: str, webhook: Any, callouts: Callouts) -> Hook:
    return Hook(
        name=webhook.name,
        configuration=configuration,
        matching=Matching(webhook.rules, webhook.matchPolicy, webhook.namespaceSelector, webhook.objectSelector),
        remote=remote_of(webhook.clientConfig, callouts),
        version=next((it for it in webhook.admissionReviewVersions if it in VERSIONS), "v1"),
        timeout_seconds=webhook.timeoutSeconds or DEFAULT_TIMEOUT_SECONDS,
        ignore_failure=webhook.failurePolicy == "Ignore",
        dry_run_safe=webhook.sideEffects in ("None", "NoneOnDryRun"),
        reinvoke=getattr(webhook, "reinvocationPolicy", None) == "IfNeeded",
        conditions=_conditions(webhook.matchConditions),
    )


def _conditions(conditions: list[Any]) -> list[Any]:
    if not conditions:
        return []
    from wherry.server.cel.conditions import compile_conditions  # CEL is large, and few webhooks use it

    return list(compile_conditions(conditions))


def remote_of(config: Any, callouts: Callouts) -> Remote | CalloutError:
    """Whom a clientConfig (of an admission or a conversion webhook) means; its fault if nobody can be."""
    try:
        ca = base64.b64decode(config.caBundle, validate=True) if config.caBundle else None
        service = config.service
        if service is None:
            return callouts.to_url(config.url or "", ca)
        return callouts.to_service(service.namespace, service.name, service.port or 443, service.path or "", ca=ca)
    except (binascii.Error, CalloutError) as error:
        return error if isinstance(error, CalloutError) else CalloutError(f"caBundle is not base64: {error}")
