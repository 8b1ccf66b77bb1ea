"""What a writer of pods and pod templates is warned of: what is deprecated, has no effect, or hides something else.

Source: Kubernetes, pkg/api/pod/warnings.go. Most pods deserve no word, so every look is preceded by the cheapest
question that can spare it. The other kinds' advice is in advice.py.
"""

from collections.abc import Iterable, Iterator

from wherry.api.core_v1 import (
    Affinity,
    Container,
    ContainerPort,
    EphemeralContainer,
    LocalObjectReference,
    NodeSelectorTerm,
    PersistentVolumeClaimSpec,
    Pod,
    PodSpec,
    PodTemplateSpec,
    Volume,
    VolumeProjection,
)
from wherry.meta import names
from wherry.meta.errors import quote
from wherry.meta.quantity import NANO, Quantity
from wherry.server.strategies.addresses import ip_advice

Advice = Iterator[str]

NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
"""Kinds of volumes by their fields."""
_SHOWN = {"storageos": "storageOS"}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_SELECTS_NOTHING = "a null labelSelector results in matching no pod"

_LABEL_MAX = 63

Visited = list[tuple[str, Container | EphemeralContainer]]


def pod_name(name: str, where: str) -> Advice:
    """A name that will be a hostname, or the beginning of one."""
    if faults := names.dns1123_label(name):
        text = "which can result in surprising behavior; a DNS label is recommended"
        yield f"metadata.name: this is used in {where}, {text}: [{' '.join(faults)}]"


def pod(obj: Pod) -> Advice:
    """A new pod. Changes of pods are commented on by nobody: it is rarely a person who makes them."""
    name = obj.metadata.name or ""
    if "." in name or len(name) > _LABEL_MAX:
        yield from pod_name(name, "the Pod's hostname")
    yield from _whole("", obj.spec, obj.metadata.annotations)


def template(path: str, value: PodTemplateSpec) -> Advice:
    """A pod template at `path`."""
    yield from _whole(f"{path}.", value.spec, value.metadata.annotations)


def claim_spec(path: str, spec: PersistentVolumeClaimSpec) -> Advice:
    """A claim, or the template of one."""
    for part in ("requests", "limits"):
        amount = getattr(spec.resources, part, {}).get("storage")
        if amount is not None:
            yield from _whole_bytes(f"{path}.resources.{part}[storage]", amount)


def _whole(at: str, spec: PodSpec, annotations: dict[str, str]) -> Advice:
    path = f"{at}spec"
    for key in spec.nodeSelector:
        if key in NODE_LABELS:
            yield f"{path}.nodeSelector[{key}]: {NODE_LABELS[key]}"
    if spec.affinity is not None:
        yield from _node_affinity(f"{path}.affinity.nodeAffinity", spec.affinity)
    for index, constraint in enumerate(spec.topologySpreadConstraints):
        here, key = f"{path}.topologySpreadConstraints[{index}]", constraint.topologyKey
        if key in NODE_LABELS:
            yield f"{here}.topologyKey: {key} is {NODE_LABELS[key]}"
        if constraint.labelSelector is None:
            yield f"{here}.labelSelector: {_SELECTS_NOTHING}"
    if annotations:
        for key, text in _ANNOTATIONS.items():
            if key in annotations:
                yield f"{at}metadata.annotations[{key}]: {text}"
    if spec.volumes:
        yield from _volumes(f"{path}.volumes", spec.volumes)
    if spec.hostAliases:
        for index, item in _repeated([alias.ip for alias in spec.hostAliases]):
            yield f"{path}.hostAliases[{index}].ip: duplicate ip {quote(item)}"
    if spec.imagePullSecrets:
        yield from _pull_secrets(f"{path}.imagePullSecrets", spec.imagePullSecrets)
    if spec.overhead:
        yield from _fractions(f"{path}.overhead", spec.overhead)
    if annotations or spec.initContainers or len(spec.containers) > 1 or _has_details(spec.containers[0]):
        yield from _containers(at, spec, annotations)
    if (spec.terminationGracePeriodSeconds or 0) < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{path}.terminationGracePeriodSeconds: {text}"
    if spec.affinity is not None:
        yield from _pod_affinity(f"{path}.affinity", spec.affinity)
    if spec.dnsConfig is not None:
        for index, server in enumerate(spec.dnsConfig.nameservers):
            yield from ip_advice(f"{path}.dnsConfig.nameservers[{index}]", server)
    for index, alias in enumerate(spec.hostAliases):
        yield from ip_advice(f"{path}.hostAliases[{index}].ip", alias.ip)


def _has_details(container: Container) -> bool:
    """Whether a pod's only container has anything that advice could be about."""
    if len(container.env) > 1 or len(container.ports) > 1:
        return True
    resources = container.resources
    amounts = (*resources.limits.values(), *resources.requests.values())
    return bool(container.ports and container.ports[0].hostIP) or any(item.nanos() % NANO for item in amounts)


