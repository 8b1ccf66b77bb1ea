"""JWTs of configured issuers: who signed them, what their claims mean, and what happens as issuers change."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.server.authn.issuer import EC_KEY, EPOCH, OTHER_RSA_KEY, RSA_KEY, issuer
from tests.unit.server.callouts.party import certificate
from tests.unit.server.edges.worlds import ObjectCaches, StandingClock
from wherry.aio.entropy import Entropy
from wherry.meta.errors import StatusError, aggregate
from wherry.server.authn.callers import Callers
from wherry.server.authn.configuration import faults, read
from wherry.server.authn.identity import TokenError
from wherry.server.authn.issuers import ALGORITHMS
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.callouts.client import Callouts
from wherry.server.files import FileFollower
from wherry.server.http import Request, UserInfo
from wherry.server.tokens import TokenVerifier

OURS = "https://kubernetes.default.svc"
Json = dict[str, Any]
PLAIN: Json = {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": ""}}


def document(url: str, *, mappings: Json | None = None, top: Json | None = None, **more: Any) -> bytes:
    """An AuthenticationConfiguration of one issuer."""
    about = {"url": url, "audiences": ["wherry"], "certificateAuthority": certificate()[0].decode()}
    about |= more.pop("issuer", {})
    jwt = {"issuer": about, "claimMappings": mappings or PLAIN, **more}
    whole = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]}
    return yaml.safe_dump(whole | (top or {})).encode()


class World:
    """The edge of a server that believes one issuer."""

    def __init__(self, data: bytes, path: Path | None = None, algorithms: tuple[str, ...] = ALGORITHMS) -> None:
        self.clock = StandingClock()
        self.callouts = Callouts(ObjectCaches(), Entropy(1), self.clock)
        configuration = read(data)
        assert not list(faults(configuration, [OURS]))
        options = AuthenticationOptions(configuration=configuration, configuration_file=path, algorithms=algorithms)
        self.files = FileFollower(self.clock)
        verifier = TokenVerifier([], [OURS], [OURS], ObjectCaches(), self.clock)
        self.callers = Callers(options, verifier, [OURS], ObjectCaches(), self.callouts, self.clock, self.files)

    async def user(self, token: str) -> UserInfo:
        """Who the token is; forgets it at once."""
        self.callers.filter._recognised.clear()
        request = Request("GET", "/", headers={"authorization": f"Bearer {token}"})
        pending = self.callers.filter.apply(request)
        if pending is not None:
            await pending
        assert request.user is not None
        return request.user

    async def fault(self, token: str) -> str:
        """Why it is not believed; the caller learns nothing of it."""
        with pytest.raises(StatusError) as refused:
            await self.user(token)
        assert (refused.value.code, refused.value.message) == (401, "Unauthorized")
        with pytest.raises(TokenError) as caught:
            await self.callers.filter.review(token, [])
        begin = "[invalid bearer token, "
        assert str(caught.value).startswith(begin)
        return str(caught.value).removeprefix(begin).removesuffix("]")


@asynccontextmanager
async def world(
    data: bytes, path: Path | None = None, algorithms: tuple[str, ...] = ALGORITHMS
) -> AsyncIterator[World]:
    made = World(data, path, algorithms)
    try:
        yield made
    finally:
        await made.callers.close()
        await made.callouts.close()


# Who signed it


@pytest.mark.parametrize("alg", ["RS256", "RS512", "PS256", "ES256"])
async def test_a_token_of_the_issuer_is_believed(alg: str) -> None:
    async with issuer() as op:
        op.keys["ec"] = EC_KEY
        async with world(document(op.url)) as w:
            token = op.token(groups=["dev", "ops"], jti="7", kid="ec" if alg == "ES256" else "rsa", alg=alg)
            user = await w.user(token)
            assert (user.name, user.groups) == ("oidc:ann", ["dev", "ops", "system:authenticated"])
            assert user.extra == {"authentication.kubernetes.io/credential-id": ["JTI=7"]}


async def test_nothing_is_fetched_twice_until_a_new_key_signs() -> None:
    async with issuer() as op, world(document(op.url)) as w:
        await asyncio.gather(*(w.user(op.token(sub=str(number))) for number in range(5)))
        assert (op.asked("/.well-known/openid-configuration"), op.asked("/keys")) == (1, 1)
        op.keys = {"new": OTHER_RSA_KEY}
        assert (await w.user(op.token(kid="new"))).name == "oidc:ann"
        assert (op.asked("/.well-known/openid-configuration"), op.asked("/keys")) == (1, 2)
        op.keys["rsa"] = RSA_KEY
        gone = op.token(kid="rsa")
        del op.keys["rsa"]
        assert (await w.fault(gone)).endswith("failed to verify signature: failed to verify id token signature")


async def test_many_who_wait_for_keys_that_do_not_come_share_one_question() -> None:
    async with issuer() as op, world(document(op.url)) as w:
        op.answers["/keys"] = "nonsense"
        waiting = [w.callers.filter.review(op.token(sub=str(number)), []) for number in range(5)]
        faults = await asyncio.gather(*waiting, return_exceptions=True)
        assert all("failed to verify signature: fetching keys" in str(item) for item in faults)
        assert op.asked("/keys") == 1
        op.answers.clear()
        assert (await w.user(op.token())).name == "oidc:ann"


async def test_a_token_without_key_id_is_tried_with_every_key() -> None:
    async with issuer() as op:
        op.keys = {"other": OTHER_RSA_KEY, "rsa": RSA_KEY}
        async with world(document(op.url)) as w:
            assert (await w.user(op.token(kid=None))).name == "oidc:ann"


async def test_what_is_not_good_now_or_not_for_us_is_refused() -> None:
    async with issuer() as op, world(document(op.url, issuer={"audiences": ["wherry"]}), algorithms=("RS256",)) as w:
        begin = "oidc: verify token: oidc: "
        assert await w.fault(op.token(exp=EPOCH - 1)) == (
            f"{begin}token is expired (Token Expiry: 2025-12-31 23:59:59 +0000 UTC)"
        )
        assert "Token Expiry: 0001-01-01 00:00:00 +0000 UTC" in await w.fault(op.token(exp=None))
        assert "before the nbf (not before) time: 2026-01-01 00:01:01" in await w.fault(op.token(nbf=EPOCH + 61))
        assert (await w.user(op.token(nbf=EPOCH + 59, aud=["x", "wherry"]))).name == "oidc:ann"
        assert await w.fault(op.token(aud="x")) == f'{begin}expected audience "wherry" got ["x"]'
        op.keys["ec"] = EC_KEY
        assert await w.fault(op.token(kid="ec")) == (
            f'{begin}id token signed with unsupported algorithm, expected ["RS256"] got "ES256"'
        )
        forged = op.token().rpartition(".")[0] + "." + op.token(sub="eve").rpartition(".")[2]
        assert "failed to verify" in await w.fault(forged)


async def test_tokens_of_others_cost_no_question() -> None:
    async with issuer() as op, world(document(op.url)) as w:
        for token in (op.token(iss="https://elsewhere"), "a.b.c", "x", "eyJhbGciOiJub25lIn0.e30."):
            assert await w.callers.filter.review(token, []) is None
        assert not op.asked("/keys")


async def test_an_issuer_that_does_not_answer_is_asked_again_after_ten_seconds() -> None:
    async with issuer() as op, world(document(op.url)) as w:
        op.answers["/.well-known/openid-configuration"] = {"issuer": "https://other", "jwks_uri": "x"}
        why = f'issuer did not match the issuer returned by provider, expected "{op.url}" got "https://other"'
        assert why in await w.fault(op.token())
        op.answers.clear()
        assert why in await w.fault(op.token())
        w.clock.passed = 11
        assert (await w.user(op.token())).name == "oidc:ann"


async def test_the_discovery_document_may_be_elsewhere() -> None:
    async with issuer() as op:
        op.answers["/internal/config"] = {"issuer": "https://public.example", "jwks_uri": f"{op.url}/keys"}
        data = document("https://public.example", issuer={"discoveryURL": f"{op.url}/internal/config"})
        async with world(data) as w:
            assert (await w.user(op.token(iss="https://public.example"))).name == "oidc:ann"


async def test_a_review_for_other_audiences_is_not_answered_by_issuers() -> None:
    async with issuer() as op, world(document(op.url)) as w:
        assert await w.callers.filter.review(op.token(), ["vault"]) is None
        found = await w.callers.filter.review(op.token(), ["vault", OURS])
        assert found is not None and found.audiences == [OURS]


# What the claims mean

EXPRESSIONS: Json = {
    "username": {"expression": "claims.names.first + ':' + claims.sub"},
    "groups": {"expression": "claims.roles.split(',')"},
    "uid": {"expression": "claims.uid"},
    "extra": [
        {"key": "example.org/level", "valueExpression": "string(claims.level)"},
        {"key": "example.org/none", "valueExpression": "has(claims.nope) ? claims.nope : ''"},
        {"key": "example.org/dotted", "valueExpression": "claims.a__dot__b.map(x, x + '!')"},
    ],
}


NUMBER = "json: cannot unmarshal number into Go value"


async def test_expressions_make_the_user() -> None:
    async with issuer() as op, world(document(op.url, mappings=EXPRESSIONS)) as w:
        claims = {"names": {"first": "Ann"}, "roles": "dev,,ops", "uid": "u1", "level": 3, "a.b": ["x", "y"]}
        user = await w.user(op.token(claims))
        assert (user.name, user.uid, user.groups) == ("Ann:ann", "u1", ["dev", "ops", "system:authenticated"])
        assert user.extra == {"example.org/level": ["3"], "example.org/dotted": ["x!", "y!"]}
        assert await w.fault(op.token(claims | {"uid": 7})) == (
            "oidc: error evaluating uid claim expression: uid claim expression must return a string"
        )
        assert await w.fault(op.token(claims | {"names": {}})) == (
            "oidc: error evaluating username claim expression: expression 'claims.names.first + ':' + claims.sub' "
            "resulted in error: no such key: first"
        )
        assert await w.fault(op.token(claims | {"a.b": 1})) != ""


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"sub": None}, 'oidc: parse username claims "sub": claim not present'),
        ({"sub": 7}, 'oidc: parse username claims "sub": json: cannot unmarshal number into Go value of type string'),
        (
            {"groups": 7},
            'oidc: parse groups claim "groups": json: cannot unmarshal number into Go value of type []string',
        ),
    ],
)
async def test_claims_must_be_of_their_type(claims: Json, fault: str) -> None:
    async with issuer() as op, world(document(op.url)) as w:
        assert await w.fault(op.token(claims)) == fault
        assert (await w.user(op.token(groups="one"))).groups == ["one", "system:authenticated"]
        assert (await w.user(op.token())).groups == ["system:authenticated"]


async def test_an_email_is_a_name_only_if_it_is_not_known_to_be_unverified() -> None:
    mappings = {"username": {"claim": "email", "prefix": ""}}
    async with issuer() as op, world(document(op.url, mappings=mappings)) as w:
        assert (await w.user(op.token(email="a@b"))).name == "a@b"
        assert (await w.user(op.token(email="a@b", email_verified=True))).name == "a@b"
        assert await w.fault(op.token(email="a@b", email_verified=False)) == "oidc: email not verified"
        assert "parse 'email_verified' claim" in await w.fault(op.token(email="a@b", email_verified="yes"))


async def test_rules_of_claims_and_users_must_hold() -> None:
    rules: Json = {
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "example.org"},
            {"expression": "claims.exp - claims.iat <= 3600.0", "message": "an hour at most"},
        ],
        "userValidationRules": [
            {"expression": "!user.username.startsWith('system:')", "message": "reserved"},
            {"expression": "user.groups.all(g, g != 'system:masters')"},
        ],
    }
    mappings = PLAIN | {"username": {"claim": "sub", "prefix": ""}}
    async with issuer() as op, world(document(op.url, mappings=mappings, **rules)) as w:
        good = {"hd": "example.org", "iat": EPOCH}
        assert (await w.user(op.token(good))).name == "ann"
        assert await w.fault(op.token()) == "oidc: required claim hd not present in ID token"
        assert await w.fault(op.token(hd="x")) == (
            "oidc: required claim hd value does not match. Got = x, want = example.org"
        )
        assert await w.fault(op.token(good, iat=EPOCH - 1)) == (
            "oidc: error evaluating claim validation expression: validation expression "
            "'claims.exp - claims.iat <= 3600.0' failed: an hour at most"
        )
        assert await w.fault(op.token(good, sub="system:admin")) == (
            "oidc: error evaluating user info validation rule: validation expression "
            "'!user.username.startsWith('system:')' failed: reserved"
        )
        assert "user.groups.all" in await w.fault(op.token(good, groups=["system:masters"]))


async def test_groups_may_be_kept_elsewhere() -> None:
    async with issuer() as op, world(document(op.url)) as w:
        op.answers["/groups"] = op.token({"groups": ["far"]})
        source = {"endpoint": f"{op.url}/groups?of=ann", "access_token": "secret"}
        token = op.token({"_claim_names": {"groups": "s"}, "_claim_sources": {"s": source}})
        assert (await w.user(token)).groups == ["far", "system:authenticated"]
        assert op.served is not None
        asked = next(request for request in op.served.requests if request.path == "/groups")
        assert (asked.headers["Authorization"], asked.query_string) == ("Bearer secret", "of=ann")
        op.answers["/groups"] = op.token()
        assert await w.fault(token) == (
            f"oidc: could not expand distributed claims: jwt returned by distributed claim endpoint "
            f'"{op.url}/groups?of=ann" did not contain claim: groups'
        )
        bad: list[Json] = [{"_claim_sources": {}}, {"_claim_sources": None}, {"_claim_names": 7}]
        for broken in bad:
            assert "could not expand" in await w.fault(op.token({"_claim_names": {"groups": "s"}, **broken}))


# The file


async def test_a_changed_file_counts_when_it_is_good(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config"
    async with issuer() as op, issuer() as second:
        path.write_bytes(document(op.url))
        async with world(path.read_bytes(), path) as w:

            async def change(data: bytes) -> None:
                path.write_bytes(data)
                os.utime(path, ns=(len(data), w.clock.now().microsecond + op.asked("/keys")))
                await w.files.look()

            await w.user(op.token())
            await change(document(second.url, mappings=PLAIN | {"username": {"claim": "sub", "prefix": "two:"}}))
            assert (await w.user(second.token())).name == "two:ann"
            assert await w.callers.filter.review(op.token(), []) is None
            with caplog.at_level(logging.ERROR):
                await change(document(OURS))
                await change(document(second.url, top={"anonymous": {"enabled": False}}))
                await change(b"")
                second.answers["/.well-known/openid-configuration"] = "x"
                await change(document(second.url, mappings=PLAIN | {"uid": {"claim": "sub"}}))
            assert (await w.user(second.token())).uid == ""
            for why in (
                f'jwt[0].issuer.url: Invalid value: "{OURS}": URL must not overlap with disallowed issuers: [{OURS}]',
                "anonymous: Forbidden: changed from initial configuration file",
                "empty config data",
                "failed to decode",
            ):
                assert why in caplog.text
            second.answers.clear()
            w.clock.passed = 11
            await w.files.look()
            assert (await w.user(second.token())).uid == "ann"


def told(data: Json) -> str:
    configuration = read(json.dumps({"apiVersion": "apiserver.config.k8s.io/v1beta1",
                                     "kind": "AuthenticationConfiguration", **data}).encode())  # fmt: skip
    return aggregate(faults(configuration, [OURS]))


def one(**changes: Any) -> Json:
    jwt: Json = {"issuer": {"url": "https://a", "audiences": ["x"]}, "claimMappings": PLAIN}
    return {"jwt": [jwt | changes]}


def mapped(**mappings: Any) -> Json:
    return one(claimMappings=PLAIN | mappings)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"jwt": [{}] * 65}, "jwt: Too many: 65: must have at most 64 items"),
        (one(issuer={"audiences": ["x"]}), "jwt[0].issuer.url: Required value"),
        (
            one(issuer={"url": "http://u:p@a?q#f", "audiences": ["x"]}),
            '[jwt[0].issuer.url: Invalid value: "http://u:p@a?q#f": URL scheme must be https, '
            'jwt[0].issuer.url: Invalid value: "http://u:p@a?q#f": URL must not contain a username or password, '
            'jwt[0].issuer.url: Invalid value: "http://u:p@a?q#f": URL must not contain a query, '
            'jwt[0].issuer.url: Invalid value: "http://u:p@a?q#f": URL must not contain a fragment]',
        ),
        (
            one(issuer={"url": "https://a", "discoveryURL": "https://a/", "audiences": ["x"]}),
            'jwt[0].issuer.discoveryURL: Invalid value: "https://a/": discoveryURL must be different from URL',
        ),
        (
            one(issuer={"url": "https://a"}),
            "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
        ),
        (
            one(issuer={"url": "https://a", "audiences": ["x", "x"]}),
            '[jwt[0].issuer.audiences[1]: Duplicate value: "x", jwt[0].issuer.audienceMatchPolicy: Invalid value: "": '
            "audienceMatchPolicy must be MatchAny for multiple audiences]",
        ),
        (
            one(issuer={"url": "https://a", "audiences": ["x"], "audienceMatchPolicy": "All"}),
            'jwt[0].issuer.audienceMatchPolicy: Invalid value: "All": audienceMatchPolicy must be empty or MatchAny '
            "for single audience",
        ),
        (
            one(issuer={"url": "https://a", "audiences": ["x"], "certificateAuthority": "no PEM"}),
            'jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or '
            "ECDSA certificates",
        ),
        (
            one(issuer={"url": "https://a", "audiences": ["x"], "egressSelectorType": "etcd"}),
            'jwt[0].issuer.egressSelectorType: Invalid value: "etcd": egress selector must be either controlplane or '
            "cluster",
        ),
        (mapped(username={}), "jwt[0].claimMappings.username: Required value: claim or expression is required"),
        (
            mapped(username={"claim": "sub"}),
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set "
            "to an empty string to disable prefixing",
        ),
        (
            mapped(username={"claim": "sub", "expression": "claims.sub"}),
            """jwt[0].claimMappings.username: Invalid value: "": claim and expression can't both be set""",
        ),
        (
            mapped(groups={"prefix": "x", "expression": "claims.groups"}),
            'jwt[0].claimMappings.groups.prefix: Invalid value: "x": may not be specified when expression is set',
        ),
        (
            mapped(username={"expression": "claims.email"}),
            'jwt[0].claimMappings.username.expression: Invalid value: "claims.email": claims.email_verified must be '
            "used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or "
            "claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression",
        ),
        (
            mapped(extra=[{"key": "Foo", "valueExpression": "'x'"}, {"key": "a.k8s.io/b"}]),
            '[jwt[0].claimMappings.extra[0].key: Invalid value: "Foo": must be a domain-prefixed path (such as '
            '"acme.io/foo"), jwt[0].claimMappings.extra[0].key: Invalid value: "Foo": must be lowercase, '
            'jwt[0].claimMappings.extra[1].key: Invalid value: "a.k8s.io/b": k8s.io, kubernetes.io and their '
            "subdomains are reserved for Kubernetes use, jwt[0].claimMappings.extra[1].valueExpression: Required "
            "value]",
        ),
        (
            one(
                claimValidationRules=[{}, {"claim": "a", "message": "m"}, {"expression": "true", "requiredValue": "v"}]
            ),
            "[jwt[0].claimValidationRules[0]: Required value: claim or expression is required, "
            'jwt[0].claimValidationRules[1].message: Invalid value: "m": may not be specified when claim is set, '
            'jwt[0].claimValidationRules[2].requiredValue: Invalid value: "v": may not be specified when expression is '
            "set]",
        ),
        (
            one(claimValidationRules=[{"expression": "claims.a"}]),
            'jwt[0].claimValidationRules[0].expression: Invalid value: "claims.a": must evaluate to bool',
        ),
        (
            one(
                userValidationRules=[{"expression": "user.name == ''"}, {"expression": "true"}, {"expression": "true"}]
            ),
            "[jwt[0].userValidationRules[0].expression: Invalid value: \"user.name == ''\": compilation failed: ERROR: "
            "<input>:1:5: undefined field 'name'\n | user.name == ''\n | ....^, "
            'jwt[0].userValidationRules[2].expression: Duplicate value: "true"]',
        ),
        (
            {"jwt": one()["jwt"] * 2},
            'jwt[1].issuer.url: Duplicate value: "https://a"',
        ),
        (
            {"anonymous": {"conditions": [{"path": "/livez"}]}},
            'anonymous.conditions: Invalid value: [{"path":"/livez"}]: enabled should be set to true when conditions '
            "are defined",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_upstream_says_it(data: Json, message: str) -> None:
    assert told(data) == message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"kind: AuthenticationConfiguration\napiVersion: apiserver.config.k8s.io/v2\n", "no kind"),
        (b"- a", "couldn't get version/kind"),
        (document("https://a", bogus=1), 'strict decoding error: unknown field "jwt[0].bogus"'),
    ],
)
def test_what_is_no_configuration_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("[", r"\[")):
        read(data)
