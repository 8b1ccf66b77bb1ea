"""What --runtime-config and --feature-gates make of the API. Source: k8s.io/apiserver, pkg/server/resourceconfig;
k8s.io/component-base/featuregate."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.unit.server.core.conftest import PODS, Api
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.registry import RESOURCES
from wherry.server.app import Server
from wherry.server.enablement import RuntimeConfig, read
from wherry.server.features import Features
from wherry.server.http import UserInfo
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


@asynccontextmanager
async def serving(*runtime_config: str) -> AsyncIterator[Api]:
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy, ServerOptions(runtime_config=RuntimeConfig(read(runtime_config))))
    await server.start()
    yield Api(server, store)
    await server.close()
    await store.close()


async def test_a_group_version_that_is_off_is_nowhere_to_be_found() -> None:
    async with serving("apps/v1=false") as api:
        assert (await api.send("GET", DEPLOYMENTS)).status == 404
        assert (await api.send("GET", "/apis/apps/v1")).status == 404
        groups = await api.ok("GET", "/apis")
        assert "apps" not in {group["name"] for group in groups["groups"]}
        assert not any(path.startswith("apis/apps") for path in (await api.ok("GET", "/openapi/v3"))["paths"])
        assert "/apis/apps/v1/deployments" not in (await api.ok("GET", "/openapi/v2"))["paths"]


async def test_one_kind_can_be_off_and_its_neighbours_on() -> None:
    async with serving("apps/v1/deployments=false,batch/v1=false", "batch/v1/jobs") as api:
        assert (await api.send("GET", DEPLOYMENTS)).status == 404
        listed = {item["name"] for item in (await api.ok("GET", "/apis/apps/v1"))["resources"]}
        assert "replicasets" in listed and not {"deployments", "deployments/scale"} & listed
        listed = {item["name"] for item in (await api.ok("GET", "/apis/batch/v1"))["resources"]}
        assert listed == {"jobs", "jobs/status"}


async def test_the_server_itself_keeps_what_is_off_for_others() -> None:
    off = "rbac.authorization.k8s.io/v1=false,flowcontrol.apiserver.k8s.io/v1=false,policy/v1=false"
    async with serving(off, "scheduling.k8s.io/v1=false", "discovery.k8s.io/v1=false,/v1/namespaces=false") as api:
        viewer = api.server.transport(UserInfo("somebody", groups=["system:authenticated"]))
        assert (await viewer.request("GET", "/healthz")).status == 200
        assert (await viewer.request("GET", PODS)).status == 403
        assert (await api.send("GET", "/api/v1/namespaces/default")).status == 404
        assert (await api.ok("GET", PODS))["items"] == []


def test_generally_available_versions_are_on_and_others_are_not() -> None:
    config = RuntimeConfig()
    assert {item.version for item in RESOURCES if config.serves(item)} == {"v1", "v2"}
    everything = RuntimeConfig({"api/all": "true"})
    assert all(everything.serves(item) for item in RESOURCES)
    nothing = RuntimeConfig({"api/all": "false", "/v1": "true", "apps/v1/replicasets": "1"})
    assert {item.plural for item in RESOURCES if nothing.serves(item) and item.group} == {"replicasets"}


@pytest.mark.parametrize(
    ("flag", "error"),
    [
        ("api/all=false", "invalid runtime-config with only api/all=false"),
        ("api/beta=maybe", "invalid value api/beta=maybe"),
        ("v1=true", "runtime-config invalid key v1"),
        ("no.such.group/v1=true,other/v2", "unknown api groups no.such.group/v1,other/v2"),
        ("apps/v1beta1=true", "group version apps/v1beta1 that has not been registered"),
        (
            "apps/v1=maybe",
            'invalid value of apps/v1: maybe, err: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            "apps/v1/Deployments=true",
            "invalid key apps/v1/Deployments: group/version/resource and resource is always lowercase plural, not "
            '"Deployments"',
        ),
    ],
)
def test_runtime_configs_that_make_no_sense_are_refused(flag: str, error: str) -> None:
    with pytest.raises(ValueError, match=re.escape(error)) as refused:
        RuntimeConfig(read([flag]))
    assert str(refused.value) == error


@pytest.mark.parametrize(
    ("gates", "error"),
    [
        ("Nothing=true", "unrecognized feature gate: Nothing"),
        ("WatchList", "missing bool value for WatchList"),
        ("WatchList=2", 'invalid value of WatchList=2, err: strconv.ParseBool: parsing "2": invalid syntax'),
        (
            "ConsistentListFromCache=false",
            "cannot set feature gate ConsistentListFromCache to false, feature is locked to true",
        ),
    ],
)
def test_feature_gates_that_are_not_to_be_had_are_refused(gates: str, error: str) -> None:
    with pytest.raises(ValueError, match=re.escape(error)) as refused:
        Features([gates])
    assert str(refused.value) == error


def test_gates_are_set_one_by_one_or_by_stage() -> None:
    assert Features().enabled("WatchList") and not Features().enabled("AllowUnsafeMalformedObjectDeletion")
    assert not Features(["WatchList=false"]).enabled("WatchList")
    some = Features(["AllAlpha=true", "AllBeta=false", "WatchList=true", "KMSv1=false"])
    assert some.enabled("AllowUnsafeMalformedObjectDeletion") and some.enabled("WatchList")


async def test_metrics_tell_the_state_of_gates(api: Api) -> None:
    metrics = (await api.send("GET", "/metrics")).body.decode()
    assert 'kubernetes_feature_enabled{name="WatchList",stage="BETA"} 1.0' in metrics
    assert 'kubernetes_feature_enabled{name="KMSv1",stage="DEPRECATED"} 0.0' in metrics


async def test_versions_that_are_off_by_default_can_be_switched_on(api: Api) -> None:
    path = "/apis/storagemigration.k8s.io/v1beta1"
    assert (await api.send("GET", path)).status == 404
    assert "storagemigration" not in (await api.send("GET", "/openapi/v2")).body.decode()
    async with serving("storagemigration.k8s.io/v1beta1=true") as switched:
        listed = {item["name"] for item in (await switched.ok("GET", path))["resources"]}
        assert listed == {"storageversionmigrations", "storageversionmigrations/status"}
        assert "apis/storagemigration.k8s.io/v1beta1" in (await switched.ok("GET", "/openapi/v3"))["paths"]
