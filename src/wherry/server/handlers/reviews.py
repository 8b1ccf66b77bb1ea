"""Questions asked by POST and answered at once, never stored: who is this token, may this user, what may I.

Each handler reads its kind, answers in `status`, and gives 201 with the whole object. Registered by app.py in place of
the generic create, by (group, plural): see `create_handlers`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from wherry.api import authentication_v1 as authentication
from wherry.api import authorization_v1 as authorization
from wherry.meta import wire
from wherry.meta.errors import FieldError, bad_request, invalid, invalid_value
from wherry.meta.object import KubernetesObject
from wherry.server.filters.authentication import AuthenticationFilter
from wherry.server.http import Handler, Request, RequestInfo, Response, UserInfo
from wherry.server.rbac.authorizer import Authorizer
from wherry.server.rbac.evaluate import Index
from wherry.server.tokens import TokenVerifier, Verified

K = TypeVar("K", bound=KubernetesObject)
AccessReview = (
    authorization.SubjectAccessReview | authorization.LocalSubjectAccessReview | authorization.SelfSubjectAccessReview
)
_GROUP_KIND = ".authorization.k8s.io"  # upstream names no kind in these errors


def read_body(request: Request, kind: type[K], api_version: str) -> K:
    """The request's body as `kind`. Raises 400 for what it is not."""
    body = request.body
    try:
        if "yaml" in request.headers.get("content-type", ""):
            import yaml

            obj = wire.convert(yaml.load(body, Loader=yaml.CSafeLoader), kind)
        else:
            obj = wire.decode(kind, body)
    except (msgspec.DecodeError, ValueError) as error:
        name = kind.__name__
        version = api_version.rpartition("/")[2]
        raise bad_request(f'{name} in version "{version}" cannot be handled as a {name}: {error}') from error
    if obj.kind and obj.kind != kind.__name__:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.__name__}): "
            f'no kind "{obj.kind}" is registered for version "{obj.apiVersion}"'
        )
    obj.apiVersion, obj.kind = api_version, kind.__name__
    return obj


def created(obj: KubernetesObject) -> Response:
    """201 with the object."""
    return Response(201, wire.encode(obj))


class Reviews:
    """All review handlers of one server."""

    def __init__(
        self, authorizer: Authorizer, index: Index, callers: AuthenticationFilter, tokens: TokenVerifier | None
    ) -> None:
        self._authorizer = authorizer
        self._index = index
        self._callers = callers
        self._tokens = tokens

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
        review = read_body(request, authentication.TokenReview, "authentication.k8s.io/v1")
        if not review.spec.token:
            raise bad_request("token is required for TokenReview in authentication")
        found = self._verify(review.spec.token, review.spec.audiences)
        review.status = authentication.TokenReviewStatus()
        if found is None:
            review.status.error = "invalid bearer token"
        else:
            review.status.authenticated = True
            review.status.user = _user_info(found.user)
            review.status.audiences = found.audiences
        return created(review)

    def _verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        own = self._tokens.audiences if self._tokens else []
        asked = list(audiences) or own
        verified = self._tokens.verify(token, asked) if self._tokens else None
        if verified is not None:
            verified.user.groups = [*verified.user.groups, "system:authenticated"]
            verified.audiences = verified.audiences or [item for item in asked if item in own]
            return verified
        common = [item for item in asked if item in own]
        user = self._callers.token_user(token) if common or not own else None
        return Verified(user, common) if user else None

    async def self_subject_review(self, request: Request) -> Response:
        """kubectl auth whoami."""
        review = read_body(request, authentication.SelfSubjectReview, "authentication.k8s.io/v1")
        review.status.userInfo = _user_info(request.user or UserInfo())
        return created(review)

    async def subject_access_review(self, request: Request) -> Response:
        """May that user do this?"""
        review = read_body(request, authorization.SubjectAccessReview, "authorization.k8s.io/v1")
        _refuse(_faults(review.spec))
        return self._answer(review, _subject(review.spec))

    async def local_subject_access_review(self, request: Request) -> Response:
        """May that user do this in this namespace?"""
        review = read_body(request, authorization.LocalSubjectAccessReview, "authorization.k8s.io/v1")
        faults = _faults(review.spec)
        if review.spec.resourceAttributes and review.spec.resourceAttributes.namespace != request.info.namespace:
            namespace = review.spec.resourceAttributes.namespace or ""
            path = "spec.resourceAttributes.namespace"
            faults.append(invalid_value(path, namespace, "must match metadata.namespace"))
        if review.spec.nonResourceAttributes:
            value = review.spec.nonResourceAttributes
            faults.append(invalid_value("spec.nonResourceAttributes", value, "disallowed on this kind of request"))
        _refuse(faults)
        return self._answer(review, _subject(review.spec))

    async def self_subject_access_review(self, request: Request) -> Response:
        """kubectl auth can-i."""
        review = read_body(request, authorization.SelfSubjectAccessReview, "authorization.k8s.io/v1")
        _refuse(_attribute_faults(review.spec.resourceAttributes, review.spec.nonResourceAttributes))
        return self._answer(review, request.user or UserInfo())

    def _answer(self, review: AccessReview, user: UserInfo) -> Response:
        info = _question(review.spec.resourceAttributes, review.spec.nonResourceAttributes)
        allowed, reason = self._authorizer.authorize(user, info)
        review.status = authorization.SubjectAccessReviewStatus(allowed=allowed, reason=reason or None)
        return created(review)

    async def self_subject_rules_review(self, request: Request) -> Response:
        """kubectl auth can-i --list: every rule that the caller has in a namespace."""
        review = read_body(request, authorization.SelfSubjectRulesReview, "authorization.k8s.io/v1")
        namespace, user = review.spec.namespace or "", request.user or UserInfo()
        if not namespace:
            raise bad_request("no namespace on request")
        status = authorization.SubjectRulesReviewStatus()
        for _, _, rule in self._index.granted(user, namespace):
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
        errors = self._index.missing_roles(user, namespace)
        if errors:
            status.incomplete, status.evaluationError = True, ", ".join(errors)
        review.status = status
        return created(review)


def _user_info(user: UserInfo) -> authentication.UserInfo:
    return authentication.UserInfo(
        username=user.name or None, uid=user.uid or None, groups=list(user.groups), extra=dict(user.extra)
    )


def _subject(spec: authorization.SubjectAccessReviewSpec) -> UserInfo:
    return UserInfo(spec.user or "", spec.uid or "", list(spec.groups), dict(spec.extra))


def _question(
    resource: authorization.ResourceAttributes | None, path: authorization.NonResourceAttributes | None
) -> RequestInfo:
    if resource is None:
        return RequestInfo(verb=(path and path.verb) or "", path=(path and path.path) or "")
    return RequestInfo(
        verb=resource.verb or "",
        api_group=resource.group or "",
        api_version=resource.version or "",
        resource=resource.resource or "",
        subresource=resource.subresource or "",
        namespace=resource.namespace or "",
        name=resource.name or "",
        is_resource_request=True,
    )


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
    return []


def _refuse(faults: list[FieldError]) -> None:
    if faults:
        raise invalid(_GROUP_KIND, "", faults)
