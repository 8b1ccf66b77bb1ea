"""From a pod's spec to what a runtime is told: sandbox and container configs, resolved to the last detail."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from wherry.api.core_v1 import ObjectReference, Pod, VolumeMount
from wherry.kubelet import dns
from wherry.kubelet.environment import ConfigFailure
from wherry.kubelet.expansion import expand
from wherry.kubelet.machine import IMAGE_ANNOTATION, AnyContainer
from wherry.kubelet.options import KubeletOptions
from wherry.kubelet.runtimes.protocol import (
    CONTAINER_NAME_LABEL,
    GRACE_PERIOD,
    LOG_FILE,
    POD_NAME_LABEL,
    POD_NAMESPACE_LABEL,
    POD_UID_LABEL,
    RESTART_COUNT,
    TERMINATION_FILE,
    TERMINATION_PATH,
    TERMINATION_POLICY,
    ContainerConfig,
    Image,
    Mount,
    Namespaces,
    PortMapping,
    SandboxConfig,
)
from wherry.kubelet.security import container_resources, container_security, sandbox_security
from wherry.kubelet.status import field_path
from wherry.kubelet.volumes.manager import sub_path
from wherry.kubelet.volumes.sources import VolumeFailure

DEFAULT_TERMINATION_PATH = "/dev/termination-log"


def pod_log_directory(options: KubeletOptions, pod: Pod) -> Path:
    """<namespace>_<name>_<uid>, as below /var/log/pods."""
    return options.logs_dir / f"{pod.metadata.namespace}_{pod.metadata.name}_{pod.metadata.uid}"


def namespaces_of(pod: Pod) -> Namespaces:
    """Which of the host's namespaces the pod uses."""
    spec = pod.spec
    return Namespaces(bool(spec.hostNetwork), bool(spec.hostPID), bool(spec.hostIPC), bool(spec.shareProcessNamespace))


def sandbox_config(pod: Pod, attempt: int, options: KubeletOptions) -> SandboxConfig:
    """The pod's sandbox."""
    try:
        host = dns.parse_resolv_conf(options.resolv_conf.read_text())
    except FileNotFoundError:
        host = dns.Resolver()
    resolver = dns.pod_resolver(pod, host, options.cluster_dns, options.cluster_domain)
    ports = [
        PortMapping(port.protocol or "TCP", port.containerPort, port.hostPort or 0, port.hostIP or "")
        for container in (*pod.spec.containers, *pod.spec.initContainers)
        for port in container.ports
        if port.hostPort and not pod.spec.hostNetwork
    ]
    context = pod.spec.securityContext
    return SandboxConfig(
        name=pod.metadata.name or "",
        namespace=pod.metadata.namespace or "",
        uid=pod.metadata.uid or "",
        attempt=attempt,
        hostname="" if pod.spec.hostNetwork else dns.pod_hostname(pod),
        log_directory=str(pod_log_directory(options, pod)),
        nameservers=tuple(resolver.nameservers),
        searches=tuple(resolver.searches),
        dns_options=tuple(resolver.options),
        ports=tuple(ports),
        labels={**pod.metadata.labels, **_identity(pod)},
        annotations=pod.metadata.annotations,
        cgroup_parent=options.cgroup_parent,
        sysctls={item.name: item.value for item in context.sysctls} if context else {},
        namespaces=namespaces_of(pod),
        security=sandbox_security(pod),
        runtime_handler=pod.spec.runtimeClassName or "",
    )


def _identity(pod: Pod) -> dict[str, str]:
    return {
        POD_NAME_LABEL: pod.metadata.name or "",
        POD_NAMESPACE_LABEL: pod.metadata.namespace or "",
        POD_UID_LABEL: pod.metadata.uid or "",
    }


