"""A webhook is asked about tokens nobody else knows; its answers are remembered, its failures are not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.unit.server.callouts.party import Answer, Party, certificate, party
from tests.unit.server.edges.worlds import ObjectCaches, StandingClock
from wherry.aio.entropy import Entropy
from wherry.meta.errors import StatusError
from wherry.server.authn.identity import TokenError
from wherry.server.authn.token_webhook import TokenWebhook, TokenWebhookOptions
from wherry.server.callouts.client import Callouts
from wherry.server.filters.authentication import AuthenticationFilter
from wherry.server.handlers.reviews import Reviews
from wherry.server.http import Request
from wherry.server.rbac.authorizer import AlwaysAllow

AUDIENCE = "https://kubernetes.default.svc"
ANN = {"authenticated": True, "user": {"username": "ann", "uid": "7", "groups": ["dev"], "extra": {"a": ["b"]}}}


class Told:
    """Answers by what the test has put in; says no when there is nothing left."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)

    async def __call__(self, request: web.Request) -> web.Response:
        code, status = self.answers.pop(0) if self.answers else (200, {"authenticated": False})
        return web.json_response({"kind": "TokenReview", "status": status}, status=code)


class World:
    def __init__(self, webhook: TokenWebhook, asked: Party, clock: StandingClock) -> None:
        self.webhook, self.asked, self.clock = webhook, asked, clock
        self.filter = AuthenticationFilter(clock, tokens=[webhook], audiences=[AUDIENCE])

    async def request(self, token: str) -> Request:
        request = Request("GET", "/", headers={"authorization": f"Bearer {token}"})
        pending = self.filter.apply(request)
        if pending is not None:
            await pending
        return request

    async def review(self, token: str, *audiences: str) -> dict[str, Any]:
        body = json.dumps({"spec": {"token": token, "audiences": audiences}}).encode()
        reviews = Reviews(AlwaysAllow(), self.filter, [AUDIENCE])
        answer = await reviews.token_review(Request("POST", "/", body=body))
        assert isinstance(answer.body, bytes)
        return dict(json.loads(answer.body)["status"])


@asynccontextmanager
async def world(folder: Path, answer: Answer, version: str = "v1", cache_seconds: float = 120) -> AsyncIterator[World]:
    async with party(answer) as asked:
        (folder / "ca").write_bytes(certificate()[0])
        config = {
            "clusters": [
                {"name": "w", "cluster": {"server": asked.url("/authn"), "certificate-authority": str(folder / "ca")}}
            ],
            "users": [{"name": "u", "user": {"token": "of the server"}}],
            "contexts": [{"name": "c", "context": {"cluster": "w", "user": "u"}}],
            "current-context": "c",
        }
        (folder / "config").write_text(yaml.safe_dump(config))
        clock = StandingClock()
        callouts = Callouts(ObjectCaches(), Entropy(1), clock)
        webhook = TokenWebhook(TokenWebhookOptions(folder / "config", version, cache_seconds), callouts, [AUDIENCE])
        try:
            yield World(webhook, asked, clock)
        finally:
            await webhook.close()
            await callouts.close()


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_the_webhook_says_who_it_is(tmp_path: Path, version: str) -> None:
    async with world(tmp_path, Told((200, ANN)), version) as w:
        user = (await w.request("t")).user
        assert user is not None
        assert (user.name, user.uid, user.extra) == ("ann", "7", {"a": ["b"]})
        assert user.groups == ["dev", "system:authenticated"]
        assert w.asked.asked == [
            {
                "kind": "TokenReview",
                "apiVersion": f"authentication.k8s.io/{version}",
                "metadata": {},
                "spec": {"token": "t", "audiences": [AUDIENCE]},
                "status": {},
            }
        ]
        assert w.asked.requests[0].path == "/authn"
        assert w.asked.requests[0].headers["Authorization"] == "Bearer of the server"


async def test_a_no_is_401_and_remembered_as_long_as_a_yes(tmp_path: Path) -> None:
    async with world(tmp_path, Told((200, {"authenticated": False}), (200, ANN))) as w:
        for passed in (0.0, 119.0):
            w.clock.passed = passed
            with pytest.raises(StatusError) as caught:
                await w.request("t")
            assert caught.value.code == 401
        assert len(w.asked.asked) == 1
        w.clock.passed = 121
        assert (await w.request("t")).user is not None
        w.clock.passed = 240
        await w.request("t")
        assert len(w.asked.asked) == 2


async def test_a_failure_is_told_in_reviews_and_not_remembered(tmp_path: Path) -> None:
    async with world(
        tmp_path, Told((200, {"authenticated": False, "error": "the directory is down"}), (200, ANN))
    ) as w:
        assert await w.review("t") == {"error": "[invalid bearer token, the directory is down]", "user": {}}
        assert (await w.review("t"))["user"]["username"] == "ann"


async def test_a_stumble_is_tried_again_five_times_with_growing_waits(tmp_path: Path) -> None:
    async with world(tmp_path, Told((500, {}), (429, {}), (500, {}), (504, {}), (200, ANN))) as w:
        assert (await w.request("t")).user is not None
        assert 0.5 * (1 + 1.5 + 2.25 + 3.375) <= w.clock.passed <= 0.6 * (1 + 1.5 + 2.25 + 3.375)
    async with world(tmp_path, Told(*[(500, {})] * 5, (200, ANN))) as w:
        with pytest.raises(StatusError):
            await w.request("t")
        assert len(w.asked.asked) == 5


async def test_a_refusal_is_not_tried_again(tmp_path: Path) -> None:
    async with world(tmp_path, Told((403, {}))) as w:
        with pytest.raises(StatusError):
            await w.request("t")
        assert len(w.asked.asked) == 1


async def test_audiences_must_meet(tmp_path: Path) -> None:
    vault = ANN | {"audiences": ["vault", "other"]}
    async with world(tmp_path, Told((200, vault), (200, vault), (200, ANN), (200, ANN))) as w:
        assert (await w.review("a", "vault", "x"))["audiences"] == ["vault"]
        assert await w.review("b", "x") == {"error": "invalid bearer token", "user": {}}
        assert await w.review("c", "x") == {
            "error": "invalid bearer token",
            "user": {},
        }
        assert (await w.review("d"))["audiences"] == [AUDIENCE]


async def test_who_asks_at_the_same_time_shares_the_answer(tmp_path: Path) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        asked.set()
        await answer.wait()
        return web.json_response({"status": ANN})

    async with world(tmp_path, slow) as w:
        gives_up = asyncio.ensure_future(w.request("t"))
        await asked.wait()
        waits = asyncio.ensure_future(w.request("t"))
        await asyncio.sleep(0)
        gives_up.cancel()
        await asyncio.gather(gives_up, return_exceptions=True)
        answer.set()
        assert (await waits).user is not None
        assert len(w.asked.asked) == 1


async def test_nonsense_is_a_failure(tmp_path: Path) -> None:
    async with world(tmp_path, Told((200, {"authenticated": "perhaps"}))) as w:
        pending = w.webhook.verify("t", [])
        assert pending is not None and asyncio.iscoroutine(pending)
        with pytest.raises(TokenError):
            await pending


def test_a_version_nobody_speaks_is_refused(tmp_path: Path) -> None:
    callouts = Callouts(ObjectCaches(), Entropy(1), StandingClock())
    with pytest.raises(ValueError, match=r'unsupported authentication webhook version "v2", supported versions are'):
        TokenWebhook(TokenWebhookOptions(tmp_path, "v2"), callouts, [])
