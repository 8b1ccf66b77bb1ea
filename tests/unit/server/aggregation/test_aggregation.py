"""Extension servers: registered, checked, asked as the user who asked us, and gone when they are gone."""

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.unit.server.aggregation.sample import APISERVICES, GROUP, GROUP_VERSION, NAME, VERSION, Json, extended
from wherry.aio.clock import SystemClock
from wherry.api.apiregistration_v1 import APIService
from wherry.cluster.pki import Pki
from wherry.meta import wire
from wherry.server.aggregation.aggregator import AggregationOptions
from wherry.server.authn.front_proxy import FrontProxyOptions
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.bootstrap import trust
from wherry.server.callouts.passing import PRIVATE
from wherry.server.frontend import HttpsFrontend
from wherry.server.options import ServerOptions
from wherry.server.pipe import handshake
from wherry.server.strategies.apiservice import APIServiceStrategy

FLUNDERS = f"{GROUP_VERSION}/namespaces/default/flunders"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def test_requests_reach_the_extension_server_with_their_user() -> None:
    async with extended() as world:
        await world.register()
        assert (await world.condition("True"))["message"] == "all checks passed"
        flunder = {"kind": "Flunder", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {"name": "a"}}
        assert await world.ok("POST", FLUNDERS, flunder) == flunder
        assert (await world.ok("GET", FLUNDERS, limit="5"))["items"] == [flunder]
        seen = world.party.requests[-1]
        assert seen.query == {"limit": "5"}
        assert seen.headers["X-Remote-User"] == "ann" and seen.headers["X-Remote-Uid"] == "u-1"
        assert seen.headers.getall("X-Remote-Group") == ["system:masters", "devs", "system:authenticated"]
        assert seen.headers.getall("X-Remote-Extra-scopes") == ["a", "b"]
        assert seen.headers["Host"] == f"sample-api.default.svc:{world.party.port}"
        assert await world.ok("DELETE", f"{FLUNDERS}/a") == flunder
        assert (await world.send("GET", f"{FLUNDERS}/a")).status == 404


async def test_claims_of_clients_do_not_pass() -> None:
    async with extended() as world:
        await world.register()
        await world.condition("True")
        claims = {"x-remote-user": "root", "x-remote-extra-a": "b", "authorization": "Bearer t"}
        await world.server.transport(world.user).request("GET", FLUNDERS, headers=claims)
        headers = world.party.requests[-1].headers
        assert headers.getall("X-Remote-User") == ["ann"]
        assert "X-Remote-Extra-A" not in headers and "Authorization" not in headers


async def test_the_front_proxys_certificate_is_shown(tmp_path: Path) -> None:
    pki = Pki(tmp_path, SystemClock())
    pair = pki.client("front-proxy-client", "front-proxy-client", front_proxy=True)
    options = ServerOptions(aggregation=AggregationOptions(str(pair.cert), str(pair.key)))
    async with extended(options, client_ca=pki.front_proxy_ca.cert.read_bytes()) as world:
        await world.register()
        await world.condition("True")
        assert (await world.ok("GET", FLUNDERS))["items"] == []


async def test_a_watch_streams_through() -> None:
    async with extended() as world:
        await world.register()
        await world.condition("True")
        async with world.server.transport(world.user).stream("GET", FLUNDERS, query={"watch": "1"}) as lines:
            names = [orjson.loads(line)["object"]["metadata"]["name"] async for line in lines]
    assert names == ["one", "two"]


