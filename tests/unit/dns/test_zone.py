"""The cluster's records, by the Kubernetes DNS specification 1.1.0 (sections named in the rows)."""

import pytest

from wherry.api.core_v1 import Service
from wherry.api.discovery_v1 import EndpointSlice
from wherry.dns.zone import View, answer
from wherry.meta.wire import convert

ZONE = "cluster.local"
HTTP = [{"name": "http", "port": 80, "protocol": "TCP"}]
SERVICES = {
    ("default", "web"): {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": HTTP},
    ("default", "db"): {"clusterIP": "None", "clusterIPs": ["None"], "ports": HTTP},
    ("default", "empty"): {"clusterIP": "None", "clusterIPs": ["None"], "ports": HTTP},
    ("default", "out"): {"type": "ExternalName", "externalName": "example.com"},
}
READY = {"ready": True}
SLICE = {
    "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    "endpoints": [
        {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": READY},
        {"addresses": ["10.244.0.6"], "conditions": READY},
        {"addresses": ["10.244.0.7"], "conditions": {"ready": False}},
    ],
}


def services() -> dict[tuple[str, str], Service]:
    return {
        key: convert({"metadata": {"namespace": key[0], "name": key[1]}, "spec": spec}, Service)
        for key, spec in SERVICES.items()
    }


def view() -> View:
    known, db = services(), convert(SLICE, EndpointSlice)
    return View(
        service=lambda namespace, name: known.get((namespace, name)),
        slices=lambda namespace, name: [db] if (namespace, name) == ("default", "db") else [],
        namespace_exists=lambda name: name == "default",
        service_by_ip=lambda ip: known["default", "web"] if ip == "10.96.0.9" else None,
        slices_by_ip=lambda ip: [db] if ip.startswith("10.244.0.") else [],
    )


@pytest.mark.parametrize(
    ("section", "name", "kind", "expected"),
    [
        ("2.2 schema version", "dns-version.cluster.local", "TXT", ["1.1.0"]),
        ("2.3.1 A of a cluster IP", "web.default.svc.cluster.local", "A", ["10.96.0.9"]),
        ("2.3.1 no AAAA is no data", "web.default.svc.cluster.local", "AAAA", []),
        ("2.3.2 SRV", "_http._tcp.web.default.svc.cluster.local", "SRV", [
            (0, 100, 80, "web.default.svc.cluster.local"),
        ]),
        ("2.3.2 unknown port", "_ssh._tcp.web.default.svc.cluster.local", "SRV", None),
        ("2.3.3 PTR", "9.0.96.10.in-addr.arpa", "PTR", ["web.default.svc.cluster.local"]),
        ("2.4.1 headless, ready only", "db.default.svc.cluster.local", "A", ["10.244.0.5", "10.244.0.6"]),
        ("2.4.1 host name", "db-0.db.default.svc.cluster.local", "A", ["10.244.0.5"]),
        ("2.4.1 generated host name", "10-244-0-6.db.default.svc.cluster.local", "A", ["10.244.0.6"]),
        ("2.4.1 none ready", "empty.default.svc.cluster.local", "A", None),
        ("2.4.2 SRV of a headless service", "_http._tcp.db.default.svc.cluster.local", "SRV", [
            (0, 100, 8080, "db-0.db.default.svc.cluster.local"),
            (0, 100, 8080, "10-244-0-6.db.default.svc.cluster.local"),
        ]),
        ("2.4.3 PTR of an endpoint", "5.0.244.10.in-addr.arpa", "PTR", ["db-0.db.default.svc.cluster.local"]),
        ("2.5 external name", "out.default.svc.cluster.local", "A", ["example.com"]),
        ("pods by address", "10-244-0-5.default.pod.cluster.local", "A", ["10.244.0.5"]),
        ("pods of no namespace", "10-244-0-5.nowhere.pod.cluster.local", "A", None),
        ("a namespace exists without records", "default.svc.cluster.local", "A", []),
        ("an unknown service", "nope.default.svc.cluster.local", "A", None),
    ],
)  # fmt: skip
def test_names(section: str, name: str, kind: str, expected: list[object] | None) -> None:
    found = answer(view(), ZONE, name, kind)
    assert found is not None, section
    assert found.exists == (expected is not None), section
    assert [record.data for record in found.records] == (expected or []), section


def test_other_names_are_not_ours() -> None:
    assert answer(view(), ZONE, "example.com", "A") is None
    assert answer(view(), ZONE, "8.8.8.8.in-addr.arpa", "PTR") is None
