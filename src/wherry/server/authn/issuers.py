"""OpenID Connect issuers: where their keys are, and whether one of them signed a token.

The discovery document is fetched when a token first names its issuer, keys when none that is known fits; requests that
need either at the same time wait for one fetch. Source: github.com/coreos/go-oidc, which kube-apiserver uses; PyJWT
does the cryptography and is imported on first use.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from wherry.meta.errors import quote
from wherry.server.authn.identity import TokenError
from wherry.server.callouts.client import CalloutError, Callouts, Remote

ALGORITHMS = ("ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 10.0
"""How long an issuer that could not be reached is not asked again."""
NOT_BEFORE_LEEWAY_SECONDS = 60
_WELL_KNOWN = "/.well-known/openid-configuration"
_GOOGLE = "accounts.google.com"
Json = dict[str, Any]


def untrusted_issuer(token: str) -> str | None:
    """Whom a token says it is of; None for what is no JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        issuer = _parsed(parts[1]).get("iss")
    except ValueError:
        return None
    return f"https://{_GOOGLE}" if issuer == _GOOGLE else issuer if isinstance(issuer, str) else None


class OpenId:
    """Asks issuers, trusting one set of authorities (PEM; empty: the system's)."""

    def __init__(self, callouts: Callouts, authorities: str) -> None:
        """Raises CalloutError for bad PEM."""
        self._ca = authorities.encode() or None
        self._callouts = callouts
        self.clock = callouts.clock
        callouts.to_url("", self._ca)

    async def get(self, url: str, bearer: str = "") -> bytes:
        """What is there. Raises TokenError."""
        address, _, query = url.partition("?")
        remote = self._callouts.to_url(address, self._ca)
        if bearer:
            remote = Remote(address, remote.tls, token=bearer)
        try:
            return await self._callouts.fetch(remote, timeout_seconds=TIMEOUT_SECONDS, query=query)
        except CalloutError as error:
            raise TokenError(str(error)) from error

    async def document(self, url: str) -> Json:
        """A JSON object. Raises TokenError."""
        try:
            value = json.loads(await self.get(url))
        except ValueError as error:
            raise TokenError(f"oidc: failed to decode {url}: {error}") from error
        if not isinstance(value, dict):
            raise TokenError(f"oidc: failed to decode {url}: it is no object")
        return value


