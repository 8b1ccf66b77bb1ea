"""Warnings that writers of each kind get, in Kubernetes' words. Source: WarningsOnCreate and WarningsOnUpdate of
pkg/registry, pkg/api/*/warnings.go."""

from typing import Any

import pytest

from tests.unit.server.rules.world import advised, context, new

CONTAINER = {"name": "c", "image": "i"}
LABELS = {"a": "b"}


def pod_of(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [CONTAINER], **spec}}


def with_container(**members: Any) -> dict[str, Any]:
    return pod_of(containers=[{**CONTAINER, **members}])


def term(key: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": "In", "values": list(values) or ["x"]}]}


SELECTS_NOTHING = "a null labelSelector results in matching no pod"
NODE_AFFINITY = "spec.affinity.nodeAffinity"
PORT = {"containerPort": 80, "protocol": "TCP"}

PODS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing to say": (pod_of(), []),
    "node selector by an old label": (
        pod_of(nodeSelector={"beta.kubernetes.io/os": "linux"}),
        ['spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
    ),
    "required node affinity": (
        pod_of(
            affinity={
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [term("node-role.kubernetes.io/master")]
                    }
                }
            }
        ),
        [
            f"{NODE_AFFINITY}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]"
            '.key: node-role.kubernetes.io/master is use "node-role.kubernetes.io/control-plane" instead'
        ],
    ),
    "preferred node affinity with a value that is none": (
        pod_of(
            affinity={
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term("k", "-")}]
                }
            }
        ),
        [
            f"{NODE_AFFINITY}.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0]"
            ".values[0]: - is invalid, a valid label must be an empty string or consist of alphanumeric characters, "
            "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
            "or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        ],
    ),
    "spread without a selector": (
        pod_of(
            topologySpreadConstraints=[
                {
                    "maxSkew": 1,
                    "topologyKey": "failure-domain.beta.kubernetes.io/zone",
                    "whenUnsatisfiable": "DoNotSchedule",
                }
            ]
        ),
        [
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since "
            'v1.17; use "topology.kubernetes.io/zone" instead',
            f"spec.topologySpreadConstraints[0].labelSelector: {SELECTS_NOTHING}",
        ],
    ),
    "pod affinity without selectors": (
        pod_of(
            affinity={
                "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z"}]},
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "podAffinityTerm": {"topologyKey": "z"}}
                    ]
                },
            }
        ),
        [
            f"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: "
            f"{SELECTS_NOTHING}",
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm."
            f"labelSelector: {SELECTS_NOTHING}",
        ],
    ),
    "volumes that are gone": (
        pod_of(
            volumes=[
                {"name": "a", "gitRepo": {"repository": "r"}},
                {"name": "b", "glusterfs": {"endpoints": "e", "path": "p"}},
                {"name": "c", "storageos": {}},
            ]
        ),
        [
            "spec.volumes[0].gitRepo: deprecated in v1.11",
            "spec.volumes[1].glusterfs: deprecated in v1.25, non-functional in v1.26+",
            "spec.volumes[2].storageOS: deprecated in v1.22, non-functional in v1.25+",
        ],
    ),
    "a fraction of a byte in an ephemeral claim": (
        pod_of(
            volumes=[
                {
                    "name": "a",
                    "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "500m"}}}}},
                }
            ]
        ),
        [
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "
            '"500m" is invalid, must be an integer'
        ],
    ),
    "one file over another": (
        pod_of(
            volumes=[
                {
                    "name": "v",
                    "configMap": {"name": "m", "items": [{"key": "k", "path": "d"}, {"key": "l", "path": "d/e/"}]},
                }
            ]
        ),
        ['volume "v" (ConfigMap "m"): overlapping paths: "d/e" with "d"'],
    ),
    "one projection over another": (
        pod_of(
            volumes=[
                {
                    "name": "v",
                    "projected": {
                        "sources": [
                            {"serviceAccountToken": {"path": "token"}},
                            {"secret": {"name": "s", "items": [{"key": "k", "path": "token"}]}},
                            {},
                        ]
                    },
                }
            ]
        ),
        [
            'volume "v" (Projected) has no sources provided',
            'volume "v" (Projected): overlapping paths: "token" (Secret "s") with "token" (ServiceAccountToken)',
        ],
    ),
    "host aliases twice, in odd spellings": (
        pod_of(
            hostAliases=[
                {"ip": "010.0.0.1", "hostnames": ["a"]},
                {"ip": "FE80::1", "hostnames": ["b"]},
                {"ip": "FE80::1", "hostnames": ["c"]},
            ]
        ),
        [
            'spec.hostAliases[2].ip: duplicate ip "FE80::1"',
            'spec.hostAliases[0].ip: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"',
            'spec.hostAliases[1].ip: IPv6 address "FE80::1" should be in RFC 5952 canonical format ("fe80::1")',
            'spec.hostAliases[2].ip: IPv6 address "FE80::1" should be in RFC 5952 canonical format ("fe80::1")',
        ],
    ),
    "pull secrets": (
        pod_of(imagePullSecrets=[{"name": "a"}, {"name": "a"}, {}]),
        [
            'spec.imagePullSecrets[1].name: duplicate name "a"',
            'spec.imagePullSecrets[2].name: invalid empty name ""',
        ],
    ),
    "annotations of old": (
        {
            "metadata": {
                "annotations": {
                    "scheduler.alpha.kubernetes.io/critical-pod": "",
                    "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
                }
            },
            **pod_of(),
        },
        [
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "
            '"priorityClassName" field instead',
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "
            '"seccompProfile" field instead',
        ],
    ),
    "a fraction of a byte": (
        with_container(resources={"limits": {"memory": "100m"}, "requests": {"memory": "100m", "cpu": "100m"}}),
        [
            'spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer',
            "spec.containers[0].resources.requests[memory]: fractional byte value "
            '"100m" is invalid, must be an integer',
        ],
    ),
    "a variable twice": (
        with_container(
            env=[
                {"name": "A", "value": "1"},
                {"name": "A", "value": "$(A)2"},
                {"name": "A", "value": "3"},
                {"name": "A", "value": "$(A)"},
            ]
        ),
        [
            'spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply',
            'spec.containers[0].env[3]: hides previous definition of "A", which may be dropped when using apply',
        ],
    ),
    "the same port": (
        with_container(ports=[PORT, PORT, {**PORT, "hostPort": 8080}]),
        [
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            "spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]",
            "spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[1]",
        ],
    ),
    "ports by host address": (
        with_container(ports=[{**PORT, "hostPort": 1, "hostIP": "1.2.3.4"}, {**PORT, "hostPort": 1}]),
        [
            "spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]",
        ],
    ),
    "a host address alone": (
        with_container(ports=[{**PORT, "name": "n", "hostIP": "1.2.3.4"}]),
        [
            "spec.containers[0].ports[0]: hostIP set without hostPort: {Name:n HostPort:0 ContainerPort:80 "
            "Protocol:TCP HostIP:1.2.3.4}"
        ],
    ),
    "a port name in two containers": (
        pod_of(
            containers=[
                {**CONTAINER, "ports": [{"containerPort": 1, "name": "n"}]},
                {"name": "d", "image": "i", "ports": [{"containerPort": 2, "name": "n"}]},
            ]
        ),
        [
            'spec.containers[1].ports[0]: duplicate port name "n" with spec.containers[0].ports[0], services and '
            "probes that select ports by name will use spec.containers[0].ports[0]"
        ],
    ),
    "less than no grace": (
        pod_of(terminationGracePeriodSeconds=-1),
        ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
    ),
    "a name that is no hostname": (
        {"metadata": {"name": "a.b"}, **pod_of()},
        [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label "
            "is recommended: [must not contain dots]"
        ],
    ),
}


