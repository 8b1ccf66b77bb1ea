"""Client certificates and proxies' headers: whose word counts, over real connections, also while files change."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.unit.server.authn.authorities import CLIENT, ED, SERVER, Signed
from tests.unit.server.edges.worlds import StandingClock
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import ConfigMap, Secret
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.server.app import Server
from wherry.server.authn.front_proxy import FrontProxyAuthenticator, FrontProxyOptions
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.authn.x509 import Authority, X509Authenticator
from wherry.server.edges import EdgeOptions
from wherry.server.frontend import HttpsFrontend
from wherry.server.http import Request, UserInfo
from wherry.server.options import ServerOptions
from wherry.server.tls import Serving
from wherry.store.local import memory_store

CLOCK = StandingClock()
START = CLOCK.now() - timedelta(hours=12)
CA, OTHER = (Signed("ca", ca=True, start=START) for _ in range(2))
ANN = Signed("ann", CA, "dev", "ops", start=START, usages=(CLIENT,))


def authority(folder: Path, *signers: Signed) -> Authority:
    return Authority(signers[0].write(folder, signers[0].certificate.serial_number.__str__(), *signers[1:])[0], CLOCK)


def identify(by: Authority, *chain: Signed) -> UserInfo | None:
    return X509Authenticator(by).authenticate(Request("GET", "/", peer_certificates=tuple(item.der for item in chain)))


def test_a_certificate_names_user_and_groups(tmp_path: Path) -> None:
    by = authority(tmp_path, CA)
    user = identify(by, ANN)
    assert user is not None and (user.name, user.groups, user.uid) == ("ann", ["dev", "ops"], "")
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")
    named = identify(by, Signed("bob", CA, start=START, uids=("u1",)))
    assert named is not None and named.uid == "u1"
    assert identify(by) is None and identify(by, Signed("", CA, "dev", start=START)) is None


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ED], ids=["RSA", "Ed25519"])
def test_authorities_may_have_any_kind_of_key(tmp_path: Path, key: Any) -> None:
    own = Signed("own", ca=True, start=START, key=key)
    assert identify(authority(tmp_path, OTHER, own), Signed("ann", own, start=START)) is not None


def test_intermediates_come_with_the_client_or_stand_in_the_file(tmp_path: Path) -> None:
    between = Signed("between", CA, ca=True, start=START)
    ann = Signed("ann", between, start=START)
    assert identify(authority(tmp_path, CA), ann, between) is not None
    assert identify(authority(tmp_path, between), ann) is not None


@pytest.mark.parametrize(
    "chain",
    [
        (Signed("ann", OTHER, start=START),),
        (Signed("ann", start=START),),
        (Signed("ann", CA, start=START, days=0.1),),
        (Signed("ann", CA, start=CLOCK.now() + timedelta(hours=1)),),
        (Signed("ann", CA, start=START, usages=(SERVER,)),),
        (Signed("eve", ANN, start=START), ANN),
        (Signed("ann", CA, start=START, uids=("a", "b")),),
    ],
    ids=["of a stranger", "of itself", "expired", "not yet good", "a server's", "by no authority", "two uids"],
)
def test_what_nobody_vouches_for_is_unauthorized(tmp_path: Path, chain: tuple[Signed, ...]) -> None:
    by = authority(tmp_path, CA)
    for _ in range(2):
        with pytest.raises(StatusError) as caught:
            identify(by, *chain)
        assert caught.value.code == 401


@pytest.mark.parametrize("chain", [(b"junk",), (ANN.der, b"junk"), (ANN.der[:-9],)])
def test_what_is_no_certificate_is_unauthorized(tmp_path: Path, chain: tuple[bytes, ...]) -> None:
    with pytest.raises(StatusError):
        authority(tmp_path, CA).certificate(chain)


def test_a_judgement_holds_no_longer_than_the_chain(tmp_path: Path) -> None:
    between = Signed("between", CA, ca=True, start=START, days=0.6)
    by, chain = authority(tmp_path, CA), (Signed("ann", between, start=START, days=9), between)
    assert identify(by, *chain) is not None
    CLOCK.passed = 3 * 3600
    try:
        with pytest.raises(StatusError):
            identify(by, *chain)
    finally:
        CLOCK.passed = 0


# Proxies


def proxied(by: Authority, names: tuple[str, ...], proxy: Signed, **headers: str) -> UserInfo | None:
    options = FrontProxyOptions(by.path, names, username_headers=("X-Remote-User", "X-User"))
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request("GET", "/", headers=spelled, peer_certificates=(proxy.der,))
    return FrontProxyAuthenticator(options, by).authenticate(request)


def test_a_proxy_says_who_asks(tmp_path: Path) -> None:
    by = authority(tmp_path, CA)
    told = {"x_user": "bob", "x_remote_group": "dev", "x_remote_uid": "7", "x_remote_extra_acme.io%2fteam": "blue"}
    assert proxied(by, ("ann",), ANN, **told) == UserInfo("bob", "7", ["dev"], {"acme.io/team": ["blue"]})
    assert proxied(by, (), ANN, x_remote_group="dev") is None


@pytest.mark.parametrize(("names", "proxy"), [(("proxy",), ANN), ((), Signed("ann", OTHER, start=START))])
def test_headers_of_others_say_nothing(tmp_path: Path, names: tuple[str, ...], proxy: Signed) -> None:
    with pytest.raises(StatusError) as caught:
        proxied(authority(tmp_path, CA), names, proxy, x_remote_user="bob")
    assert caught.value.code == 401


# Over connections


class World:
    """A server over HTTPS; who asks it by which certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.proxy_ca = Signed("ca", ca=True), Signed("proxy-ca", ca=True)
        self.authentication = AuthenticationOptions(
            client_ca=self.ca.write(folder, "ca")[0],
            front_proxy=FrontProxyOptions(self.proxy_ca.write(folder, "proxy-ca")[0], ("proxy",)),
        )
        self.shown = Signed("server", self.ca, usages=(SERVER,)).write(folder, "server")
        self.tls = Serving(*self.shown, [folder / "ca.crt", folder / "proxy-ca.crt"])
        self.server: Server
        self.port = 0

    async def ask(
        self, client: Signed | None = None, headers: Mapping[str, str] | None = None, trust: Signed | None = None
    ) -> tuple[int, Any]:
        context = ssl.create_default_context()
        (trust or self.ca).write(self.folder, "trusted")
        context.load_verify_locations(self.folder / "trusted.crt")
        if client is not None:
            context.load_cert_chain(*client.write(self.folder, "client"))
        connector = aiohttp.TCPConnector(ssl=context)
        url = f"https://127.0.0.1:{self.port}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        session = aiohttp.ClientSession(connector=connector)
        async with session, session.post(url, json={}, headers=headers) as answer:
            found = await answer.json()
            return answer.status, found["status"] if answer.status != 201 else found["status"]["userInfo"]

    async def changed(self, *files: Path) -> None:
        for number, path in enumerate(files):
            os.utime(path, ns=(number, number))
        await self.server.edges.files.look()


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    made = World(folder)
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    options = ServerOptions(edges=EdgeOptions(authentication=made.authentication))
    made.server = Server(store, clock, entropy, options)
    made.server.edges.files.follow(made.tls.files, made.tls.take)
    front = HttpsFrontend(made.server.handle, made.tls.context)
    await made.server.start()
    await front.start("127.0.0.1", 0)
    made.port = front.port
    try:
        yield made
    finally:
        await front.close()
        await made.server.close()
        await store.close()