def _containers(at: str, spec: PodSpec, annotations: dict[str, str]) -> Advice:
    path = f"{at}spec"
    visited: Visited = [(f"{path}.initContainers[{index}]", it) for index, it in enumerate(spec.initContainers)]
    visited += [(f"{path}.containers[{index}]", it) for index, it in enumerate(spec.containers)]
    visited += [(f"{path}.ephemeralContainers[{index}]", it) for index, it in enumerate(spec.ephemeralContainers)]
    if annotations:
        yield from _profiles(at, spec, annotations, visited)
    for here, container in visited:
        yield from _container(here, container)
    yield from _ports(visited)


def _node_affinity(path: str, affinity: Affinity) -> Advice:
    node = affinity.nodeAffinity
    if node is None:
        return
    required = node.requiredDuringSchedulingIgnoredDuringExecution
    for index, term in enumerate(required.nodeSelectorTerms if required is not None else ()):
        yield from node_term(f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{index}]", term)
    for index, item in enumerate(node.preferredDuringSchedulingIgnoredDuringExecution):
        here = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}].preference"
        yield from node_term(here, item.preference, values=True)


def node_term(path: str, term: NodeSelectorTerm, *, values: bool = False) -> Advice:
    """A term that selects nodes; with `values` also what no label can have as its value."""
    for index, expression in enumerate(term.matchExpressions):
        here = f"{path}.matchExpressions[{index}]"
        if expression.key in NODE_LABELS:
            yield f"{here}.key: {expression.key} is {NODE_LABELS[expression.key]}"
        for number, value in enumerate(expression.values if values else ()):
            for text in names.label_value(value):
                yield f"{here}.values[{number}]: {value} is invalid, {text}"


def _pod_affinity(path: str, affinity: Affinity) -> Advice:
    for side in ("podAffinity", "podAntiAffinity"):
        wanted = getattr(affinity, side)
        if wanted is None:
            continue
        for index, term in enumerate(wanted.requiredDuringSchedulingIgnoredDuringExecution):
            if term.labelSelector is None:
                here = f"{path}.{side}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
                yield f"{here}.labelSelector: {_SELECTS_NOTHING}"
        for index, item in enumerate(wanted.preferredDuringSchedulingIgnoredDuringExecution):
            if item.podAffinityTerm.labelSelector is None:
                here = f"{path}.{side}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
                yield f"{here}.podAffinityTerm.labelSelector: {_SELECTS_NOTHING}"


def _pull_secrets(path: str, secrets: Iterable[LocalObjectReference]) -> Advice:
    given = [item.name or "" for item in secrets]
    for index, name in _repeated(given):
        yield f"{path}[{index}].name: duplicate name {quote(name)}"
    for index, name in enumerate(given):
        if not name:
            yield f'{path}[{index}].name: invalid empty name ""'


def _repeated(items: list[str]) -> Iterator[tuple[int, str]]:
    if len(items) > 1:
        for index, item in enumerate(items):
            if item in items[:index]:
                yield index, item


def _fractions(path: str, amounts: dict[str, Quantity]) -> Advice:
    for name in ("memory", "ephemeral-storage"):
        if name in amounts:
            yield from _whole_bytes(f"{path}[{name}]", amounts[name])


def _whole_bytes(path: str, amount: Quantity) -> Advice:
    if amount.nanos() % NANO:
        yield f"{path}: fractional byte value {quote(amount)} is invalid, must be an integer"


def _profiles(at: str, spec: PodSpec, annotations: dict[str, str], visited: Visited) -> Advice:
    """Seccomp and AppArmor by annotation where a field would do. A pod's own AppArmor is apparmor.py's."""
    context, path = spec.securityContext, f"{at}metadata.annotations"
    if _SECCOMP_POD in annotations and (context is None or context.seccompProfile is None):
        yield f"{path}[{_SECCOMP_POD}]: {_SECCOMP}"
    whole_pod = context is not None and context.appArmorProfile is not None
    for _, container in visited:
        own, key = container.securityContext, f"{_SECCOMP_CONTAINER}{container.name}"
        if key in annotations and (own is None or own.seccompProfile is None):
            yield f"{path}[{key}]: {_SECCOMP}"
        key = f"{_APPARMOR}{container.name}"
        if at and key in annotations and not whole_pod and (own is None or own.appArmorProfile is None):
            yield f"{path}[{key}]: {APPARMOR_DEPRECATED}"


APPARMOR_DEPRECATED = 'deprecated since v1.30; use the "appArmorProfile" field instead'


def _container(path: str, container: Container | EphemeralContainer) -> Advice:
    resources = container.resources
    for part in ("limits", "requests"):
        amounts = getattr(resources, part, None)
        if amounts:
            yield from _fractions(f"{path}.resources.{part}", amounts)
    if len(container.env) > 1:
        seen: set[str] = set()
        for index, item in enumerate(container.env):
            reference, value = f"$({item.name})", item.value or ""
            hides = item.valueFrom is not None or value == reference or reference not in value
            if item.name in seen and hides:
                text = f"hides previous definition of {quote(item.name)}, which may be dropped when using apply"
                yield f"{path}.env[{index}]: {text}"
            seen.add(item.name)


