"""StorageVersionMigration: values under an older key, or in an older version, are written anew (KEP-4192)."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from wherry.aio.clock import LoopClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Namespace, Secret
from wherry.api.meta_v1 import GroupResource
from wherry.api.storagemigration_v1beta1 import StorageVersionMigration, StorageVersionMigrationSpec
from wherry.client.client import Client
from wherry.controllers.manager import ControllerManager, ManagerOptions
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.server.app import Server
from wherry.server.enablement import RuntimeConfig
from wherry.server.options import ServerOptions
from wherry.sim.loop import run_virtual
from wherry.store.local import LocalStore, memory_store
from wherry.testing import builders

ON = {"storagemigration.k8s.io/v1beta1": "true"}
NAME = "storage-version-migrator-controller"


def encrypted(path: Path, *keys: str) -> Path:
    providers = [{"name": name, "secret": base64.b64encode(name.encode() * 32).decode()} for name in keys]
    element = {"resources": ["secrets"], "providers": [{"aescbc": {"keys": providers}}]}
    value = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [element]}
    path.write_bytes(orjson.dumps(value))
    return path


@asynccontextmanager
async def running(store: LocalStore, clock: LoopClock, config: Path | None = None) -> AsyncIterator[Client]:
    entropy = Entropy(1)
    options = ServerOptions(encryption_config=config, runtime_config=RuntimeConfig(ON), bootstrap=False)
    server = Server(store, clock, entropy, options)
    await server.start()
    client = server.client()
    manager = ControllerManager(client, clock, entropy, ManagerOptions(), server.registry.resources, names=[NAME])
    task = asyncio.create_task(manager.run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.close()


async def migrate(client: Client, clock: LoopClock, resource: str, group: str = "") -> StorageVersionMigration:
    spec = StorageVersionMigrationSpec(resource=GroupResource(group=group, resource=resource))
    made = await client.create(StorageVersionMigration(metadata=ObjectMeta(name=resource), spec=spec))
    await clock.sleep(5)
    return await client.get(StorageVersionMigration, made.metadata.name or "")


def conditions(migration: StorageVersionMigration) -> dict[str, tuple[str, str]]:
    return {item.type: (item.status, item.reason or "") for item in migration.status.conditions}


SUCCEEDED = {
    "Running": ("False", "StorageVersionMigrationInProgress"),
    "Succeeded": ("True", "StorageVersionMigrationSucceeded"),
}


def test_after_a_migration_every_value_is_under_the_first_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        store = memory_store(clock, Entropy(1))
        async with running(store, clock, encrypted(tmp_path / "c", "a")) as client:
            await client.create(Namespace(metadata=ObjectMeta(name="default")))
            for number in range(3):
                await client.create(builders.secret(f"s{number}", key="value"))
        async with running(store, clock, encrypted(tmp_path / "c", "b", "a")) as client:
            migration = await migrate(client, clock, "secrets")
            assert conditions(migration) == SUCCEEDED and int(migration.status.resourceVersion or 0) > 0
            kept = await values(store, b"/registry/secrets/")
            assert len(kept) == 3 and all(value.startswith(b"k8s:enc:aescbc:v1:b:") for value in kept)
        async with running(store, clock, encrypted(tmp_path / "c", "b")) as client:  # the old key may go
            assert len((await client.list(Secret, "default")).items) == 3
            versions = {item.metadata.resourceVersion for item in (await client.list(Secret, "default")).items}
            await client.delete(StorageVersionMigration, "secrets")
            await migrate(client, clock, "secrets")  # nothing to write this time
            assert versions == {item.metadata.resourceVersion for item in (await client.list(Secret, "default")).items}
        await store.close()

    run_virtual(scenario())


async def values(store: LocalStore, prefix: bytes) -> list[bytes]:
    found = await store.range(prefix, prefix[:-1] + b"0")
    return [kv.value for kv in found.kvs]


def test_custom_resources_are_written_in_the_storage_version(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        store = memory_store(clock, Entropy(1))
        path = "/apis/wherry.example/v1/boats"
        async with running(store, clock) as client:
            await client.raw("POST", DEFINITIONS, body=orjson.dumps(definition(storage="v1")))
            await clock.sleep(1)
            await client.raw("POST", path, body=orjson.dumps({**BOAT, "metadata": {"name": "one"}}))
            await client.raw("PUT", f"{DEFINITIONS}/boats.wherry.example", body=await changed(client))
            await clock.sleep(1)
            assert conditions(await migrate(client, clock, "boats", "wherry.example")) == SUCCEEDED
            (value,) = await values(store, b"/registry/wherry.example/boats/")
            assert orjson.loads(value)["apiVersion"] == "wherry.example/v2"
        await store.close()

    run_virtual(scenario())


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BOAT = {"apiVersion": "wherry.example/v1", "kind": "Boat"}


def definition(storage: str) -> dict[str, Any]:
    names = {"plural": "boats", "kind": "Boat"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": it, "served": True, "storage": it == storage, "schema": schema} for it in ("v1", "v2")]
    spec = {"group": "wherry.example", "scope": "Cluster", "names": names, "versions": versions}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.wherry.example"},
        "spec": spec,
    }


async def changed(client: Client) -> bytes:
    found = orjson.loads(await client.raw("GET", f"{DEFINITIONS}/boats.wherry.example"))
    found["spec"] |= definition(storage="v2")["spec"]
    return orjson.dumps(found)


def test_what_does_not_exist_cannot_be_migrated_and_what_is_asked_cannot_be_changed() -> None:
    async def scenario() -> None:
        clock = LoopClock()
        store = memory_store(clock, Entropy(1))
        async with running(store, clock) as client:
            migration = await migrate(client, clock, "ships", "wherry.example")
            assert conditions(migration) == {"Failed": ("True", "StorageVersionMigrationFailed")}
            assert migration.status.conditions[0].message == "resource does not exist in discovery"
            migration.spec.resource.resource = "boats"
            with pytest.raises(StatusError, match='resource: Invalid value: "boats": field is immutable'):
                await client.update(migration)
            with pytest.raises(StatusError, match=r"spec\.resource\.resource: Required value: resource is required"):
                await client.create(StorageVersionMigration(metadata=ObjectMeta(name="x")))
            migration.status.conditions = []
            with pytest.raises(StatusError, match="Failed condition cannot be set to false once it is true"):
                await client.update_status(migration)
        await store.close()

    run_virtual(scenario())
