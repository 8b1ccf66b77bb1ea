"""Encryption at rest: what lies in the store, who can read it, rotation of keys, and a KMS plugin of the test's own."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import yaml

from tests.unit.server.core.conftest import Api
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.server.app import Server
from wherry.server.encryption import ConfigurationError
from wherry.server.encryption.configuration import read
from wherry.server.encryption.kms import KmsV2, Plugin
from wherry.server.encryption.transformers import TransformError
from wherry.server.options import ServerOptions
from wherry.server.protobuf.fields import by_number, last_bytes, sized
from wherry.store.local import LocalStore, memory_store

SECRETS = "/api/v1/namespaces/default/secrets"
KEY = "/registry/secrets/default/one"
Json = dict[str, Any]


def key(name: str, size: int = 32) -> Json:
    return {"name": name, "secret": base64.b64encode(name[:1].encode() * size).decode()}


def configuration(*providers: Json, resources: tuple[str, ...] = ("secrets",)) -> bytes:
    elements = [{"resources": list(resources), "providers": list(providers)}]
    value = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": elements}
    return yaml.safe_dump(value).encode()


AESCBC = {"aescbc": {"keys": [key("new")]}}
IDENTITY: Json = {"identity": {}}


@asynccontextmanager
async def serving(store: LocalStore, path: Path, data: bytes) -> AsyncIterator[Api]:
    path.write_bytes(data)
    options = ServerOptions(encryption_config=path, bootstrap=False)
    server = Server(store, SystemClock(), Entropy(1), options)
    await server.start()
    api = Api(server, store)
    if (await api.send("GET", "/api/v1/namespaces/default")).status == 404:
        await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}})
    yield api
    await server.close()


@pytest.fixture
async def store() -> AsyncIterator[LocalStore]:
    made = memory_store(SystemClock(), Entropy(1))
    yield made
    await made.close()


async def stored(store: LocalStore, name: str = KEY) -> bytes:
    return (await store.range(name.encode())).kvs[0].value


def secret(name: str = "one") -> Json:
    return {"metadata": {"name": name}, "data": {"password": "aHVudGVyMg=="}}


@pytest.mark.parametrize("provider", ["aescbc", "aesgcm", "secretbox"])
async def test_values_are_ciphertext_under_their_providers_prefix(
    provider: str, store: LocalStore, tmp_path: Path
) -> None:
    data = configuration({provider: {"keys": [key("k1")]}}, IDENTITY)
    async with serving(store, tmp_path / "config", data) as api:
        await api.ok("POST", SECRETS, secret())
        await api.ok("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "plain"}})
        value = await stored(store)
        assert value.startswith(f"k8s:enc:{provider}:v1:k1:".encode()) and b"aHVudGVyMg" not in value
        assert (await stored(store, "/registry/configmaps/default/plain")).startswith(b'{"apiVersion"')
        assert (await api.ok("GET", f"{SECRETS}/one"))["data"] == {"password": "aHVudGVyMg=="}
    async with serving(store, tmp_path / "config", data) as api:  # and after a restart
        assert (await api.ok("GET", SECRETS))["items"][0]["data"] == {"password": "aHVudGVyMg=="}


async def test_a_write_without_a_change_moves_a_value_to_the_first_key(store: LocalStore, tmp_path: Path) -> None:
    path = tmp_path / "config"
    async with serving(store, path, configuration({"aescbc": {"keys": [key("old")]}})) as api:
        await api.ok("POST", SECRETS, secret())
    async with serving(store, path, configuration({"aescbc": {"keys": [key("new"), key("old")]}})) as api:
        found = await api.ok("GET", f"{SECRETS}/one")
        assert (await stored(store)).startswith(b"k8s:enc:aescbc:v1:old:")
        await api.ok("PUT", f"{SECRETS}/one", found)
        assert (await stored(store)).startswith(b"k8s:enc:aescbc:v1:new:")
        before = await api.ok("GET", f"{SECRETS}/one")
        again = await api.ok("PUT", f"{SECRETS}/one", before)
        assert again["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_identity_first_deciphers_step_by_step(store: LocalStore, tmp_path: Path) -> None:
    path = tmp_path / "config"
    async with serving(store, path, configuration(AESCBC)) as api:
        await api.ok("POST", SECRETS, secret())
    async with serving(store, path, configuration(IDENTITY, AESCBC)) as api:
        await api.ok("PUT", f"{SECRETS}/one", await api.ok("GET", f"{SECRETS}/one"))
        assert (await stored(store)).startswith(b'{"apiVersion":"v1","kind":"Secret"')


async def test_what_no_key_fits_fails_alone(store: LocalStore, tmp_path: Path) -> None:
    path = tmp_path / "config"
    async with serving(store, path, configuration(AESCBC)) as api:
        await api.ok("POST", SECRETS, secret())
    async with serving(store, path, configuration({"aesgcm": {"keys": [key("k")]}})) as api:
        found = await api.refused(500, "GET", f"{SECRETS}/one")
        assert found["message"] == f'Internal error occurred: unable to transform key "{KEY}": no matching prefix found'
        await api.refused(500, "GET", SECRETS)
        await api.refused(500, "PUT", f"{SECRETS}/one", secret())
        await api.ok("GET", "/api/v1/namespaces/default")
    path.write_bytes(b"")
    async with serving(store, path, configuration(AESCBC, resources=("configmaps",))) as api:
        found = await api.refused(500, "GET", f"{SECRETS}/one")
        assert found["message"].endswith("identity transformer tried to read encrypted data")


async def test_a_corrupt_value_does_not_stop_the_server(store: LocalStore, tmp_path: Path) -> None:
    async with serving(store, tmp_path / "config", configuration({"aesgcm": {"keys": [key("k")]}})) as api:
        await api.ok("POST", SECRETS, secret())
        value = await stored(store)
        await store.put(KEY.encode(), value[:-1] + bytes([value[-1] ^ 1]))
        await api.ok("POST", SECRETS, secret("two"))
        found = await api.refused(500, "GET", f"{SECRETS}/one")
        assert "cipher: message authentication failed" in found["message"]
        await store.put(KEY.encode(), value)
        await api.ok("POST", SECRETS, secret("three"))
        assert (await api.ok("GET", f"{SECRETS}/one"))["data"]


async def test_the_changed_file_is_taken_and_a_bad_one_is_not(store: LocalStore, tmp_path: Path) -> None:
    path = tmp_path / "config"
    async with serving(store, path, configuration({"aescbc": {"keys": [key("old")]}})) as api:
        await api.ok("POST", SECRETS, secret())
        encrypted = api.server.encrypted
        assert encrypted is not None
        path.write_bytes(b"kind: Nonsense")
        await encrypted.reload()
        path.write_bytes(configuration({"aescbc": {"keys": [key("new"), key("old")]}}))
        await encrypted.reload()
        await api.ok("PUT", f"{SECRETS}/one", await api.ok("GET", f"{SECRETS}/one"))
        assert (await stored(store)).startswith(b"k8s:enc:aescbc:v1:new:")


@pytest.mark.parametrize(
    "names, wanted",
    [
        (("*.*",), {"secrets", "deployments.apps", "things.t.example"}),
        (("*.",), {"secrets"}),
        (("*.apps",), {"deployments.apps"}),
        (("secrets", "things.t.example"), {"secrets", "things.t.example"}),
    ],
    ids=["everything", "core group", "a group", "by name"],
)
def test_wildcards_choose_resources(names: tuple[str, ...], wanted: set[str]) -> None:
    encryption = read(configuration(AESCBC, resources=names), SystemClock(), Entropy(1))
    plain = encryption.transformer("nothing.of.this")
    all_names = ("secrets", "deployments.apps", "things.t.example")
    if names == ("*.*",):
        assert all(encryption.transformer(name) is encryption.transformer("secrets") for name in all_names)
    else:
        assert {name for name in all_names if encryption.transformer(name) is not plain} == wanted


KMS = {"apiVersion": "v2", "name": "k", "endpoint": "unix:///tmp/x"}


@pytest.mark.parametrize(
    "data, why",
    [
        (b"kind: Other", "it must be an apiserver.config.k8s.io/v1, Kind=EncryptionConfiguration"),
        (b"\t", "error while parsing file"),
        (configuration(), "at least one resources[0].providers is required"),
        (configuration({"aescbc": {"keys": [key("k", 8)]}}), "got 8, expected one of [16 24 32]"),
        (configuration({"secretbox": {"keys": [key("k", 16)]}}), "got 16, expected one of [32]"),
        (configuration({"aesgcm": {"keys": [{"name": "k", "secret": "!"}]}}), "secrets must be base64 encoded"),
        (configuration({"aesgcm": {"keys": []}}), "at least one keys is required"),
        (configuration({}), "provider does not contain any of the expected providers"),
        (configuration({**AESCBC, **IDENTITY}), "more than one provider specified in a single element"),
        (configuration(IDENTITY, resources=("secrets", "*.")), "using overlapping resources"),
        (configuration(IDENTITY, resources=("secrets", "secrets")), "cannot be specified multiple times"),
        (configuration(IDENTITY, resources=("*",)), "use '*.' to encrypt all the resources from core API group"),
        (configuration(IDENTITY, resources=("pods.*",)), "across groups is not supported"),
        (configuration({"kms": {**KMS, "apiVersion": "v1"}}), "KMSv1 is deprecated"),
        (configuration({"kms": {**KMS, "endpoint": "tcp://x"}}), 'unsupported scheme "tcp" for KMS provider'),
        (configuration({"kms": {**KMS, "name": "a:b"}}), "must not contain ':'"),
        (configuration({"kms": {**KMS, "timeout": "0s"}}), "timeout should be a positive value"),
        (configuration({"kms": {**KMS, "cachesize": 5}}), "cachesize is not supported in v2"),
    ],
    ids=str,
)
def test_faults_of_the_file_are_told(data: bytes, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(data, SystemClock(), Entropy(1))
    assert why in str(caught.value)


# A KMS plugin ---------------------------------------------------------------------------------------------------------


class FakeKms(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Enciphers by XOR with its key; counts what it is asked."""

    def __init__(self) -> None:
        self.key_id, self.health = "key-1", "ok"
        self.asked: list[str] = []

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]

        async def answer(request: bytes, context: Any) -> bytes:
            self.asked.append(method)
            fields = by_number(request)
            if method == "Status":
                return sized(1, b"v2") + sized(2, self.health.encode()) + sized(3, self.key_id.encode())
            if method == "Encrypt":
                text = self._xor(self.key_id, last_bytes(fields, 1))
                note = sized(1, b"a.example") + sized(2, b"note")
                return sized(1, text) + sized(2, self.key_id.encode()) + sized(3, note)
            assert last_bytes(by_number(last_bytes(fields, 4)), 2) == b"note"
            return sized(1, self._xor(last_bytes(fields, 3).decode(), last_bytes(fields, 1)))

        return grpc.unary_unary_rpc_method_handler(answer)

    def _xor(self, name: str, data: bytes) -> bytes:
        pad = hashlib.sha256(name.encode()).digest()
        return bytes(a ^ b for a, b in zip(data, pad, strict=True))


