"""The authentication filter: certificate, then token, then nobody (system:anonymous).

What recognises callers is in server/authn/. In process, the transport has set `request.user` already and only the
implied group is added.
"""

import base64
import binascii
from collections.abc import Sequence

from wherry.aio.clock import Clock
from wherry.meta.errors import unauthorized
from wherry.server.authn.identity import (
    ANONYMOUS,
    AUTHENTICATED_GROUP,
    UNAUTHENTICATED_GROUP,
    Authenticator,
    TokenAuthenticator,
)
from wherry.server.http import Handler, Request, Response, UserInfo

TOKEN_CACHE_SECONDS = 10.0
"""How long a token that was valid is believed again without a look: kube-apiserver's own figure."""
TOKENS_MAX = 4096
_WEBSOCKET_BEARER = "base64url.bearer.authorization.k8s.io."


class AuthenticationFilter:
    """Sets `request.user`, or raises 401."""

    def __init__(
        self,
        clock: Clock,
        authenticators: Sequence[Authenticator] = (),
        tokens: Sequence[TokenAuthenticator] = (),
        *,
        anonymous: bool = True,
    ) -> None:
        self._clock = clock
        self._authenticators = authenticators
        self._tokens = tokens
        self._anonymous = anonymous
        self._recognised: dict[str, tuple[float, UserInfo]] = {}

    async def __call__(self, request: Request, next_handler: Handler) -> Response:
        self.apply(request)
        return await next_handler(request)

    def apply(self, request: Request) -> None:
        """Find the user. Raises 401 for a credential that is broken, expired or unknown."""
        request.user = self._identify(request)

    def token_user(self, token: str) -> UserInfo | None:
        """Who a bearer token stands for, with all groups; remembered for `TOKEN_CACHE_SECONDS`."""
        now = self._clock.monotonic()
        found = self._recognised.get(token)
        if found and now < found[0]:
            return found[1]
        for authenticator in self._tokens:
            user = authenticator.user_of(token)
            if user:
                if len(self._recognised) >= TOKENS_MAX:
                    self._recognised.clear()
                self._recognised[token] = (now + TOKEN_CACHE_SECONDS, _with_group(user))
                return user
        self._recognised.pop(token, None)
        return None

    def _identify(self, request: Request) -> UserInfo:
        if request.user is not None:
            return _with_group(request.user)
        for authenticator in self._authenticators:
            user = authenticator.authenticate(request)
            if user:
                return _with_group(user)
        token = _bearer(request)
        if token is not None:
            user = self.token_user(token)
            if user:
                return user
            raise unauthorized()
        if not self._anonymous:
            raise unauthorized()
        return UserInfo(ANONYMOUS, "", [UNAUTHENTICATED_GROUP])


def _with_group(user: UserInfo) -> UserInfo:
    implied = UNAUTHENTICATED_GROUP if user.name == ANONYMOUS else AUTHENTICATED_GROUP
    if implied not in user.groups:
        user.groups = [*user.groups, implied]
    return user


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return _websocket_bearer(request.headers.get("sec-websocket-protocol", ""))


def _websocket_bearer(protocols: str) -> str | None:
    """Browsers cannot set headers on WebSockets, so the token may come as a subprotocol."""
    for protocol in protocols.split(","):
        encoded = protocol.strip().removeprefix(_WEBSOCKET_BEARER)
        if encoded != protocol.strip():
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise unauthorized() from error
    return None