async def test_a_stranger_s_certificate_is_told_so_by_a_status(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        stranger = Signed("ann", Signed("other", ca=True))
        assert await w.ask(stranger) == (401, "Failure")
        assert await w.ask(Signed("ann")) == (401, "Failure")
        code, user = await w.ask(Signed("ann", w.ca, "system:masters"))
        assert (code, user["username"]) == (201, "ann")
        assert (await w.ask())[0] == 403


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_second_connection_brings_the_intermediates_again(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with world(tmp_path) as w:
        between = Signed("between", w.ca, ca=True)
        certificate, key = Signed("ann", between, "system:masters").write(tmp_path, "client", between)
        context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        context.load_cert_chain(certificate, key)
        context.maximum_version = version

        def ask(session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
            plain = socket.create_connection(("127.0.0.1", w.port))
            with plain, context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as tls:
                tls.sendall(b"GET /api HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                return tls.recv(12), tls.session

        first, session = await asyncio.to_thread(ask, None)
        second, _ = await asyncio.to_thread(ask, session)
        assert first == second == b"HTTP/1.1 200"


async def test_only_proxies_speak_for_others(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        claims = {"X-Remote-User": "bob", "X-Remote-Group": "system:masters", "X-Remote-Extra-Team": "blue"}
        code, user = await w.ask(Signed("proxy", w.proxy_ca), claims)
        assert (code, user["username"], user["extra"]) == (201, "bob", {"team": ["blue"]})
        code, user = await w.ask(Signed("ann", w.ca, "system:masters"), claims)
        assert (code, user["username"]) == (201, "ann")
        assert (await w.ask(Signed("eve", w.proxy_ca), claims))[0] == 401
        assert (await w.ask(headers=claims))[0] == 403


async def test_authorities_change_with_their_file_and_are_published(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        new = Signed("new", ca=True)
        ann, bob = Signed("ann", w.ca, "system:masters"), Signed("bob", new, "system:masters")
        assert ((await w.ask(ann))[0], (await w.ask(bob))[0]) == (201, 401)
        path, _ = new.write(tmp_path, "ca")
        await w.changed(path)
        assert ((await w.ask(ann))[0], (await w.ask(bob))[0]) == (401, 201)
        published = w.server.caches.get(ConfigMap, "kube-system", "extension-apiserver-authentication")
        assert published is not None and published.data["client-ca-file"] == path.read_text()
        path.write_text("no PEM")
        await w.changed(path)
        assert (await w.ask(bob))[0] == 201


async def test_the_serving_certificate_changes_with_its_files(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        ann, new = Signed("ann", w.ca, "system:masters"), Signed("new", ca=True)
        assert (await w.ask(ann))[0] == 201
        certificate, key = Signed("server", new, usages=(SERVER,)).write(tmp_path, "server")
        await w.changed(certificate, key)
        assert (await w.ask(ann, trust=new))[0] == 201
        with pytest.raises(aiohttp.ClientError):
            await w.ask(ann)
        Signed("server", new, usages=(SERVER,)).write(tmp_path, "half")
        certificate.write_bytes((tmp_path / "half.crt").read_bytes())  # the key is not there yet
        await w.changed(certificate)
        assert (await w.ask(ann, trust=new))[0] == 201


async def test_a_secret_remembers_on_which_day_its_token_was_used(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        made = w.server.client()
        secret = await made.create(Secret(metadata=ObjectMeta(name="s", namespace="default")))
        for _ in range(2):
            w.server.edges.verifier.legacy_used(secret)
        await w.server._legacy_use._tasks.join()
        found = await made.get(Secret, "s", "default")
        assert found.metadata.labels == {"kubernetes.io/legacy-token-last-used": f"{w.server.clock.now().date()}"}