@pytest.mark.parametrize("name", PODS)
def test_pods(name: str) -> None:
    members, warnings = PODS[name]
    meta = {"name": "x", "namespace": "d"} | members.pop("metadata", {})
    assert advised("", "pods", metadata=meta, **members) == warnings


def test_changed_pods_are_not_commented_on() -> None:
    assert advised("", "pods", before=pod_of(), spec={"terminationGracePeriodSeconds": -1}) == []


MASTER = {"node-role.kubernetes.io/master": ""}
OLD = 'use "node-role.kubernetes.io/control-plane" instead'
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER], "nodeSelector": MASTER}}
SELECTOR = {"matchLabels": LABELS}
ODD_NAME = (
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is "
    "recommended: [must not contain dots]"
)
DOTTED = {"name": "a.b", "namespace": "d"}
CLASS = "volume.beta.kubernetes.io/storage-class"

KINDS: dict[str, tuple[str, str, dict[str, Any], list[str]]] = {
    "deployment": (
        "apps",
        "deployments",
        {"metadata": DOTTED, "spec": {"selector": SELECTOR, "template": TEMPLATE}},
        [ODD_NAME, f"spec.template.spec.nodeSelector[node-role.kubernetes.io/master]: {OLD}"],
    ),
    "daemon set": (
        "apps",
        "daemonsets",
        {"metadata": DOTTED, "spec": {"selector": SELECTOR, "template": TEMPLATE}},
        [f"spec.template.spec.nodeSelector[node-role.kubernetes.io/master]: {OLD}"],
    ),
    "stateful set": (
        "apps",
        "statefulsets",
        {
            "spec": {
                "selector": SELECTOR,
                "template": TEMPLATE,
                "revisionHistoryLimit": -1,
                "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "1m"}}}}],
            }
        },
        [
            f"spec.template.spec.nodeSelector[node-role.kubernetes.io/master]: {OLD}",
            "spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "
            '"1m" is invalid, must be an integer',
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
        ],
    ),
    "replication controller without a template": ("", "replicationcontrollers", {"spec": {}}, []),
    "job": (
        "batch",
        "jobs",
        {"spec": {"completionMode": "Indexed", "completions": 100001, "parallelism": 10001, "template": TEMPLATE}},
        [
            "spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
            "Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            f"spec.template.spec.nodeSelector[node-role.kubernetes.io/master]: {OLD}",
        ],
    ),
    "cron job": (
        "batch",
        "cronjobs",
        {"spec": {"schedule": "TZ=UTC * * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}}},
        [
            f"spec.jobTemplate.spec.template.spec.nodeSelector[node-role.kubernetes.io/master]: {OLD}",
            "CRON_TZ or TZ used in spec.spec.schedule is not officially supported, see "
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
        ],
    ),
    "pod template": (
        "",
        "podtemplates",
        {"template": TEMPLATE},
        [f"template.spec.nodeSelector[node-role.kubernetes.io/master]: {OLD}"],
    ),
    "headless service": (
        "",
        "services",
        {
            "spec": {
                "clusterIP": "None",
                "clusterIPs": ["None"],
                "externalIPs": ["1.1.1.1"],
                "loadBalancerIP": "01.1.1.1",
            }
        },
        [
            "spec.loadBalancerIP is ignored for headless services",
            "spec.externalIPs is ignored for headless services",
            'spec.loadBalancerIP: non-standard IP address "01.1.1.1" is invalid: use "1.1.1.1"',
        ],
    ),
    "service": (
        "",
        "services",
        {
            "metadata": {
                "name": "x",
                "namespace": "d",
                "annotations": {"service.kubernetes.io/topology-aware-hints": "Auto"},
            },
            "spec": {
                "externalIPs": ["::ffff:1.2.3.4"],
                "externalName": "e",
                "loadBalancerSourceRanges": ["10.0.0.1/8", "FE80::/16"],
                "trafficDistribution": "PreferClose",
            },
        },
        [
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use "
            "service.kubernetes.io/topology-mode instead",
            'spec.externalIPs[0]: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4"',
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
            'spec.loadBalancerSourceRanges[0]: CIDR value "10.0.0.1/8" is ambiguous in this context (should be '
            '"10.0.0.0/8" or "10.0.0.1/32"?)',
            'spec.loadBalancerSourceRanges[1]: IPv6 CIDR value "FE80::/16" should be in RFC 5952 canonical format '
            '("fe80::/16")',
            'spec.externalName is ignored when spec.type is not "ExternalName"',
            'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"',
        ],
    ),
    "service by name": (
        "",
        "services",
        {"spec": {"type": "ExternalName", "externalName": "e", "externalIPs": ["1.1.1.1"]}},
        ['spec.externalIPs is ignored when spec.type is "ExternalName"'],
    ),
    "endpoints": (
        "",
        "endpoints",
        {"subsets": [{"addresses": [{"ip": "1.1.1.1"}], "notReadyAddresses": [{"ip": "01.1.1.1"}]}]},
        ['subsets[0].notReadyAddresses[0].ip: non-standard IP address "01.1.1.1" is invalid: use "1.1.1.1"'],
    ),
    "endpoint slice by names": (
        "discovery.k8s.io",
        "endpointslices",
        {"addressType": "FQDN", "endpoints": [{"addresses": ["a.b"]}]},
        ["spec.addressType: FQDN endpoints are deprecated"],
    ),
    "endpoint slice": (
        "discovery.k8s.io",
        "endpointslices",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["01.1.1.1"]}]},
        ['endpoints[0].addresses[0]: non-standard IP address "01.1.1.1" is invalid: use "1.1.1.1"'],
    ),
    "ingress": (
        "networking.k8s.io",
        "ingresses",
        {"metadata": {"name": "x", "namespace": "d", "annotations": {"kubernetes.io/ingress.class": "n"}}},
        ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"],
    ),
    "network policy": (
        "networking.k8s.io",
        "networkpolicies",
        {
            "spec": {
                "ingress": [{"from": [{"ipBlock": {"cidr": "01.0.0.0/8"}}]}],
                "egress": [{"to": [{}, {"ipBlock": {"cidr": "1.0.0.0/8", "except": ["::ffff:1.2.3.4/128"]}}]}],
            }
        },
        [
            'spec.ingress[0].from[0].ipBlock.cidr: non-standard CIDR value "01.0.0.0/8" is invalid: use "1.0.0.0/8"',
            'spec.egress[0].to[1].ipBlock.except[0]: non-standard CIDR value "::ffff:1.2.3.4/128" is invalid: use '
            '"1.2.3.4/32"',
        ],
    ),
    "node": (
        "",
        "nodes",
        {"spec": {"configSource": {}, "externalID": "e", "podCIDRs": ["10.0.0.0/24"]}},
        [
            "spec.configSource: the feature is no longer available",
            "spec.externalID: this field is deprecated, and is unused by Kubernetes",
        ],
    ),
    "runtime class": (
        "node.k8s.io",
        "runtimeclasses",
        {"handler": "h", "scheduling": {"nodeSelector": MASTER}},
        [f"scheduling.nodeSelector: {OLD}"],
    ),
    "volume": (
        "",
        "persistentvolumes",
        {
            "metadata": {
                "name": "x",
                "annotations": {CLASS: "c", "volume.beta.kubernetes.io/mount-options": "o"},
            },
            "spec": {
                "persistentVolumeReclaimPolicy": "Recycle",
                "storageos": {},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [term("beta.kubernetes.io/os")]}},
            },
        },
        [
            f'metadata.annotations[{CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead',
            "metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "
            '"mountOptions" attribute instead',
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended "
            "approach is to use dynamic provisioning.",
            "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is "
            'deprecated since v1.14; use "kubernetes.io/os" instead',
            "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
        ],
    ),
    "claim": (
        "",
        "persistentvolumeclaims",
        {
            "metadata": {"name": "x", "namespace": "d", "annotations": {CLASS: "c"}},
            "spec": {"resources": {"requests": {"storage": "1500m"}}},
        },
        [
            f'metadata.annotations[{CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead',
            'spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer',
        ],
    ),
    "storage class": (
        "storage.k8s.io",
        "storageclasses",
        {"allowedTopologies": [{"matchLabelExpressions": [{"key": "beta.kubernetes.io/arch", "values": ["x"]}]}]},
        ['allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use "kubernetes.io/arch" instead'],
    ),
    "storage capacity": (
        "storage.k8s.io",
        "csistoragecapacities",
        {"nodeTopology": {"matchLabels": MASTER}},
        [f"nodeTopology.matchLabels.node-role.kubernetes.io/master: {OLD}"],
    ),
    "service account": (
        "",
        "serviceaccounts",
        {
            "metadata": {
                "name": "x",
                "namespace": "d",
                "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"},
            }
        },
        [
            "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate "
            "namespaces to isolate access to mounted secrets"
        ],
    ),
    "no key pair": (
        "",
        "secrets",
        {"type": "kubernetes.io/tls", "data": {"tls.crt": "eA==", "tls.key": "eA=="}},
        ["tls: failed to find any PEM data in certificate input"],
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name: str) -> None:
    group, plural, members, warnings = KINDS[name]
    assert advised(group, plural, **members) == warnings


