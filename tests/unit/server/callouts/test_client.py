"""What the server asks of others: it trusts whom it was told to, within bounds of time and size."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from tests.unit.server.callouts.party import answering, certificate, party
from tests.unit.server.edges.worlds import ObjectCaches
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Service, ServicePort, ServiceSpec
from wherry.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.server.callouts import client
from wherry.server.callouts.client import CalloutError, Callouts
from wherry.server.callouts.services import service_endpoint


def service(port: int, **spec: object) -> Service:
    made = ServiceSpec(type="ClusterIP", ports=[ServicePort(name="https", port=443, targetPort=port)])
    for name, value in spec.items():
        setattr(made, name, value)
    return Service(metadata=ObjectMeta(name="webhook", namespace="default"), spec=made)


def endpoints(port: int, *, ready: bool = True) -> EndpointSlice:
    meta = ObjectMeta(name="webhook-1", namespace="default", labels={"kubernetes.io/service-name": "webhook"})
    condition = EndpointConditions(ready=ready)
    return EndpointSlice(
        metadata=meta,
        addressType="IPv4",
        endpoints=[Endpoint(addresses=["127.0.0.1"], conditions=condition)],
        ports=[EndpointPort(name="https", port=port, protocol="TCP")],
    )


def callouts_over(*objects: object) -> Callouts:
    return Callouts(ObjectCaches(*objects), Entropy(1), SystemClock())  # type: ignore[arg-type]


@pytest.fixture
async def callouts() -> AsyncIterator[Callouts]:
    made = callouts_over()
    yield made
    await made.close()


async def test_json_goes_out_and_json_comes_back(callouts: Callouts) -> None:
    async with party(answering({"answer": 42})) as other:
        remote = callouts.to_url(other.url("/ask"), other.ca)
        assert await callouts.post(remote, {"question": 1}, timeout_seconds=5, query="timeout=5s") == {"answer": 42}
        assert other.asked == [{"question": 1}]
        assert other.requests[0].path_qs == "/ask?timeout=5s"


async def test_a_service_is_reached_at_its_endpoints_under_its_own_name() -> None:
    async with party(answering({})) as other:
        callouts = callouts_over(service(other.port), endpoints(other.port))
        remote = callouts.to_service("default", "webhook", 443, "/check", ca=other.ca)
        await callouts.post(remote, {}, timeout_seconds=5)
        assert other.requests[0].headers["Host"] == "webhook.default.svc:443"
        await callouts.close()


async def test_an_authority_that_was_not_named_is_not_trusted(callouts: Callouts) -> None:
    async with party(answering({})) as other:
        remote = callouts.to_url(other.url("/"))
        with pytest.raises(CalloutError, match="x509: certificate signed by unknown authority"):
            await callouts.post(remote, {}, timeout_seconds=5)


async def test_who_does_not_answer_in_time_is_not_waited_for(callouts: Callouts) -> None:
    stop = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        await stop.wait()
        return web.Response()

    async with party(never) as other:
        with pytest.raises(CalloutError, match="context deadline exceeded") as caught:
            await callouts.post(callouts.to_url(other.url(), other.ca), {}, timeout_seconds=0.2, query="timeout=1s")
        stop.set()
    assert caught.value.timed_out
    assert f'Post "https://127.0.0.1:{other.port}/?timeout=1s"' in str(caught.value)


async def test_nobody_listening_reads_as_with_gos_client(callouts: Callouts) -> None:
    with pytest.raises(CalloutError, match=r"dial tcp 127\.0\.0\.1:1: connect: connection refused"):
        await callouts.post(callouts.to_url("https://127.0.0.1:1/"), {}, timeout_seconds=5)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (answering({"kind": "Status", "message": "not today", "reason": "Forbidden", "code": 403}, 403), "not today"),
        (answering("boom", 500), 'an error on the server ("\\"boom\\"") has prevented the request from succeeding'),
        (answering({}, 404), "the server could not find the requested resource"),
        (answering({}, 302), "the server responded with the status code 302 but did not return more information"),
    ],
    ids=["a status", "an error", "no such path", "a redirect is not followed"],
)
async def test_an_answer_that_is_no_success_is_a_status(callouts: Callouts, answer: object, says: str) -> None:
    async with party(answer) as other:  # type: ignore[arg-type]
        with pytest.raises(CalloutError) as caught:
            await callouts.post(callouts.to_url(other.url(), other.ca), {}, timeout_seconds=5)
    assert says in str(caught.value)
    assert caught.value.status is not None


async def test_what_is_not_json_is_no_answer(callouts: Callouts) -> None:
    async def prose(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async with party(prose) as other:
        with pytest.raises(CalloutError, match="json parse error"):
            await callouts.post(callouts.to_url(other.url(), other.ca), {}, timeout_seconds=5)


async def test_a_huge_answer_is_not_read_to_its_end(callouts: Callouts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES_MAX", 1 << 16)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 4096)

    async with party(endless) as other:
        with pytest.raises(CalloutError, match="the answer is larger than 65536 bytes"):
            await callouts.post(callouts.to_url(other.url(), other.ca), {}, timeout_seconds=5)


def test_authorities_that_are_not_pem_are_refused() -> None:
    with pytest.raises(CalloutError, match="unable to load root certificates"):
        callouts_over().to_url("https://127.0.0.1/", b"nonsense")


async def test_a_kubeconfig_file_describes_a_party(callouts: Callouts, tmp_path: Path) -> None:
    async with party(answering({})) as other:
        (tmp_path / "ca.crt").write_bytes(certificate()[0])
        config = {
            "clusters": [{"name": "c", "cluster": {"server": other.url("/v"), "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": {"token": "s3cret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        await callouts.post(callouts.from_kubeconfig(tmp_path / "config"), {}, timeout_seconds=5)
        assert other.requests[0].headers["Authorization"] == "Bearer s3cret"
        assert other.requests[0].path == "/v"


@pytest.mark.parametrize(
    ("objects", "port", "says"),
    [
        ((), 443, 'services "webhook" not found'),
        ((service(1),), 8443, 'no service port 8443 found for service "webhook"'),
        ((service(1),), 443, 'no endpoints available for service "webhook"'),
        ((service(1), endpoints(1, ready=False)), 443, 'no endpoints available for service "webhook"'),
    ],
    ids=["no service", "no such port", "no endpoints", "none is ready"],
)
def test_a_service_without_a_way_in_says_which(objects: tuple[object, ...], port: int, says: str) -> None:
    with pytest.raises(StatusError) as caught:
        service_endpoint(callouts_over(*objects).caches, Entropy(1), "default", "webhook", port)
    assert caught.value.message == says


def test_an_external_name_is_gone_to_as_it_is() -> None:
    caches = callouts_over(service(1, type="ExternalName", externalName="localhost", ports=[])).caches
    assert service_endpoint(caches, Entropy(1), "default", "webhook", 9443).authority == "localhost:9443"
