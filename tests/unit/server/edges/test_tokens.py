"""Service-account tokens: issued, believed, and no longer believed."""

import base64
import json
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.unit.server.edges.certificates import name_of, self_signed
from tests.unit.server.edges.worlds import ObjectCaches, StandingClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Node, Pod, PodSpec, Secret, ServiceAccount
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.wire import encode
from wherry.server.authn.identity import TokenError
from wherry.server.authn.issuers import untrusted_issuer
from wherry.server.filters.authentication import AuthenticationFilter
from wherry.server.handlers.token import TokenHandler
from wherry.server.http import Request, RequestInfo, UserInfo
from wherry.server.tokens import SigningKey, TokenIssuer, TokenVerifier, VerificationKey

ISSUER = "https://kubernetes.default.svc.cluster.local"


def pem(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


KEY = SigningKey(pem(ec.generate_private_key(ec.SECP256R1())))


class World:
    def __init__(self, key: SigningKey = KEY) -> None:
        self.clock = StandingClock()
        self.account = ServiceAccount(metadata=ObjectMeta(name="robot", namespace="shop", uid="u1"))
        self.pod = Pod(
            metadata=ObjectMeta(name="p", namespace="shop", uid="u2"),
            spec=PodSpec(serviceAccountName="robot", nodeName="n1"),
        )
        self.caches = ObjectCaches(self.account, self.pod, Node(metadata=ObjectMeta(name="n1", uid="u3")))
        self.issuer = TokenIssuer(key, ISSUER, self.clock, Entropy(1))
        self.verifier = TokenVerifier([key.public], [ISSUER], [ISSUER], self.caches, self.clock)
        self.handler = TokenHandler(self.issuer, [ISSUER], self.caches)

    async def request(self, **spec: object) -> dict[str, object]:
        request = Request("POST", "/", body=json.dumps({"spec": spec}).encode())
        request.info = RequestInfo("create", "", "v1", "serviceaccounts", "token", "shop", "robot", True)
        response = await self.handler(request)
        self.warning = response.headers.get("Warning")
        assert response.status == 201 and isinstance(response.body, bytes)
        return json.loads(response.body)  # type: ignore[no-any-return]


def user_of(world: World, token: str) -> UserInfo | None:
    verified = world.verifier.verify(token, [ISSUER])
    return verified.user if verified else None


def fault(world: World, token: str, *audiences: str) -> str:
    """Why a token is not believed."""
    with pytest.raises(TokenError) as caught:
        world.verifier.verify(token, audiences or (ISSUER,))
    return str(caught.value)


async def token_of(world: World, **spec: object) -> str:
    return str((await world.request(**spec))["status"]["token"])  # type: ignore[index]


@pytest.mark.parametrize("key", [KEY, SigningKey(pem(rsa.generate_private_key(65537, 2048)))], ids=["ES256", "RS256"])
async def test_a_token_is_believed_by_the_server_that_made_it(key: SigningKey) -> None:
    world = World(key)
    user = user_of(world, await token_of(world))
    assert user is not None
    assert (user.name, user.uid) == ("system:serviceaccount:shop:robot", "u1")
    assert user.groups == ["system:serviceaccounts", "system:serviceaccounts:shop"]
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


async def test_claims_are_those_of_kubernetes() -> None:
    world = World()
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u2"}
    token = await token_of(world, boundObjectRef=ref, expirationSeconds=1200)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == [ISSUER] and claims["iss"] == ISSUER
    assert claims["exp"] - claims["iat"] == 1200 and claims["nbf"] == claims["iat"]
    assert claims["sub"] == "system:serviceaccount:shop:robot"
    assert claims["kubernetes.io"] == {
        "namespace": "shop",
        "node": {"name": "n1", "uid": "u3"},
        "pod": {"name": "p", "uid": "u2"},
        "serviceaccount": {"name": "robot", "uid": "u1"},
    }
    assert jwt.get_unverified_header(token)["kid"] == KEY.public.id


async def test_old_pod_clients_get_a_year_and_a_warning_time() -> None:
    world = World()
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    answer = await world.request(boundObjectRef=ref, expirationSeconds=3607)
    claims = jwt.decode(answer["status"]["token"], options={"verify_signature": False})  # type: ignore[index]
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607
    assert answer["status"]["expirationTimestamp"] == "2026-01-01T01:00:07Z"  # type: ignore[index]


async def test_tokens_end() -> None:
    world = World()
    token = await token_of(world, expirationSeconds=600)
    world.clock.passed = 650
    assert user_of(world, token) is not None
    world.clock.passed = 661
    assert fault(world, token) == "service account token has expired"
    world.clock.passed = -61
    assert fault(world, token) == "service account token is not valid yet"


async def test_a_bound_token_dies_with_its_pod_and_its_account() -> None:
    world = World()
    token = await token_of(world, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    user = user_of(world, token)
    assert user is not None and user.extra["authentication.kubernetes.io/pod-name"] == ["p"]
    world.pod.metadata.uid = "reborn"
    assert fault(world, token) == "pod UID (reborn) does not match service account pod ref claim (u2)"
    world.pod.metadata.uid = "u2"
    world.pod.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    world.clock.passed = 60
    assert user_of(world, token) is not None  # its last requests
    world.clock.passed = 61
    assert fault(world, token) == "service account token has been invalidated"
    world.pod.metadata.deletionTimestamp = None
    world.account.metadata.uid = "other"
    assert fault(world, token) == "service account UID (other) does not match claim (u1)"
    world.caches.objects.remove(world.account)
    assert fault(world, token) == 'serviceaccounts "robot" not found'


async def test_tokens_bound_to_secrets_and_nodes_die_with_them() -> None:
    world = World()
    secret = Secret(metadata=ObjectMeta(name="s", namespace="shop", uid="u4"))
    world.caches.objects.append(secret)
    of_secret = await token_of(world, boundObjectRef={"kind": "Secret", "apiVersion": "v1", "name": "s"})
    of_node = await token_of(world, boundObjectRef={"kind": "Node", "apiVersion": "v1", "name": "n1", "uid": "u3"})
    user = user_of(world, of_node)
    assert user is not None and user.extra["authentication.kubernetes.io/node-name"] == ["n1"]
    assert user_of(world, of_secret) is not None
    world.caches.objects = [world.account]
    for token in (of_secret, of_node):
        assert fault(world, token) == "service account token has been invalidated"


async def test_a_pod_s_token_outlives_its_node() -> None:
    world = World()
    token = await token_of(world, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    world.caches.objects = [world.account, world.pod]
    assert user_of(world, token) is not None
    token = await token_of(world, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    assert jwt.decode(token, options={"verify_signature": False})["kubernetes.io"]["node"] == {"name": "n1"}


async def test_several_issuers_are_believed_and_the_first_signs() -> None:
    world = World()
    old = await token_of(world)
    new = "https://new"
    world.verifier = TokenVerifier([KEY.public], [new, ISSUER], [new, ISSUER], world.caches, world.clock)
    assert user_of(world, old) is not None
    world.verifier = TokenVerifier([KEY.public], [new], [new], world.caches, world.clock)
    assert world.verifier.verify(old, [new]) is None  # perhaps of somebody else who is asked next


async def test_late_clients_are_noted_in_the_audit_log() -> None:
    world = World()
    token = await token_of(
        world, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"}, expirationSeconds=3607
    )
    world.clock.passed = 3610
    request = Request("GET", "/", headers={"authorization": f"Bearer {token}"})
    AuthenticationFilter(world.clock, tokens=[world.verifier], audiences=[ISSUER]).apply(request)
    subject = "system:serviceaccount:shop:robot"
    assert request.audit == {
        "authentication.k8s.io/stale-token": f"subject: {subject}, seconds after warning threshold: 3"
    }


async def test_tokens_live_no_longer_than_the_server_allows() -> None:
    world = World()
    world.handler = TokenHandler(world.issuer, [ISSUER], world.caches, seconds_max=7200, extend=False)
    answer = await world.request(expirationSeconds=86400)
    assert answer["spec"]["expirationSeconds"] == 7200  # type: ignore[index]
    assert answer["status"]["expirationTimestamp"] == "2026-01-01T02:00:00Z"  # type: ignore[index]
    assert world.warning == '299 - "requested expiration of 86400 seconds shortened to 7200 seconds"'
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    claims = jwt.decode(await token_of(world, boundObjectRef=ref, expirationSeconds=3607),
                        options={"verify_signature": False})  # fmt: skip
    assert claims["exp"] - claims["iat"] == 3607


def part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


DEEP, HEAD = part("[" * 100_000 + "]" * 100_000), part('{"alg":"ES256"}')


@pytest.mark.parametrize(
    "garbage",
    [
        *("", "a.b.c", "x", "eyJhbGciOiJub25lIn0.e30.", f"{DEEP}.{DEEP}.x", f"{HEAD}.{DEEP}.x", "ü.ü.ü"),
        *(f"{HEAD}.{part(claims)}.x" for claims in ('{"iss":["a"]}', "7", '{"iss":{}}', '{"exp":' + "9" * 5000 + "}")),
        ".".join((part('{"alg":"ES256","kid":[7]}'), part("{}"), "x")),
    ],
)
def test_garbage_is_not_believed(garbage: str) -> None:
    assert user_of(World(), garbage) is None
    assert untrusted_issuer(garbage) is None


async def test_foreign_keys_and_audiences_are_not_believed() -> None:
    world, other = World(), World(SigningKey(pem(ec.generate_private_key(ec.SECP256R1()))))
    assert fault(world, await token_of(other)) == "invalid signature, no keys found"
    vault = await token_of(world, audiences=["vault"])
    assert fault(world, vault) == f'token audiences ["vault"] is invalid for the target audiences ["{ISSUER}"]'
    verified = world.verifier.verify(vault, ["vault", "x"])
    assert verified is not None and verified.audiences == ["vault"]


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (
            {"expirationSeconds": 599},
            422,
            'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: '
            "may not specify a duration less than 10 minutes",
        ),
        (
            {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "q"}},
            404,
            'secrets "q" not found',
        ),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "q"}}, 404, 'pods "q" not found'),
        (
            {"boundObjectRef": {"kind": "Job", "apiVersion": "batch/v1", "name": "q"}},
            400,
            "cannot bind token to object of type batch/v1, Kind=Job",
        ),
        (
            {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "z"}},
            409,
            'Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (z) does not match the '
            "UID in record. The object might have been deleted and then recreated",
        ),
    ],
)
async def test_bad_requests_are_refused(spec: dict[str, object], code: int, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        await World().request(**spec)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_a_secret_s_token_lives_as_long_as_the_secret() -> None:
    world = World()
    used: list[Secret] = []
    world.verifier.legacy_used = used.append
    token = world.issuer.issue_legacy(world.account, "robot-token")
    assert fault(world, token) == "service account token has been invalidated"
    data = {"token": base64.b64encode(token.encode()).decode()}
    secret = Secret(metadata=ObjectMeta(name="robot-token", namespace="shop"), data=data)
    world.caches.objects.append(secret)
    verified = world.verifier.verify(token, [ISSUER])
    assert verified is not None and verified.user.name == "system:serviceaccount:shop:robot"
    assert verified.user.extra == {} and verified.annotations == {
        "authentication.k8s.io/legacy-token": "system:serviceaccount:shop:robot",
        "authentication.k8s.io/legacy-token-manual-secret": "robot-token",
    }
    assert used == [secret]
    assert "is invalid for the target audiences" in fault(world, token, "vault")
    secret.metadata.labels["kubernetes.io/legacy-token-invalid-since"] = "2026-01-01"
    assert fault(world, token).startswith(
        "the token in secret shop/robot-token for service account shop/robot has been marked invalid. Use tokens"
    )
    secret.metadata.labels.clear()
    secret.data = {}
    assert fault(world, token) == "service account token does not match server's copy"


def test_every_key_of_a_file_is_believed() -> None:
    ec_key, rsa_key = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)
    whole = (
        pem(ec_key)
        + pem(rsa_key)
        + self_signed(
            name_of("x"), ec.generate_private_key(ec.SECP256R1()), datetime(2026, 1, 1, tzinfo=UTC), 1
        ).public_bytes(Encoding.PEM)
    )
    assert [key.algorithm for key in VerificationKey.from_pem(whole)] == ["ES384", "RS256", "ES256"]
    with pytest.raises(ValueError, match="does not contain any valid RSA or ECDSA public keys"):
        VerificationKey.from_pem(b"nothing")


async def test_the_filter_remembers_a_token_for_ten_seconds() -> None:
    world = World()
    token = await token_of(world)
    authenticate = AuthenticationFilter(world.clock, tokens=[world.verifier], audiences=[ISSUER])
    request = Request("GET", "/", headers={"authorization": f"Bearer {token}"})
    authenticate.apply(request)
    assert request.user is not None and "system:authenticated" in request.user.groups
    world.caches.objects.remove(world.account)
    again = Request("GET", "/", headers={"authorization": f"Bearer {token}"})
    authenticate.apply(again)
    world.clock.passed = 11
    with pytest.raises(StatusError) as caught:
        authenticate.apply(Request("GET", "/", headers={"authorization": f"Bearer {token}"}))
    assert caught.value.code == 401 and caught.value.message == "Unauthorized"


def test_the_public_key_is_published_as_a_jwk() -> None:
    jwk = KEY.public.jwk()
    assert jwk["kid"] == KEY.public.id and jwk["alg"] == "ES256" and jwk["crv"] == "P-256" and jwk["use"] == "sig"
    assert encode(jwk)
