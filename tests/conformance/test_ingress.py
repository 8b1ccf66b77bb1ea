"""test/e2e/network/ingress.go: the API of Ingresses."""

from tests.conformance.entry import conformance
from tests.conformance.operations import discovered, operations
from tests.conformance.world import World


@conformance("[sig-network] Ingress API should support creating Ingress API operations [Conformance]")
async def test_ingresses(api: World) -> None:
    await discovered(api, "networking.k8s.io", "v1", "ingresses", "ingresses/status")
    backend = {"service": {"name": "default-backend", "port": {"number": 80}}}
    status = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}
    change = {"spec": {"rules": [{"host": "foo.bar.com"}]}}
    path = api.path("/apis/networking.k8s.io/v1", "ingresses")
    await operations(api, path, {"spec": {"defaultBackend": backend}}, change, status)
