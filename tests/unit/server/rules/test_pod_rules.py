"""What a pod may say, and what may change of it, in Kubernetes' words."""

from typing import Any

import pytest

from tests.unit.server.rules.world import context, new, refused, refused_change, refused_status
from wherry.meta.wire import convert, to_builtins

C: dict[str, Any] = {"name": "c", "image": "i"}


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{**C, **(container or {})}], **spec}}


def volume(name: str, **source: Any) -> dict[str, Any]:
    return pod(volumes=[{"name": name, **source}])


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no containers": ({"spec": {}}, ["spec.containers: Required value"]),
    "nameless container without image": (
        pod({"name": "", "image": ""}),
        ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
    ),
    "two of one name": (
        {"spec": {"containers": [C, C]}},
        ['spec.containers[1].name: Duplicate value: "c"'],
    ),
    "padded image": (
        pod({"image": " i"}),
        ['spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace'],
    ),
    "unknown policies": (
        pod({"imagePullPolicy": "Maybe", "terminationMessagePolicy": "Fax"}, restartPolicy="Often", dnsPolicy="X"),
        [
            'spec.containers[0].terminationMessagePolicy: Unsupported value: "Fax": supported values: "File", '
            '"FallbackToLogsOnError"',
            'spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", '
            '"IfNotPresent", "Never"',
            'spec.restartPolicy: Unsupported value: "Often": supported values: "Always", "OnFailure", "Never"',
            'spec.dnsPolicy: Unsupported value: "X": supported values: "ClusterFirstWithHostNet", "ClusterFirst", '
            '"Default", "None"',
        ],
    ),
    "requests above limits": (
        pod({"resources": {"limits": {"cpu": "1", "x.y/gpu": "1"}, "requests": {"cpu": "2", "x.y/gpu": "500m"}}}),
        [
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
            'spec.containers[0].resources.requests[x.y/gpu]: Invalid value: "500m": must be an integer',
            'spec.containers[0].resources.requests: Invalid value: "500m": must be equal to x.y/gpu limit of 1',
        ],
    ),
    "unknown resource": (
        pod({"resources": {"limits": {"fast": "1"}}}),
        [
            'spec.containers[0].resources.limits[fast]: Invalid value: "fast": must be a standard resource type or '
            "fully qualified",
            'spec.containers[0].resources.limits[fast]: Invalid value: "fast": must be a standard resource for '
            "containers",
            'spec.containers[0].resources.requests[fast]: Invalid value: "fast": must be a standard resource type or '
            "fully qualified",
            'spec.containers[0].resources.requests[fast]: Invalid value: "fast": must be a standard resource for '
            "containers",
        ],
    ),
    "huge pages alone": (
        pod({"resources": {"limits": {"hugepages-2Mi": "3Mi"}}}),
        [
            'spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer '
            "multiple of hugepages-2Mi",
            'spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer '
            "multiple of hugepages-2Mi",
            "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
        ],
    ),
    "a claim the pod has not": (
        pod({"resources": {"claims": [{"name": "gpu"}]}}),
        [
            'spec.containers[0].resources.claims[0]: Not found: "gpu": must be one of the names in '
            "pod.spec.resourceClaims which is empty"
        ],
    ),
    "environment of nothing and of too much": (
        pod(
            {
                "env": [
                    {"name": "A", "valueFrom": {}},
                    {"name": "B", "value": "v", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "spec.containers"}}},
                    {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}},
                ]
            }
        ),
        [
            'spec.containers[0].env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, '
            "`resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            'spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
            'spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Invalid value: "spec.containers": error '
            "converting fieldPath: field label not supported: spec.containers",
            'spec.containers[0].env[3].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only '
            "divisor's values 1m and 1 are supported with the cpu resource",
        ],
    ),
    "mounts of nothing, twice": (
        pod({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a", "subPath": "../x"}]}),
        [
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
            'spec.containers[0].volumeMounts[1].name: Not found: "v"',
            'spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique',
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
        ],
    ),
    "a liveness probe of two handlers": (
        pod({"livenessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 0}, "successThreshold": 2}}),
        [
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    ),
    "an init container that is watched": (
        pod(initContainers=[{"name": "i", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}}]),
        [
            "spec.initContainers[0].livenessProbe: Forbidden: "
            "may not be set for init containers without restartPolicy=Always"
        ],
    ),
    "privileges both ways": (
        pod({"securityContext": {"privileged": True, "allowPrivilegeEscalation": False, "runAsUser": -1}}),
        [
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, "
            "inclusive",
            "spec.containers[0].securityContext: Invalid value: "
            '{"allowPrivilegeEscalation":false,"privileged":true,"runAsUser":-1}: '
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ],
    ),
    "a host port beside the host's network": (
        pod({"ports": [{"containerPort": 80, "hostPort": 81}]}, hostNetwork=True),
        [
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: "
            "must match `containerPort` when `hostNetwork` is true"
        ],
    ),
    "no volume": (volume("v", secret={}), ["spec.volumes[0].secret.secretName: Required value"]),
    "two sources": (
        volume("v", emptyDir={}, hostPath={"path": "/"}),
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    ),
    "backsteps": (
        volume("v", hostPath={"path": "/a/../b", "type": "Pipe"}),
        [
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            'spec.volumes[0].hostPath.type: Unsupported value: "Pipe": supported values: "", "BlockDevice", '
            '"CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"',
        ],
    ),
    "tolerations and spreading": (
        pod(
            tolerations=[{"operator": "Equal"}, {"key": "k", "operator": "Exists", "value": "v"}],
            topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "Maybe"}],
        ),
        [
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than 0",
            'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Maybe": supported values: '
            '"DoNotSchedule", "ScheduleAnyway"',
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which '
            'means "match all values and all keys"',
            "spec.tolerations[1].operator: Invalid value: \"v\": value must be empty when `operator` is 'Exists'",
        ],
    ),
    "node affinity": (
        pod(
            affinity={
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In"}]}]
                    },
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 101, "preference": {}}],
                }
            }
        ),
        [
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
            ".matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: "
            "must be in the range 1-100",
        ],
    ),
    "a resolver of one's own without servers": (
        pod(dnsPolicy="None"),
        ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    ),
    "ephemeral containers at once": (
        pod(ephemeralContainers=[{"name": "e", "image": "i", "ports": [{"containerPort": 1}]}]),
        [
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ],
    ),
    "a deletion cost that is none": (
        {**pod(), "metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "1.5"}}},
        [
            'metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "1.5": '
            "must be a 32bit integer"
        ],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_pod_is_refused_for_every_fault_at_once(name: str) -> None:
    members, expected = REFUSED[name]
    meta = {"name": "x", "namespace": "d", **members.get("metadata", {})}
    assert refused("", "pods", **{**members, "metadata": meta}) == expected


SIDECAR = {"name": "s", "image": "i", "restartPolicy": "Always", "startupProbe": {"httpGet": {"port": "web"}}}
FINE = {
    "plain": pod(),
    "sidecar": pod(initContainers=[SIDECAR]),
    "mounted": pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=[{"name": "v"}]),
    "sleeping": pod({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}),
    "downward": pod({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}}]}),
    "in linux": pod({"lifecycle": {"stopSignal": "SIGUSR1"}}, os={"name": "linux"}),
}


