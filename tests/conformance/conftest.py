"""What a conformance test may ask for.

api      the API server alone, in process, with a namespace `api.namespace` and its default service account
cluster  the same with controllers, scheduler and two nodes that run every pod at once
served   a cluster that is also reached over HTTPS: `await served.kubectl("get", "pods")`

All of them are worlds of their own (world.py): no test sees another's objects.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.world import World, service_account, world


@pytest.fixture
async def api() -> AsyncIterator[World]:
    async with world() as made:
        await _enter_namespace(made)
        await service_account(made, made.namespace)
        yield made


@pytest.fixture
async def cluster() -> AsyncIterator[World]:
    async with world(components=True) as made:
        await _enter_namespace(made)
        await made.until_object(made.core("serviceaccounts"), lambda it: it["items"])
        yield made


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, components=True) as made:
        await _enter_namespace(made)
        await made.until_object(made.core("serviceaccounts"), lambda it: it["items"])
        yield made


async def _enter_namespace(made: World) -> None:
    made.namespace = "conformance"
    await made.create("/api/v1/namespaces", {"metadata": {"name": made.namespace}})
