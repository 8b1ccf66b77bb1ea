"""What a Service may say, and what may change of it, in Kubernetes' words."""

from typing import Any

import pytest

from tests.unit.server.rules.world import context, new, refused, refused_change, refused_status
from wherry.meta.errors import StatusError

PORTS = [{"port": 80}]
ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
V4_OR_V6 = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no ports": ({}, ["spec.ports: Required value"]),
    "unknown type": (
        {"type": "Magic", "ports": PORTS},
        [
            'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
            '"NodePort"'
        ],
    ),
    "several faults at once": (
        {"ports": [{"port": 0, "protocol": "ICMP"}, {"name": "a", "port": 70000}]},
        [
            "spec.ports[0].name: Required value",
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            'spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.ports[1].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    ),
    "one port twice": (
        {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]},
        ['spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}'],
    ),
    "node port without node ports": (
        {"ports": [{"port": 80, "nodePort": 30000}]},
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    ),
    "balancer's fields on another type": (
        {"ports": PORTS, "loadBalancerClass": "a/b", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
        [
            f"spec.LoadBalancerSourceRanges: Forbidden: {ONLY_BALANCED}",
            f"spec.loadBalancerClass: Forbidden: {ONLY_BALANCED}",
        ],
    ),
    "external policy of what nobody outside reaches": (
        {"ports": PORTS, "externalTrafficPolicy": "Local"},
        ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
    ),
    "headless with node ports": (
        {"ports": PORTS, "type": "NodePort", "clusterIP": "None"},
        ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    ),
    "external name that has an address": (
        {"type": "ExternalName", "clusterIP": "10.96.0.7"},
        [
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            "spec.externalName: Required value",
        ],
    ),
    "bad affinity": (
        {
            "ports": PORTS,
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}},
        },
        [
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: "
            "must be greater than 0 and less than 86400"
        ],
    ),
    "strange external addresses": (
        {"ports": PORTS, "externalIPs": ["nope", "127.0.0.1", "010.1.1.1"]},
        [
            f'spec.externalIPs[0]: Invalid value: "nope": {V4_OR_V6}',
            'spec.externalIPs[1]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
            'spec.externalIPs[2]: Invalid value: "010.1.1.1": must not have leading 0s',
        ],
    ),
    "unknown distribution": (
        {"ports": PORTS, "trafficDistribution": "Near"},
        [
            'spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameZone", '
            '"PreferSameNode"'
        ],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_service_is_refused_for_every_fault_at_once(name: str) -> None:
    spec, expected = REFUSED[name]
    assert refused("", "services", spec=spec) == expected


async def test_a_family_the_cluster_has_not_is_refused() -> None:
    for spec, text in (
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
            "this cluster is not configured for dual-stack services",
        ),
        ({"clusterIP": "x"}, f'spec.clusterIPs[0]: Invalid value: "x": {V4_OR_V6}'),
    ):
        rules, service = new("", "services", spec={"ports": PORTS, **spec})
        with pytest.raises(StatusError) as error:
            await rules.allocate(service, None, context())
        assert text in error.value.message


async def test_a_selectorless_headless_service_speaks_of_both_families() -> None:
    rules, service = new("", "services", spec={"clusterIP": "None"})
    await rules.allocate(service, None, context())
    assert service.spec.ipFamilies == ["IPv4", "IPv6"]
    assert service.spec.ipFamilyPolicy == "RequireDualStack"
    assert rules.validate(service) == []


def test_cluster_address_and_class_do_not_change() -> None:
    balanced = {"spec": {"type": "LoadBalancer", "ports": PORTS, "clusterIP": "10.96.0.7", "loadBalancerClass": "a/b"}}
    assert refused_change("", "services", balanced, {"spec": {"clusterIP": "10.96.0.8"}}) == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set'
    ]
    assert refused_change("", "services", balanced, {"spec": {"loadBalancerClass": "a/c"}}) == [
        'spec.loadBalancerClass: Invalid value: "a/c": may not change once set'
    ]


def test_a_change_of_type_drops_what_only_the_old_type_needed() -> None:
    before = {"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}], "clusterIP": "10.96.0.7"}}
    assert refused_change("", "services", before, {"spec": {"type": "ClusterIP"}}) == []
    named = {"spec": {"type": "ExternalName", "externalName": "example.org"}}
    assert refused_change("", "services", before, named) == []


def test_a_balancer_that_is_none_has_no_ingress() -> None:
    plain = {"spec": {"ports": PORTS}}
    status = {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}
    assert refused_status("", "services", plain, status) == [
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    ]
    balanced = {"spec": {"ports": PORTS, "type": "LoadBalancer"}}
    assert refused_status("", "services", balanced, status) == []
    wrong = {"loadBalancer": {"ingress": [{"hostname": "10.0.0.1", "ipMode": "VIP"}]}}
    assert refused_status("", "services", balanced, wrong) == [
        "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
        'status.loadBalancer.ingress[0].hostname: Invalid value: "10.0.0.1": must be a DNS name, not an IP address',
    ]
