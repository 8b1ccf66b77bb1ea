"""Impersonation: `kubectl --as`, for whoever holds the verb `impersonate` on what they claim to be.

Each user, group, uid and extra value is its own authorization question, asked in the real user's name. Source:
k8s.io/apiserver, pkg/endpoints/filters/impersonation.
"""

from urllib.parse import unquote

from wherry.meta.errors import bad_request
from wherry.server.authn.identity import (
    ANONYMOUS,
    AUTHENTICATED_GROUP,
    UNAUTHENTICATED_GROUP,
    service_account_groups,
    split_service_account,
)
from wherry.server.filters.authorization import refusal
from wherry.server.http import Handler, Request, RequestInfo, Response, UserInfo
from wherry.server.rbac.authorizer import Authorizer

_USER, _GROUP, _UID = "impersonate-user", "impersonate-group", "impersonate-uid"
_EXTRA = "impersonate-extra-"


class ImpersonationFilter:
    """Swaps `request.user` for the claimed one, or raises 403."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def __call__(self, request: Request, next_handler: Handler) -> Response:
        self.apply(request)
        return await next_handler(request)

    def apply(self, request: Request) -> None:
        """Replace the user when the headers ask for it. Raises 403, or 400 for groups or extras without a user."""
        headers = request.headers
        name = headers.get(_USER, "")
        if not name:
            if any(key.lower().startswith("impersonate-") for key in headers):
                raise bad_request("requested impersonation without impersonating a user")
            return
        claimed = UserInfo(name, headers.get(_UID, ""), _header_values(request, _GROUP), _extras(request))
        real = request.user or UserInfo()
        for info in _questions(claimed):
            allowed, reason = self._authorizer.authorize(real, info)
            if not allowed:
                raise refusal(real, info, reason)
        request.audit["impersonator"] = real.name
        _complete_groups(claimed)
        request.user = claimed


def _questions(claimed: UserInfo) -> list[RequestInfo]:
    def ask(resource: str, name: str, group: str = "", subresource: str = "", namespace: str = "") -> RequestInfo:
        return RequestInfo(
            verb="impersonate",
            api_group=group,
            api_version="v1",
            resource=resource,
            subresource=subresource,
            namespace=namespace,
            name=name,
            is_resource_request=True,
        )

    account = split_service_account(claimed.name)
    first = ask("serviceaccounts", account[1], namespace=account[0]) if account else ask("users", claimed.name)
    authentication = "authentication.k8s.io"
    return [
        first,
        *(ask("groups", group) for group in claimed.groups),
        *(ask("uids", claimed.uid, authentication) for _ in range(bool(claimed.uid))),
        *(
            ask("userextras", value, authentication, subresource=key)
            for key, values in claimed.extra.items()
            for value in values
        ),
    ]


def _complete_groups(claimed: UserInfo) -> None:
    account = split_service_account(claimed.name)
    if account and not claimed.groups:
        claimed.groups = service_account_groups(account[0])
    implied = UNAUTHENTICATED_GROUP if claimed.name == ANONYMOUS else AUTHENTICATED_GROUP
    if implied not in claimed.groups:
        claimed.groups.append(implied)


def _header_values(request: Request, name: str) -> list[str]:
    getall = getattr(request.headers, "getall", None)  # a multi-dict on the wire, a plain mapping in process
    if getall is not None:
        return list(getall(name, []))
    value = request.headers.get(name)
    return [value] if value else []


def _extras(request: Request) -> dict[str, list[str]]:
    keys = dict.fromkeys(key.lower() for key in request.headers if key.lower().startswith(_EXTRA))
    return {unquote(key[len(_EXTRA) :]): _header_values(request, key) for key in keys}
