"""Configs to CRI messages, CRI messages to records. `load` imports the generated module on first use."""

import json
from typing import Any

from wherry.kubelet.runtimes.protocol import (
    CREATED,
    EXITED,
    POD_UID_LABEL,
    RESTART_COUNT,
    RUNNING,
    UNKNOWN,
    ContainerConfig,
    ContainerRecord,
    ContainerStats,
    Image,
    Namespaces,
    RuntimeFailure,
    SandboxConfig,
    SandboxRecord,
    Security,
)

_POD, _CONTAINER, _NODE, _TARGET = 0, 1, 2, 3
_STATES = (CREATED, RUNNING, EXITED, UNKNOWN)
_PROTOCOLS = {"TCP": 0, "UDP": 1, "SCTP": 2}
_PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}
_PROFILES = {"RuntimeDefault": 0, "Unconfined": 1, "Localhost": 2}
MASKED_PATHS = (
    "/proc/asound /proc/acpi /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats "
    "/proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap"
).split()
READ_ONLY_PATHS = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()
SIGNALS = (
    "SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT SIGKILL SIGPIPE SIGPOLL "
    "SIGPROF SIGPWR SIGQUIT SIGSEGV SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 "
    "SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ"
).split()


def load() -> Any:
    """The generated messages."""
    from wherry.kubelet.runtimes import cri_pb2

    return cri_pb2


def sandboxes_of(uid: str) -> Any:
    """A request for one pod's sandboxes."""
    pb = load()
    return pb.ListSandboxesRequest(filter=pb.SandboxFilter(label_selector={POD_UID_LABEL: uid}))


def containers_of(uid: str) -> Any:
    """A request for one pod's containers."""
    pb = load()
    return pb.ListContainersRequest(filter=pb.ContainerFilter(label_selector={POD_UID_LABEL: uid}))


def sandbox(config: SandboxConfig) -> Any:
    """PodSandboxConfig."""
    pb = load()
    security = config.security
    linux = pb.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(config.namespaces),
        supplemental_groups=security.supplemental_groups,
        privileged=security.privileged,
        seccomp=pb.SecurityProfile(profile_type=_PROFILES["RuntimeDefault"]),
    )
    _identity(linux, security)
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=config.name, uid=config.uid, namespace=config.namespace, attempt=config.attempt
        ),
        hostname=config.hostname,
        log_directory=config.log_directory,
        dns_config=pb.DNSConfig(servers=config.nameservers, searches=config.searches, options=config.dns_options),
        port_mappings=[
            pb.PortMapping(
                protocol=_PROTOCOLS[item.protocol],
                container_port=item.container_port,
                host_port=item.host_port,
                host_ip=item.host_ip,
            )
            for item in config.ports
        ],
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=config.cgroup_parent, security_context=linux, sysctls=dict(config.sysctls)
        ),
    )


def _namespaces(chosen: Namespaces, target: str = "") -> Any:
    own = _NODE if chosen.host_pid else (_POD if chosen.share_processes else _CONTAINER)
    return load().NamespaceOption(
        network=_NODE if chosen.host_network else _POD,
        ipc=_NODE if chosen.host_ipc else _POD,
        pid=_TARGET if target and own == _CONTAINER else own,
        target_id=target if own == _CONTAINER else "",
    )


def _identity(message: Any, security: Security) -> None:
    if security.run_as_user is not None:
        message.run_as_user.value = security.run_as_user
    if security.run_as_group is not None:
        message.run_as_group.value = security.run_as_group