@pytest.mark.parametrize("name", FINE)
def test_a_sound_pod_is_taken(name: str) -> None:
    assert refused("", "pods", **FINE[name]) == []


def test_of_a_pod_only_images_and_a_few_fields_change() -> None:
    before = pod()
    fine = {"spec": {"containers": [{**C, "image": "j"}], "activeDeadlineSeconds": 5}}
    assert refused_change("", "pods", before, fine) == []
    [fault] = refused_change("", "pods", before, {"spec": {"hostname": "h"}})
    assert fault.startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,")
    more = {"spec": {"containers": [C, {**C, "name": "d"}]}}
    assert refused_change("", "pods", before, more) == [
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    ]


def test_a_gated_pod_may_only_narrow_where_it_goes() -> None:
    before = pod(schedulingGates=[{"name": "g"}], nodeSelector={"a": "b"})
    assert refused_change("", "pods", before, {"spec": {"nodeSelector": {"c": "d"}}}) == []
    assert refused_change("", "pods", before, {"spec": {"nodeSelector": {"a": "c"}}}) == [
        'spec.nodeSelector: Invalid value: {"a":"c"}: '
        "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
    ]
    added = {"spec": {"schedulingGates": [{"name": "g"}, {"name": "h"}]}}
    assert refused_change("", "pods", before, added) == [
        "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'"
    ]


def changed_part(part: str, before: dict[str, Any], change: Any) -> list[str]:
    rules, old = new("", "pods", **before)
    plain = to_builtins(old)
    change(plain)
    after = convert(plain, type(old))
    changed = rules.part(part)
    changed.prepare_for_update(after, old, context())
    return [str(item) for item in changed.validate_update(after, old)]


def test_a_resize_changes_cpu_and_memory_within_the_qos_class() -> None:
    before = pod({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}})

    def requests(value: dict[str, str]) -> Any:
        return lambda plain: plain["spec"]["containers"][0]["resources"].update(requests=value)

    assert changed_part("resize", before, requests({"cpu": "2", "memory": "1Gi"})) == []
    assert changed_part("resize", before, requests({"cpu": "2"})) == [
        "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"
    ]
    assert changed_part("resize", before, lambda plain: plain["spec"]["containers"][0].update(image="j")) == [
        "spec: Forbidden: only cpu and memory resources are mutable"
    ]
    limits = {"cpu": "1", "memory": "1Gi"}
    assert changed_part(
        "resize", before, lambda plain: plain["spec"]["containers"][0]["resources"].update(limits=limits)
    ) == ['spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing']


SIDECAR = {"name": "s", "image": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}
START = {"name": "s", "image": "i", "resources": {"requests": {"cpu": "1"}}}
ASKING = {"resources": {"requests": {"cpu": "1", "x.y/gpu": "1"}, "limits": {"x.y/gpu": "1"}}}


