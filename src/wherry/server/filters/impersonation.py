"""Impersonation: `kubectl --as`, for whoever may act as what they claim to be.

Each user, group, uid and extra value is its own authorization question, asked in the real user's name. There are two
ways to a yes: the verb `impersonate` (all requests as that user), or constrained impersonation (KEP-5284), whose verbs
name a mode and where the request itself is a question, too: `impersonate-on:user-info:list` on pods, say. The modes are
tried from the narrowest on; when none says yes, the first refusal is the answer.

Source: k8s.io/apiserver, pkg/endpoints/filters/impersonation.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import unquote

from wherry.meta import names
from wherry.meta.errors import StatusError, bad_request, quote
from wherry.server.authn.identity import (
    ANONYMOUS,
    AUTHENTICATED_GROUP,
    NODE_NAME,
    NODE_PREFIX,
    NODES_GROUP,
    UNAUTHENTICATED_GROUP,
    service_account_groups,
    split_service_account,
)
from wherry.server.filters.authorization import refusal
from wherry.server.http import Request, RequestInfo, UserInfo
from wherry.server.rbac.authorizer import MASTERS, Authorizer, settled

_USER, _GROUP, _UID = "impersonate-user", "impersonate-group", "impersonate-uid"
_EXTRA = "impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"
REMEMBERED_MAX = 1024
MANY = 4
"""From so many groups or extra values on, constrained modes ask first whether all of them are allowed at once."""


class ImpersonationFilter:
    """Swaps `request.user` for the claimed one, or raises 403."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._succeeded: dict[tuple[str, tuple[str, ...]], _Mode] = {}
        """The mode that last let a user through is tried first: most have but one."""

    def apply(self, request: Request) -> Awaitable[None] | None:
        """None when nobody is impersonated. Raises 400 for groups, uid or extras without a user."""
        headers = request.headers
        name = headers.get(_USER, "")
        if name:
            claimed = UserInfo(name, headers.get(_UID, ""), request.header_values(_GROUP), _extras(request))
            return self._swap(request, claimed)
        for key in headers:
            if key.startswith("impersonate-") and (key in (_GROUP, _UID) or key.startswith(_EXTRA)):
                claimed = UserInfo("", headers.get(_UID, ""), request.header_values(_GROUP), _extras(request))
                raise bad_request(f"requested {_as_go_shows(claimed)} without impersonating a user name")
        return None

    async def _swap(self, request: Request, claimed: UserInfo) -> None:
        real = request.user or UserInfo()
        first: StatusError | None = None
        asker = real.name, tuple(real.groups)
        for mode in sorted(_MODES, key=lambda mode: mode is not self._succeeded.get(asker)):
            if not mode.applies(claimed, real):
                continue
            try:
                await self._check(mode, real, claimed, request.info)
            except StatusError as error:
                first = first or error
            else:
                if len(self._succeeded) >= REMEMBERED_MAX:
                    self._succeeded.clear()
                self._succeeded[asker] = mode
                request.user = _completed(claimed, mode)
                return
        assert first is not None  # the last mode applies to everyone
        raise first

    async def _check(self, mode: "_Mode", real: UserInfo, claimed: UserInfo, info: RequestInfo) -> None:
        asker = _associated(real) if mode.name == _ASSOCIATED else real
        if mode.name == _LEGACY:
            for question in _questions(claimed, "impersonate", ""):
                await self._require(real, question)
            return
        await self._require(asker, replace(info, verb=f"impersonate-on:{mode.name}:{info.verb}"))
        verb = f"impersonate:{mode.name}"
        _check_sane(real, claimed, verb)
        questions = _questions(claimed, verb, _AUTHENTICATION)
        if mode.name == _ASSOCIATED:
            questions = [replace(question, name="*") for question in questions]
        for kind, subresource in (("groups", ""), ("userextras", "*")):
            every = replace(questions[0], resource=kind, subresource=subresource, namespace="", name="*")
            if sum(question.resource == kind for question in questions) >= MANY and await self._may(real, every):
                questions = [question for question in questions if question.resource != kind]
        for question in questions:
            await self._require(asker, question)

    async def _may(self, user: UserInfo, info: RequestInfo) -> bool:
        return bool((await settled(self._authorizer.authorize(user, info)))[0])

    async def _require(self, user: UserInfo, info: RequestInfo) -> None:
        allowed, reason = await settled(self._authorizer.authorize(user, info))
        if not allowed:
            raise refusal(user, info, reason)


# The modes -----------------------------------------------------------------------------------------------------------

_ASSOCIATED, _LEGACY = "associated-node", ""


@dataclass(frozen=True, slots=True)
class _Mode:
    name: str
    applies: Callable[[UserInfo, UserInfo], bool]
    """Of the claimed user and the real one."""


def _only_name(claimed: UserInfo) -> bool:
    return not (claimed.uid or claimed.groups or claimed.extra)


def _node(name: str) -> str | None:
    node = name.removeprefix(NODE_PREFIX)
    return node if node != name and not names.dns1123_subdomain(node) else None