def test_a_change_that_leaves_the_template_alone_is_not_commented_on() -> None:
    deployment = {"spec": {"selector": SELECTOR, "template": TEMPLATE}}
    assert not advised("apps", "deployments", before=deployment, metadata={"labels": {"a": "b"}})
    assert advised("apps", "deployments", before=deployment, spec={"replicas": 2})


APPARMOR = "container.apparmor.security.beta.kubernetes.io/c"


@pytest.mark.parametrize(
    ("annotation", "profile", "warned"),
    [
        ("runtime/default", {"type": "RuntimeDefault"}, True),
        ("localhost/p", {"type": "Localhost", "localhostProfile": "p"}, True),
        ("", None, True),
    ],
)
def test_an_apparmor_annotation_becomes_a_field_and_is_deprecated(annotation: str, profile: Any, warned: bool) -> None:
    meta = {"name": "x", "namespace": "d", "annotations": {APPARMOR: annotation}}
    rules, pod = new("", "pods", metadata=meta, **pod_of())
    pod.spec.containers[0].securityContext = None
    ctx = context()
    rules.prepare_for_create(pod, ctx)
    own = pod.spec.containers[0].securityContext
    found = own.appArmorProfile if own is not None else None
    shown = {k: v for k in ("type", "localhostProfile") if (v := getattr(found, k, None))}
    assert shown == (profile or {})
    text = f'metadata.annotations[{APPARMOR}]: deprecated since v1.30; use the "appArmorProfile" field instead'
    assert ctx.warnings == [text] * warned


def test_an_apparmor_field_becomes_an_annotation() -> None:
    _, pod = new("", "pods", **pod_of(securityContext={"appArmorProfile": {"type": "Unconfined"}}))
    assert pod.metadata.annotations == {APPARMOR: "unconfined"}
