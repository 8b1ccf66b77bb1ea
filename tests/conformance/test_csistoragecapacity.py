"""test/e2e/storage/csistoragecapacity.go: the API of CSIStorageCapacities."""

from tests.conformance.entry import conformance
from tests.conformance.operations import discovered, operations
from tests.conformance.world import World


@conformance("[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]")
async def test_storage_capacities(api: World) -> None:
    await discovered(api, "storage.k8s.io", "v1", "csistoragecapacities")
    path = api.path("/apis/storage.k8s.io/v1", "csistoragecapacities")
    await operations(api, path, {"storageClassName": "some"}, {"capacity": "10Gi"})
