"""test/e2e/network/ingressclass.go: the API of IngressClasses."""

from tests.conformance.entry import conformance
from tests.conformance.operations import discovered, operations
from tests.conformance.world import World


@conformance("[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]")
async def test_ingress_classes(api: World) -> None:
    await discovered(api, "networking.k8s.io", "v1", "ingressclasses")
    spec = {"controller": "example.com/controller"}
    change = {"spec": {"parameters": {"kind": "K8s", "name": "some", "scope": "Cluster"}}}
    await operations(api, "/apis/networking.k8s.io/v1/ingressclasses", {"spec": spec}, change)
