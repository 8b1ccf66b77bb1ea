"""Questions asked by POST and answered at once, never stored: who is this token, may this user, what may I.

Each handler reads its kind, answers in `status`, and gives 201 with the whole object. Registered by app.py in place of
the generic create, by (group, plural): see `create_handlers`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import orjson

from wherry.api import authentication_v1 as authentication
from wherry.api import authorization_v1 as authorization
from wherry.api.schema import schema_of
from wherry.meta import wire
from wherry.meta.errors import FieldError, bad_request, invalid, invalid_value
from wherry.meta.object import KubernetesObject, ObjectMeta
from wherry.server.authn.identity import TokenError
from wherry.server.authz.attributes import question, selector_faults
from wherry.server.filters.authentication import AuthenticationFilter
from wherry.server.handlers.bodies import unknown_fields, write_options
from wherry.server.http import Handler, Request, Response, UserInfo
from wherry.server.negotiation import negotiate, parse_yaml, warning_header
from wherry.server.rbac.authorizer import Authorizer, settled

K = TypeVar("K", bound=KubernetesObject)
AccessReview = (
    authorization.SubjectAccessReview | authorization.LocalSubjectAccessReview | authorization.SelfSubjectAccessReview
)
_GROUP_KIND = ".authorization.k8s.io"  # upstream names no kind in these errors


def read_body(request: Request, kind: type[K], api_version: str) -> tuple[K, list[str]]:
    """The request's body as `kind`, and what to warn of. Raises 400 for what it is not, 422 for options unknown."""
    negotiate(request.headers.get("accept", ""), shapes=False)  # a review has no metadata to make a table of
    validation = write_options(request).field_validation
    body, name, version = request.body, kind.__name__, api_version.rpartition("/")[2]
    unfit = f'{name} in version "{version}" cannot be handled as a {name}'
    try:
        value = parse_yaml(body) if "yaml" in request.headers.get("content-type", "") else orjson.loads(body)
        obj = wire.convert(value, kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise bad_request(f"{unfit}: {error}") from error
    if obj.kind and obj.kind != name:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {name}): "
            f'no kind "{obj.kind}" is registered for version "{obj.apiVersion}"'
        )
    faults = [] if validation == "Ignore" else list(unknown_fields(value, schema_of(kind)))
    if faults and validation == "Strict":
        raise bad_request(f"{unfit}: strict decoding error: {', '.join(faults)}")
    obj.apiVersion, obj.kind = api_version, name
    return obj, faults


def created(obj: KubernetesObject, warnings: list[str]) -> Response:
    """201 with the object."""
    response = Response(201, wire.encode(obj))
    if warnings:
        response.headers["Warning"] = warning_header(warnings)
    return response


