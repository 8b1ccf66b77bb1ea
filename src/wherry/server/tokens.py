"""Service-account tokens: making them, and believing them.

`TokenIssuer` holds the private key and makes bound tokens (KEP-1205): JWTs that name the account, an audience and, most
often, the pod that may use them. `TokenVerifier` holds the public keys and checks signature, time, audience and that
the account and whatever the token is bound to still exist with the same uid. It also knows the older tokens that
live in Secrets. The wire format of claims is Kubernetes'; PyJWT does the cryptography and is imported on first use.
"""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Node, Pod, Secret, ServiceAccount
from wherry.meta.errors import quote
from wherry.meta.object import KubernetesObject
from wherry.meta.time import parse_time
from wherry.server.authn.identity import (
    CREDENTIAL_ID,
    TokenError,
    Verified,
    service_account_groups,
    service_account_name,
)
from wherry.server.http import UserInfo
from wherry.server.strategies.strategy import Caches

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey
    PublicKey = EllipticCurvePublicKey | RSAPublicKey

LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY = "kubernetes.io/serviceaccount/"
_INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
WARN_SECONDS = 3607
"""Clients that ask for exactly this (projected volumes' default) may be too old to reload tokens: they get a year, and
a note in the token of when they should have come back."""
EXTENDED_SECONDS = 365 * 24 * 3600
LEEWAY_SECONDS = 60
"""Clocks may differ by this much; a deleted pod's token also lives this long, for its last requests."""
_LEGACY_USE = "authentication.k8s.io/legacy-token"
_EXTRA = "authentication.kubernetes.io/"
_INVALIDATED = "service account token has been invalidated"
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bound:
    """The object that a token lives and dies with."""

    kind: str
    """Pod, Secret or Node."""
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class TokenSubject:
    """Whom a token is for."""

    namespace: str
    name: str
    uid: str
    bound: Bound | None = None
    node: Bound | None = None
    """The node that a bound pod runs on."""


class SigningKey:
    """A private key with its id and algorithm."""

    def __init__(self, pem: bytes) -> None:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self.private: PrivateKey = load_pem_private_key(pem, None)  # type: ignore[assignment]
        self.public = VerificationKey(self.private.public_key())


class VerificationKey:
    """A public key; `id` is the URL-safe SHA-256 of its DER form, as kube-apiserver makes it."""

    def __init__(self, public: "PublicKey") -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = public
        self.id = base64.urlsafe_b64encode(sha256(der).digest()).rstrip(b"=").decode()

    @classmethod
    def from_pem(cls, pem: bytes) -> "list[VerificationKey]":
        """Public keys, public halves of private ones, and those of certificates. Raises ValueError without any."""
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from cryptography.x509 import load_pem_x509_certificate

        found: list[VerificationKey] = []
        for block in _PEM.finditer(pem):
            if b"PRIVATE KEY" in block[1]:
                found.append(SigningKey(block[0]).public)
            elif block[1] == b"CERTIFICATE":
                found.append(cls(load_pem_x509_certificate(block[0]).public_key()))  # type: ignore[arg-type]
            elif b"PUBLIC KEY" in block[1]:
                found.append(cls(load_pem_public_key(block[0])))  # type: ignore[arg-type]
        if not found:
            raise ValueError("data does not contain any valid RSA or ECDSA public keys")
        return found

    @cached_property
    def algorithm(self) -> str:
        """RS256, ES256, ES384 or ES512."""
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

        if isinstance(self.public, EllipticCurvePublicKey):
            return {256: "ES256", 384: "ES384", 521: "ES512"}[self.public.curve.key_size]
        return "RS256"

    def jwk(self) -> dict[str, Any]:
        """The key as /openid/v1/jwks shows it."""
        from jwt.algorithms import ECAlgorithm, RSAAlgorithm

        maker: Any = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        fields = maker.to_jwk(self.public, as_dict=True)
        fields.pop("key_ops", None)
        return {"use": "sig", "kty": fields.pop("kty"), "kid": self.id, "alg": self.algorithm, **fields}


