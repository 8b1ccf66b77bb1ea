"""What the query of a LIST, WATCH or DELETE of a collection asks for, and what does not fit together.

Continue tokens are upstream's: base64 of the revision and of the key to go on from. Source: k8s.io/apimachinery,
apis/meta/internalversion; k8s.io/apiserver, storage/continue.go.
"""

import base64
import posixpath
from dataclasses import dataclass, replace
from typing import Any

import orjson

from wherry.meta.errors import (
    FieldError,
    StatusError,
    bad_request,
    field_forbidden,
    invalid,
    invalid_value,
    not_supported,
)
from wherry.server.features import Features
from wherry.server.http import Request
from wherry.server.json_faults import syntax_fault

EXACT, NOT_OLDER = "Exact", "NotOlderThan"
ANY_REVISION = -1
"""In a token: go on with whatever there is now."""
_VERSION = "meta.k8s.io/v1"
_MATCH = "resourceVersionMatch"


@dataclass(frozen=True, slots=True)
class ListParameters:
    """What the query says; the names are its own."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""
    send_initial_events: bool | None = None
    bookmarks: bool = False
    timeout_seconds: int | None = None


_PLAIN = ListParameters()


def list_parameters(request: Request, features: Features) -> ListParameters:
    """Read the query. Raises 400 for what cannot be read, 422 for what does not fit together."""
    watch = request.info.verb == "watch"
    if not request.query and not watch:
        return _PLAIN
    first = request.first
    parameters = ListParameters(
        first("labelSelector"),
        first("fieldSelector"),
        max(0, integer(first("limit")) or 0),
        first("continue"),
        first("resourceVersion"),
        first(_MATCH),
        None if "sendInitialEvents" not in request.query else truth(first("sendInitialEvents")),
        truth(first("allowWatchBookmarks", "false")),
        integer(first("timeoutSeconds")),
    )
    lists = features.enabled("WatchList")
    silent = parameters.send_initial_events is None and not parameters.match
    if watch and lists and silent and parameters.resource_version in ("", "0"):  # as watches of old began
        return replace(parameters, send_initial_events=True, match=NOT_OLDER)
    errors = _watch_faults(parameters, lists=lists) if watch else _list_faults(parameters)
    if errors:
        raise invalid("ListOptions.meta.k8s.io", "", errors)
    return parameters


def truth(text: str) -> bool:
    """A truth value in a query: whatever is not denied."""
    return text.lower() not in ("0", "false")


def integer(text: str) -> int | None:
    """A number in a query; None for none. Raises 400."""
    if not text:
        return None
    digits = text.lstrip("+-")
    if not (digits.isascii() and digits.isdigit()) or len(text) - len(digits) > 1:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if not -(2**63) <= int(text) < 2**63:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def parse_revision(text: str) -> int:
    """A resourceVersion; 0 for none. Raises 400."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and int(text) < 2**64:
        return int(text)
    why = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
    fault = invalid_value("resourceVersion", text, f'strconv.ParseUint: parsing "{text}": {why}')
    raise bad_request(f"invalid resource version: {fault}")


def _list_faults(parameters: ListParameters) -> list[FieldError]:
    errors: list[FieldError] = []
    match = parameters.match
    if match:
        if not parameters.resource_version:
            errors.append(field_forbidden(_MATCH, f"{_MATCH} is forbidden unless resourceVersion is provided"))
        if parameters.continue_token:
            errors.append(field_forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided"))
        if match not in (EXACT, NOT_OLDER):
            errors.append(not_supported(_MATCH, match, [EXACT, NOT_OLDER, ""]))
        if match == EXACT and parameters.resource_version == "0":
            errors.append(field_forbidden(_MATCH, f'{_MATCH} "exact" is forbidden for resourceVersion "0"'))
    if parameters.send_initial_events is not None:
        errors.append(field_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


def _watch_faults(parameters: ListParameters, *, lists: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    match, initial = parameters.match, parameters.send_initial_events
    if initial is not None:
        if match != NOT_OLDER:
            errors.append(field_forbidden(_MATCH, f"sendInitialEvents requires setting {_MATCH} to {NOT_OLDER}"))
        if not lists:
            text = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            errors.append(field_forbidden("sendInitialEvents", text))
    if match:
        if initial is None:
            text = f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided"
            errors.append(field_forbidden(_MATCH, text))
        if match != NOT_OLDER:
            errors.append(not_supported(_MATCH, match, [NOT_OLDER]))
        if parameters.continue_token:
            errors.append(field_forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided"))
    return errors


# Continue tokens


def make_token(revision: int, start: str) -> str:
    """A token for the page from the key `start` on, as of `revision`."""
    value = {"v": _VERSION, "rv": revision, "start": start}
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def read_token(parameters: ListParameters) -> tuple[int, str]:
    """The revision (or ANY_REVISION) and the key to go on from. Raises 400."""
    text = parameters.continue_token
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise _bad_token(": illegal base64 data") from error
    if why := syntax_fault(data):
        raise _bad_token(f": {why}")
    try:
        value: dict[str, Any] = dict(orjson.loads(data))
        version, revision, start = str(value.get("v", "")), int(value.get("rv", 0)), str(value.get("start", ""))
    except (TypeError, ValueError) as error:
        raise _bad_token(f": {error}") from error
    if version != _VERSION:
        raise _bad_token(f": server does not recognize this encoded version {version}")
    if not revision:
        raise _bad_token(f": incorrect encoded start resourceVersion (version {_VERSION})")
    if not start:
        raise _bad_token(f": encoded start key empty (version {_VERSION})")
    rooted = start if start.startswith("/") else f"/{start}"
    if posixpath.normpath(rooted) != rooted:
        raise _bad_token(f": {start}")
    if parameters.resource_version not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    return max(revision, ANY_REVISION), start


def _bad_token(why: str) -> StatusError:
    return bad_request(f"invalid continue token: continue key is not valid{why}")