class Reviews:
    """All review handlers of one server."""

    def __init__(self, authorizer: Authorizer, callers: AuthenticationFilter, audiences: Sequence[str]) -> None:
        """`audiences`: what this server itself answers to."""
        self._authorizer = authorizer
        self._callers = callers
        self._audiences = audiences

    def create_handlers(self) -> dict[tuple[str, str], Handler]:
        """By API group and plural."""
        authn, authz = "authentication.k8s.io", "authorization.k8s.io"
        return {
            (authn, "tokenreviews"): self.token_review,
            (authn, "selfsubjectreviews"): self.self_subject_review,
            (authz, "subjectaccessreviews"): self.subject_access_review,
            (authz, "selfsubjectaccessreviews"): self.self_subject_access_review,
            (authz, "localsubjectaccessreviews"): self.local_subject_access_review,
            (authz, "selfsubjectrulesreviews"): self.self_subject_rules_review,
        }

    async def token_review(self, request: Request) -> Response:
        """Whom a token stands for, and for which of the audiences asked about."""
        review, warnings = read_body(request, authentication.TokenReview, "authentication.k8s.io/v1")
        if not review.spec.token:
            raise bad_request("token is required for TokenReview in authentication")
        asked = review.spec.audiences
        found, fault = None, "invalid bearer token"
        try:
            found = await self._callers.review(review.spec.token, asked)
        except TokenError as error:
            fault = str(error)
        audiences = found.audiences if found else []
        if found is not None and not audiences:  # not bound to any audience: good for this server alone
            audiences = [item for item in asked or self._audiences if item in self._audiences]
            found = found if audiences else None
        review.status = authentication.TokenReviewStatus()
        if found is None:
            review.status.error = fault
        else:
            review.status.authenticated = True
            review.status.user = _user_info(found.user)
            review.status.audiences = audiences
        return created(review, warnings)

    async def self_subject_review(self, request: Request) -> Response:
        """kubectl auth whoami."""
        review, warnings = read_body(request, authentication.SelfSubjectReview, "authentication.k8s.io/v1")
        review.status.userInfo = _user_info(request.user or UserInfo())
        return created(review, warnings)

    async def subject_access_review(self, request: Request) -> Response:
        """May that user do this?"""
        review, warnings = read_body(request, authorization.SubjectAccessReview, "authorization.k8s.io/v1")
        _refuse([*_faults(review.spec), *_metadata_faults(review, "must be empty")])
        return await self._answer(review, warnings, _subject(review.spec))

    async def local_subject_access_review(self, request: Request) -> Response:
        """May that user do this in this namespace?"""
        review, warnings = read_body(request, authorization.LocalSubjectAccessReview, "authorization.k8s.io/v1")
        faults = _faults(review.spec)
        if review.metadata.namespace not in (None, "", request.info.namespace):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if review.spec.resourceAttributes and review.spec.resourceAttributes.namespace != request.info.namespace:
            namespace = review.spec.resourceAttributes.namespace or ""
            path = "spec.resourceAttributes.namespace"
            faults.append(invalid_value(path, namespace, "must match metadata.namespace"))
        if review.spec.nonResourceAttributes:
            value = review.spec.nonResourceAttributes
            faults.append(invalid_value("spec.nonResourceAttributes", value, "disallowed on this kind of request"))
        review.metadata.namespace = None
        _refuse([*faults, *_metadata_faults(review, "must be empty except for namespace")])
        review.metadata.namespace = request.info.namespace
        return await self._answer(review, warnings, _subject(review.spec))

    async def self_subject_access_review(self, request: Request) -> Response:
        """kubectl auth can-i."""
        review, warnings = read_body(request, authorization.SelfSubjectAccessReview, "authorization.k8s.io/v1")
        faults = _attribute_faults(review.spec.resourceAttributes, review.spec.nonResourceAttributes)
        _refuse([*faults, *_metadata_faults(review, "must be empty")])
        return await self._answer(review, warnings, request.user or UserInfo())

    async def _answer(self, review: AccessReview, warnings: list[str], user: UserInfo) -> Response:
        info, errors = question(review.spec.resourceAttributes, review.spec.nonResourceAttributes)
        allowed, reason = await settled(self._authorizer.authorize(user, info))
        review.status = authorization.SubjectAccessReviewStatus(
            allowed=bool(allowed),
            denied=True if allowed is False else None,
            reason=reason or None,
            evaluationError=", ".join(dict.fromkeys(errors)) or None,
        )
        return created(review, warnings)

    async def self_subject_rules_review(self, request: Request) -> Response:
        """kubectl auth can-i --list: every rule that the caller has in a namespace."""
        review, warnings = read_body(request, authorization.SelfSubjectRulesReview, "authorization.k8s.io/v1")
        namespace = review.spec.namespace or ""
        if not namespace:
            raise bad_request("no namespace on request")
        held = self._authorizer.rules_for(request.user or UserInfo(), namespace)
        status = authorization.SubjectRulesReviewStatus()
        for rule in held.rules:
            verbs = sorted(rule.verbs)
            if rule.resources:
                status.resourceRules.append(
                    authorization.ResourceRule(
                        verbs=verbs,
                        apiGroups=sorted(rule.groups),
                        resources=sorted(rule.resources),
                        resourceNames=sorted(rule.names),
                    )
                )
            if rule.paths:
                rules = status.nonResourceRules
                rules.append(authorization.NonResourceRule(verbs=verbs, nonResourceURLs=sorted(rule.paths)))
        if held.errors:
            status.incomplete, status.evaluationError = True, ", ".join(held.errors)
        review.status = status
        return created(review, warnings)


def _user_info(user: UserInfo) -> authentication.UserInfo:
    return authentication.UserInfo(
        username=user.name or None, uid=user.uid or None, groups=list(user.groups), extra=dict(user.extra)
    )


def _subject(spec: authorization.SubjectAccessReviewSpec) -> UserInfo:
    return UserInfo(spec.user or "", spec.uid or "", list(spec.groups), dict(spec.extra))


def _faults(spec: authorization.SubjectAccessReviewSpec) -> list[FieldError]:
    faults = _attribute_faults(spec.resourceAttributes, spec.nonResourceAttributes)
    if not spec.user and not spec.groups:
        faults.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    return faults


def _attribute_faults(resource: Any, path: Any) -> list[FieldError]:
    if resource is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        return [invalid_value("spec.nonResourceAttributes", path, why)]
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid_value("spec.resourceAttributes", None, why)]
    return list(selector_faults(resource)) if resource is not None else []


def _metadata_faults(review: KubernetesObject, why: str) -> list[FieldError]:
    given = review.metadata
    given.managedFields = []
    return [] if given == ObjectMeta() else [invalid_value("metadata", given, why)]


def _refuse(faults: list[FieldError]) -> None:
    if faults:
        raise invalid(_GROUP_KIND, "", faults)