class TokenIssuer:
    """Makes tokens."""

    def __init__(self, key: SigningKey, issuer: str, clock: Clock, entropy: Entropy) -> None:
        self._key = key
        self._issuer = issuer
        self._clock = clock
        self._entropy = entropy

    def issue(
        self, subject: TokenSubject, audiences: Sequence[str], seconds: int, *, extend: bool = False
    ) -> tuple[str, str, datetime]:
        """A token, its id, and when the client should have replaced it. `extend`: see `WARN_SECONDS`."""
        import jwt

        now = self._clock.now().replace(microsecond=0)
        issued = int(now.timestamp())
        private = _private_claims(subject)
        lifetime = EXTENDED_SECONDS if extend else seconds
        if extend:
            private["warnafter"] = issued + seconds
        token_id = self._entropy.uid()
        claims = {
            "aud": list(audiences),
            "exp": issued + lifetime,
            "iat": issued,
            "iss": self._issuer,
            "jti": token_id,
            "kubernetes.io": private,
            "nbf": issued,
            "sub": service_account_name(subject.namespace, subject.name),
        }
        key = self._key
        token = jwt.encode(claims, key.private, algorithm=key.public.algorithm, headers={"kid": key.public.id})
        return token, token_id, now + timedelta(seconds=seconds)

    def issue_legacy(self, account: ServiceAccount, secret_name: str) -> str:
        """The everlasting token that a Secret of type kubernetes.io/service-account-token holds."""
        import jwt

        meta = account.metadata
        claims = {
            "iss": LEGACY_ISSUER,
            _LEGACY + "namespace": meta.namespace,
            _LEGACY + "secret.name": secret_name,
            _LEGACY + "service-account.name": meta.name,
            _LEGACY + "service-account.uid": meta.uid,
            "sub": service_account_name(meta.namespace or "", meta.name or ""),
        }
        key = self._key
        return jwt.encode(claims, key.private, algorithm=key.public.algorithm, headers={"kid": key.public.id})


def _private_claims(subject: TokenSubject) -> dict[str, Any]:
    claims: dict[str, Any] = {"namespace": subject.namespace}
    bound = [bound for bound in (subject.node, subject.bound) if bound]
    claims |= {
        item.kind.lower(): {"name": item.name, "uid": item.uid} if item.uid else {"name": item.name} for item in bound
    }
    claims["serviceaccount"] = {"name": subject.name, "uid": subject.uid}
    return claims


