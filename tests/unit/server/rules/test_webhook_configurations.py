"""Webhook configurations: what is refused, in whose words."""

from typing import Any

import pytest

from wherry.api.admissionregistration_v1 import MutatingWebhookConfiguration
from wherry.meta import wire
from wherry.server.strategies.webhooks import WebhookConfigurationStrategy

Json = dict[str, Any]
STRATEGY = WebhookConfigurationStrategy(namespaced=False, has_status=False)
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
SERVICE = {"name": "s", "namespace": "n"}


def faults(*webhooks: Json) -> list[str]:
    obj = wire.convert({"metadata": {"name": "c"}, "webhooks": list(webhooks)}, MutatingWebhookConfiguration)
    STRATEGY.default(obj)
    return [str(item) for item in STRATEGY.validate(obj)]


def webhook(**more: Any) -> Json:
    return {
        "name": "a.webhook.test",
        "clientConfig": {"url": "https://example.com/check"},
        "rules": [RULE],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


def test_a_whole_one_has_no_faults() -> None:
    assert faults(webhook(), webhook(name="b.webhook.test", clientConfig={"service": SERVICE})) == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"name": "a.b"}, 'name: Invalid value: "a.b": should be a domain with at least three segments'),
        ({"name": ""}, "name: Required value"),
        ({"sideEffects": ""}, "sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        ({"sideEffects": "Some"}, 'sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
        ({"timeoutSeconds": 31}, "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30"),
        ({"timeoutSeconds": 0}, "timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30"),
        ({"failurePolicy": "X"}, 'failurePolicy: Unsupported value: "X": supported values: "Fail", "Ignore"'),
        ({"matchPolicy": "X"}, 'matchPolicy: Unsupported value: "X"'),
        ({"reinvocationPolicy": "X"}, 'reinvocationPolicy: Unsupported value: "X"'),
        ({"admissionReviewVersions": []}, "admissionReviewVersions: Required value: must specify one of v1, v1beta1"),
        ({"admissionReviewVersions": ["v3"]}, "must include at least one of v1, v1beta1"),
        ({"admissionReviewVersions": ["v1", "v1"]}, 'admissionReviewVersions[1]: Invalid value: "v1": duplicate'),
        ({"clientConfig": {}}, "clientConfig: Required value: exactly one of url or service is required"),
        ({"clientConfig": {"url": "http://x"}}, "'https' is the only allowed URL scheme; desired format"),
        ({"clientConfig": {"url": "https://"}}, "host must be specified"),
        ({"clientConfig": {"url": "https://u@x"}}, "user information is not permitted in the URL"),
        ({"clientConfig": {"url": "https://x#f"}}, "fragments are not permitted in the URL"),
        ({"clientConfig": {"url": "https://x?q"}}, "query parameters are not permitted in the URL"),
        ({"clientConfig": {"service": {}}}, "service.name: Required value: service name is required"),
        ({"clientConfig": {"service": SERVICE | {"port": 0}}}, "port is not valid: must be between 1 and 65535"),
        ({"clientConfig": {"service": SERVICE | {"path": "a"}}}, "must start with a '/'"),
        ({"clientConfig": {"service": SERVICE | {"path": "/a//b"}}}, "segment[1] may not be empty"),
        ({"rules": [RULE | {"operations": ["*", "CREATE"]}]}, "if '*' is present, must not specify other operations"),
        ({"rules": [RULE | {"operations": ["create"]}]}, 'operations[0]: Unsupported value: "create"'),
        ({"rules": [RULE | {"apiGroups": ["*", "a"]}]}, "must not specify other API groups"),
        ({"rules": [RULE | {"apiVersions": [""]}]}, "apiVersions[0]: Required value"),
        ({"rules": [RULE | {"resources": []}]}, "rules[0].resources: Required value"),
        ({"rules": [RULE | {"resources": ["*/*", "a"]}]}, "if '*/*' is present, must not specify other resources"),
        ({"rules": [RULE | {"resources": ["*", "a"]}]}, "must not specify other resources without subresources"),
        ({"rules": [RULE | {"resources": ["a/*", "a/b"]}]}, "if 'a/*' is present, must not specify a/b"),
        ({"rules": [RULE | {"scope": "X"}]}, 'scope: Unsupported value: "X"'),
        ({"matchConditions": [{"name": "", "expression": "true"}]}, "matchConditions[0].name: Required value"),
        ({"matchConditions": [{"name": "a", "expression": " "}]}, "matchConditions[0].expression: Required value"),
        ({"namespaceSelector": {"matchExpressions": [{"key": "k", "operator": "X"}]}}, "not a valid selector operator"),
    ],
)
def test_faults_name_their_field(more: Json, says: str) -> None:
    found = faults(webhook(**more))
    assert any(says in item for item in found), found
    assert all(item.startswith("webhooks[0].") for item in found)


def test_names_are_unique_within_a_configuration() -> None:
    assert faults(webhook(), webhook()) == ['webhooks[1].name: Duplicate value: "a.webhook.test"']
