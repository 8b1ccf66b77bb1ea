"""audit.k8s.io/v1 Event, as plain JSON values in Kubernetes' order of fields, and the old one-line format."""

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from wherry.meta.errors import quote
from wherry.server.audit.policy import METADATA, REQUEST_RESPONSE, Verdict
from wherry.server.http import Request, Response, UserInfo

Event = dict[str, Any]
_ORDER = (
    *("kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "user", "impersonatedUser"),
    *(
        "authenticationMetadata",
        "sourceIPs",
        "userAgent",
        "objectRef",
        "responseStatus",
        "requestObject",
        "responseObject",
        "requestReceivedTimestamp",
    ),
    *("stageTimestamp", "annotations"),
)
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
USER_AGENT_MAX = 1024


def begun(request: Request, user: UserInfo, level: str, now: datetime) -> Event:
    """What is known of a request when it comes in."""
    query = f"?{request.query_string}" if request.query_string else ""
    event: Event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": level,
        "auditID": request.audit_id,
        "requestURI": f"{request.path}{query}",
        "verb": request.info.verb,
        "user": _user(user),
        "sourceIPs": source_addresses(request.headers, request.remote),
        "requestReceivedTimestamp": _time(now),
    }
    agent = request.headers.get("user-agent", "")
    if agent:
        event["userAgent"] = agent if len(agent) <= USER_AGENT_MAX else f"{agent[:USER_AGENT_MAX]}...TRUNCATED"
    info = request.info
    if info.is_resource_request:
        event["objectRef"] = _filled(
            resource=info.resource,
            namespace=info.namespace,
            name=info.name,
            apiGroup=info.api_group,
            apiVersion=info.api_version,
            subresource=info.subresource,
        )
    return event


def add_request(event: Event, request: Request, user: UserInfo, verdict: Verdict) -> None:
    """What the request's handling has told: the impersonated user, the object's name, its content."""
    if request.user is not None and request.user is not user:
        event["impersonatedUser"] = _user(request.user)
        constraint = getattr(request.user, "constraint", "")
        if constraint:
            event["authenticationMetadata"] = {"impersonationConstraint": constraint}
    info = request.info
    if not info.is_resource_request or info.verb not in _WRITES or not request.body:
        return
    try:
        value = orjson.loads(request.body)
    except ValueError:
        value = None  # YAML, or broken: what cannot be parsed is not recorded
    if not isinstance(value, dict | list):
        return
    reference = event["objectRef"]
    if isinstance(value, dict) and info.verb in ("create", "update"):
        meta = value.get("metadata")
        if isinstance(meta, dict):
            for name in ("name", "namespace", "uid", "resourceVersion"):
                if isinstance(meta.get(name), str) and meta[name]:
                    reference.setdefault(name, meta[name])
    if verdict.level > METADATA:
        event["requestObject"] = _without_managed(value) if verdict.omit_managed_fields else value


def add_response(event: Event, response: Response, verdict: Verdict) -> None:
    """How it ended, and with which object."""
    event["responseStatus"] = {"metadata": {}, "code": response.status}
    wanted = verdict.level == REQUEST_RESPONSE and "objectRef" in event
    if response.status < 400 and not wanted:
        return
    body = response.body if isinstance(response.body, bytes) else b"".join(response.body)  # type: ignore[arg-type]
    try:
        value = orjson.loads(body)
    except ValueError:
        return
    if not isinstance(value, dict):
        return
    if value.get("kind") == "Status":
        named = ("status", "message", "reason", "details", "code")
        event["responseStatus"] = {"metadata": {}, **{key: value[key] for key in named if key in value}}
    if wanted:
        event["responseObject"] = _without_managed(value) if verdict.omit_managed_fields else value


def at_stage(event: Event, stage: str, now: datetime, annotations: Mapping[str, str]) -> Event:
    """A copy for one stage, its fields in order."""
    made = {**event, "stage": stage, "stageTimestamp": _time(now)}
    if annotations:
        made["annotations"] = dict(annotations)
    return {key: made[key] for key in _ORDER if key in made}


def source_addresses(headers: Mapping[str, str], remote: str) -> list[str]:
    """Every address that the request says it came by, and the one it really came from."""
    said = [part.strip() for part in headers.get("x-forwarded-for", "").split(",")]
    found = [part for part in said if _is_address(part)]
    real = headers.get("x-real-ip", "").strip()
    for address in (real, remote):
        if _is_address(address) and (not found or found[-1] != address):
            found.append(address)
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def legacy_line(event: Event) -> str:
    """One event as --audit-log-format=legacy has it."""
    user, reference = event["user"], event.get("objectRef", {})
    claimed = event.get("impersonatedUser", {})
    groups = ",".join(quote(group) for group in user.get("groups", []))
    as_groups = ",".join(quote(group) for group in claimed.get("groups", []))
    response = event.get("responseStatus", {}).get("code", "<deferred>")
    facts = {
        "id": event["auditID"],
        "stage": event["stage"],
        "ip": (event["sourceIPs"] or ["<unknown>"])[0],
        "method": event["verb"],
        "user": user.get("username") or "<none>",
        "groups": groups or "<none>",
        "as": claimed.get("username") or "<self>",
        "asgroups": as_groups or "<lookup>",
        "user-agent": event.get("userAgent", ""),
        "namespace": reference.get("namespace") or "<none>",
        "uri": event["requestURI"],
        "response": str(response),
    }
    plain = ("groups", "asgroups")
    shown = (f"{key}={value if key in plain and value[0] == chr(34) else quote(value)}" for key, value in facts.items())
    return f"{event['stageTimestamp']} AUDIT: {' '.join(shown)}"


def _user(user: UserInfo) -> dict[str, Any]:
    return _filled(username=user.name, uid=user.uid, groups=user.groups, extra=user.extra)


def _filled(**facts: Any) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _without_managed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    made = dict(value)
    meta = made.get("metadata")
    if isinstance(meta, dict) and "managedFields" in meta:
        made["metadata"] = {key: item for key, item in meta.items() if key != "managedFields"}
    items = made.get("items")
    if isinstance(items, list):
        made["items"] = [_without_managed(item) for item in items]
    return made
