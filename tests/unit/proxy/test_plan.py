"""Which endpoints serve a virtual port (kube-proxy's topology rules, KEP-1669, KEP-2086)."""

import pytest

from wherry.api.core_v1 import Service
from wherry.api.discovery_v1 import EndpointSlice
from wherry.meta.wire import convert
from wherry.proxy.rules import Endpoint, plan_service_ports


def service(**spec: object) -> Service:
    base = {
        "clusterIP": "10.96.0.9",
        "clusterIPs": ["10.96.0.9"],
        "type": "ClusterIP",
        "ports": [{"name": "web", "port": 80}],
    }
    return convert({"metadata": {"name": "web", "namespace": "default"}, "spec": base | spec}, Service)


def endpoints(*conditions: dict[str, bool], nodes: tuple[str, ...] = ("n1", "n2", "n3")) -> EndpointSlice:
    rows = [
        {"addresses": [f"10.244.0.{i}"], "conditions": c, "nodeName": nodes[i % len(nodes)]}
        for i, c in enumerate(conditions)
    ]
    labels = {"kubernetes.io/service-name": "web"}
    meta = {"name": "web-1", "namespace": "default", "labels": labels}
    value = {"metadata": meta, "addressType": "IPv4", "ports": [{"name": "web", "port": 8080}], "endpoints": rows}
    return convert(value, EndpointSlice)


READY = {"ready": True, "serving": True, "terminating": False}
LEAVING = {"ready": False, "serving": True, "terminating": True}
BROKEN = {"ready": False, "serving": False, "terminating": False}


@pytest.mark.parametrize(
    ("case", "conditions", "expected"),
    [
        ("ready endpoints serve", (READY, READY), ["10.244.0.0", "10.244.0.1"]),
        ("unready ones do not", (READY, BROKEN), ["10.244.0.0"]),
        ("terminating ones do not while others are ready", (READY, LEAVING), ["10.244.0.0"]),
        ("terminating ones serve when nothing else does", (LEAVING, BROKEN), ["10.244.0.0"]),
        ("nothing serves when all are broken", (BROKEN,), []),
        ("unknown readiness counts as ready", ({},), ["10.244.0.0"]),
    ],
)
def test_endpoints_that_serve(case: str, conditions: tuple[dict[str, bool], ...], expected: list[str]) -> None:
    planned = plan_service_ports([service()], [endpoints(*conditions)], "n1")["default/web:web"]
    assert [e.ip for e in planned.internal] == expected, case
    assert all(e.port == 8080 for e in planned.internal)


def test_local_traffic_policies_keep_to_the_node() -> None:
    both = service(type="NodePort", internalTrafficPolicy="Local", externalTrafficPolicy="Local")
    both.spec.ports[0].nodePort = 30080
    planned = plan_service_ports([both], [endpoints(READY, READY)], "n2")["default/web:web"]
    assert planned.internal == planned.external == (Endpoint("10.244.0.1", 8080),)
    assert planned.preserve_source


@pytest.mark.parametrize("spec", [{"clusterIP": "None", "clusterIPs": ["None"]}, {"type": "ExternalName"}])
def test_services_without_a_virtual_address_are_left_alone(spec: dict[str, object]) -> None:
    assert plan_service_ports([service(**spec)], [endpoints(READY)], "n1") == {}


def test_services_of_another_proxy_are_left_alone() -> None:
    other = service()
    other.metadata.labels["service.kubernetes.io/service-proxy-name"] = "mine"
    assert plan_service_ports([other], [endpoints(READY)], "n1") == {}


def test_session_affinity_lasts_three_hours_by_default() -> None:
    assert (
        plan_service_ports([service(sessionAffinity="ClientIP")], [], "n1")["default/web:web"].affinity_seconds == 10800
    )
