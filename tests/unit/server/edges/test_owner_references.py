"""OwnerReferencesPermissionEnforcement: dependants need the right to delete them, blocking ones finalizers."""

from collections.abc import AsyncIterator

import pytest

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import ConfigMap
from wherry.api.rbac_v1 import PolicyRule, Role, RoleBinding, RoleRef, Subject
from wherry.client.client import Client
from wherry.meta.errors import StatusError
from wherry.meta.object import OwnerReference
from wherry.server.app import Server
from wherry.server.edges import EdgeOptions
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store
from wherry.testing import builders

GROUP = "rbac.authorization.k8s.io"


@pytest.fixture
async def ann() -> AsyncIterator[tuple[Client, Client]]:
    """Ann, who may make config maps, and an administrator."""
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    options = ServerOptions(edges=EdgeOptions(owner_references_need_permission=True))
    server = Server(store, clock, entropy, options)
    await server.start()
    await allow(server.client(), "make", PolicyRule(verbs=["create"], apiGroups=[""], resources=["configmaps"]))
    yield server.client("ann", ()), server.client()
    await server.close()
    await store.close()


async def allow(admin: Client, name: str, rule: PolicyRule) -> None:
    await admin.create(Role(metadata=builders.metadata(name, "default"), rules=[rule]))
    reference = RoleRef(apiGroup=GROUP, kind="Role", name=name)
    subjects = [Subject(kind="User", apiGroup=GROUP, name="ann")]
    await admin.create(RoleBinding(metadata=builders.metadata(name, "default"), roleRef=reference, subjects=subjects))


def owned(*, blocking: bool = False) -> ConfigMap:
    owner = OwnerReference(apiVersion="apps/v1", kind="Deployment", name="web", uid="u", blockOwnerDeletion=blocking)
    made = builders.config_map("owned")
    made.metadata.ownerReferences = [owner]
    return made


async def test_a_dependant_needs_the_right_to_delete_it(ann: tuple[Client, Client]) -> None:
    user, admin = ann
    await user.create(builders.config_map("free"))
    with pytest.raises(StatusError) as caught:
        await user.create(owned())
    assert "cannot set an ownerRef on a resource you can't delete" in caught.value.message
    await allow(admin, "delete", PolicyRule(verbs=["delete"], apiGroups=[""], resources=["configmaps"]))
    await user.create(owned())


async def test_blocking_the_owner_needs_its_finalizers(ann: tuple[Client, Client]) -> None:
    user, admin = ann
    await allow(admin, "delete", PolicyRule(verbs=["delete"], apiGroups=[""], resources=["configmaps"]))
    with pytest.raises(StatusError) as caught:
        await user.create(owned(blocking=True))
    assert "refers to a resource you can't set finalizers on" in caught.value.message
    rule = PolicyRule(verbs=["update"], apiGroups=["apps"], resources=["deployments/finalizers"])
    await allow(admin, "finalize", rule)
    await user.create(owned(blocking=True))