def container(config: ContainerConfig) -> Any:
    """ContainerConfig."""
    pb = load()
    limits = config.resources
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=config.name, attempt=config.attempt),
        image=pb.ImageSpec(image=config.image_ref or config.image, user_specified_image=config.image),
        command=config.command,
        args=config.args,
        working_dir=config.working_dir,
        envs=[pb.KeyValue(key=key, value=value) for key, value in config.env.items()],
        mounts=[
            pb.Mount(
                container_path=item.container_path,
                host_path=item.host_path,
                readonly=item.read_only,
                propagation=_PROPAGATION[item.propagation],
            )
            for item in config.mounts
        ],
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        log_path=config.log_path,
        stdin=config.stdin,
        stdin_once=config.stdin_once,
        tty=config.tty,
        linux=pb.LinuxContainerConfig(
            resources=pb.LinuxContainerResources(
                cpu_period=limits.cpu_period,
                cpu_quota=limits.cpu_quota,
                cpu_shares=limits.cpu_shares,
                memory_limit_in_bytes=limits.memory_limit_bytes,
                oom_score_adj=limits.oom_score_adj,
            ),
            security_context=_container_security(config),
        ),
        stop_signal=SIGNALS.index(config.stop_signal) + 1 if config.stop_signal in SIGNALS else 0,
    )


def _container_security(config: ContainerConfig) -> Any:
    pb = load()
    security = config.security
    message = pb.LinuxContainerSecurityContext(
        capabilities=pb.Capability(
            add_capabilities=security.add_capabilities, drop_capabilities=security.drop_capabilities
        ),
        privileged=security.privileged,
        namespace_options=_namespaces(config.namespaces, config.target_container_id),
        readonly_rootfs=security.read_only_root,
        supplemental_groups=security.supplemental_groups,
        no_new_privs=security.no_new_privileges,
        masked_paths=[] if security.privileged or security.unmasked_proc else MASKED_PATHS,
        readonly_paths=[] if security.privileged or security.unmasked_proc else READ_ONLY_PATHS,
        seccomp=pb.SecurityProfile(profile_type=_PROFILES[security.seccomp], localhost_ref=security.seccomp_profile),
    )
    if security.apparmor:
        profile = pb.SecurityProfile(profile_type=_PROFILES[security.apparmor], localhost_ref=security.apparmor_profile)
        message.apparmor.CopyFrom(profile)
    _identity(message, security)
    return message


# Answers --------------------------------------------------------------------------------------------------------------


def image(item: Any) -> Image:
    """An Image."""
    user = str(item.uid.value) if item.HasField("uid") else item.username
    return Image(item.id, tuple(item.repo_tags), tuple(item.repo_digests), item.size, user, item.pinned)


def sandbox_record(status: Any) -> SandboxRecord:
    """A sandbox with its addresses."""
    ips = [status.network.ip, *(item.ip for item in status.network.additional_ips)]
    return SandboxRecord(
        status.id,
        status.metadata.attempt,
        status.state == 0,
        status.created_at,
        tuple(ip for ip in ips if ip),
        status.linux.namespaces.options.network == _NODE,
    )


def container_record(status: Any, sandbox_id: str) -> ContainerRecord:
    """A container with its times and exit code."""
    annotations = dict(status.annotations)
    return ContainerRecord(
        id=status.id,
        sandbox_id=sandbox_id,
        name=status.metadata.name,
        state=_STATES[status.state],
        restart_count=int(annotations.get(RESTART_COUNT, status.metadata.attempt)),
        created_at=status.created_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.image,
        image_ref=status.image_ref,
        annotations=annotations,
    )


def network_namespace(found: Any) -> str:
    """The path of a sandbox's network namespace, from containerd's verbose status; "" for the host's."""
    try:
        info = json.loads(found.info["info"])
        spaces = info["runtimeSpec"]["linux"]["namespaces"]
    except (KeyError, ValueError, TypeError) as error:
        raise RuntimeFailure("the runtime does not say in which network the pod is") from error
    return next((str(item.get("path", "")) for item in spaces if item.get("type") == "network"), "")


def stats(item: Any) -> ContainerStats:
    """Use of one container."""
    return ContainerStats(
        container_id=item.attributes.id,
        pod_uid=item.attributes.labels.get(POD_UID_LABEL, ""),
        name=item.attributes.metadata.name,
        cpu_nanoseconds=item.cpu.usage_core_nano_seconds.value,
        memory_working_set_bytes=item.memory.working_set_bytes.value,
        disk_bytes=item.writable_layer.used_bytes.value,
    )
