"""The HTTPS transport against a real TLS server on the loopback device."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from wherry.aio.clock import LoopClock, SystemClock
from wherry.client.https import HttpsTransport, TokenFile, tls_context
from wherry.client.kubeconfig import Credentials, single_context, transport_from_kubeconfig, write
from wherry.client.transport import TransportError
from wherry.cluster.pki import Pki
from wherry.meta.errors import StatusError, not_found
from wherry.sim.loop import run_virtual

LONG_LINE = b"x" * (5 << 20)


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """Echoes what matters; /missing is a Status, /watch three lines, the last without a newline."""
    if request.path == "/missing":
        return web.json_response(not_found("pods", "x").status(), status=404)
    if request.path == "/watch":
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in (b"first\nsec", b"ond\n", LONG_LINE + b"\n", b"last"):
            await response.write(chunk)
            await asyncio.sleep(0)
        await response.write_eof()
        return response
    if request.path == "/broken":
        assert request.transport is not None
        request.transport.abort()
    tls = request.transport and request.transport.get_extra_info("peercert")
    return web.json_response(
        {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "authorization": request.headers.get("Authorization"),
            "client": tls["subject"][-1][0][1] if tls else None,
            "body": (await request.read()).decode(),
        },
        headers={"X-Case": "kept"},
    )


@asynccontextmanager
async def serving(pki: Pki) -> AsyncIterator[str]:
    pair = pki.serving("apiserver", "kube-apiserver", ["127.0.0.1", "localhost"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki.ca.cert)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(pair.cert, pair.key)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def trusting(url: str, pki: Pki, **options: str | TokenFile) -> HttpsTransport:
    return HttpsTransport(url, tls=tls_context(ca=pki.ca.cert.read_bytes()), token=options.get("token"))


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki", SystemClock())


async def test_a_request_arrives_as_sent_and_its_answer_comes_back(pki: Pki) -> None:
    async with serving(pki) as url:
        transport = trusting(f"{url}/prefix/", pki, token="secret")
        path, query = "/api/v1/namespaces/system:node a?b", {"labelSelector": "a in (b,c),d!=é&f=+"}
        response = await transport.request("POST", path, query=query, body=b"{}")
        assert response.status == 200
        assert response.headers["x-case"] == "kept"
        assert orjson.loads(response.body) == {
            "method": "POST",
            "path": f"/prefix{path}",
            "query": query,
            "authorization": "Bearer secret",
            "client": None,
            "body": "{}",
        }
        await transport.close()


async def test_a_failed_request_is_an_answer_and_a_failed_stream_an_error(pki: Pki) -> None:
    async with serving(pki) as url:
        transport = trusting(url, pki)
        assert (await transport.request("GET", "/missing")).status == 404
        with pytest.raises(StatusError, match='pods "x" not found'):
            async with transport.stream("GET", "/missing"):
                pass
        await transport.close()


async def test_a_stream_gives_whole_lines_however_long_and_cut(pki: Pki) -> None:
    async with serving(pki) as url:
        transport = trusting(url, pki)
        async with transport.stream("GET", "/watch") as lines:
            assert [line async for line in lines] == [b"first", b"second", LONG_LINE, b"last"]
        async with transport.stream("GET", "/watch") as lines:
            assert await anext(lines) == b"first"  # and leaves in the middle
        assert (await transport.request("GET", "/after")).status == 200
        await transport.close()


async def test_connections_that_fail_name_the_server(pki: Pki, tmp_path: Path) -> None:
    async with serving(pki) as url:
        stranger = HttpsTransport(url, tls=tls_context(ca=Pki(tmp_path / "other", SystemClock()).ca.cert.read_bytes()))
        with pytest.raises(TransportError, match=f"{url}: .*certificate verify failed"):
            await stranger.request("GET", "/")
        transport = trusting(url, pki)
        with pytest.raises(TransportError, match=url):
            await transport.request("GET", "/broken")
        with pytest.raises(TransportError, match=url):
            async with transport.stream("GET", "/broken"):
                pass
    with pytest.raises(TransportError, match=url):
        await transport.request("GET", "/gone")
    await transport.close()
    await stranger.close()


async def test_a_kubeconfig_leads_in_with_its_client_certificate(pki: Pki, tmp_path: Path) -> None:
    admin = pki.client("admin", "kubernetes-admin")
    async with serving(pki) as url:
        credentials = Credentials(url, pki.ca.cert.read_bytes(), admin.cert.read_bytes(), admin.key.read_bytes())
        write(tmp_path / "config", single_context("admin", credentials))
        transport = transport_from_kubeconfig(tmp_path / "config", clock=SystemClock())
        response = await transport.request("GET", "/")
        assert b"kubernetes-admin" in response.body
        await transport.close()


def test_a_token_file_is_read_again_each_minute_and_outlives_its_replacement(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "token"
        path.write_text("one\n")
        token = TokenFile(path, LoopClock())
        path.write_text("two\n")
        await asyncio.sleep(59)
        assert token() == "one"
        await asyncio.sleep(1)
        assert token() == "two"
        path.unlink()
        await asyncio.sleep(60)
        assert token() == "two"

    run_virtual(main())