def _ports(visited: Visited) -> Advice:
    """Ports that are the same, or that cannot be told apart, in any containers of the pod."""
    if not any(container.ports for _, container in visited):
        return
    known: dict[tuple[int, str | None], list[tuple[str, ContainerPort]]] = {}
    by_name: dict[str, str] = {}
    repeated: list[str] = []
    for path, container in visited:
        for index, port in enumerate(container.ports):
            here = f"{path}.ports[{index}]"
            if port.hostIP and not port.hostPort:
                yield f"{here}: hostIP set without hostPort: {_spelled(port)}"
            others = known.setdefault((port.containerPort, port.protocol), [])
            for there, other in others:
                if relation := _relation(port, other):
                    yield f"{here}: {relation} port definition with {there}"
            others.append((here, port))
            if port.name and by_name.setdefault(port.name, here) != here:
                first = by_name[port.name]
                text = f"services and probes that select ports by name will use {first}"
                repeated.append(f"{here}: duplicate port name {quote(port.name)} with {first}, {text}")
    yield from repeated


def _relation(port: ContainerPort, other: ContainerPort) -> str:
    one, two = port.hostPort or 0, other.hostPort or 0
    if one == two and (port.hostIP or "") == (other.hostIP or ""):
        return "duplicate"
    if not one or not two:
        return "overlapping"
    return "dangerously ambiguous" if one == two and bool(port.hostIP) != bool(other.hostIP) else ""


def _spelled(port: ContainerPort) -> str:
    return (
        f"{{Name:{port.name or ''} HostPort:{port.hostPort or 0} ContainerPort:{port.containerPort} "
        f"Protocol:{port.protocol or ''} HostIP:{port.hostIP or ''}}}"
    )


# Volumes


def _volumes(path: str, volumes: list[Volume]) -> Advice:
    for index, volume in enumerate(volumes):
        if volume.projected is not None or volume.configMap is not None or volume.secret is not None:
            continue
        for kind, text in VOLUMES.items():
            if getattr(volume, kind) is not None:
                yield f"{path}[{index}].{_SHOWN.get(kind, kind)}: {text}"
        claim = volume.ephemeral.volumeClaimTemplate if volume.ephemeral is not None else None
        if claim is not None:
            yield from claim_spec(f"{path}[{index}].ephemeral.volumeClaimTemplate.spec", claim.spec)
    for volume in volumes:
        if volume.emptyDir is None and volume.hostPath is None and volume.persistentVolumeClaim is None:
            yield from _overlapping(volume)


def _overlapping(volume: Volume) -> Advice:
    """Files of one volume that would hide each other."""
    mapped: list[tuple[str, list[tuple[str, str]]]] = []
    if volume.configMap is not None and volume.configMap.items:
        source = volume.configMap
        mapped.append((f"ConfigMap {quote(source.name or '')}", [(item.path, "") for item in source.items]))
    if volume.secret is not None and volume.secret.items:
        secret = volume.secret
        mapped.append((f"Secret {quote(secret.secretName or '')}", [(item.path, "") for item in secret.items]))
    if volume.downwardAPI is not None and volume.downwardAPI.items:
        mapped.append(("DownwardAPI", [(item.path, "") for item in volume.downwardAPI.items]))
    if volume.projected is not None:
        paths: list[tuple[str, str]] = []
        for projection in volume.projected.sources:
            paths += _projected(projection)
            if projection == _NO_PROJECTION:
                yield f"volume {quote(volume.name)} (Projected) has no sources provided"
        mapped.append(("Projected", paths))
    for source_text, files in mapped:
        for one, other in _collisions(files):
            yield f"volume {quote(volume.name)} ({source_text}): overlapping paths: {one} with {other}"


_NO_PROJECTION = VolumeProjection()


def _projected(source: VolumeProjection) -> Iterator[tuple[str, str]]:
    if source.configMap is not None:
        yield from ((it.path, f"ConfigMap {quote(source.configMap.name or '')}") for it in source.configMap.items)
    elif source.secret is not None:
        yield from ((it.path, f"Secret {quote(source.secret.name or '')}") for it in source.secret.items)
    elif source.downwardAPI is not None:
        yield from ((item.path, "DownwardAPI") for item in source.downwardAPI.items)
    elif source.serviceAccountToken is not None:
        yield source.serviceAccountToken.path, "ServiceAccountToken"
    elif source.clusterTrustBundle is not None:
        bundle = source.clusterTrustBundle
        yield bundle.path, f"ClusterTrustBundle {quote(bundle.name or bundle.signerName or '')}"
    elif source.podCertificate is not None:
        own = source.podCertificate
        yield own.certificateChainPath or "", "PodCertificate chain"
        yield own.keyPath or "", "PodCertificate key"
        yield own.credentialBundlePath or "", "PodCertificate credential bundle"


def _collisions(files: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    if len({path.partition("/")[0] for path, _ in files}) == len(files):
        return
    seen: list[tuple[str, str]] = []
    for path, source in files:
        path = path.rstrip("/")
        if not path:
            continue
        for other, its_source in seen:
            if f"{other}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other}/"):
                yield _file(path, source), _file(other, its_source)
        seen.append((path, source))


def _file(path: str, source: str) -> str:
    return f"{quote(path)} ({source})" if source else quote(path)
