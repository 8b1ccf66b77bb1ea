"""What objects of every other kind may say, and what may change of them, in Kubernetes' words."""

from typing import Any

import pytest

from tests.unit.server.rules.world import new, refused, refused_change, refused_status
from wherry.meta.wire import to_builtins

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
ONCE = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
SELECTOR = {"matchLabels": {"a": "b"}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
INDEXED = {"completionMode": "Indexed", "completions": 3, "template": ONCE}

Case = tuple[str, str, dict[str, Any], list[str]]
REFUSED: dict[str, Case] = {
    "deployment without selector": (
        "apps",
        "deployments",
        {"spec": {"template": TEMPLATE, "replicas": -1}},
        [
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.selector: Required value",
        ],
    ),
    "deployment of pods that end": (
        "apps",
        "deployments",
        {"spec": {"selector": SELECTOR, "template": ONCE}},
        ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
    ),
    "deployment that may not move": (
        "apps",
        "deployments",
        {
            "spec": {
                "selector": {"matchLabels": {"a": "c"}},
                "template": TEMPLATE,
                "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}},
            }
        },
        [
            'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`',
            'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0',
        ],
    ),
    "stateful set": (
        "apps",
        "statefulsets",
        {
            "spec": {
                "selector": SELECTOR,
                "template": TEMPLATE,
                "podManagementPolicy": "Chaos",
                "updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}},
            }
        },
        [
            "spec.podManagementPolicy: Invalid value: \"Chaos\": must be 'OrderedReady' or 'Parallel'",
            'spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: '
            "only allowed for updateStrategy 'RollingUpdate'",
        ],
    ),
    "job of pods that never end": (
        "batch",
        "jobs",
        {"spec": {"template": TEMPLATE}},
        ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    ),
    "job by index": (
        "batch",
        "jobs",
        {
            "spec": {
                **INDEXED,
                "maxFailedIndexes": 4,
                "successPolicy": {"rules": [{"succeededIndexes": "2,1", "succeededCount": 4}]},
            }
        },
        [
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
            'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "2,1": error parsing succeededIndexes: '
            "non-increasing order, previous: 2, current: 1",
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 "
            "(the number of specified completions)",
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 0 "
            "(the number of indexes in the specified succeededIndexes field)",
        ],
    ),
    "job's failure policy": (
        "batch",
        "jobs",
        {
            "spec": {
                "template": ONCE,
                "podFailurePolicy": {
                    "rules": [
                        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2, 0]}},
                        {"action": "Ignore"},
                    ]
                },
            }
        },
        [
            'spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to '
            "be set",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,0]: must be ordered",
            "spec.podFailurePolicy.rules[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is "
            "required",
        ],
    ),
    "cron job": (
        "batch",
        "cronjobs",
        {
            "spec": {
                "schedule": "TZ=UTC 1 * * * *",
                "timeZone": "Mars/Base",
                "jobTemplate": {"spec": {"template": ONCE}},
            }
        },
        [
            'spec.schedule: Invalid value: "TZ=UTC 1 * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone '
            "field instead",
            'spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base',
        ],
    ),
    "claim without size": (
        "",
        "persistentvolumeclaims",
        {"spec": {"accessModes": ["Sometimes"], "dataSource": {"kind": "Pod", "name": "x"}}},
        [
            'spec.accessModes: Unsupported value: "Sometimes": supported values: "ReadOnlyMany", "ReadWriteMany", '
            '"ReadWriteOnce", "ReadWriteOncePod"',
            "spec.resources[storage]: Required value",
            "spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default "
            "apiGroup",
            "spec.dataSourceRef: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default "
            "apiGroup",
        ],
    ),
    "volume of nothing": (
        "",
        "persistentvolumes",
        {"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]}},
        [
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.capacity: Required value",
            'spec.capacity: Unsupported value: {}: supported values: "storage"',
            "spec: Required value: must specify a volume type",
        ],
    ),
    "local volume anywhere": (
        "",
        "persistentvolumes",
        {"spec": {**{k: v for k, v in VOLUME.items() if k != "hostPath"}, "local": {"path": "/a/../b"}}},
        [
            "spec.local.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ],
    ),
    "storage class": (
        "storage.k8s.io",
        "storageclasses",
        {"reclaimPolicy": "Recycle", "volumeBindingMode": "Later"},
        [
            "provisioner: Required value",
            'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
            'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"',
        ],
    ),
    "attributes class": (
        "storage.k8s.io",
        "volumeattributesclasses",
        {"driverName": "x.y"},
        ["parameters: Required value: must contain at least one key/value pair"],
    ),
    "attachment": (
        "storage.k8s.io",
        "volumeattachments",
        {"spec": {"attacher": "x", "nodeName": "n", "source": {}}},
        [
            "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ],
    ),
    "csi node": (
        "storage.k8s.io",
        "csinodes",
        {"spec": {"drivers": [{"name": "x", "topologyKeys": []}, {"name": "x", "nodeID": "n", "topologyKeys": []}]}},
        ["spec.drivers[0].nodeID: Required value", 'spec.drivers[1].name: Duplicate value: "x"'],
    ),
    "ingress": (
        "networking.k8s.io",
        "ingresses",
        {
            "spec": {
                "rules": [
                    {
                        "host": "1.2.3.4",
                        "http": {"paths": [{"path": "a//b", "pathType": "Prefix", "backend": {}}, {"backend": {}}]},
                    }
                ]
            }
        },
        [
            'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address',
            'spec.rules[0].http.paths[0].path: Invalid value: "a//b": must be an absolute path',
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//'",
            'spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required',
            "spec.rules[0].http.paths[1].pathType: Required value: pathType must be specified",
        ],
    ),
    "ingress class": (
        "networking.k8s.io",
        "ingressclasses",
        {"spec": {"controller": "nginx", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}}},
        [
            'spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")',
            "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
        ],
    ),
    "network policy": (
        "networking.k8s.io",
        "networkpolicies",
        {
            "spec": {
                "podSelector": {},
                "ingress": [
                    {
                        "from": [{}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}],
                        "ports": [{"port": "web", "endPort": 90}],
                    }
                ],
                "policyTypes": ["Sideways"],
            }
        },
        [
            "spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is non-numeric",
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            'spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of '
            "`cidr`",
            'spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"',
        ],
    ),
    "endpoint slice": (
        "discovery.k8s.io",
        "endpointslices",
        {
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["::1"]}, {"addresses": []}],
            "ports": [{"name": "a", "port": 0}, {"name": "a"}],
        },
        [
            'endpoints[0].addresses[0]: Invalid value: "::1": must be a valid IPv4 address',
            'endpoints[0].addresses[0]: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
            "endpoints[1].addresses: Required value: must contain at least 1 address",
            "ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            'ports[1].name: Duplicate value: "a"',
        ],
    ),
    "quota": (
        "",
        "resourcequotas",
        {"spec": {"hard": {"magic": "1", "pods": "1.5", "secrets": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}},
        [
            'spec.hard[magic]: Invalid value: "magic": must be a standard resource type or fully qualified',
            'spec.hard[pods]: Invalid value: "1500m": must be an integer',
            'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: unsupported scope applied to resource',
            'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: unsupported scope applied to resource',
            'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes',
        ],
    ),
    "limit range": (
        "",
        "limitranges",
        {
            "spec": {
                "limits": [
                    {"type": "Pod", "default": {"cpu": "1"}},
                    {"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}},
                ]
            }
        },
        [
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            'spec.limits[1].type: Duplicate value: "Pod"',
            'spec.limits[1].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
        ],
    ),
    "autoscaler": (
        "autoscaling",
        "horizontalpodautoscalers",
        {
            "spec": {
                "scaleTargetRef": {"kind": "Deployment"},
                "maxReplicas": 0,
                "metrics": [{"type": "Pods", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}],
                "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}},
            }
        },
        [
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            "spec.scaleTargetRef.name: Required value",
            "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or "
            "a target utilization",
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: "
            "must be less than or equal to 1800",
        ],
    ),
    "disruption budget": (
        "policy",
        "poddisruptionbudgets",
        {"spec": {"minAvailable": "101%", "maxUnavailable": -1}},
        [
            'spec: Invalid value: {"maxUnavailable":-1,"minAvailable":"101%"}: '
            "minAvailable and maxUnavailable cannot be both set",
            'spec.minAvailable: Invalid value: "101%": must not be greater than 100%',
            "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
        ],
    ),
    "runtime class": (
        "node.k8s.io",
        "runtimeclasses",
        {"handler": "a.b"},
        ['handler: Invalid value: "a.b": must not contain dots'],
    ),
    "revision": ("apps", "controllerrevisions", {"revision": 1}, ["data: Required value: data is mandatory"]),
    "service range": (
        "networking.k8s.io",
        "servicecidrs",
        {"spec": {"cidrs": ["10.0.0.1/8"]}},
        ['spec.cidrs[0]: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length'],
    ),
    "resource claim": (
        "resource.k8s.io",
        "resourceclaims",
        {
            "spec": {
                "devices": {
                    "requests": [{"name": "a"}, {"name": "a", "exactly": {"deviceClassName": "", "count": 2}}],
                    "constraints": [{"requests": ["b"], "matchAttribute": "x"}],
                }
            }
        },
        [
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1].exactly.deviceClassName: Required value",
            'spec.devices.requests[1]: Duplicate value: "a"',
            'spec.devices.constraints[0].requests[0]: Invalid value: "b": must be the name of a request in the claim '
            "or the name of a request and a subrequest separated by '/'",
            'spec.devices.constraints[0].matchAttribute: Invalid value: "x": a fully qualified name must be a domain '
            "and a name separated by a slash",
        ],
    ),
    "resource slice": (
        "resource.k8s.io",
        "resourceslices",
        {"spec": {"driver": "x.y", "pool": {"name": "p"}, "devices": [{"name": "d", "attributes": {"a": {}}}]}},
        [
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is "
            "required",
            'spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be specified',
        ],
    ),
    "node": (
        "",
        "nodes",
        {"spec": {"taints": [{"key": "k", "effect": "Never"}], "podCIDRs": ["10.0.0.0/99"]}},
        [
            'metadata.taints[0].effect: Unsupported value: "Never": supported values: "NoSchedule", '
            '"PreferNoSchedule", "NoExecute"',
            'spec.podCIDRs[0]: Invalid value: "10.0.0.0/99": must be a valid CIDR value, (e.g. 10.9.8.0/24 or '
            "2001:db8::/64)",
        ],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_object_is_refused_for_every_fault_at_once(name: str) -> None:
    group, plural, members, expected = REFUSED[name]
    assert refused(group, plural, **members) == expected


CHANGES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], list[str]]] = {
    "claim's mode": (
        "",
        "persistentvolumeclaims",
        {"spec": CLAIM},
        {"spec": {"volumeMode": "Block"}},
        [
            "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
            "for bound claims\n  spec.volumeMode",
            'volumeMode: Invalid value: "Block": field is immutable',
        ],
    ),
    "claim's volume, once": (
        "",
        "persistentvolumeclaims",
        {"spec": CLAIM},
        {"spec": {"volumeName": "v", "storageClassName": "fast"}},
        [],
    ),
    "volume's source": (
        "",
        "persistentvolumes",
        {"spec": VOLUME},
        {"spec": {"hostPath": {"path": "/y"}}},
        ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n  hostPath"],
    ),
    "stateful set's service": (
        "apps",
        "statefulsets",
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        {"spec": {"serviceName": "s"}},
        [
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' "
            "are forbidden"
        ],
    ),
    "class's parameters": (
        "storage.k8s.io",
        "storageclasses",
        {"provisioner": "x/y"},
        {"parameters": {"a": "b"}},
        ["parameters: Forbidden: updates to parameters are forbidden."],
    ),
    "elastic job": (
        "batch",
        "jobs",
        {"spec": {**INDEXED, "parallelism": 3}},
        {"spec": {"completions": 4, "parallelism": 4}},
        [],
    ),
    "job's size alone": (
        "batch",
        "jobs",
        {"spec": {**INDEXED, "parallelism": 3}},
        {"spec": {"completions": 4}},
        ["spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism"],
    ),
    "suspended job's nodes": (
        "batch",
        "jobs",
        {"spec": {"template": ONCE, "suspend": True}},
        {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}},
        [],
    ),
    "quota's scopes": (
        "",
        "resourcequotas",
        {"spec": {"hard": {"pods": "1"}}},
        {"spec": {"scopes": ["BestEffort"]}},
        ['spec.scopes: Invalid value: ["BestEffort"]: field is immutable'],
    ),
    "resource claim": (
        "resource.k8s.io",
        "resourceclaims",
        {"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}},
        {"spec": {"devices": {"requests": []}}},
        ["spec: Invalid value: {}: field is immutable"],
    ),
    "node's blocks": (
        "",
        "nodes",
        {"spec": {"podCIDRs": ["10.0.0.0/24"]}},
        {"spec": {"podCIDRs": ["10.0.1.0/24"]}},
        ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_fixed_does_not_change(name: str) -> None:
    group, plural, before, after, expected = CHANGES[name]
    assert [item.replace('{"devices":{}}', "{}") for item in refused_change(group, plural, before, after)] == expected


def test_a_status_counts_no_more_parts_than_there_are() -> None:
    sets = {"spec": {"selector": SELECTOR, "template": TEMPLATE}}
    assert refused_status("apps", "replicasets", sets, {"replicas": 1, "readyReplicas": 2, "availableReplicas": 3}) == [
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
    ]


def test_a_finished_job_says_when_and_why() -> None:
    done = {"conditions": [{"type": "Complete", "status": "True"}], "active": 1}
    assert refused_status("batch", "jobs", {"spec": {"template": ONCE}}, done) == [
        "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true "
        "condition",
        "status.completionTime: Required value: completionTime is required for Complete jobs",
        "status.startTime: Required value: startTime is required for finished job",
        "status.active: Invalid value: 1: active>0 is invalid for finished job",
    ]


def test_an_autoscaler_is_filled_with_kubernetes_habits() -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "behavior": {}}
    _, scaler = new("autoscaling", "horizontalpodautoscalers", spec=spec)
    found = to_builtins(scaler)["spec"]
    assert found["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]
    assert found["behavior"]["scaleUp"]["policies"] == [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ]
    assert found["minReplicas"] == 1
