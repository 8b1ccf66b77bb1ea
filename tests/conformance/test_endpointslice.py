"""test/e2e/network/endpointslice.go: the API of EndpointSlices."""

from tests.conformance.entry import conformance
from tests.conformance.operations import discovered, operations
from tests.conformance.world import World


@conformance("[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]")
async def test_endpoint_slices(api: World) -> None:
    await discovered(api, "discovery.k8s.io", "v1", "endpointslices")
    made = {"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4", "5.6.7.8"]}]}
    change = {"endpoints": [{"addresses": ["1.2.3.5"]}]}
    made["endpoints"] = [{"addresses": ["1.2.3.4"]}]
    path = api.path("/apis/discovery.k8s.io/v1", "endpointslices")
    await operations(api, path, made, {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
    found = await api.create(path, made | {"metadata": {"name": "again"}})
    assert (await api.replace(f"{path}/again", found | change))["endpoints"][0]["addresses"] == ["1.2.3.5"]
