"""Values in the store that are no objects: seen, told, and deletable unseen (KEP-3926), without harm to the others."""

from collections.abc import AsyncIterator

import orjson
import pytest

from tests.unit.server.core.conftest import MAPS, Api
from tests.unit.server.core.test_list_options import frames
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Namespace
from wherry.server.app import Server
from wherry.server.features import Features
from wherry.server.http import UserInfo
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store

OPTION = "ignoreStoreReadErrorWithClusterBreakingPotential"
BAD = f"{MAPS}/bad"
KEY = b"/registry/configmaps/default/bad"
PROTOBUF = b"k8s\x00\n\x0b\n\x02v1\x12\x05Thing"
WRONG = b'{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"wrong"},"spec":5}'


@pytest.fixture
async def unsafe() -> AsyncIterator[Api]:
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy, ServerOptions(features=Features([f"{GATE}=true"])))
    await server.start()
    yield Api(server, store)
    await server.close()
    await store.close()


GATE = "AllowUnsafeMalformedObjectDeletion"


async def spoil(api: Api) -> None:
    await api.ok("POST", MAPS, {"metadata": {"name": "good"}})
    await api.store.put_if(KEY, PROTOBUF, 0)
    await api.server.caches.fresh()


async def test_one_bad_object_hides_no_other_and_is_not_hidden(api: Api) -> None:
    await spoil(api)
    assert (await api.ok("GET", f"{MAPS}/good"))["metadata"]["name"] == "good"
    why = "Internal error occurred: /registry/configmaps/default/bad holds no object: "
    for path in (BAD, MAPS, "/api/v1/configmaps"):
        assert (await api.refused(500, "GET", path))["message"].startswith(why)
    assert (await api.refused(500, "DELETE", MAPS))["message"].startswith(why)
    (frame,) = await frames(api, 1)
    assert frame["type"] == "ERROR" and frame["object"]["code"] == 500
    assert (await api.ok("GET", "/api/v1/namespaces/kube-system/configmaps"))["items"]
    status = await api.refused(409, "POST", MAPS, {"metadata": {"name": "bad"}})
    assert status["reason"] == "AlreadyExists"


async def test_without_the_gate_the_option_says_nothing(api: Api) -> None:
    await spoil(api)
    await api.refused(500, "DELETE", BAD, {OPTION: True})
    await api.ok("DELETE", f"{MAPS}/good", {OPTION: True, "dryRun": ["All"]})


async def test_what_cannot_be_read_can_be_deleted_unseen(unsafe: Api) -> None:
    await spoil(unsafe)
    status = await unsafe.refused(500, "GET", MAPS)
    assert status["reason"] == "StorageReadError"
    assert status["message"] == "failed to read one or more configmaps from the storage"
    (cause,) = status["details"]["causes"]
    assert cause["field"] == KEY.decode() and cause["reason"] == "UnexpectedServerResponse"
    await unsafe.refused(500, "DELETE", BAD)
    answer = await unsafe.ok("DELETE", BAD, **{OPTION: "true"})
    assert answer["status"] == "Success" and answer["details"] == {"name": "bad", "kind": "ConfigMap"}
    assert "good" in [item["metadata"]["name"] for item in (await unsafe.ok("GET", MAPS))["items"]]
    assert (await unsafe.store.range(KEY)).kvs == []
    await unsafe.refused(404, "GET", BAD)


async def test_only_what_cannot_be_read_and_only_with_permission(unsafe: Api) -> None:
    await spoil(unsafe)
    status = await unsafe.refused(422, "DELETE", f"{MAPS}/good", {OPTION: True})
    assert status["message"] == (
        f'configmaps "good" is invalid: {OPTION}: Invalid value: true: is exclusively used to delete corrupt '
        "object(s), try again by removing this option"
    )
    status = await unsafe.refused(422, "DELETE", BAD, {OPTION: True, "gracePeriodSeconds": 0, "dryRun": ["All"]})
    assert [cause["message"] for cause in status["details"]["causes"]] == [
        f"Invalid value: true: cannot be set together with .{name}" for name in ("dryRun", "gracePeriodSeconds")
    ]
    status = await unsafe.refused(422, "DELETE", MAPS, {OPTION: True})
    assert "is not allowed with DELETECOLLECTION, try again after removing the option" in status["message"]
    role = {"rules": [{"verbs": ["delete"], "apiGroups": [""], "resources": ["configmaps"]}]}
    subject = {"kind": "User", "name": "somebody", "apiGroup": "rbac.authorization.k8s.io"}
    group = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    await unsafe.ok("POST", f"{group}/roles", {"metadata": {"name": "r"}, **role})
    binding = {"metadata": {"name": "r"}, "roleRef": reference, "subjects": [subject]}
    await unsafe.ok("POST", f"{group}/rolebindings", binding)
    somebody = unsafe.server.transport(UserInfo("somebody"))
    answer = await somebody.request("DELETE", BAD, body=orjson.dumps({OPTION: True}))
    assert answer.status == 403
    text = 'configmaps "bad" is forbidden: not permitted to do "unsafe-delete-ignore-read-errors", reason: '
    assert orjson.loads(answer.body)["message"].startswith(text)


async def test_a_bad_object_that_looks_good_and_a_key_that_is_no_text_stop_nothing(api: Api) -> None:
    await api.store.put_if(b"/registry/namespaces/wrong", WRONG, 0)
    await api.store.put_if(b"/registry/configmaps/default/\xff", b"{}", 0)
    await api.server.caches.fresh()
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "next"}})
    names = {item.metadata.name for item in api.server.caches.list(Namespace)}
    assert "next" in names and "wrong" not in names
    assert (await api.refused(500, "GET", "/api/v1/namespaces"))["message"].startswith(
        "Internal error occurred: /registry/namespaces/wrong holds no object"
    )
    await api.ok("POST", f"{MAPS.replace('default', 'next')}", {"metadata": {"name": "m"}})
