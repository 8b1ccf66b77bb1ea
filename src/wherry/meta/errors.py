"""The Status family: every refusal of the API, with Kubernetes' code, reason, message and details.

`StatusError` is raised by the server's inner parts and by clients alike; `status()` is the object on the wire and
`from_status` reads one back. `FieldError` is one fault in one field; `invalid` gathers them. `resource` arguments are
names as messages spell them ("pods", "deployments.apps"); `kind` likewise ("Pod", "Deployment.apps").

Source of codes, reasons and messages: k8s.io/apimachinery, api/errors and util/validation/field.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

Details = dict[str, Any]


def quote(text: str) -> str:
    """`text` in double quotes, escaped as Go's %q does."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_ESCAPES.get(char) or _escape(char) for char in text) + '"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b"} | {
    "\f": "\\f",
    "\v": "\\v",
}


def _escape(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# One fault in one field ----------------------------------------------------------------------------------------------

REQUIRED, INVALID, NOT_FOUND = "FieldValueRequired", "FieldValueInvalid", "FieldValueNotFound"
DUPLICATE, NOT_SUPPORTED, FORBIDDEN = "FieldValueDuplicate", "FieldValueNotSupported", "FieldValueForbidden"
TOO_LONG, TOO_MANY, TYPE_INVALID = "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"
INTERNAL = "InternalError"

_TITLES = {
    REQUIRED: "Required value",
    INVALID: "Invalid value",
    NOT_FOUND: "Not found",
    DUPLICATE: "Duplicate value",
    NOT_SUPPORTED: "Unsupported value",
    FORBIDDEN: "Forbidden",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    TYPE_INVALID: "Invalid value",
    INTERNAL: "Internal error",
}
_WITHOUT_VALUE = frozenset({REQUIRED, FORBIDDEN, TOO_LONG, INTERNAL})
OMITTED: Any = object()
"""The value of a fault that is not worth repeating."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """A fault of `type` (the cause's reason) at `field` ("spec.containers[0].name")."""

    type: str
    field: str
    bad_value: Any = None
    detail: str = ""

    def message(self) -> str:
        """What the cause says: `Invalid value: "x": detail`."""
        body = _TITLES[self.type]
        if self.type not in _WITHOUT_VALUE and self.bad_value is not OMITTED:
            body = f"{body}: {_show(self.bad_value)}"
        return f"{body}: {self.detail}" if self.detail else body

    def __str__(self) -> str:
        return f"{self.field or '<nil>'}: {self.message()}"


def _show(value: Any) -> str:
    if value is None:
        return '"null"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=str)


def required(path: str, detail: str = "") -> FieldError:
    """A value is missing."""
    return FieldError(REQUIRED, path, "", detail)


def invalid_value(path: str, value: Any, detail: str) -> FieldError:
    """A value is malformed or out of bounds."""
    return FieldError(INVALID, path, value, detail)


def type_invalid(path: str, value: Any, detail: str) -> FieldError:
    """A value has the wrong JSON type."""
    return FieldError(TYPE_INVALID, path, value, detail)


def not_supported(path: str, value: Any, valid_values: Sequence[str] = ()) -> FieldError:
    """A value is none of an enumeration's."""
    detail = "supported values: " + ", ".join(quote(item) for item in valid_values) if valid_values else ""
    return FieldError(NOT_SUPPORTED, path, value, detail)


def duplicate(path: str, value: Any) -> FieldError:
    """A value that must be unique is there twice."""
    return FieldError(DUPLICATE, path, value)


def field_forbidden(path: str, detail: str) -> FieldError:
    """A well-formed value that may not be there under these conditions."""
    return FieldError(FORBIDDEN, path, "", detail)


def field_not_found(path: str, value: Any) -> FieldError:
    """A value that refers to nothing."""
    return FieldError(NOT_FOUND, path, value)


def too_long(path: str, max_length: int) -> FieldError:
    """A text of more bytes than allowed; the text itself is not repeated."""
    detail = f"may not be more than {max_length} byte{'' if max_length == 1 else 's'}"
    return FieldError(TOO_LONG, path, "", detail if max_length >= 0 else "value is too long")


def too_many(path: str, actual: int, max_items: int) -> FieldError:
    """A list or map of more items than allowed."""
    plural = "" if max_items == 1 else "s"
    return FieldError(TOO_MANY, path, actual, f"must have at most {max_items} item{plural}")


def field_internal(path: str, detail: str) -> FieldError:
    """A fault that is not the user's."""
    return FieldError(INTERNAL, path, None, detail)


def aggregate(errors: Iterable[FieldError]) -> str:
    """All faults in one message: bare when there is one, else in brackets; repeats once."""
    messages = list(dict.fromkeys(map(str, errors)))
    return messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"


# The Status ----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class StatusError(Exception):
    """A request that failed: HTTP code, machine-readable reason, message, details (as on the wire)."""

    code: int
    reason: str
    message: str
    details: Details = field(default_factory=dict)
    continue_token: str = ""
    """Of an expired list: goes on with the rest as it is now."""

    def __str__(self) -> str:
        return self.message

    def status(self) -> dict[str, Any]:
        """The Status object, members in Kubernetes' order."""
        metadata = {"continue": self.continue_token} if self.continue_token else {}
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure"}
        if self.message:
            status["message"] = self.message
        if self.reason:
            status["reason"] = self.reason
        if self.details or self.reason in _ALWAYS_DETAILED:
            status["details"] = {key: value for key, value in self.details.items() if value}
        status["code"] = self.code
        return status

    @property
    def retry_after_seconds(self) -> int:
        """How long the server asks to wait; 0 when it does not."""
        return int(self.details.get("retryAfterSeconds", 0))

    @classmethod
    def from_status(cls, status: dict[str, Any], http_code: int) -> "StatusError":
        """What a client raises for the body of a failed request; a body that is no Status gives a generic error."""
        if status.get("kind") != "Status":
            return generic(http_code)
        code = int(status.get("code") or http_code)
        return cls(code, status.get("reason", ""), status.get("message", ""), dict(status.get("details") or {}))


_ALWAYS_DETAILED = frozenset(
    {"NotFound", "AlreadyExists", "Forbidden", "Conflict", "Invalid", "MethodNotAllowed", "ServerTimeout", "Timeout"}
)


def _name_details(qualified: str, name: str) -> Details:
    plural, _, group = qualified.partition(".")
    return {"name": name, "group": group, "kind": plural}


def not_found(resource: str, name: str) -> StatusError:
    """404: pods "x" not found."""
    return StatusError(404, "NotFound", f"{resource} {quote(name)} not found", _name_details(resource, name))


def already_exists(resource: str, name: str) -> StatusError:
    """409: pods "x" already exists."""
    details = _name_details(resource, name)
    return StatusError(409, "AlreadyExists", f"{resource} {quote(name)} already exists", details)


def generate_name_conflict(resource: str, name: str) -> StatusError:
    """409: every name tried for a generateName was taken."""
    text = f"{resource} {quote(name)} already exists, the server was not able to generate a unique name for the object"
    return StatusError(409, "AlreadyExists", text, _name_details(resource, name))


def conflict(resource: str, name: str, why: str) -> StatusError:
    """409: Operation cannot be fulfilled on pods "x": why."""
    text = f"Operation cannot be fulfilled on {resource} {quote(name)}: {why}"
    return StatusError(409, "Conflict", text, _name_details(resource, name))


OBJECT_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def apply_conflict(message: str, causes: list[dict[str, str]]) -> StatusError:
    """409 of server-side apply; causes name the other managers' fields."""
    return StatusError(409, "Conflict", message, {"causes": causes})


def invalid(kind: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422: Pod "x" is invalid: [...], one cause per field error."""
    details = _name_details(kind, name)
    details["causes"] = [
        {"reason": error.type, "message": error.message(), "field": error.field or "<nil>"} for error in errors
    ]
    text = f"{kind} {quote(name)} is invalid"
    return StatusError(422, "Invalid", f"{text}: {aggregate(errors)}" if errors else text, details)


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> StatusError:
    """401: nobody the server knows."""
    return StatusError(401, "Unauthorized", message)


def forbidden(resource: str, name: str, why: str) -> StatusError:
    """403: pods "x" is forbidden: why. An empty `resource` is a path that is none ("forbidden: why")."""
    details = _name_details(resource, name)
    if not resource:
        return StatusError(403, "Forbidden", f"forbidden: {why}", details)
    subject = f"{resource} {quote(name)}" if name else resource
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def method_not_supported(resource: str, action: str) -> StatusError:
    """405: create is not supported on resources of kind "pods"."""
    text = f"{action} is not supported on resources of kind {quote(resource)}"
    return StatusError(405, "MethodNotAllowed", text, _name_details(resource, ""))


def gone(message: str) -> StatusError:
    """410 with reason Gone."""
    return StatusError(410, "Gone", message)


def expired(message: str) -> StatusError:
    """410 with reason Expired: a resourceVersion or continue token older than what is kept."""
    return StatusError(410, "Expired", message)


def too_many_requests(
    message: str, retry_after_seconds: int = 0, causes: list[dict[str, str]] | None = None
) -> StatusError:
    """429; an eviction that a disruption budget refuses brings causes."""
    return StatusError(
        429, "TooManyRequests", message, {"causes": causes or [], "retryAfterSeconds": retry_after_seconds}
    )


def request_entity_too_large(message: str) -> StatusError:
    """413: Request entity too large: message."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """415: the body is in no known format."""
    text = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", text)


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """406: none of the formats asked for can be given."""
    return StatusError(406, "NotAcceptable", "only the following media types are accepted: " + ", ".join(accepted))


def internal_error(why: str) -> StatusError:
    """500: Internal error occurred: why."""
    return StatusError(500, "InternalError", f"Internal error occurred: {why}", {"causes": [{"message": why}]})


def server_timeout(resource: str, operation: str, retry_after_seconds: int = 0) -> StatusError:
    """500 with reason ServerTimeout: try again."""
    text = f"The {operation} operation against {resource} could not be completed at this time, please try again."
    details = _name_details(resource, operation) | {"retryAfterSeconds": retry_after_seconds}
    return StatusError(500, "ServerTimeout", text, details)


def service_unavailable(message: str) -> StatusError:
    """503."""
    return StatusError(503, "ServiceUnavailable", message)


def timeout(message: str, retry_after_seconds: int = 0) -> StatusError:
    """504: Timeout: message."""
    return StatusError(504, "Timeout", f"Timeout: {message}", {"retryAfterSeconds": retry_after_seconds})


_GENERIC = {
    400: ("BadRequest", "the server rejected our request for an unknown reason"),
    401: ("Unauthorized", "the server has asked for the client to provide credentials"),
    403: ("Forbidden", "the server does not allow access to the requested resource"),
    404: ("NotFound", "the server could not find the requested resource"),
    405: ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
    406: ("NotAcceptable", "the server was unable to respond with a content type that the client supports"),
    409: ("Conflict", "the server reported a conflict"),
    413: ("RequestEntityTooLarge", "the server responded that the request entity was too large"),
    415: ("UnsupportedMediaType", "the server was unable to decode the request's content type"),
    422: ("Invalid", "the server rejected our request due to an error in our request"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "the server was unable to return a response in the time allotted, but may still be processing"),
}


def generic(code: int) -> StatusError:
    """What a bare HTTP code means: unknown paths (404), failed JSON patches (422), answers without a Status."""
    reason, message = _GENERIC.get(code, ("", ""))
    if code >= 500 and not reason:
        reason, message = (
            "InternalError",
            f"an error on the server ({quote('unknown')}) has prevented the request from succeeding",
        )
    return StatusError(
        code,
        reason,
        message or f"the server responded with the status code {code} but did not return more information",
        {},
    )