@pytest.fixture
async def plugin(tmp_path: Path) -> AsyncIterator[FakeKms]:
    server, made = grpc.aio.server(), FakeKms()
    server.add_generic_rpc_handlers((made,))
    server.add_insecure_port(f"unix://{tmp_path}/kms.sock")
    await server.start()
    yield made
    await server.stop(None)


async def test_a_kms_plugin_is_asked_once_per_seed(plugin: FakeKms, store: LocalStore, tmp_path: Path) -> None:
    kms = {"kms": {"apiVersion": "v2", "name": "vault", "endpoint": f"unix://{tmp_path}/kms.sock"}}
    async with serving(store, tmp_path / "config", configuration(kms)) as api:
        for name in ("one", "two", "three"):
            await api.ok("POST", SECRETS, secret(name))
        assert plugin.asked == ["Status", "Encrypt"]
        value = await stored(store)
        assert value.startswith(b"k8s:enc:kms:v2:vault:") and b"aHVudGVyMg" not in value
        assert (await api.send("GET", "/readyz/kms-providers")).status == 200
    plugin.asked.clear()
    plugin.key_id = "key-2"
    async with serving(store, tmp_path / "config", configuration(kms)) as api:
        assert len((await api.ok("GET", SECRETS))["items"]) == 3
        assert plugin.asked == ["Status", "Encrypt", "Decrypt"]
        await api.ok("PUT", f"{SECRETS}/one", await api.ok("GET", f"{SECRETS}/one"))
        fields = by_number((await stored(store)).removeprefix(b"k8s:enc:kms:v2:vault:"))
        assert last_bytes(fields, 2) == b"key-2"