async def test_an_upgrade_becomes_a_pipe() -> None:
    async with extended() as world:
        await world.register()
        await world.condition("True")

        async def handle(request: object) -> object:
            request.user = world.user  # type: ignore[attr-defined]
            return await world.server.handle(request)  # type: ignore[arg-type]

        front = HttpsFrontend(handle, None)  # type: ignore[arg-type]
        await front.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        head = f"GET {FLUNDERS}/a/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: raw\r\n"
        writer.write(f"{head}X-Remote-User: root\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        writer.close()
        await writer.wait_closed()
        await front.close()
    assert answer.startswith(b"HTTP/1.1 101") and b"X-Seen: ann" in answer


async def test_discovery_lists_the_group() -> None:
    async with extended() as world:
        await world.register()
        await world.condition("True")
        groups = [item["name"] for item in (await world.ok("GET", "/apis"))["groups"]]
        assert GROUP in groups and "apps" in groups
        group = await world.ok("GET", f"/apis/{GROUP}")
        assert group["preferredVersion"] == {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
        assert (await world.ok("GET", GROUP_VERSION))["resources"][0]["name"] == "flunders"
        found = next(
            it for it in (await world.ok("GET", "/apis", accept=AGGREGATED))["items"] if it["metadata"]["name"] == GROUP
        )
    version = found["versions"][0]
    assert (version["version"], version["freshness"]) == (VERSION, "Current")
    flunders = version["resources"][0]
    assert (flunders["resource"], flunders["scope"], flunders["singularResource"]) == (
        "flunders",
        "Namespaced",
        "flunder",
    )
    assert flunders["subresources"][0]["subresource"] == "status"


async def test_openapi_holds_the_groups_paths_and_schemas() -> None:
    async with extended() as world:
        await world.register()
        await world.condition("True")
        v2 = await world.ok("GET", "/openapi/v2")
        assert f"{GROUP_VERSION}/flunders" in v2["paths"] and "/version" not in v2["paths"]
        assert "io.wardle.Flunder" in v2["definitions"] and "io.k8s.api.core.v1.Pod" in v2["definitions"]
        index = (await world.ok("GET", "/openapi/v3"))["paths"]
        assert index[GROUP_VERSION[1:]]["serverRelativeURL"] == f"/openapi/v3{GROUP_VERSION}?hash=1"
        assert "Flunder" in (await world.ok("GET", f"/openapi/v3{GROUP_VERSION}", hash="1"))["components"]["schemas"]


async def test_a_server_that_fails_its_check_is_not_asked() -> None:
    async with extended() as world:
        world.wardle.well = False
        await world.register()
        condition = await world.condition("False")
        assert condition["reason"] == "FailedDiscoveryCheck"
        assert (
            f"bad status from https://sample-api.default.svc:{world.party.port}{GROUP_VERSION}: 500"
            in condition["message"]
        )
        answer = await world.send("GET", FLUNDERS)
        assert (answer.status, answer.body) == (503, b"service unavailable\n")
        items = (await world.ok("GET", "/apis", accept=AGGREGATED))["items"]
        assert next(it for it in items if it["metadata"]["name"] == GROUP)["versions"][0]["freshness"] == "Stale"
        world.wardle.well = True  # tried again until it is well
        await world.condition("True", "Passed")


@pytest.mark.parametrize(
    ("service", "reason", "message"),
    [
        (None, "ServiceNotFound", 'service/other in "default" is not present'),
        ({"ports": [{"port": 1}]}, "ServicePortError", 'service/other in "default" is not listening on port 443'),
        ({"ports": [{"port": 443}]}, "EndpointsNotFound", 'cannot find endpointslices for service/other in "default"'),
    ],
)
async def test_the_condition_says_what_is_wrong_with_the_service(
    service: Json | None, reason: str, message: str
) -> None:
    async with extended() as world:
        if service is not None:
            body = {"metadata": {"name": "other"}, "spec": service}
            await world.ok("POST", "/api/v1/namespaces/default/services", body)
        await world.register(service={"name": "other", "namespace": "default"})
        assert (await world.condition("False", reason))["message"] == message


async def test_endpoints_that_come_later_are_noticed() -> None:
    async with extended() as world:
        service = {"metadata": {"name": "other"}, "spec": {"ports": [{"port": 443}]}}
        await world.ok("POST", "/api/v1/namespaces/default/services", service)
        piece = {
            "metadata": {"name": "other-1", "labels": {"kubernetes.io/service-name": "other"}},
            "addressType": "IPv4",
            "endpoints": [],
            "ports": [{"name": "", "port": 443}],
        }
        await world.register(service={"name": "other", "namespace": "default"})
        await world.condition("False", "EndpointsNotFound")
        await world.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
        assert 'have no addresses with port name ""' in (await world.condition("False", "MissingEndpoints"))["message"]


async def test_an_authority_that_is_not_named_is_not_trusted() -> None:
    async with extended() as world:
        await world.register(caBundle=None)
        assert "x509: certificate signed by unknown authority" in (await world.condition("False"))["message"]
        patch = {"spec": {"insecureSkipTLSVerify": True}}
        headers = {"content-type": "application/merge-patch+json"}
        path = f"{APISERVICES}/{NAME}"
        await world.server.transport(world.user).request("PATCH", path, body=orjson.dumps(patch), headers=headers)
        await world.condition("True")


async def test_a_group_goes_with_its_apiservice() -> None:
    async with extended() as world:
        await world.register()
        await world.condition("True")
        await world.ok("DELETE", f"{APISERVICES}/{NAME}")
        assert (await world.send("GET", FLUNDERS)).status == 404
        assert (await world.send("GET", GROUP_VERSION)).status == 404
        assert GROUP not in [item["name"] for item in (await world.ok("GET", "/apis"))["groups"]]


async def test_what_is_served_here_is_listed_as_available() -> None:
    async with extended() as world:
        found = await world.listed("v1.storage.k8s.io")
        assert found["v1."]["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}
        assert found["v1.apps"]["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        condition = found["v1.apps"]["status"]["conditions"][0]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")
        assert "v1.apiregistration.k8s.io" not in found
        await world.ok("DELETE", f"{APISERVICES}/v1.apps")  # comes back
        await world.listed("v1.apps")


def test_extension_servers_are_told_whom_to_believe(tmp_path: Path) -> None:
    for name in ("CA", "PROXY-CA"):
        (tmp_path / name).write_text(name)
    proxy = FrontProxyOptions(tmp_path / "PROXY-CA", ("front-proxy-client",))
    data = trust(AuthenticationOptions(client_ca=tmp_path / "CA", front_proxy=proxy))
    assert trust(AuthenticationOptions()) == {}
    assert data["client-ca-file"] == "CA" and data["requestheader-client-ca-file"] == "PROXY-CA"
    assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert data["requestheader-username-headers"] == '["X-Remote-User"]'
    assert data["requestheader-extra-headers-prefix"] == '["X-Remote-Extra-"]'


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"group": "g.test", "version": "v2"}, 'must be `spec.version+"."+spec.group`: "v2.g.test"'),
        ({"group": "", "version": "v2"}, "spec.group: Required value: only v1 may have an empty group"),
        (
            {"groupPriorityMinimum": 0},
            "groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
        ),
        ({"versionPriority": 1001}, "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000"),
        ({"caBundle": "QUFB"}, 'spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle'),
        ({"insecureSkipTLSVerify": True}, "local APIServices may not have insecureSkipTLSVerify"),
        ({"service": {"namespace": "n"}}, "spec.service.name: Required value"),
        ({"service": {"namespace": "n", "name": "s", "port": 70000}}, "spec.service.port: Invalid value: 70000"),
        (
            {"service": {"namespace": "n", "name": "s"}, "caBundle": "QUFB", "insecureSkipTLSVerify": True},
            "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
        ),
    ],
)
def test_an_apiservice_must_make_sense(spec: Json, says: str) -> None:
    whole = {"group": "g.test", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1} | spec
    obj = wire.convert({"metadata": {"name": "v1.g.test"}, "spec": whole}, APIService)
    strategy = APIServiceStrategy(namespaced=False, has_status=True)
    strategy.default(obj)
    faults = [str(item) for item in strategy.validate(obj)]
    assert any(says in item for item in faults), faults


def test_whoever_is_passed_on_to_learns_no_claims_but_the_server_s() -> None:
    given = [
        ("X-Remote-User", "eve"),
        ("impersonate-group", "x"),
        ("X-User", "eve"),
        ("authorization", "b"),
        ("a", "b"),
    ]
    head = handshake("GET", "/", "h", given, [("X-Remote-User", "ann")], (*PRIVATE, "x-user")).decode()
    assert head == "GET / HTTP/1.1\r\nHost: h\r\na: b\r\nX-Remote-User: ann\r\n\r\n"
