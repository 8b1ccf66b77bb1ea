"""The HTTPS frontend: bytes over TLS, streams that end with their connection, refusals that can be read."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import aiohttp
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.server.core.conftest import MAPS, Api, Json
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.edges import EdgeOptions
from wherry.server.frontend import HttpsFrontend, ListenError
from wherry.server.options import ServerOptions
from wherry.server.tls import tls_context


def certificate(directory: Path, days: int = 1) -> tuple[str, str]:
    """A self-signed certificate that is its own authority, for user "admin" in system:masters."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "admin"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"),
        ]
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / f"cert{days}.pem", directory / f"key{days}.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])


@pytest.fixture
def server_options(tmp_path: Path) -> ServerOptions:
    own, _ = certificate(tmp_path)
    return ServerOptions(edges=EdgeOptions(authentication=AuthenticationOptions(client_ca=Path(own))))


@pytest.fixture
async def https(api: Api, tmp_path: Path) -> AsyncIterator[tuple[HttpsFrontend, Path]]:
    own = str(tmp_path / "cert1.pem"), str(tmp_path / "key1.pem")
    frontend = HttpsFrontend(api.server.handle, tls_context(*own, own[0]))
    await frontend.start("127.0.0.1", 0)
    yield frontend, tmp_path
    await frontend.close()


def session(frontend: HttpsFrontend, *credentials: str) -> aiohttp.ClientSession:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if credentials:
        context.load_cert_chain(*credentials)
    connector = aiohttp.TCPConnector(ssl=context)
    return aiohttp.ClientSession(f"https://127.0.0.1:{frontend.port}", connector=connector)


async def test_a_client_certificate_says_who_asks(api: Api, https: tuple[HttpsFrontend, Path]) -> None:
    frontend, directory = https
    own = str(directory / "cert1.pem"), str(directory / "key1.pem")
    async with session(frontend, *own) as client, client.get(MAPS) as answer:
        assert answer.status == 200 and (await answer.json())["kind"] == "ConfigMapList"
    async with session(frontend) as client, client.get(MAPS) as answer:
        assert answer.status == 403 and "system:anonymous" in (await answer.json())["message"]


async def test_large_and_small_answers_arrive_whole(
    api: Api, https: tuple[HttpsFrontend, Path], config_map: Callable[..., Json]
) -> None:
    frontend, directory = https
    for number in range(3):
        await api.ok("POST", MAPS, config_map(f"m{number}", a="x" * 900_000))
    whole = (await api.send("GET", MAPS)).body
    own = str(directory / "cert1.pem"), str(directory / "key1.pem")
    async with session(frontend, *own) as client, client.get(MAPS) as answer:
        assert await answer.read() == whole and len(whole) > 2_700_000


async def test_a_watch_streams_and_ends_with_its_connection(
    api: Api, https: tuple[HttpsFrontend, Path], config_map: Callable[..., Json]
) -> None:
    frontend, directory = https
    own = str(directory / "cert1.pem"), str(directory / "key1.pem")
    served = api.server.registry.find("", "v1", "configmaps")
    assert served is not None
    async with session(frontend, *own) as client:
        async with client.get(MAPS, params={"watch": "1"}) as answer:
            await api.ok("POST", MAPS, config_map())
            line = await answer.content.readline()
            assert orjson.loads(line)["type"] == "ADDED" and len(served.cache.watchers()) == 1
            answer.close()
        async with asyncio.timeout(5):
            while served.cache.watchers():  # noqa: ASYNC110 - the cache tells nobody when a watcher goes
                await asyncio.sleep(0)


async def test_a_body_over_the_limit_is_refused_with_a_status(https: tuple[HttpsFrontend, Path]) -> None:
    frontend, directory = https
    own = str(directory / "cert1.pem"), str(directory / "key1.pem")
    async with session(frontend, *own) as client, client.post(MAPS, data=BytesIO(b"x" * (3 << 20) + b"x")) as answer:
        assert answer.status == 413 and (await answer.json())["reason"] == "RequestEntityTooLarge"


async def test_a_port_in_use_is_one_clear_error(api: Api, https: tuple[HttpsFrontend, Path]) -> None:
    frontend, _ = https
    second = HttpsFrontend(api.server.handle, None)
    with pytest.raises(ListenError, match=f"port {frontend.port} on 127.0.0.1 is in use"):
        await second.start("127.0.0.1", frontend.port)
    await second.close()


async def test_long_answers_are_compressed_for_those_who_take_gzip(
    api: Api, https: tuple[HttpsFrontend, Path], config_map: Callable[..., Json]
) -> None:
    frontend, directory = https
    await api.ok("POST", MAPS, config_map("long", a="x" * 200_000))
    await api.ok("POST", MAPS, config_map("short"))
    own = str(directory / "cert1.pem"), str(directory / "key1.pem")
    async with session(frontend, *own) as client:
        async with client.get(f"{MAPS}/long") as answer:
            assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["Vary"] == "Accept-Encoding"
            assert (await answer.json())["data"]["a"] == "x" * 200_000
        for path, accepted in ((f"{MAPS}/long", "identity"), (f"{MAPS}/short", "gzip")):
            async with client.get(path, headers={"Accept-Encoding": accepted}) as answer:
                assert answer.status == 200 and "Content-Encoding" not in answer.headers
        frontend.compresses = False
        async with client.get(f"{MAPS}/long") as answer:
            assert answer.status == 200 and "Content-Encoding" not in answer.headers
