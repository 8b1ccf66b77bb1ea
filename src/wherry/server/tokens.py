"""Service-account tokens: making them, and believing them.

`TokenIssuer` holds the private key and makes bound tokens (KEP-1205): JWTs that name the account, an audience and, most
often, the pod that may use them. `TokenVerifier` holds the public keys and checks signature, time, audience and that
the account and whatever the token is bound to still exist with the same uid. It also knows the older tokens that
live in Secrets. The wire format of claims is Kubernetes'; PyJWT does the cryptography and is imported on first use.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Node, Pod, Secret, ServiceAccount
from wherry.meta.object import KubernetesObject
from wherry.meta.time import parse_time
from wherry.server.authn.identity import CREDENTIAL_ID, Verified, service_account_groups, service_account_name
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
_EXTRA = "authentication.kubernetes.io/"


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
    def from_pem(cls, pem: bytes) -> "VerificationKey":
        """A public key, or the public half of a private one."""
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        if b"PRIVATE KEY" in pem:
            return SigningKey(pem).public
        return cls(load_pem_public_key(pem))  # type: ignore[arg-type]

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
    ) -> tuple[str, datetime]:
        """A token and the time at which the client should have replaced it. `extend`: see `WARN_SECONDS`."""
        import jwt

        now = self._clock.now().replace(microsecond=0)
        issued = int(now.timestamp())
        private = _private_claims(subject)
        lifetime = EXTENDED_SECONDS if extend else seconds
        if extend:
            private["warnafter"] = issued + seconds
        claims = {
            "aud": list(audiences),
            "exp": issued + lifetime,
            "iat": issued,
            "iss": self._issuer,
            "jti": self._entropy.uid(),
            "kubernetes.io": private,
            "nbf": issued,
            "sub": service_account_name(subject.namespace, subject.name),
        }
        key = self._key
        token = jwt.encode(claims, key.private, algorithm=key.public.algorithm, headers={"kid": key.public.id})
        return token, now + timedelta(seconds=seconds)

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
    claims |= {item.kind.lower(): {"name": item.name, "uid": item.uid} for item in bound}
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

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """Check everything; None for whatever is not a valid service-account token for one of `audiences`."""
        claims = self._signed_claims(token)
        if claims is None:
            return None
        if claims.get("iss") == LEGACY_ISSUER:
            return self._verify_legacy(token, claims)
        if claims.get("iss") not in self.issuers or not self._is_current(claims):
            return None
        stated = claims.get("aud") or []
        common = [item for item in ([stated] if isinstance(stated, str) else stated) if item in audiences]
        private = claims.get("kubernetes.io")
        if not common or not isinstance(private, dict):
            return None
        user = self._bound_user(private, str(claims.get("jti", "")))
        if user is None or claims.get("sub") != user.name:
            return None
        return Verified(user, common)

    def _signed_claims(self, token: str) -> dict[str, Any] | None:
        if token.count(".") != 2:
            return None
        import jwt

        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError:
            return None
        candidates = [key for key in self.keys if key_id in (None, key.id)]
        options: Any = {"verify_" + name: False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
        for key in candidates:
            try:
                return jwt.decode(token, key.public, algorithms=[key.algorithm], options=options)
            except jwt.InvalidTokenError:
                continue
        return None

    def _is_current(self, claims: dict[str, Any]) -> bool:
        now = self._clock.now().timestamp()
        try:
            return float(claims["exp"]) + LEEWAY_SECONDS > now >= float(claims.get("nbf", 0)) - LEEWAY_SECONDS
        except (KeyError, TypeError, ValueError):
            return False

    def _bound_user(self, private: dict[str, Any], token_id: str) -> UserInfo | None:
        namespace, account = str(private.get("namespace", "")), _reference(private, "serviceaccount")
        if account is None or not self._lives(ServiceAccount, namespace, *account):
            return None
        extra = {CREDENTIAL_ID: [f"JTI={token_id}"]} if token_id else {}
        pod, secret, node = (_reference(private, kind) for kind in ("pod", "secret", "node"))
        if secret and not self._lives(Secret, namespace, *secret):
            return None
        if pod:
            if not self._lives(Pod, namespace, *pod):
                return None
            extra |= {_EXTRA + "pod-name": [pod[0]], _EXTRA + "pod-uid": [pod[1]]}
        elif node and not self._lives(Node, None, *node):
            return None
        if node:
            extra |= {_EXTRA + "node-name": [node[0]], _EXTRA + "node-uid": [node[1]]}
        name, uid = account
        return UserInfo(service_account_name(namespace, name), uid, service_account_groups(namespace), extra)

    def _verify_legacy(self, token: str, claims: dict[str, Any]) -> Verified | None:
        namespace, name = claims.get(_LEGACY + "namespace", ""), claims.get(_LEGACY + "service-account.name", "")
        uid, secret_name = claims.get(_LEGACY + "service-account.uid", ""), claims.get(_LEGACY + "secret.name", "")
        secret = self._caches.get(Secret, namespace, secret_name)
        if secret is None or secret.metadata.deletionTimestamp or _INVALID_SINCE in secret.metadata.labels:
            return None
        try:
            stored = base64.b64decode(secret.data.get("token", ""))
        except ValueError:
            return None
        if stored != token.encode() or not self._lives(ServiceAccount, namespace, name, uid):
            return None
        extra = {_EXTRA + "secret-name": [secret_name]}
        groups = service_account_groups(namespace)
        return Verified(UserInfo(service_account_name(namespace, name), uid, groups, extra))

    def _lives(self, kind: type[KubernetesObject], namespace: str | None, name: str, uid: str) -> bool:
        found = self._caches.get(kind, namespace, name)
        if found is None or found.metadata.uid != uid:
            return False
        deleted = found.metadata.deletionTimestamp
        return deleted is None or parse_time(deleted) + timedelta(seconds=LEEWAY_SECONDS) > self._clock.now()


def _reference(private: dict[str, Any], kind: str) -> tuple[str, str] | None:
    value = private.get(kind)
    if not isinstance(value, dict) or not value.get("name"):
        return None
    return str(value["name"]), str(value.get("uid", ""))
