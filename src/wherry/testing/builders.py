"""Small valid objects for tests: name what the test is about, get Kubernetes' ordinary values for the rest.

Everything is typed (wherry.api); change any field afterwards. wherry/testing/cluster.py has a cluster to put them in.
"""

from collections.abc import Mapping, Sequence

from wherry.api.apps_v1 import Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec
from wherry.api.batch_v1 import Job, JobSpec
from wherry.api.core_v1 import (
    ConfigMap,
    Container,
    ContainerPort,
    Namespace,
    Node,
    NodeAddress,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    Pod,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    Secret,
    Service,
    ServicePort,
    ServiceSpec,
    Taint,
    Toleration,
)
from wherry.api.meta_v1 import LabelSelector
from wherry.meta.object import ObjectMeta
from wherry.meta.quantity import Quantity

Labels = Mapping[str, str]
Amounts = Mapping[str, str | int]

IMAGE = "registry.test/app:1"
ROOM: Amounts = {"cpu": 4, "memory": "8Gi", "pods": 110, "ephemeral-storage": "100Gi"}


def metadata(name: str, namespace: str | None = None, labels: Labels | None = None) -> ObjectMeta:
    """Name, namespace and labels."""
    return ObjectMeta(name=name, namespace=namespace, labels=dict(labels or {}))


def quantities(amounts: Amounts | None) -> dict[str, Quantity]:
    """{"cpu": "100m", "pods": 10} as quantities."""
    return {name: Quantity.parse(amount) for name, amount in (amounts or {}).items()}


def container(
    name: str = "app",
    *,
    image: str = IMAGE,
    requests: Amounts | None = None,
    limits: Amounts | None = None,
    ports: Sequence[int] = (),
) -> Container:
    """One container; `ports` are TCP."""
    return Container(
        name=name,
        image=image,
        ports=[ContainerPort(containerPort=port) for port in ports],
        resources=ResourceRequirements(requests=quantities(requests), limits=quantities(limits)),
    )


def pod_spec(
    *,
    containers: Sequence[Container] = (),
    image: str = IMAGE,
    requests: Amounts | None = None,
    node: str | None = None,
    node_selector: Labels | None = None,
    tolerations: Sequence[Toleration] = (),
    restart_policy: str | None = None,
    grace_period_seconds: int | None = None,
) -> PodSpec:
    """One container named "app" unless `containers` are given."""
    return PodSpec(
        containers=list(containers) or [container(image=image, requests=requests)],
        nodeName=node,
        nodeSelector=dict(node_selector or {}),
        tolerations=list(tolerations),
        restartPolicy=restart_policy,
        terminationGracePeriodSeconds=grace_period_seconds,
    )


def pod(
    name: str = "pod",
    namespace: str = "default",
    *,
    labels: Labels | None = None,
    spec: PodSpec | None = None,
    node: str | None = None,
    requests: Amounts | None = None,
) -> Pod:
    """A pod; give a whole `spec` (pod_spec) for more than node and requests."""
    return Pod(metadata=metadata(name, namespace, labels), spec=spec or pod_spec(node=node, requests=requests))


def template(labels: Labels, spec: PodSpec | None = None) -> PodTemplateSpec:
    """A pod template."""
    return PodTemplateSpec(metadata=ObjectMeta(labels=dict(labels)), spec=spec or pod_spec())


def node(
    name: str = "node",
    *,
    capacity: Amounts | None = None,
    labels: Labels | None = None,
    taints: Sequence[Taint] = (),
    ready: bool = True,
    address: str = "192.0.2.1",
) -> Node:
    """A node with 4 CPUs, 8 GiB and room for 110 pods; its hostname label is its name."""
    room = quantities(ROOM) | quantities(capacity)
    return Node(
        metadata=metadata(name, labels={"kubernetes.io/hostname": name} | dict(labels or {})),
        spec=NodeSpec(taints=list(taints)),
        status=NodeStatus(
            capacity=room,
            allocatable=dict(room),
            addresses=[NodeAddress(address=address, type="InternalIP"), NodeAddress(address=name, type="Hostname")],
            conditions=[
                NodeCondition(
                    type="Ready",
                    status="True" if ready else "False",
                    reason="KubeletReady" if ready else "KubeletNotReady",
                )
            ],
        ),
    )


def deployment(
    name: str = "web",
    namespace: str = "default",
    *,
    replicas: int = 1,
    labels: Labels | None = None,
    spec: PodSpec | None = None,
) -> Deployment:
    """A deployment that selects `labels` ({"app": name})."""
    chosen = dict(labels or {"app": name})
    return Deployment(
        metadata=metadata(name, namespace, chosen),
        spec=DeploymentSpec(
            replicas=replicas, selector=LabelSelector(matchLabels=chosen), template=template(chosen, spec)
        ),
    )


def replica_set(
    name: str = "web",
    namespace: str = "default",
    *,
    replicas: int = 1,
    labels: Labels | None = None,
    spec: PodSpec | None = None,
) -> ReplicaSet:
    """A replica set that selects `labels` ({"app": name})."""
    chosen = dict(labels or {"app": name})
    return ReplicaSet(
        metadata=metadata(name, namespace, chosen),
        spec=ReplicaSetSpec(
            replicas=replicas, selector=LabelSelector(matchLabels=chosen), template=template(chosen, spec)
        ),
    )


def job(
    name: str = "job", namespace: str = "default", *, completions: int = 1, parallelism: int = 1, backoff_limit: int = 6
) -> Job:
    """A job whose pods are never restarted in place."""
    return Job(
        metadata=metadata(name, namespace),
        spec=JobSpec(
            completions=completions,
            parallelism=parallelism,
            backoffLimit=backoff_limit,
            template=template({}, pod_spec(restart_policy="Never")),
        ),
    )


def service(
    name: str = "web", namespace: str = "default", *, selector: Labels | None = None, port: int = 80, type: str = ""
) -> Service:
    """A service that selects {"app": name}."""
    return Service(
        metadata=metadata(name, namespace),
        spec=ServiceSpec(
            selector=dict(selector if selector is not None else {"app": name}),
            ports=[ServicePort(port=port)],
            type=type or None,
        ),
    )


def namespace(name: str, *, labels: Labels | None = None) -> Namespace:
    """A namespace."""
    return Namespace(metadata=metadata(name, labels=labels))


def config_map(name: str = "config", namespace: str = "default", **data: str) -> ConfigMap:
    """A config map of these keys."""
    return ConfigMap(metadata=metadata(name, namespace), data=data)


def secret(name: str = "secret", namespace: str = "default", **data: str) -> Secret:
    """A secret; the values are plain text and get encoded by the server."""
    return Secret(metadata=metadata(name, namespace), stringData=data)
