"""The authentication filter: certificate, then token, then nobody (system:anonymous).

What recognises callers is in server/authn/. One that fails does not end the search, since another credential of the
same request may be good; but whoever brought a credential and has none that is good gets 401 and is not anonymous. In
process, the transport has set `request.user` already and only the implied group is added.
"""

import base64
import binascii
import logging
from collections.abc import Awaitable, Collection, Sequence
from typing import Any

from wherry.aio.clock import Clock
from wherry.meta.errors import StatusError, unauthorized
from wherry.server.authn.identity import (
    ANONYMOUS,
    AUTHENTICATED_GROUP,
    UNAUTHENTICATED_GROUP,
    Authenticator,
    TokenAuthenticator,
    TokenError,
    Verified,
)
from wherry.server.http import Request, UserInfo

TOKEN_CACHE_SECONDS = 10.0
"""How long a token that was valid is believed again without a look: kube-apiserver's own figure."""
TOKENS_MAX = 4096
_log = logging.getLogger(__name__)
_NAMED = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})
"""Users that metrics name; there must not be too many."""
_PROTOCOL = "sec-websocket-protocol"
_WEBSOCKET_BEARER = "base64url.bearer.authorization.k8s.io."


class AuthenticationFilter:
    """Sets `request.user`, or raises 401."""

    def __init__(
        self,
        clock: Clock,
        authenticators: Sequence[Authenticator] = (),
        tokens: Sequence[TokenAuthenticator] = (),
        *,
        audiences: Sequence[str] = (),
        anonymous: bool = True,
        anonymous_paths: Collection[str] = (),
    ) -> None:
        """`anonymous_paths`: the only ones where nobody may ask; empty: all."""
        self._clock = clock
        self._authenticators = authenticators
        self._tokens = tokens
        self._audiences = tuple(audiences)
        self._anonymous = anonymous
        self._anonymous_paths = frozenset(anonymous_paths)
        self._users: dict[str, int] = {}
        """Requests that were recognised, by the kind of name."""
        self._refused = {"failure": 0, "error": 0}
        self._recognised: dict[tuple[str, tuple[str, ...]], tuple[float, Verified]] = {}

    def apply(self, request: Request) -> Awaitable[None] | None:
        """Find the user; awaitable where a remote party knows. Raises 401 for a credential that is not good."""
        if request.user is not None:
            _add_group(request.user)
            return None
        failed = False
        for authenticator in self._authenticators:
            try:
                user = authenticator.authenticate(request)
            except StatusError:
                failed = True
                continue
            if user:
                _add_group(user)
                self._accept(request, user)
                return None
        token = _bearer(request)
        if token is None:
            if failed or not self._anonymous or (self._anonymous_paths and request.path not in self._anonymous_paths):
                raise self._refuse("error" if failed else "failure")
            self._accept(request, UserInfo(ANONYMOUS, "", [UNAUTHENTICATED_GROUP]))
            return None
        try:
            verified = self._verify(token, self._audiences)
        except TokenError as error:
            raise self._refuse("error", error) from error
        if verified is None or isinstance(verified, Verified):
            self._take(request, verified)
            return None
        return self._asking(request, verified)

    async def _asking(self, request: Request, pending: Awaitable[Verified | None]) -> None:
        try:
            verified = await pending
        except TokenError as error:
            raise self._refuse("error", error) from error
        self._take(request, verified)

    def _take(self, request: Request, verified: Verified | None) -> None:
        if verified is None:
            raise self._refuse("error")
        self._accept(request, verified.user)
        if verified.annotations:
            request.audit |= verified.annotations

    def _accept(self, request: Request, user: UserInfo) -> None:
        request.user = user
        name = user.name
        kind = name if name in _NAMED else "email_id" if "@" in name else "other"
        self._users[kind] = self._users.get(kind, 0) + 1

    def _refuse(self, result: str, why: TokenError | None = None) -> StatusError:
        self._refused[result] += 1
        if why is not None:
            _log.error("Unable to authenticate the request: %s", why)
        return unauthorized()

    def collect(self) -> list[Any]:
        """Metric families, named without the _total that counters have elsewhere."""
        from prometheus_client.core import Metric

        users = Metric("authenticated_user_requests", "Counter of authenticated requests by username.", "unknown")
        for name, count in self._users.items():
            users.add_sample(users.name, {"username": name}, count)
        attempts = Metric("authentication_attempts", "Counter of authenticated attempts.", "unknown")
        for result, count in {"success": sum(self._users.values()), **self._refused}.items():
            attempts.add_sample(attempts.name, {"result": result}, count)
        return [users, attempts]

    async def review(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """Whom a bearer token stands for when it is shown to one of `audiences` (none: this server's).

        Raises TokenError, as `verify` of those who must ask.
        """
        found = self._verify(token, tuple(audiences) or self._audiences)
        return found if found is None or isinstance(found, Verified) else await found

    def _verify(self, token: str, audiences: tuple[str, ...]) -> Verified | Awaitable[Verified | None] | None:
        found = self._recognised.get((token, audiences))
        if found and self._clock.monotonic() < found[0]:
            return found[1]
        errors: list[str] = []
        for position, authenticator in enumerate(self._tokens):
            try:
                verified = authenticator.verify(token, audiences)
            except TokenError as error:
                errors.append(str(error))
                continue
            if isinstance(verified, Verified):
                return self._remember(token, audiences, verified)
            if verified is not None:
                return self._verify_rest(token, audiences, position, verified, errors)
        self._recognised.pop((token, audiences), None)
        if errors:
            raise _failure(errors)
        return None

    async def _verify_rest(
        self,
        token: str,
        audiences: tuple[str, ...],
        position: int,
        pending: Awaitable[Verified | None],
        errors: list[str],
    ) -> Verified | None:
        """The rest of `_verify`, from the first authenticator on that takes its time. Raises TokenError."""
        found: Verified | Awaitable[Verified | None] | None = pending
        for following in range(position + 1, len(self._tokens) + 1):
            try:
                verified = found if found is None or isinstance(found, Verified) else await found
                if verified is not None:
                    return self._remember(token, audiences, verified)
            except TokenError as error:
                errors.append(str(error))
            try:
                found = self._tokens[following].verify(token, audiences) if following < len(self._tokens) else None
            except TokenError as error:
                found = None
                errors.append(str(error))
        if errors:
            raise _failure(errors)
        return None

    def _remember(self, token: str, audiences: tuple[str, ...], verified: Verified) -> Verified:
        _add_group(verified.user)
        if len(self._recognised) >= TOKENS_MAX:
            self._recognised.clear()
        self._recognised[token, audiences] = self._clock.monotonic() + TOKEN_CACHE_SECONDS, verified
        return verified


def _failure(errors: list[str]) -> TokenError:
    """All reasons in one; the first is that of kube-apiserver's loopback client, which is asked before the others."""
    return TokenError(f"[{', '.join(dict.fromkeys(['invalid bearer token', *errors]))}]")


def _add_group(user: UserInfo) -> None:
    implied = UNAUTHENTICATED_GROUP if user.name == ANONYMOUS else AUTHENTICATED_GROUP
    if implied not in user.groups and UNAUTHENTICATED_GROUP not in user.groups:
        user.groups = [*user.groups, implied]


def _bearer(request: Request) -> str | None:
    authorization = request.headers.get("authorization")
    if authorization:
        parts = authorization.strip().split(" ", 2)
        if len(parts) > 1 and parts[0].lower() == "bearer" and parts[1]:
            return parts[1]
    protocols = request.headers.get(_PROTOCOL)
    if protocols and _WEBSOCKET_BEARER in protocols and request.headers.get("upgrade", "").lower() == "websocket":
        return _websocket_bearer(request, [item.strip() for item in protocols.split(",")])
    return None


def _websocket_bearer(request: Request, protocols: list[str]) -> str:
    """Browsers cannot set headers on WebSockets, so the token may come as a subprotocol, beside the one really meant.

    It is taken off the request, lest it be passed on. Raises 401.
    """
    encoded = [item.removeprefix(_WEBSOCKET_BEARER) for item in protocols if item.startswith(_WEBSOCKET_BEARER)]
    kept = ", ".join(item for item in protocols if not item.startswith(_WEBSOCKET_BEARER))
    if len(encoded) != 1 or not kept:
        raise unauthorized()
    request.headers = {**request.headers, _PROTOCOL: kept}
    if request.pairs is not None:
        request.pairs = [(name, kept if name == _PROTOCOL else value) for name, value in request.pairs]
    try:
        return base64.urlsafe_b64decode(encoded[0] + "=" * (-len(encoded[0]) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise unauthorized() from error