class Issuer:
    """One issuer of tokens for some audiences."""

    def __init__(
        self, url: str, openid: OpenId, audiences: Sequence[str], algorithms: Sequence[str], discovery_url: str = ""
    ) -> None:
        self.url = url
        self._openid = openid
        self._audiences = list(audiences)
        self._algorithms = tuple(algorithms)
        self._discovery_url = discovery_url or url.removesuffix("/") + _WELL_KNOWN
        self._keys_url = ""
        self._keys: list[_Key] = []
        self._fetched = 0
        self._fault = ""
        """Why the last fetch failed."""
        self._lock = asyncio.Lock()
        self._failed: tuple[float, str] = (0.0, "")

    async def verify(self, token: str) -> Json:
        """The claims of a token of this issuer that is good now. Raises TokenError."""
        try:
            header_part, claims_part, signature_part = token.split(".")
            header, claims = _parsed(header_part), _parsed(claims_part)
            signature = _unbased(signature_part)
        except ValueError as error:
            raise TokenError(f"oidc: malformed jwt: {error}") from error
        self._check(claims)
        algorithm = str(header.get("alg"))
        if algorithm not in self._algorithms:
            expected = " ".join(map(quote, self._algorithms))
            raise TokenError(
                f"oidc: id token signed with unsupported algorithm, expected [{expected}] got {quote(algorithm)}"
            )
        signed = f"{header_part}.{claims_part}".encode()
        key_id = str(header.get("kid") or "")
        seen = self._fetched
        if not self._is_signed(algorithm, key_id, signed, signature):
            await self._refresh(seen)
            if not self._is_signed(algorithm, key_id, signed, signature):
                raise TokenError("failed to verify signature: failed to verify id token signature")
        return claims

    def _check(self, claims: Json) -> None:
        issuer, stated = claims.get("iss"), claims.get("aud") or []
        if issuer != self.url and not (issuer == _GOOGLE and self.url == f"https://{_GOOGLE}"):
            raise TokenError(
                f"oidc: id token issued by a different provider, expected {quote(self.url)} got {quote(str(issuer))}"
            )
        audiences = [stated] if isinstance(stated, str) else stated
        if not isinstance(audiences, list) or not set(self._audiences) & {str(item) for item in audiences}:
            one = len(self._audiences) == 1
            expected = quote(self._audiences[0]) if one else f"in [{' '.join(map(quote, sorted(self._audiences)))}]"
            raise TokenError(f"oidc: expected audience {expected} got {json.dumps(audiences)}")
        now = self._openid.clock.now()
        expiry = _moment(claims.get("exp")) or datetime(1, 1, 1, tzinfo=UTC)
        if expiry < now:
            raise TokenError(f"oidc: token is expired (Token Expiry: {_go(expiry)})")
        begin = _moment(claims.get("nbf"))
        if begin is not None and (begin - now).total_seconds() > NOT_BEFORE_LEEWAY_SECONDS:
            raise TokenError(f"oidc: current time {_go(now)} before the nbf (not before) time: {_go(begin)}")

    def _is_signed(self, algorithm: str, key_id: str, signed: bytes, signature: bytes) -> bool:
        return any(key.signed(algorithm, signed, signature) for key in self._keys if key_id in ("", key.id))

    async def discover(self) -> None:
        """Find out where the keys are, unless that is known. Raises TokenError."""
        async with self._lock:
            await self._discover()

    async def _discover(self) -> None:
        if self._keys_url:
            return
        now, (until, why) = self._openid.clock.monotonic(), self._failed
        if now < until:
            raise TokenError(why)
        try:
            document = await self._openid.document(self._discovery_url)
            told = document.get("issuer")
            if told != self.url:
                raise TokenError(
                    f"oidc: issuer did not match the issuer returned by provider, expected {quote(self.url)} got "
                    f"{quote(str(told))}"
                )
            self._keys_url = str(document.get("jwks_uri") or "")
            if not self._keys_url:
                raise TokenError("provider did not return JWKS URL")
        except TokenError as error:
            self._failed = now + RETRY_SECONDS, f"oidc: authenticator not initialized: {error}"
            raise TokenError(self._failed[1]) from error

    async def _refresh(self, seen: int) -> None:
        """Fetch the keys, unless somebody has tried since `seen`: who waited shares what came of it."""
        async with self._lock:
            if self._fetched == seen:
                try:
                    await self._fetch()
                    self._fault = ""
                except TokenError as error:
                    self._fault = str(error)
                self._fetched += 1
            if self._fault:
                raise TokenError(self._fault)

    async def _fetch(self) -> None:
        await self._discover()
        try:
            document = await self._openid.document(self._keys_url)
        except TokenError as error:
            raise TokenError(f"failed to verify signature: fetching keys {error}") from error
        found = document.get("keys")
        self._keys = [_Key(item) for item in found if isinstance(item, dict)] if isinstance(found, list) else []


_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class _Key:
    """A public key as a JWKS lists it."""

    def __init__(self, fields: Json) -> None:
        self.id = str(fields.get("kid") or "")
        public = ("kty", "kid", "alg", "use", "n", "e", "crv", "x", "y")
        self._fields = {name: fields[name] for name in public if name in fields}
        self._kind = {"RSA": ("RS", "PS"), "EC": ("ES",)}.get(str(fields.get("kty")), ())
        self._made: dict[str, Any] = {}

    def signed(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether this key made the signature."""
        if not algorithm.startswith(self._kind) or self._fields.get("crv") != _CURVES.get(algorithm):
            return False
        import jwt
        from jwt.algorithms import get_default_algorithms

        verifier: Any = get_default_algorithms()[algorithm]
        try:
            key = self._made.get(algorithm)
            if key is None:
                key = self._made[algorithm] = verifier.from_jwk(self._fields)
            return bool(verifier.verify(signed, key, signature))
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            return False  # a key that is none, or of another curve


def _unbased(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _parsed(text: str) -> Json:
    """A part of a token; numbers are floats, as expressions expect. Raises ValueError."""
    try:
        value = json.loads(_unbased(text), parse_int=float)
    except (binascii.Error, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError("a part of the token is no object")
    return value


def _moment(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, float) else None
    except (ValueError, OverflowError, OSError):
        return None


def _go(moment: datetime) -> str:
    return f"{moment.isoformat(' ', 'seconds')[:19]} +0000 UTC"
