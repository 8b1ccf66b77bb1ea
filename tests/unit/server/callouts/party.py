"""Somebody to be called: an HTTPS server on the loopback that answers by a function and keeps what it was asked."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Json = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICE_NAMES = ("localhost", "webhook.default.svc", "sample-api.default.svc")


class Party:
    """A running one."""

    def __init__(self, port: int, ca: bytes) -> None:
        self.port = port
        self.ca = ca
        """PEM of who signed its certificate."""
        self.asked: list[Json] = []
        """Bodies of the requests so far, when they were JSON."""
        self.requests: list[web.Request] = []

    def url(self, path: str = "/") -> str:
        return f"https://127.0.0.1:{self.port}{path}"


@lru_cache(maxsize=1)
def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for the loopback and SERVICE_NAMES, and its key: PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.now(UTC) - timedelta(days=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "party")])
    names = [x509.IPAddress(ip_address("127.0.0.1")), *(x509.DNSName(item) for item in SERVICE_NAMES)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def server_context(client_ca: bytes | None = None) -> ssl.SSLContext:
    """TLS that shows `certificate`; with `client_ca` it takes only clients that this signed."""
    cert, key = certificate()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with TemporaryDirectory() as folder:
        both = Path(folder, "pem")
        both.write_bytes(cert + key)
        context.load_cert_chain(both)
    if client_ca:
        context.load_verify_locations(cadata=client_ca.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def party(answer: Answer, *, client_ca: bytes | None = None) -> AsyncIterator[Party]:
    """Serve `answer` until left."""
    found = Party(0, certificate()[0])

    async def serve(request: web.Request) -> web.StreamResponse:
        found.requests.append(request)
        if request.content_type == "application/json" and request.can_read_body:
            found.asked.append(await request.json())
        return await answer(request)

    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(client_ca))
        await site.start()
        found.port = runner.addresses[0][1]
        yield found
    finally:
        await runner.cleanup()


def answering(value: Any, status: int = 200) -> Answer:
    """Always the same JSON."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(value, status=status)

    return answer
