"""Every cluster address of a Service is an IPAddress, out of a ServiceCIDR that is ready."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from tests.unit.server.core.conftest import Api, Json
from wherry.aio.entropy import Entropy
from wherry.server.address_repair import repair
from wherry.server.allocators import Full, PortAllocator
from wherry.server.app import Server
from wherry.server.options import ServerOptions

SERVICES = "/api/v1/namespaces/default/services"
GROUP = "/apis/networking.k8s.io/v1"


@pytest.fixture
def server_options() -> ServerOptions:
    return ServerOptions(service_cidr="10.96.0.0/28")


def service(name: str, **spec: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def held(api: Api) -> dict[str, str]:
    """Who has which address, but for the server's own Service."""
    listed = await api.ok("GET", f"{GROUP}/ipaddresses")
    found = {item["metadata"]["name"]: item["spec"]["parentRef"]["name"] for item in listed["items"]}
    assert found.pop("10.96.0.1") == "kubernetes"
    return found


async def test_the_range_of_the_flag_is_there_and_ready(api: Api) -> None:
    found = await api.ok("GET", f"{GROUP}/servicecidrs/kubernetes")
    assert found["spec"]["cidrs"] == ["10.96.0.0/28"]
    [ready] = found["status"]["conditions"]
    assert (ready["type"], ready["status"]) == ("Ready", "True")
    assert ready["message"] == "Kubernetes default Service CIDR is ready"


async def test_an_address_comes_and_goes_with_its_service(api: Api) -> None:
    made = await api.ok("POST", SERVICES, service("web"))
    address = made["spec"]["clusterIP"]
    found = await api.ok("GET", f"{GROUP}/ipaddresses/{address}")
    assert found["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    assert found["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "web"}
    external = {"spec": {"type": "ExternalName", "externalName": "a.test", "clusterIP": None, "clusterIPs": None}}
    await api.ok("PATCH", f"{SERVICES}/web", external, content_type="application/merge-patch+json")
    assert await held(api) == {}
    back = {"spec": {"type": "ClusterIP", "externalName": None, "clusterIP": address}}
    await api.ok("PATCH", f"{SERVICES}/web", back, content_type="application/merge-patch+json")
    assert await held(api) == {address: "web"}
    await api.ok("DELETE", f"{SERVICES}/web")
    assert await held(api) == {}
    await api.ok("POST", SERVICES, service("again", clusterIP=address))


async def test_what_is_not_written_leaves_no_address(api: Api) -> None:
    await api.ok("POST", SERVICES, service("web", clusterIP="10.96.0.5"))
    before = await held(api)
    await api.ok("POST", SERVICES, service("dry"), dryRun="All")
    await api.refused(409, "POST", SERVICES, service("web"))
    await api.refused(422, "POST", SERVICES, service("bad", ports=[{"port": 0}]))
    assert await held(api) == before
    answers = await asyncio.gather(*(api.send("POST", SERVICES, service("one")) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
    assert sorted((await held(api)).values()) == ["one", "web"]


async def refusal(api: Api, address: str) -> str:
    said = await api.refused(422, "POST", SERVICES, service("other", clusterIP=address))
    return str(said["message"])


async def test_an_address_that_cannot_be_had(api: Api) -> None:
    await api.ok("POST", SERVICES, service("web", clusterIP="10.96.0.5"))
    text = 'Service "other" is invalid: spec.clusterIPs: Invalid value: ["%s"]: failed to allocate IP %s: %s'
    for address, why in (
        ("10.96.0.5", "provided IP is already allocated"),
        ("10.97.0.5", "the provided network does not match the current range"),
        ("10.96.0.0", "the provided IP (10.96.0.0) is not in the valid range. The range of valid IPs is 10.96.0.0/28"),
    ):
        assert await refusal(api, address) == text % (address, address, why)


async def test_an_address_that_something_else_holds_is_not_given(api: Api) -> None:
    gateway = {"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "d", "name": "g"}
    await api.ok("POST", f"{GROUP}/ipaddresses", {"metadata": {"name": "10.96.0.9"}, "spec": {"parentRef": gateway}})
    assert "already allocated" in await refusal(api, "10.96.0.9")
    made = [await api.ok("POST", SERVICES, service(f"s{number}")) for number in range(12)]
    assert "10.96.0.9" not in {item["spec"]["clusterIP"] for item in made}


async def test_a_full_range_and_another(api: Api) -> None:
    answers = await asyncio.gather(*(api.send("POST", SERVICES, service(f"s{number}")) for number in range(20)))
    made = [orjson.loads(answer.body) for answer in answers if answer.status == 201]
    assert len({item["spec"]["clusterIP"] for item in made}) == len(made) == 13
    said = await api.refused(500, "POST", SERVICES, service("more"))
    assert said["message"] == "Internal error occurred: failed to allocate a serviceIP: range is full"
    await api.ok("POST", f"{GROUP}/servicecidrs", {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}})
    assert (await api.ok("POST", SERVICES, service("more")))["spec"]["clusterIP"].startswith("10.97.0.")
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Terminating", "message": "",
                                          "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}  # fmt: skip
    await api.ok("PATCH", f"{GROUP}/servicecidrs/more/status", unready, content_type="application/merge-patch+json")
    await api.refused(500, "POST", SERVICES, service("most"))


async def test_a_new_start_puts_addresses_right(api: Api) -> None:
    for name, address in (("web", "10.96.0.5"), ("two", "10.96.0.6")):
        await api.ok("POST", SERVICES, service(name, clusterIP=address))
    await api.ok("DELETE", f"{GROUP}/ipaddresses/10.96.0.5")
    wrong = await api.ok("GET", f"{GROUP}/ipaddresses/10.96.0.6")
    await api.ok("DELETE", f"{GROUP}/ipaddresses/10.96.0.6")
    del wrong["metadata"]["resourceVersion"], wrong["metadata"]["uid"]
    for address in ("10.96.0.6", "10.96.0.7"):
        wrong["metadata"]["name"], wrong["spec"]["parentRef"]["name"] = address, "nobody"
        await api.ok("POST", f"{GROUP}/ipaddresses", wrong)
    again = Server(api.store, api.server.clock, api.server.entropy, api.server.options)
    await again.start()
    try:
        young = {"10.96.0.7": "nobody"}
        assert await held(Api(again, api.store)) == {"10.96.0.5": "web", "10.96.0.6": "two"} | young
        await repair(again.client(), again.caches, again.clock.now() + timedelta(seconds=61))
        assert await held(Api(again, api.store)) == {"10.96.0.5": "web", "10.96.0.6": "two"}
    finally:
        await again.close()


def test_clusters_of_one_machine_choose_node_ports_apart() -> None:
    entropy = Entropy(1)
    one, two = (PortAllocator(30000, 32767, part, 48) for part in (0, 1))
    ports = [{allocator.take_next(entropy) for _ in range(55)} for allocator in (one, two)]
    assert not ports[0] & ports[1]
    rest = {one.take_next(entropy) for _ in range(2768 - 55)}
    assert rest | ports[0] == set(range(30000, 32768))
    with pytest.raises(Full):
        one.take_next(entropy)