def mirrored() -> dict[str, Any]:
    return pod(nodeName="n") | {
        "metadata": {"name": "x", "namespace": "d", "annotations": {"kubernetes.io/config.mirror": "m"}}
    }


RESIZES: dict[str, tuple[dict[str, Any], Any, list[str]]] = {
    "static": (mirrored(), lambda plain: None, ["<nil>: Forbidden: static pods cannot be resized"]),
    "windows": (
        pod(os={"name": "windows"}), lambda plain: None, ["<nil>: Forbidden: windows pods cannot be resized"],
    ),
    "one more": (
        pod(), lambda plain: plain["spec"]["containers"].append(plain["spec"]["containers"][0] | {"name": "d"}),
        ["spec.containers: Forbidden: containers may not be added or removed on resize"],
    ),
    "renamed": (
        pod(), lambda plain: plain["spec"]["containers"][0].update(name="d"),
        ["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
    ),
    "a device": (
        pod(ASKING), lambda plain: [side.update({"x.y/gpu": "2"}) for side in
                                    plain["spec"]["containers"][0]["resources"].values()],
        ["spec: Forbidden: only cpu and memory resources are mutable"],
    ),
    "a sidecar": (
        pod(initContainers=[SIDECAR]),
        lambda plain: plain["spec"]["initContainers"][0]["resources"]["requests"].update(cpu="2"), [],
    ),
    "a sidecar's image": (
        pod(initContainers=[SIDECAR]), lambda plain: plain["spec"]["initContainers"][0].update(image="j"),
        ["spec: Forbidden: only cpu and memory resources for sidecar containers are mutable"],
    ),
    "an init container": (
        pod(initContainers=[START]),
        lambda plain: plain["spec"]["initContainers"][0]["resources"]["requests"].update(cpu="2"),
        ["spec: Forbidden: resources for non-sidecar init containers are immutable"],
    ),
    "elsewhere": (
        pod(), lambda plain: plain["spec"].update(hostname="h"),
        ["spec: Forbidden: only cpu and memory resources are mutable"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESIZES)
def test_what_a_resize_refuses(name: str) -> None:
    before, change, expected = RESIZES[name]
    assert changed_part("resize", before, change) == expected


def test_a_static_pod_takes_no_ephemeral_containers() -> None:
    def add(plain: dict[str, Any]) -> None:
        plain["spec"]["ephemeralContainers"] = [{"name": "e", "image": "i"}]

    refusal = "<nil>: Forbidden: static pods do not support ephemeral containers"
    assert changed_part("ephemeralcontainers", mirrored(), add)[-1] == refusal


def test_ephemeral_containers_only_come() -> None:
    one = {"name": "e", "image": "i"}
    rules, old = new("", "pods", **pod(ephemeralContainers=[one]))

    def after(*items: dict[str, Any]) -> list[str]:
        plain = to_builtins(old)
        plain["spec"]["ephemeralContainers"] = list(items)
        changed = convert(plain, type(old))
        rules.default(changed)
        return [str(item) for item in rules.part("ephemeralcontainers").validate_update(changed, old)]

    assert after(one, {"name": "f", "image": "i"}) == []
    assert after() == ['spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed\n']
    assert after({**one, "image": "j"})[0].startswith(
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be changed'
    )


def test_a_container_that_ended_for_good_stays_so() -> None:
    before = pod(restartPolicy="Never")
    rules, old = new("", "pods", **before)
    ended = {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]}
    old.status = convert({"qosClass": "BestEffort", **ended}, type(old.status))
    running = convert(to_builtins(old), type(old))
    running.status = convert(
        {"qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": {"running": {}}}]}, type(old.status)
    )
    assert [str(item) for item in rules.validate_status_update(running, old)] == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]


def test_a_status_speaks_of_addresses_and_conditions() -> None:
    wrong = {"podIPs": [{"ip": "x"}, {"ip": "10.0.0.1"}], "hostIP": "1.1.1.1", "hostIPs": [{"ip": "2.2.2.2"}]}
    faults = refused_status("", "pods", pod(), {**wrong, "conditions": [{"type": "a b", "status": "True"}]})
    assert any(item.startswith('status.conditions[0].Type: Invalid value: "a b"') for item in faults)
    assert 'status.hostIPs[0].ip: Invalid value: "2.2.2.2": must be equal to `hostIP`' in faults
    assert any(item.startswith('status.podIPs[0]: Invalid value: "x"') for item in faults)


def test_label_keys_become_requirements_on_the_pods_own_labels() -> None:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
        "matchLabelKeys": ["hash"],
    }
    meta = {"name": "x", "namespace": "d", "labels": {"app": "x", "hash": "1"}}
    _, made = new("", "pods", **{**pod(topologySpreadConstraints=[constraint]), "metadata": meta})
    [requirement] = made.spec.topologySpreadConstraints[0].labelSelector.matchExpressions
    assert (requirement.key, requirement.operator, requirement.values) == ("hash", "In", ["1"])