async def test_without_its_plugin_a_key_is_written_with_for_three_minutes(plugin: FakeKms, tmp_path: Path) -> None:
    clock = SetClock()
    kms = KmsV2("vault", Plugin(f"unix://{tmp_path}/kms.sock", 3.0), clock, Entropy(1))
    await kms.refresh()
    assert kms.fault is None
    value = await kms.encrypt(b"text", b"/registry/x")
    assert await kms.decrypt(value, b"/registry/x") == (b"text", False)
    with pytest.raises(TransformError, match="authentication failed"):
        await kms.decrypt(value, b"/registry/y")
    plugin.health = "sick"
    await kms.refresh()
    assert kms.fault is not None and "got unexpected healthz status: sick" in kms.fault
    clock.later = timedelta(minutes=4)
    with pytest.raises(TransformError, match=r"encryptedDEKSource with keyID hash .* expired at"):
        await kms.encrypt(b"text", b"/registry/x")
    await kms.close()


class SetClock(SystemClock):
    """A clock that can be put forward."""

    later = timedelta()

    def now(self) -> datetime:
        return super().now() + self.later


async def test_a_plugin_that_is_away_fails_writes_and_not_the_server(store: LocalStore, tmp_path: Path) -> None:
    kms = {"kms": {"apiVersion": "v2", "name": "vault", "endpoint": f"unix://{tmp_path}/none", "timeout": "1s"}}
    async with asyncio.timeout(20), serving(store, tmp_path / "config", configuration(kms)) as api:
        found = await api.refused(500, "POST", SECRETS, secret())
        assert "got unexpected nil transformer" in found["message"]
        assert (await api.send("GET", "/readyz")).status == 500
        assert orjson.loads((await api.send("GET", SECRETS)).body)["items"] == []
