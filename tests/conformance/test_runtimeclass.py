"""test/e2e/common/node/runtimeclass.go: the API of RuntimeClasses."""

from tests.conformance.entry import conformance
from tests.conformance.operations import discovered, operations
from tests.conformance.world import World


@conformance("[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]")
async def test_runtime_classes(api: World) -> None:
    await discovered(api, "node.k8s.io", "v1", "runtimeclasses")
    change = {"scheduling": {"nodeSelector": {"some": "node"}}}
    await operations(api, "/apis/node.k8s.io/v1/runtimeclasses", {"handler": "handler"}, change)
