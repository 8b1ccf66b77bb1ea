"""POST serviceaccounts/<name>/token: a fresh token for a service account, bound to a pod, secret or node if asked.

Source: kubernetes pkg/registry/core/serviceaccount/storage/token.go and pkg/apis/authentication/validation.
"""

from collections.abc import Sequence
from datetime import timedelta

from wherry.api.authentication_v1 import BoundObjectReference, TokenRequest, TokenRequestStatus
from wherry.api.core_v1 import Node, Pod, Secret, ServiceAccount
from wherry.meta.errors import bad_request, conflict, invalid, invalid_value, not_found, quote
from wherry.meta.object import KubernetesObject
from wherry.meta.time import format_time
from wherry.server.handlers.reviews import created, read_body
from wherry.server.http import Request, Response
from wherry.server.strategies.strategy import Caches
from wherry.server.tokens import WARN_SECONDS, Bound, TokenIssuer, TokenSubject

DEFAULT_SECONDS, MIN_SECONDS, MAX_SECONDS = 3600, 600, 1 << 32
_BINDABLE: dict[tuple[str, str], tuple[type[KubernetesObject], str]] = {
    ("v1", "Pod"): (Pod, "pods"),
    ("v1", "Secret"): (Secret, "secrets"),
    ("v1", "Node"): (Node, "nodes"),
}


class TokenHandler:
    """The token subresource of service accounts."""

    def __init__(
        self,
        issuer: TokenIssuer,
        audiences: Sequence[str],
        caches: Caches,
        *,
        extend: bool = True,
        seconds_max: int = 0,
    ) -> None:
        """`extend`: see WARN_SECONDS; `seconds_max`: how long tokens live at most, 0 being no limit."""
        self._issuer = issuer
        self._audiences = list(audiences)
        self._caches = caches
        self._extend = extend
        self._seconds_max = seconds_max

    async def __call__(self, request: Request) -> Response:
        """201 with the TokenRequest, token in its status. Raises 400, 404, 409 or 422."""
        namespace, name = request.info.namespace, request.info.name
        wanted, warnings = read_body(request, TokenRequest, "authentication.k8s.io/v1")
        if wanted.metadata.namespace not in (None, "", namespace):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if wanted.metadata.name not in (None, "", name):
            why = "must match the service account name if specified"
            fault = invalid_value("metadata.name", wanted.metadata.name, why)
            raise invalid("TokenRequest.authentication.k8s.io", name, [fault])
        account = self._caches.get(ServiceAccount, namespace, name)
        if account is None:
            raise not_found("serviceaccounts", name)
        spec = wanted.spec
        spec.audiences = spec.audiences or list(self._audiences)
        seconds = spec.expirationSeconds if spec.expirationSeconds is not None else DEFAULT_SECONDS
        _check_seconds(seconds)
        bound, node = self._bind(spec.boundObjectRef, account)
        subject = TokenSubject(namespace, name, account.metadata.uid or "", bound, node)
        if 0 < self._seconds_max < seconds:
            warnings.append(f"requested expiration of {seconds} seconds shortened to {self._seconds_max} seconds")
            seconds = self._seconds_max
        spec.expirationSeconds = seconds
        old_client = bound is not None and bound.kind == "Pod" and seconds == WARN_SECONDS
        extend = self._extend and old_client and set(spec.audiences) <= set(self._audiences)
        token, token_id, expires = self._issuer.issue(subject, spec.audiences, seconds, extend=extend)
        request.audit["authentication.kubernetes.io/issued-credential-id"] = f"JTI={token_id}"
        wanted.status = TokenRequestStatus(token=token, expirationTimestamp=format_time(expires))
        meta = wanted.metadata
        meta.name, meta.namespace = name, namespace
        meta.creationTimestamp = format_time(expires - timedelta(seconds=seconds))
        return created(wanted, warnings)

    def _bind(self, ref: BoundObjectReference | None, account: ServiceAccount) -> tuple[Bound | None, Bound | None]:
        if ref is None:
            return None, None
        known = _BINDABLE.get((ref.apiVersion or "", ref.kind or ""))
        if known is None:
            raise bad_request(f"cannot bind token to object of type {_group_version_kind(ref)}")
        kind, plural = known
        name = ref.name or ""
        target = self._caches.get(kind, None if kind is Node else account.metadata.namespace, name)
        if target is None:
            raise not_found(plural, name)
        uid = target.metadata.uid or ""
        if isinstance(target, Pod) and (target.spec.serviceAccountName or "") != account.metadata.name:
            raise bad_request(
                f"cannot bind token for serviceaccount {quote(account.metadata.name or '')} to pod running with "
                "different serviceaccount name."
            )
        if ref.uid and ref.uid != uid:
            why = (
                f"the UID in the bound object reference ({ref.uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise conflict(ref.kind or "", name, why)
        return Bound(ref.kind or "", name, uid), self._node_of(target)

    def _node_of(self, target: KubernetesObject) -> Bound | None:
        if not isinstance(target, Pod) or not target.spec.nodeName:
            return None
        node = self._caches.get(Node, None, target.spec.nodeName)
        return Bound("Node", target.spec.nodeName, (node.metadata.uid or "") if node else "")


def _check_seconds(seconds: int) -> None:
    path = "spec.expirationSeconds"
    if seconds < MIN_SECONDS:
        fault = invalid_value(path, seconds, "may not specify a duration less than 10 minutes")
    elif seconds > MAX_SECONDS:
        fault = invalid_value(path, seconds, "may not specify a duration larger than 2^32 seconds")
    else:
        return
    raise invalid("TokenRequest.authentication.k8s.io", "", [fault])


def _group_version_kind(ref: BoundObjectReference) -> str:
    group, _, version = (ref.apiVersion or "").rpartition("/")
    return f"{group}/{version}, Kind={ref.kind or ''}"
