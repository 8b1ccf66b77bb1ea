"""The authorization filter: asks the authorizer, and words the refusal as kube-apiserver does.

What an authorizer is: server/rbac/authorizer.py.
"""

from wherry.meta.errors import StatusError, forbidden, quote
from wherry.server.http import Handler, Request, RequestInfo, Response, UserInfo
from wherry.server.rbac.authorizer import Authorizer


class AuthorizationFilter:
    """Lets a request through, or raises 403."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def __call__(self, request: Request, next_handler: Handler) -> Response:
        self.check(request)
        return await next_handler(request)

    def check(self, request: Request) -> None:
        """Raise 403 unless the request's user may make it."""
        user = request.user or UserInfo()
        allowed, reason = self._authorizer.authorize(user, request.info)
        if not allowed:
            raise refusal(user, request.info, reason)


def refusal(user: UserInfo, info: RequestInfo, reason: str) -> StatusError:
    """The 403 of a request that nobody allows."""
    tail = f": {reason}" if reason else ""
    if not info.is_resource_request:
        return forbidden("", "", f"User {quote(user.name)} cannot {info.verb} path {quote(info.path)}{tail}")
    qualified = f"{info.resource}.{info.api_group}" if info.api_group else info.resource
    return forbidden(qualified, info.name, f"{_attempt(user, info)}{tail}")


def _attempt(user: UserInfo, info: RequestInfo) -> str:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    text = f"User {quote(user.name)} cannot {info.verb} resource {quote(resource)} in API group {quote(info.api_group)}"
    return f"{text} in the namespace {quote(info.namespace)}" if info.namespace else f"{text} at the cluster scope"
