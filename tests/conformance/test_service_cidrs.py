"""test/e2e/network/service_cidrs.go: the API of ServiceCIDRs and IPAddresses."""

from tests.conformance.entry import conformance
from tests.conformance.operations import discovered
from tests.conformance.world import World, condition

TIME = "2026-01-01T00:00:00Z"
GROUP = "/apis/networking.k8s.io/v1"


@conformance("[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]")
async def test_addresses(api: World) -> None:
    await discovered(api, "networking.k8s.io", "v1", "ipaddresses")
    parent = {"group": "", "resource": "services", "namespace": api.namespace, "name": "none"}
    path = f"{GROUP}/ipaddresses"
    made = {"metadata": {"name": "192.168.2.1", "labels": {"a": "b"}}, "spec": {"parentRef": parent}}
    await api.create(path, made)
    found = await api.patch(f"{path}/192.168.2.1", {"metadata": {"annotations": {"patched": "true"}}})
    assert found["metadata"]["annotations"] == {"patched": "true"}
    await api.replace(f"{path}/192.168.2.1", found)
    assert len((await api.get(path, labelSelector="a=b"))["items"]) == 1
    await api.delete(path, labelSelector="a=b")
    await api.gone(f"{path}/192.168.2.1")


@conformance("[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]")
async def test_ranges(api: World) -> None:
    await discovered(api, "networking.k8s.io", "v1", "servicecidrs", "servicecidrs/status")
    path = f"{GROUP}/servicecidrs"
    await api.create(path, {"metadata": {"name": "more", "labels": {"a": "b"}}, "spec": {"cidrs": ["10.96.211.0/24"]}})
    added = {
        "type": "StatusUpdate",
        "status": "True",
        "reason": "E2E",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "message": "",
    }
    found = await api.patch(f"{path}/more/status", {"status": {"conditions": [added]}})
    assert condition(found, "StatusUpdate")["reason"] == "E2E"
    await api.patch(f"{path}/more", {"metadata": {"annotations": {"patched": "true"}}})
    await api.delete(f"{path}", labelSelector="a=b")


async def test_kubectl_shows_addresses_and_ranges(served: World) -> None:
    await served.kubectl("create", "service", "clusterip", "web", "--tcp=80", "--clusterip=10.96.7.7")
    rows = (await served.kubectl("get", "ipaddresses", "--no-headers")).out.splitlines()
    assert [row.split()[:2] for row in rows] == [
        ["10.96.0.1", "services/default/kubernetes"],
        ["10.96.7.7", f"services/{served.namespace}/web"],
    ]
    header, row = (await served.kubectl("get", "servicecidrs")).out.splitlines()
    assert header.split() == ["NAME", "CIDRS", "AGE"]
    assert row.split()[:2] == ["kubernetes", "10.96.0.0/12"]
