"""AdmissionReview: the question put to one webhook, and what its answer must be to count as one.

Source: k8s.io/apiserver, admission/plugin/webhook/request and errors.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from wherry.aio.entropy import Entropy
from wherry.meta.errors import StatusError, bad_request, quote
from wherry.meta.resource import Resource
from wherry.server.admission.plugin import Attributes
from wherry.server.admission.versions import GroupVersionKind, Json, Versions
from wherry.server.admission.webhooks.hooks import Hook
from wherry.server.callouts.client import CalloutError, Callouts

_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class HookFailedError(Exception):
    """The webhook gave no answer that counts: its failure policy decides."""


@dataclass(slots=True)
class Verdict:
    """A webhook's answer."""

    allowed: bool
    patch: list[Any] = field(default_factory=list)


def question(
    attributes: Attributes, resource: Resource, versions: Versions, old: Json | None, new: Json | None
) -> Json:
    """The request of an AdmissionReview, without its uid; the objects are as seen through `resource`."""
    user, asked = attributes.user, attributes.requested
    asked_about: Json = {
        "kind": _kind(versions.kind(attributes, resource)),
        "resource": _resource(resource),
        "subResource": attributes.subresource,
        "requestKind": _kind(versions.kind(attributes, asked)),
        "requestResource": _resource(asked),
        "requestSubResource": attributes.subresource,
        "name": attributes.name,
        "namespace": attributes.namespace,
    }
    options = _OPTIONS.get(attributes.operation)
    extra = {"extra": user.extra} if user.extra else {}
    who = {"username": user.name, "uid": user.uid, "groups": user.groups}
    return {key: value for key, value in asked_about.items() if value} | {
        "operation": attributes.operation,
        "userInfo": {key: value for key, value in who.items() if value} | extra,
        "object": new,
        "oldObject": old,
        "dryRun": attributes.dry_run,
        "options": {"kind": options, "apiVersion": "meta.k8s.io/v1", **attributes.options} if options else None,
    }


def _kind(kind: GroupVersionKind) -> Json:
    return {"group": kind[0], "version": kind[1], "kind": kind[2]}


def _resource(resource: Resource) -> Json:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


async def ask(hook: Hook, asked: Json, attributes: Attributes, callouts: Callouts, *, mutating: bool) -> Verdict:
    """Put the question to a webhook. Raises HookFailedError; StatusError when it denies."""
    if attributes.dry_run and not hook.dry_run_safe:
        raise bad_request(f"admission webhook {quote(hook.name)} does not support dry run")
    if isinstance(hook.remote, CalloutError):
        raise HookFailedError(f"could not get REST client: {hook.remote}") from hook.remote
    entropy: Entropy = callouts.entropy
    uid = entropy.uid()
    version = f"admission.k8s.io/{hook.version}"
    review = {"kind": "AdmissionReview", "apiVersion": version, "request": {"uid": uid, **asked}}
    seconds = hook.timeout_seconds
    try:
        answer = await callouts.post(hook.remote, review, timeout_seconds=seconds, query=f"timeout={seconds}s")
    except CalloutError as error:
        raise HookFailedError(f"failed to call webhook: {error}") from error
    try:
        response = _response(answer, version, uid)
        verdict = Verdict(response.get("allowed") is True)
        if mutating:
            verdict.patch = _patch(response, version)
        else:
            _refuse_patch(response, version)
    except ValueError as error:
        raise HookFailedError(f"received invalid webhook response: {error}") from error
    _note(hook, response, attributes)
    if not verdict.allowed:
        raise denial(hook.name, response.get("status"))
    return verdict


def _response(answer: Any, version: str, uid: str) -> Json:
    if not isinstance(answer, dict):
        raise ValueError("expected webhook response of an object")
    strict = version.endswith("/v1")
    given = f"{answer.get('apiVersion') or ''}, Kind={answer.get('kind') or ''}"
    if strict and given != f"{version}, Kind=AdmissionReview":
        raise ValueError(f"expected webhook response of {version}, Kind=AdmissionReview, got {given}")
    response = answer.get("response")
    if response is None:
        raise ValueError("webhook response was absent")
    if not isinstance(response, dict):
        raise ValueError("webhook response is no object")
    if strict and response.get("uid") != uid:
        raise ValueError(f"expected response.uid={quote(uid)}, got {quote(str(response.get('uid') or ''))}")
    return response


def _patch(response: Json, version: str) -> list[Any]:
    encoded, kind = response.get("patch"), response.get("patchType")
    if version.endswith("/v1"):
        if encoded and kind is None:
            raise ValueError("webhook returned response.patch but not response.patchType")
        if not encoded and kind is not None:
            raise ValueError("webhook returned response.patchType but not response.patch")
        if kind == "":
            raise ValueError('webhook returned invalid response.patchType of ""')
    if not encoded:
        return []
    if kind not in ("JSONPatch", None):
        raise ValueError(f"unsupported patch type {quote(str(kind))}")
    try:
        patch = orjson.loads(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise ValueError(f"undecodable patch in webhook response: {error}") from error
    if not isinstance(patch, list):
        raise ValueError(
            "undecodable patch in webhook response: json: cannot unmarshal into Go value of type jsonpatch"
        )
    return patch


def _refuse_patch(response: Json, version: str) -> None:
    if version.endswith("/v1"):
        if response.get("patch"):
            raise ValueError("validating webhook may not return response.patch")
        if response.get("patchType") is not None:
            raise ValueError("validating webhook may not return response.patchType")


def _note(hook: Hook, response: Json, attributes: Attributes) -> None:
    for warning in response.get("warnings") or ():
        attributes.warnings.append(str(warning))
    for key, value in (response.get("auditAnnotations") or {}).items():
        attributes.ctx.audit[f"{hook.name}/{key}"] = str(value)


def denial(name: str, result: Any) -> StatusError:
    """What a client gets when a webhook says no."""
    status = result if isinstance(result, dict) else {}
    by = f"admission webhook {quote(name)} denied the request"
    said = status.get("message") or status.get("reason")
    code = status.get("code")
    return StatusError(
        code if isinstance(code, int) and code >= 400 else 400,
        str(status.get("reason") or ""),
        f"{by}: {said}" if said else f"{by} without explanation",
        dict(status.get("details") or {}),
    )
