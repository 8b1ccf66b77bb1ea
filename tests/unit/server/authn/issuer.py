"""A real OpenID Connect issuer on the loopback: HTTPS, RSA and EC keys, which it can change."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.unit.server.callouts.party import Party, party

EPOCH = 1767225600  # 2026-01-01, when the tests' clock starts
Json = dict[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
RSA_KEY, OTHER_RSA_KEY = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC_KEY = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """Its answers, by path; tests change them."""

    def __init__(self) -> None:
        self.keys: dict[str, PrivateKey] = {"rsa": RSA_KEY}
        self.url = ""
        self.answers: Json = {}
        self.served: Party | None = None

    async def __call__(self, request: web.Request) -> web.Response:
        if request.path in self.answers:
            answer = self.answers[request.path]
            return web.Response(text=answer) if isinstance(answer, str) else web.json_response(answer)
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
        if request.path == "/keys":
            return web.json_response({"keys": [{"kty": "oct", "k": "AA"}, *map(jwk, self.keys, self.keys.values())]})
        return web.Response(status=404, text="no such page")

    def token(
        self, claims: dict[str, Any] | None = None, *, kid: str | None = "rsa", alg: str = "", **more: Any
    ) -> str:
        """Signed with one of its keys; valid for an hour unless the claims say otherwise."""
        key = self.keys[kid or "rsa"]
        whole = {"iss": self.url, "aud": "wherry", "exp": EPOCH + 3600, "sub": "ann"} | (claims or {}) | more
        headers = {"kid": kid} if kid else None
        algorithm = alg or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
        return jwt.encode({k: v for k, v in whole.items() if v is not None}, key, algorithm, headers=headers)

    def asked(self, path: str) -> int:
        """How often a path was asked for."""
        assert self.served is not None
        return sum(request.path == path for request in self.served.requests)


def jwk(kid: str, key: PrivateKey) -> Json:
    public = key.public_key()
    made = RSAAlgorithm.to_jwk(public) if isinstance(public, rsa.RSAPublicKey) else ECAlgorithm.to_jwk(public)
    return {**json.loads(made), "kid": kid, "use": "sig"}


@asynccontextmanager
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    async with party(made) as served:
        made.served, made.url = served, served.url("")
        yield made
