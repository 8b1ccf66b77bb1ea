"""Webhook configurations: their defaults, what they must be, and the rules of whom to call that conversion shares.

Source: kubernetes pkg/apis/admissionregistration/validation and k8s.io/apiserver, util/webhook.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from wherry.api.meta_v1 import LabelSelector
from wherry.meta import names
from wherry.meta.errors import duplicate, invalid_value, not_supported, required
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset

REVIEW_VERSIONS = ("v1", "v1beta1")
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
_FORM = "; desired format: https://host[/path]"


class WebhookConfigurationStrategy(KindStrategy):
    """Mutating and validating webhook configurations."""

    generation_counts = ("webhooks",)

    def default(self, obj: Any) -> None:
        for webhook in obj.webhooks:
            unset(webhook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
            webhook.namespaceSelector = webhook.namespaceSelector or LabelSelector()
            webhook.objectSelector = webhook.objectSelector or LabelSelector()
            if hasattr(webhook, "reinvocationPolicy"):
                unset(webhook, reinvocationPolicy="Never")
            for rule in webhook.rules:
                unset(rule, scope="*")
            if webhook.clientConfig.service is not None:
                unset(webhook.clientConfig.service, port=443)

    def rules(self, obj: Any) -> Faults:
        yield from self._webhooks(obj)
        yield from _conditions(obj)

    def changed_rules(self, new: Any, old: Any) -> Faults:
        """Expressions that were there before are not compiled again."""
        yield from self._webhooks(new)
        yield from _conditions(new, old)

    def _webhooks(self, obj: Any) -> Faults:
        seen: set[str] = set()
        for index, webhook in enumerate(obj.webhooks):
            path = f"webhooks[{index}]"
            yield from _webhook(path, webhook)
            yield from review_versions(f"{path}.admissionReviewVersions", webhook.admissionReviewVersions)
            if webhook.name in seen:
                yield duplicate(f"{path}.name", webhook.name)
            seen.add(webhook.name)


def _webhook(path: str, webhook: Any) -> Faults:
    yield from _qualified(f"{path}.name", webhook.name)
    for index, rule in enumerate(webhook.rules):
        yield from rule_with_operations(f"{path}.rules[{index}]", rule)
    yield from checks.one_of(f"{path}.failurePolicy", webhook.failurePolicy, ("Fail", "Ignore"))
    yield from checks.one_of(f"{path}.matchPolicy", webhook.matchPolicy, ("Equivalent", "Exact"))
    if not webhook.sideEffects:
        yield required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    else:
        yield from checks.one_of(f"{path}.sideEffects", webhook.sideEffects, ("None", "NoneOnDryRun"))
    seconds = webhook.timeoutSeconds
    if seconds is not None and not 1 <= seconds <= 30:
        yield invalid_value(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
    yield from checks.label_selector(f"{path}.namespaceSelector", webhook.namespaceSelector)
    yield from checks.label_selector(f"{path}.objectSelector", webhook.objectSelector)
    yield from client_config(f"{path}.clientConfig", webhook.clientConfig)
    yield from checks.one_of(
        f"{path}.reinvocationPolicy", getattr(webhook, "reinvocationPolicy", None), ("IfNeeded", "Never")
    )


def _qualified(path: str, name: str) -> Faults:
    if not name:
        yield required(path)
        return
    if faults := names.dns1123_subdomain(name):
        yield invalid_value(path, name, ",".join(faults))
    if name.count(".") < 2:
        yield invalid_value(path, name, "should be a domain with at least three segments separated by dots")


def rule_with_operations(path: str, rule: Any) -> Faults:
    """One rule of a webhook or policy."""
    if not rule.operations:
        yield required(f"{path}.operations")
    yield from _alone(f"{path}.operations", rule.operations, "operations")
    for index, operation in enumerate(rule.operations):
        if operation not in OPERATIONS:
            yield not_supported(f"{path}.operations[{index}]", operation, OPERATIONS)
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = getattr(rule, field)
        if not values:
            yield required(f"{path}.{field}")
        yield from _alone(f"{path}.{field}", values, what)
    for index, version in enumerate(rule.apiVersions):
        if not version:
            yield required(f"{path}.apiVersions[{index}]")
    yield from _resources(f"{path}.resources", rule.resources)
    yield from checks.one_of(f"{path}.scope", rule.scope, SCOPES)


def _alone(path: str, values: Sequence[str], what: str) -> Faults:
    if len(values) > 1 and "*" in values:
        yield invalid_value(path, values, f"if '*' is present, must not specify other {what}")


def _resources(path: str, resources: Sequence[str]) -> Faults:
    if not resources:
        yield required(path)
    all_below: set[str] = set()
    everywhere: set[str] = set()
    for index, item in enumerate(resources):
        if not item:
            yield required(f"{path}[{index}]")
        name, slash, sub = item.partition("/")
        if not slash:
            continue
        if name in all_below:
            yield invalid_value(f"{path}[{index}]", item, f"if '{name}/*' is present, must not specify {item}")
        if sub in everywhere:
            yield invalid_value(f"{path}[{index}]", item, f"if '*/{sub}' is present, must not specify {item}")
        if sub == "*":
            all_below.add(name)
        if name == "*":
            everywhere.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        yield invalid_value(path, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and any(item and item != "*" and "/" not in item for item in resources):
        text = "if '*' is present, must not specify other resources without subresources"
        yield invalid_value(path, resources, text)


def _conditions(new: Any, old: Any = None) -> Faults:
    known = [item for webhook in old.webhooks for item in webhook.matchConditions] if old is not None else []
    for index, webhook in enumerate(new.webhooks):
        if webhook.matchConditions:
            from wherry.server.cel.conditions import condition_faults  # CEL is large, and few webhooks use it

            yield from condition_faults(f"webhooks[{index}].matchConditions", webhook.matchConditions, known=known)


def review_versions(path: str, versions: Sequence[str], missing: str = "must specify one of v1, v1beta1") -> Faults:
    """The versions of a review object that a webhook understands."""
    if not versions:
        yield required(path, missing)
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield invalid_value(f"{path}[{index}]", version, "duplicate version")
        else:
            yield from checks.named(f"{path}[{index}]", version, names.dns1035_label)
    if not set(REVIEW_VERSIONS) & set(versions):
        yield invalid_value(path, versions, f"must include at least one of {', '.join(REVIEW_VERSIONS)}")


def client_config(path: str, config: Any) -> Faults:
    """Whom to call: a URL or a Service."""
    if (config.url is None) == (config.service is None):
        yield required(path, "exactly one of url or service is required")
    elif config.url is not None:
        yield from _url(f"{path}.url", config.url)
    else:
        yield from _service(f"{path}.service", config.service)


def _url(path: str, url: str) -> Faults:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield required(path, f"url must be a valid URL: {error}{_FORM}")
        return
    if parts.scheme != "https":
        yield invalid_value(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}")
    user, at, host = parts.netloc.rpartition("@")
    if not host:
        yield invalid_value(path, host, f"host must be specified{_FORM}")
    if at:
        yield invalid_value(path, user, f"user information is not permitted in the URL{_FORM}")
    if parts.fragment:
        yield invalid_value(path, parts.fragment, f"fragments are not permitted in the URL{_FORM}")
    if parts.query:
        yield invalid_value(path, parts.query, f"query parameters are not permitted in the URL{_FORM}")


def _service(path: str, service: Any) -> Faults:
    if not service.name:
        yield required(f"{path}.name", "service name is required")
    if not service.namespace:
        yield required(f"{path}.namespace", "service namespace is required")
    port = service.port if service.port is not None else 443
    if not 1 <= port <= 65535:
        yield invalid_value(f"{path}.port", port, f"port is not valid: {names.out_of_range(1, 65535)}")
    yield from _url_path(f"{path}.path", service.path or "")


def _url_path(path: str, value: str) -> Faults:
    if value in ("", "/"):
        return
    if value == "//":
        yield invalid_value(path, value, "segment[0] may not be empty")
        return
    if not value.startswith("/"):
        yield invalid_value(path, value, "must start with a '/'")
    for index, step in enumerate(value[1:].removesuffix("/").split("/")):
        if not step:
            yield invalid_value(path, value, f"segment[{index}] may not be empty")
        for fault in names.dns1123_subdomain(step) if step else ():
            yield invalid_value(path, value, f"segment[{index}]: {fault}")
