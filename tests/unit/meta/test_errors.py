"""Status objects and field errors read as kube-apiserver's do."""

from typing import Any

import pytest

from wherry.meta import errors
from wherry.meta.errors import FieldError, StatusError

MESSAGES = {
    "not found": (errors.not_found("pods", "x"), 404, "NotFound", 'pods "x" not found'),
    "exists": (errors.already_exists("jobs.batch", "x"), 409, "AlreadyExists", 'jobs.batch "x" already exists'),
    "conflict": (
        errors.conflict("pods", "x", "stale"),
        409,
        "Conflict",
        'Operation cannot be fulfilled on pods "x": stale',
    ),
    "forbidden list": (
        errors.forbidden("pods", "", 'User "u" cannot list resource "pods" in API group "" in the namespace "default"'),
        403,
        "Forbidden",
        'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "default"',
    ),
    "forbidden one": (errors.forbidden("pods", "x", "no"), 403, "Forbidden", 'pods "x" is forbidden: no'),
    "forbidden path": (errors.forbidden("", "", "no"), 403, "Forbidden", "forbidden: no"),
    "method": (
        errors.method_not_supported("pods", "create"),
        405,
        "MethodNotAllowed",
        'create is not supported on resources of kind "pods"',
    ),
    "internal": (errors.internal_error("boom"), 500, "InternalError", "Internal error occurred: boom"),
    "timeout": (errors.timeout("slow"), 504, "Timeout", "Timeout: slow"),
    "too large": (
        errors.request_entity_too_large("limit is 3145728"),
        413,
        "RequestEntityTooLarge",
        "Request entity too large: limit is 3145728",
    ),
    "expired": (errors.expired("too old"), 410, "Expired", "too old"),
    "cannot patch": (
        errors.generic(422),
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    ),
}


@pytest.mark.parametrize(("error", "code", "reason", "message"), MESSAGES.values(), ids=MESSAGES)
def test_code_reason_and_message(error: StatusError, code: int, reason: str, message: str) -> None:
    status = error.status()
    assert (status["code"], status["reason"], status["message"]) == (code, reason, message)
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert str(error) == message


@pytest.mark.parametrize("error", [row[0] for row in MESSAGES.values()], ids=MESSAGES)
def test_a_client_reads_back_the_same_error(error: StatusError) -> None:
    assert StatusError.from_status(error.status(), 500).status() == error.status()


def test_a_body_that_is_no_status_gives_the_meaning_of_the_code() -> None:
    assert StatusError.from_status({"kind": "Pod"}, 503).reason == "ServiceUnavailable"
    assert errors.generic(502).reason == "InternalError"


def test_group_and_kind_are_split_in_details() -> None:
    details = errors.not_found("deployments.apps", "web").status()["details"]
    assert details == {"name": "web", "group": "apps", "kind": "deployments"}


def test_one_fault_stands_bare_and_several_in_brackets() -> None:
    name = errors.required("spec.containers[0].name")
    image = errors.required("spec.containers[0].image")
    assert str(errors.invalid("Pod", "x", [name])) == 'Pod "x" is invalid: spec.containers[0].name: Required value'
    both = errors.invalid("Pod", "x", [name, image, name])
    assert str(both) == (
        'Pod "x" is invalid: [spec.containers[0].name: Required value, spec.containers[0].image: Required value]'
    )
    assert both.status()["details"]["causes"][1] == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "spec.containers[0].image",
    }


def test_retry_after_reaches_the_client() -> None:
    status = errors.too_many_requests("wait", 3).status()
    assert status["details"] == {"retryAfterSeconds": 3}
    assert StatusError.from_status(status, 429).retry_after_seconds == 3


FIELD_ERRORS = {
    "string": (errors.invalid_value("a", 'x"y', "bad"), 'Invalid value: "x\\"y": bad'),
    "number": (errors.invalid_value("a", 7, "bad"), "Invalid value: 7: bad"),
    "boolean": (errors.invalid_value("a", True, "bad"), "Invalid value: true: bad"),
    "null": (errors.invalid_value("a", None, "bad"), 'Invalid value: "null": bad'),
    "control character": (errors.duplicate("a", "\x01\n"), 'Duplicate value: "\\x01\\n"'),
    "enumeration": (errors.not_supported("a", "x", ["A", "B"]), 'Unsupported value: "x": supported values: "A", "B"'),
    "required": (errors.required("a", "why"), "Required value: why"),
    "forbidden": (errors.field_forbidden("a", "why"), "Forbidden: why"),
    "too long": (errors.too_long("a", 63), "Too long: may not be more than 63 bytes"),
    "too many": (errors.too_many("a", 5, 3), "Too many: 5: must have at most 3 items"),
    "not found": (errors.field_not_found("a", "x"), 'Not found: "x"'),
    "internal": (errors.field_internal("a", "boom"), "Internal error: boom"),
    "type": (errors.type_invalid("a", {"b": 1}, "wrong"), 'Invalid value: {"b":1}: wrong'),
}


@pytest.mark.parametrize(("error", "message"), FIELD_ERRORS.values(), ids=FIELD_ERRORS)
def test_field_error_messages(error: FieldError, message: str) -> None:
    assert error.message() == message
    assert str(error) == f"a: {message}"


def test_empty_details_are_written_where_kubernetes_writes_them() -> None:
    status: dict[str, Any] = errors.generic(404).status()
    assert status["details"] == {}
    assert "details" not in errors.bad_request("x").status()