def container_config(
    pod: Pod,
    container: AnyContainer,
    restart_count: int,
    *,
    options: KubeletOptions,
    image: Image,
    environment: Mapping[str, str],
    volumes: Mapping[str, Path],
    extra_mounts: Sequence[Mount],
    termination_file: Path,
    node_memory_bytes: int,
    target_container_id: str = "",
) -> ContainerConfig:
    """One container. Raises ConfigFailure, VolumeFailure."""
    log_path = f"{container.name}/{restart_count}.log"
    path = container.terminationMessagePath or DEFAULT_TERMINATION_PATH
    return ContainerConfig(
        name=container.name,
        image=container.image or "",
        attempt=restart_count,
        image_ref=image.id,
        command=[expand(item, environment) for item in container.command],
        args=[expand(item, environment) for item in container.args],
        working_dir=container.workingDir or "",
        env=environment,
        mounts=[
            *(_mount(item, volumes, environment) for item in container.volumeMounts),
            *(
                item
                for item in extra_mounts
                if all(item.container_path != own.mountPath for own in container.volumeMounts)
            ),
            Mount(str(termination_file), path),
        ],
        labels={**_identity(pod), CONTAINER_NAME_LABEL: container.name},
        annotations={
            RESTART_COUNT: str(restart_count),
            TERMINATION_PATH: path,
            TERMINATION_POLICY: container.terminationMessagePolicy or "File",
            GRACE_PERIOD: str(pod.spec.terminationGracePeriodSeconds or 30),
            IMAGE_ANNOTATION: container.image or "",
            TERMINATION_FILE: str(termination_file),
            LOG_FILE: str(pod_log_directory(options, pod) / log_path),
        },
        log_path=log_path,
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdinOnce),
        tty=bool(container.tty),
        security=container_security(pod, container, image),
        resources=container_resources(pod, container, node_memory_bytes, options.allow_oom_score),
        namespaces=namespaces_of(pod),
        target_container_id=target_container_id,
        stop_signal=(container.lifecycle.stopSignal or "") if container.lifecycle else "",
    )


def _mount(item: VolumeMount, volumes: Mapping[str, Path], environment: Mapping[str, str]) -> Mount:
    path = volumes.get(item.name)
    if path is None:
        raise ConfigFailure(f"cannot find volume {item.name!r} to mount")
    relative = expand(item.subPathExpr, environment) if item.subPathExpr else item.subPath
    if relative:
        try:
            path = sub_path(path, relative)
        except (OSError, VolumeFailure) as error:
            raise ConfigFailure(f"failed to prepare subPath for volumeMount {item.name!r}: {error}") from error
    return Mount(str(path), item.mountPath, bool(item.readOnly), item.mountPropagation or "None")


def hosts_mounts(pod: Pod, pod_ips: Sequence[str], options: KubeletOptions) -> list[Mount]:
    """/etc/hosts, written anew for each container start."""
    path = options.pods_dir / (pod.metadata.uid or "") / "etc-hosts"
    path.parent.mkdir(parents=True, exist_ok=True)
    if pod.spec.hostNetwork:
        system = Path("/etc/hosts")
        path.write_text((system.read_text() if system.exists() else "") + dns.host_aliases(pod))
    else:
        path.write_text(dns.hosts_file(pod, pod_ips, options.cluster_domain))
    path.chmod(0o644)
    return [Mount(str(path), "/etc/hosts")]


def new_termination_file(pod: Pod, container: AnyContainer, options: KubeletOptions, suffix: str) -> Path:
    """An empty file that any user may write, outside the container's own file system."""
    path = options.pods_dir / (pod.metadata.uid or "") / "containers" / container.name / suffix
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o666)
    return path


def reference(pod: Pod, container: AnyContainer | None = None) -> ObjectReference:
    """What an event is about: the pod, or one container of it."""
    return ObjectReference(
        apiVersion="v1",
        kind="Pod",
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        resourceVersion=pod.metadata.resourceVersion,
        fieldPath=field_path(pod, container) if container else None,
    )


def make_log_directory(options: KubeletOptions, pod: Pod, container: AnyContainer) -> None:
    """Runtimes open log files, not directories."""
    os.makedirs(pod_log_directory(options, pod) / container.name, mode=0o755, exist_ok=True)  # noqa: PTH103 - mode of all