def _own_node(claimed: UserInfo, real: UserInfo) -> bool:
    node = _node(claimed.name)
    known = split_service_account(real.name) is not None and real.extra.get(NODE_NAME) == [node]
    return node is not None and known and _only_name(claimed)


_MODES = (
    _Mode(_ASSOCIATED, _own_node),
    _Mode("arbitrary-node", lambda claimed, _: _only_name(claimed) and _node(claimed.name) is not None),
    _Mode("serviceaccount", lambda claimed, _: _only_name(claimed) and split_service_account(claimed.name) is not None),
    _Mode("user-info", lambda claimed, _: _node(claimed.name) is None and split_service_account(claimed.name) is None),
    _Mode(_LEGACY, lambda claimed, _: True),
)


def _associated(real: UserInfo) -> UserInfo:
    """The service account as authorizers see it in this mode: the same for all of its pods, on whichever node."""
    keys = {"authentication.kubernetes.io/associated-node-keys": sorted(real.extra)}
    return UserInfo(real.name, real.uid, real.groups, keys)


def _check_sane(real: UserInfo, claimed: UserInfo, verb: str) -> None:
    """What the older way lets through and the constrained modes do not."""

    def refuse(resource: str, name: str, why: str) -> StatusError:
        return refusal(real, _question(verb, resource, name, _AUTHENTICATION), why)

    if "" in claimed.groups:
        raise refuse("groups", "", "impersonating the empty string group is not allowed")
    if MASTERS in claimed.groups:
        raise refuse("groups", MASTERS, f"impersonating the {MASTERS} group is not allowed")
    for key, values in claimed.extra.items():
        if not key:
            raise refuse("userextras", "", "impersonating the empty string key in extra is not allowed")
        domain, slash, path = key.partition("/")
        if not (slash and path) or names.dns1123_subdomain(domain):
            why = f'extra: Invalid value: {quote(key)}: must be a domain-prefixed path (such as "acme.io/foo")'
            raise refuse("userextras", "", f"impersonating an invalid key in extra is not allowed: {why}")
        if "" in values or not values:
            what = "the empty string value" if values else "empty values"
            raise refuse("userextras", "", f"impersonating {what} in extra is not allowed")


def _questions(claimed: UserInfo, verb: str, group: str) -> list[RequestInfo]:
    """The questions in order: the name, uid, groups, extras. `group` is the API group of users and groups."""
    account, node = split_service_account(claimed.name), _node(claimed.name) if group else None
    if account:
        first = _question(verb, "serviceaccounts", account[1], group, namespace=account[0])
    elif node:
        first = _question(verb, "nodes", node, group)
    else:
        first = _question(verb, "users", claimed.name, group)
    return [
        first,
        *(_question(verb, "uids", claimed.uid, _AUTHENTICATION) for _ in range(bool(claimed.uid))),
        *(_question(verb, "groups", name, group) for name in claimed.groups),
        *(
            _question(verb, "userextras", value, _AUTHENTICATION, subresource=key)
            for key, values in claimed.extra.items()
            for value in values
        ),
    ]


def _question(
    verb: str, resource: str, name: str, group: str, *, subresource: str = "", namespace: str = ""
) -> RequestInfo:
    return RequestInfo(
        verb=verb,
        api_group=group,
        api_version="v1",
        resource=resource,
        subresource=subresource,
        namespace=namespace,
        name=name,
        is_resource_request=True,
    )


@dataclass(slots=True)
class Impersonated(UserInfo):
    """Whom the request is answered for now, by constrained impersonation."""

    constraint: str = ""
    """The verb of the mode that allowed it."""


def _completed(claimed: UserInfo, mode: _Mode) -> UserInfo:
    """With the groups that the name implies."""
    constrained = mode.name != _LEGACY
    groups = list(claimed.groups)
    account = split_service_account(claimed.name)
    if account and not groups:
        groups = service_account_groups(account[0])
    elif constrained and _node(claimed.name):
        groups = [NODES_GROUP]
    if claimed.name == ANONYMOUS:
        implied = UNAUTHENTICATED_GROUP
    else:
        implied = AUTHENTICATED_GROUP if UNAUTHENTICATED_GROUP not in groups else UNAUTHENTICATED_GROUP
    if implied not in groups:
        groups.append(implied)
    if constrained:
        return Impersonated(claimed.name, claimed.uid, groups, claimed.extra, f"impersonate:{mode.name}")
    return UserInfo(claimed.name, claimed.uid, groups, claimed.extra)


def _extras(request: Request) -> dict[str, list[str]]:
    keys = [key for key in request.headers if key.startswith(_EXTRA)]
    return {unquote(key[len(_EXTRA) :]): request.header_values(key) for key in keys}


def _as_go_shows(user: UserInfo) -> str:
    def texts(values: list[str]) -> str:
        return f"[]string{{{', '.join(map(quote, values))}}}" if values else "[]string(nil)"

    extra = ", ".join(f"{quote(key)}:{texts(values)}" for key, values in sorted(user.extra.items()))
    shown = f"map[string][]string{{{extra}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quote(user.uid)}, Groups:{texts(user.groups)}, Extra:{shown}}}'
