"""Authentication put together: the filter, and what has to be followed and closed around it."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from wherry.aio.clock import Clock
from wherry.server.authn.bootstrap_tokens import BootstrapTokens
from wherry.server.authn.front_proxy import FrontProxyAuthenticator
from wherry.server.authn.identity import Authenticator, TokenAuthenticator
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.authn.token_webhook import TokenWebhook
from wherry.server.authn.x509 import Authority, X509Authenticator
from wherry.server.callouts.client import Callouts
from wherry.server.files import FileFollower
from wherry.server.filters.authentication import AuthenticationFilter
from wherry.server.strategies.strategy import Caches
from wherry.server.tokens import TokenVerifier

if TYPE_CHECKING:
    from wherry.server.authn.jwt_tokens import JwtTokens


class Callers:
    """Built once per server."""

    def __init__(
        self,
        options: AuthenticationOptions,
        accounts: TokenVerifier,
        audiences: Sequence[str],
        caches: Caches,
        callouts: Callouts,
        clock: Clock,
        files: FileFollower,
    ) -> None:
        """Raises OSError, ValueError, KubeconfigError."""
        self._files = files
        self.authorities_changed: Callable[[], Awaitable[None] | None] = lambda: None
        """Called after somebody else vouches for certificates."""
        tokens: list[TokenAuthenticator] = [options.static_tokens] if options.static_tokens else []
        tokens.append(accounts)
        if options.bootstrap_tokens:
            tokens.append(BootstrapTokens(caches, clock))
        if options.configuration is not None:
            tokens.append(self._jwt_tokens(options, accounts.issuers, audiences, callouts))
        self._webhook = None
        if options.webhook is not None:
            self._webhook = TokenWebhook(options.webhook, callouts, audiences)
            tokens.append(self._webhook)
        self.filter = AuthenticationFilter(
            clock,
            self._certificates(options, clock),
            tokens,
            audiences=audiences,
            anonymous=options.anonymous,
            anonymous_paths=options.anonymous_paths,
        )

    def _jwt_tokens(
        self, options: AuthenticationOptions, own_issuers: Sequence[str], audiences: Sequence[str], callouts: Callouts
    ) -> "JwtTokens":
        from wherry.server.authn.jwt_tokens import JwtTokens, take_file

        assert options.configuration is not None
        made = JwtTokens(options.configuration, callouts, audiences, options.algorithms)
        path, anonymous = options.configuration_file, options.configuration.anonymous
        if path is not None:
            self._files.follow([path], partial(take_file, made, path, own_issuers, anonymous))
        return made

    def _certificates(self, options: AuthenticationOptions, clock: Clock) -> list[Authenticator]:
        made: list[Authenticator] = []
        if options.front_proxy is not None:
            proxies = Authority(options.front_proxy.ca, clock)
            made.append(FrontProxyAuthenticator(options.front_proxy, proxies))
            self._follow(proxies)
        if options.client_ca is not None:
            clients = Authority(options.client_ca, clock)
            made.append(X509Authenticator(clients))
            self._follow(clients)
        return made

    def _follow(self, authority: Authority) -> None:
        def changed() -> Awaitable[None] | None:
            authority.take()
            return self.authorities_changed()

        self._files.follow([authority.path], changed)

    async def close(self) -> None:
        """Ask nobody any more."""
        if self._webhook is not None:
            await self._webhook.close()
