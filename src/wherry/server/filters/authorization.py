"""The authorization filter: asks the authorizer, and words the refusal as kube-apiserver does.

What an authorizer is: server/rbac/authorizer.py.
"""

from collections.abc import Awaitable

from wherry.meta.errors import StatusError, forbidden, quote
from wherry.server.http import Request, RequestInfo, UserInfo
from wherry.server.rbac.authorizer import Authorizer, Verdict


class AuthorizationFilter:
    """Lets a request through, or raises 403."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def check(self, request: Request) -> Awaitable[None] | None:
        """Raise 403 unless the request's user may make it; awaitable where somebody else must be asked first."""
        verdict = self._authorizer.authorize(request.user or UserInfo(), request.info)
        if not isinstance(verdict, tuple):
            return self._asking(request, verdict)
        if request.record is not None:
            _note(request, verdict)
        if not verdict[0]:
            raise refusal(request.user or UserInfo(), request.info, verdict[1])
        return None

    async def _asking(self, request: Request, pending: Awaitable[Verdict]) -> None:
        verdict = await pending
        if request.record is not None:
            _note(request, verdict)
        if not verdict[0]:
            raise refusal(request.user or UserInfo(), request.info, verdict[1])


def _note(request: Request, verdict: Verdict) -> None:
    """Tell the audit log."""
    request.audit["authorization.k8s.io/decision"] = "allow" if verdict[0] else "forbid"
    request.audit["authorization.k8s.io/reason"] = verdict[1]


def refusal(user: UserInfo, info: RequestInfo, reason: str) -> StatusError:
    """The 403 of a request that nobody allows."""
    tail = f": {reason}" if reason else ""
    if not info.is_resource_request:
        text = f"User {quote(user.name)} cannot {info.verb} path {quote(info.path)}"
        return forbidden("", "", f"{_not_html(text)}{tail}")
    qualified = f"{info.resource}.{info.api_group}" if info.api_group else info.resource
    return forbidden(qualified, info.name, f"{_not_html(_attempt(user, info))}{tail}")


def _not_html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _attempt(user: UserInfo, info: RequestInfo) -> str:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    text = f"User {quote(user.name)} cannot {info.verb} resource {quote(resource)} in API group {quote(info.api_group)}"
    return f"{text} in the namespace {quote(info.namespace)}" if info.namespace else f"{text} at the cluster scope"
