"""JWTs of configured issuers: verified by issuers.py, made users by claims.py, distributed groups fetched.

Source: k8s.io/apiserver, plugin/pkg/authenticator/token/oidc.
"""

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

from wherry.meta.errors import aggregate, field_forbidden, quote
from wherry.server.authn.claims import ClaimMapper
from wherry.server.authn.configuration import Anonymous, AuthenticationConfiguration, Jwt, faults, read
from wherry.server.authn.identity import TokenError, Verified
from wherry.server.authn.issuers import Issuer, OpenId, untrusted_issuer
from wherry.server.callouts.client import CalloutError, Callouts
from wherry.server.http import UserInfo

FURTHER_ISSUERS_MAX = 64


class JwtTokens:
    """Recognises tokens of every issuer of a configuration."""

    def __init__(
        self,
        configuration: AuthenticationConfiguration,
        callouts: Callouts,
        audiences: Sequence[str],
        algorithms: Sequence[str],
    ) -> None:
        """`audiences`: this server's, which is not the tokens' business. Raises ValueError."""
        self._callouts = callouts
        self._audiences = list(audiences)
        self._algorithms = tuple(algorithms)
        self._issuers = self._made(configuration)

    def _made(self, configuration: AuthenticationConfiguration) -> "dict[str, _Authenticator]":
        try:
            return {
                item.issuer.url: _Authenticator(item, self._callouts, self._algorithms) for item in configuration.jwt
            }
        except CalloutError as error:
            raise ValueError(str(error)) from error

    async def replace(self, configuration: AuthenticationConfiguration) -> None:
        """Take another configuration once all of its issuers have answered. Raises OSError when one does not."""
        made = self._made(configuration)
        for authenticator in made.values():
            try:
                await authenticator.issuer.discover()
            except TokenError as error:
                raise OSError(str(error)) from error
        self._issuers = made

    def verify(self, token: str, audiences: Sequence[str]) -> Awaitable[Verified | None] | None:
        """See TokenAuthenticator."""
        found = self._issuers.get(untrusted_issuer(token) or "")
        common = [item for item in audiences if item in self._audiences]
        if found is None or (audiences and not common):
            return None
        return found.verified(token, common)


async def take_file(tokens: JwtTokens, path: Path, own_issuers: Sequence[str], anonymous: Anonymous | None) -> None:
    """Follow a changed configuration file. Raises OSError for what may get better, ValueError for what will not."""
    configuration = read(path.read_bytes())
    errors = list(faults(configuration, own_issuers))
    if configuration.anonymous != anonymous:
        errors.append(field_forbidden("anonymous", "changed from initial configuration file"))
    if errors:
        raise ValueError(aggregate(errors))
    await tokens.replace(configuration)


class _Authenticator:
    """One of the issuers."""

    def __init__(self, jwt: Jwt, callouts: Callouts, algorithms: Sequence[str]) -> None:
        given = jwt.issuer
        self._openid = OpenId(callouts, given.certificateAuthority)
        self._algorithms = algorithms
        self._token_audiences = given.audiences
        self.issuer = self._issuer(given.url, given.discoveryURL)
        self._mapper = ClaimMapper(jwt)
        self._groups_claim = jwt.claimMappings.groups.claim
        self._further: dict[str, Issuer] = {}
        """Issuers of distributed claims."""

    def _issuer(self, url: str, discovery_url: str = "") -> Issuer:
        return Issuer(url, self._openid, self._token_audiences, self._algorithms, discovery_url)

    async def verified(self, token: str, audiences: list[str]) -> Verified:
        return Verified(await self._user(token), audiences)

    async def _user(self, token: str) -> UserInfo:
        try:
            claims = await self.issuer.verify(token)
        except TokenError as error:
            raise TokenError(f"oidc: verify token: {error}") from error
        if self._groups_claim and self._groups_claim not in claims:
            try:
                await self._expand(claims)
            except TokenError as error:
                raise TokenError(f"oidc: could not expand distributed claims: {error}") from error
        return self._mapper.user(claims)

    async def _expand(self, claims: dict[str, Any]) -> None:
        """Groups that the token only says where to ask for (OpenID Connect Core 1.0, 5.6.2)."""
        names, sources = claims.get("_claim_names"), claims.get("_claim_sources")
        if names is None:
            return
        if not isinstance(names, dict):
            raise TokenError("oidc: error parsing distributed claim names: they are no object")
        if not isinstance(sources, dict):
            raise TokenError("oidc: no claim sources" if sources is None else "oidc: could not parse claim sources")
        claim = self._groups_claim
        source = names.get(claim)
        if source is None:
            return
        if source not in sources:
            raise TokenError(f"id token _claim_names contained a source {source} missing in _claims_sources")
        endpoint = sources[source] if isinstance(sources[source], dict) else {}
        url = str(endpoint.get("endpoint") or "")
        if url:  # otherwise perhaps an aggregated claim
            claims[claim] = await self._distributed(claim, url, str(endpoint.get("access_token") or ""))

    async def _distributed(self, claim: str, url: str, access_token: str) -> Any:
        try:
            token = (await self._openid.get(url, access_token)).decode(errors="replace")
        except TokenError as error:
            raise TokenError(f"while getting distributed claim {quote(claim)}: {error}") from error
        name = untrusted_issuer(token)
        if name is None:
            raise TokenError(
                f"getting untrusted issuer from endpoint {url} failed for claim {quote(claim)}: malformed token"
            )
        if len(self._further) >= FURTHER_ISSUERS_MAX:
            self._further.clear()
        issuer = self._further.setdefault(name, self._issuer(name))
        try:
            claims = await issuer.verify(token)
        except TokenError as error:
            raise TokenError(f"verify distributed claim token: {error}") from error
        if claim not in claims:
            raise TokenError(f"jwt returned by distributed claim endpoint {quote(url)} did not contain claim: {claim}")
        return claims[claim]