class TokenVerifier:
    """Believes, or does not believe, tokens."""

    def __init__(
        self,
        keys: Sequence[VerificationKey],
        issuers: Sequence[str],
        audiences: Sequence[str],
        caches: Caches,
        clock: Clock,
    ) -> None:
        self.keys = list(keys)
        self.issuers = list(issuers)
        self.audiences = list(audiences)
        self._caches = caches
        self._clock = clock
        self.legacy_used: Callable[[Secret], None] = lambda secret: None
        """Told of every use of a token that lives in a Secret."""

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """Check everything; None for what is no token of these issuers. Raises TokenError for one that is not good."""
        claims = self._signed_claims(token)
        if claims is None:
            return None
        if claims.get("iss") == LEGACY_ISSUER:
            return self._verify_legacy(token, claims, audiences)
        stated = claims.get("aud") or []
        given = [stated] if isinstance(stated, str) else stated
        common = [item for item in given if item in audiences]
        if not common:
            shown = " ".join(map(quote, given)), " ".join(map(quote, audiences))
            raise TokenError(f"token audiences [{shown[0]}] is invalid for the target audiences [{shown[1]}]")
        self._check_time(claims)
        private = claims.get("kubernetes.io")
        if not isinstance(private, dict):
            raise TokenError("service account token claims could not be validated due to unexpected private claim")
        user = self._bound_user(private, str(claims.get("jti", "")))
        if claims.get("sub") != user.name:
            return None
        return Verified(user, common, self._stale(private, user.name))

    def _signed_claims(self, token: str) -> dict[str, Any] | None:
        """Those of a token of ours; None for tokens of others. Raises TokenError for one that we did not sign."""
        if token.count(".") != 2:
            return None
        import jwt

        options: Any = {"verify_" + name: False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            claimed = jwt.decode(token, options=options | {"verify_signature": False}).get("iss")
        except (jwt.InvalidTokenError, RecursionError):
            return None
        if claimed != LEGACY_ISSUER and claimed not in self.issuers:
            return None
        candidates = [key for key in self.keys if key_id in (None, "", key.id)]
        for key in candidates:
            try:
                return jwt.decode(token, key.public, algorithms=[key.algorithm], options=options)
            except jwt.InvalidTokenError:
                continue
        raise TokenError(
            "go-jose/go-jose: error in cryptographic primitive" if candidates else "invalid signature, no keys found"
        )

    def _check_time(self, claims: dict[str, Any]) -> None:
        now = self._clock.now().timestamp()
        try:
            end, begin, issued = (float(claims.get(name, now)) for name in ("exp", "nbf", "iat"))
        except (TypeError, ValueError) as error:
            raise TokenError(f"service account token claim could not be validated: {error}") from error
        if "exp" not in claims or now - LEEWAY_SECONDS > end:
            raise TokenError("service account token has expired")
        if now + LEEWAY_SECONDS < begin:
            raise TokenError("service account token is not valid yet")
        if now + LEEWAY_SECONDS < issued:
            raise TokenError("service account token is issued in the future")

    def _stale(self, private: dict[str, Any], subject: str) -> dict[str, str]:
        """What the audit log is told of a client that should have come back for a new token."""
        warn_after, now = private.get("warnafter"), self._clock.now().timestamp()
        if not isinstance(warn_after, int) or now <= warn_after:
            return {}
        text = f"subject: {subject}, seconds after warning threshold: {int(now) - warn_after}"
        return {"authentication.k8s.io/stale-token": text}

    def _bound_user(self, private: dict[str, Any], token_id: str) -> UserInfo:
        namespace, account = str(private.get("namespace", "")), _reference(private, "serviceaccount") or ("", "")
        self._account("service account", namespace, *account)
        extra = {CREDENTIAL_ID: [f"JTI={token_id}"]} if token_id else {}
        pod, secret, node = (_reference(private, kind) for kind in ("pod", "secret", "node"))
        if secret:
            self._check_lives(Secret, namespace, *secret)
        if pod:
            self._check_lives(Pod, namespace, *pod)
            extra |= {_EXTRA + "pod-name": [pod[0]], _EXTRA + "pod-uid": [pod[1]]}
        elif node:
            self._check_lives(Node, None, *node)
        if node:
            extra[_EXTRA + "node-name"] = [node[0]]
            if node[1]:
                extra[_EXTRA + "node-uid"] = [node[1]]
        name, uid = account
        return UserInfo(service_account_name(namespace, name), uid, service_account_groups(namespace), extra)

    def _verify_legacy(self, token: str, claims: dict[str, Any], audiences: Sequence[str]) -> Verified:
        """A token that lives in a Secret (server's audiences only)."""
        names = ("namespace", "secret.name", "service-account.name", "service-account.uid")
        namespace, secret_name, name, uid = (str(claims.get(_LEGACY + item, "")) for item in names)
        common = [item for item in self.audiences if item in audiences]
        if not common:
            shown = " ".join(map(quote, self.audiences)), " ".join(map(quote, audiences))
            raise TokenError(f"token audiences [{shown[0]}] is invalid for the target audiences [{shown[1]}]")
        secret = self._caches.get(Secret, namespace, secret_name)
        if secret is None or secret.metadata.deletionTimestamp:
            raise TokenError(_INVALIDATED)
        try:
            stored = base64.b64decode(secret.data.get("token", ""))
        except ValueError:
            stored = b""
        if stored != token.encode():
            raise TokenError("service account token does not match server's copy")
        account = self._account("ServiceAccount", namespace, name, uid)
        self.legacy_used(secret)
        if secret.metadata.labels.get(_INVALID_SINCE):
            raise TokenError(
                f"the token in secret {namespace}/{secret_name} for service account {namespace}/{name} has been marked "
                "invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the "
                f"'{_INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            )
        user = service_account_name(namespace, name)
        made = "autogenerated" if any(ref.name == secret_name for ref in account.secrets) else "manual"
        annotations = {_LEGACY_USE: user, f"{_LEGACY_USE}-{made}-secret": secret_name}
        return Verified(UserInfo(user, uid, service_account_groups(namespace)), common, annotations)

    def _account(self, kind: str, namespace: str, name: str, uid: str) -> ServiceAccount:
        """The living account of a token; `kind` as messages call it. Raises TokenError."""
        account = self._caches.get(ServiceAccount, namespace, name)
        if account is None:
            raise TokenError(f"serviceaccounts {quote(name)} not found")
        if account.metadata.uid != uid:
            raise TokenError(f"{kind} UID ({account.metadata.uid}) does not match claim ({uid})")
        if self._gone(account):
            raise TokenError(f"{kind} {namespace}/{name} has been deleted")
        return account

    def _check_lives(self, kind: type[KubernetesObject], namespace: str | None, name: str, uid: str) -> None:
        found = self._caches.get(kind, namespace, name)
        if found is None:
            raise TokenError(_INVALIDATED)
        if found.metadata.uid != uid:
            what = kind.__name__.lower()
            why = f"({found.metadata.uid}) does not match service account {what} ref claim ({uid})"
            raise TokenError(f"{what} UID {why}")
        if self._gone(found):
            raise TokenError(_INVALIDATED)

    def _gone(self, found: KubernetesObject) -> bool:
        deleted = found.metadata.deletionTimestamp
        return deleted is not None and parse_time(deleted) + timedelta(seconds=LEEWAY_SECONDS) < self._clock.now()


def _reference(private: dict[str, Any], kind: str) -> tuple[str, str] | None:
    value = private.get(kind)
    if not isinstance(value, dict) or not value.get("name"):
        return None
    return str(value["name"]), str(value.get("uid", ""))
