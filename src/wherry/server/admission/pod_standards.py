"""The Pod Security Standards: what pods of the baseline and restricted levels may not do, version by version.

Each check gives "" or what is wrong, by its name in the sentence that users read:
`violates PodSecurity "restricted:latest": NAME (DETAIL), ...`. pod_security.py decides which level holds where.

Source: k8s.io/pod-security-admission/policy.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from wherry.api import core_v1 as core

LATEST = 36
"""The minor version whose standards `latest` means."""
BASELINE, RESTRICTED = "baseline", "restricted"
_CAPABILITIES = frozenset(
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID "
    "SYS_CHROOT".split()
)
_SYSCTLS = {
    "kernel.shm_rmid_forced": 0,
    "net.ipv4.ip_local_port_range": 0,
    "net.ipv4.tcp_syncookies": 0,
    "net.ipv4.ping_group_range": 0,
    "net.ipv4.ip_unprivileged_port_start": 0,
    "net.ipv4.ip_local_reserved_ports": 27,
    "net.ipv4.tcp_keepalive_time": 29,
    "net.ipv4.tcp_fin_timeout": 29,
    "net.ipv4.tcp_keepalive_intvl": 29,
    "net.ipv4.tcp_keepalive_probes": 29,
    "net.ipv4.tcp_rmem": 32,
    "net.ipv4.tcp_wmem": 32,
}
"""Sysctls that pods may set, since which minor version."""
_SELINUX_TYPES = {"": 0, "container_t": 0, "container_init_t": 0, "container_kvm_t": 0, "container_engine_t": 31}
_VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected")
_VOLUMES_ALLOWED = (*_VOLUMES, "secret")
_SEALED = ("Localhost", "RuntimeDefault")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD, _SECCOMP_CONTAINER = (
    "seccomp.security.alpha.kubernetes.io/pod",
    "container.seccomp.security.alpha.kubernetes.io/",
)
Found = tuple[str, str]
"""The name of what is wrong, and the detail."""
Check = Callable[[Mapping[str, str], core.PodSpec, int], Found | None]
AnyContainer = core.Container | core.EphemeralContainer


def violations(level: str, minor: int, annotations: Mapping[str, str], spec: core.PodSpec) -> list[Found]:
    """What a pod does that `level` of version 1.`minor` does not allow."""
    minor = min(minor, LATEST)
    checks = [check for name, since, check in _BASELINE if minor >= since and not _overridden(name, level, minor)]
    if level == RESTRICTED:
        checks += [check for _, since, check in _RESTRICTED if minor >= since]
    return [found for check in checks if (found := check(annotations, spec, minor)) is not None]


def _overridden(name: str, level: str, minor: int) -> bool:
    """A baseline check that the restricted level has a stricter one for."""
    return level == RESTRICTED and minor >= _OVERRIDES.get(name, LATEST + 1)


def _containers(spec: core.PodSpec) -> Iterator[AnyContainer]:
    yield from spec.initContainers
    yield from spec.containers
    yield from spec.ephemeralContainers


def _contexts(spec: core.PodSpec) -> Iterator[tuple[AnyContainer, core.SecurityContext]]:
    for container in _containers(spec):
        if container.securityContext is not None:
            yield container, container.securityContext


def _quoted(items: Sequence[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _plural(word: str, items: Sequence[Any]) -> str:
    return word if len(items) == 1 else f"{word}s"


def _named(items: Sequence[str]) -> str:
    return f"{_plural('container', items)} {_quoted(items)}"


def _setters(spec: core.PodSpec, member: str, bad: Callable[[Any], bool]) -> list[str]:
    """Who sets a member of a security context to something bad: the pod, and containers by name."""
    found = []
    if spec.securityContext is not None and bad(getattr(spec.securityContext, member)):
        found.append("pod")
    named = [item.name for item, context in _contexts(spec) if bad(getattr(context, member))]
    return [*found, _named(named)] if named else found


def _values(spec: core.PodSpec, member: str) -> Iterator[Any]:
    if spec.securityContext is not None:
        yield getattr(spec.securityContext, member)
    for _, context in _contexts(spec):
        yield getattr(context, member)


def _windows(spec: core.PodSpec, minor: int) -> bool:
    """Windows pods cannot set what some checks ask for; their system is known since 1.25."""
    return minor >= 25 and spec.os is not None and spec.os.name == "windows"


# Baseline


def _apparmor(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    def bad(profile: core.AppArmorProfile | None) -> bool:
        return profile is not None and profile.type not in _SEALED

    setters = _setters(spec, "appArmorProfile", bad)
    values = sorted({profile.type for profile in _values(spec, "appArmorProfile") if bad(profile)})
    noted = sorted(
        f'{key}="{value}"'
        for key, value in annotations.items()
        if key.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    if noted:
        values += noted
        setters.append(_plural("annotation", noted))
    if not setters:
        return None
    detail = f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(values)}"
    return _plural("forbidden AppArmor profile", values), detail


def _capabilities(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    added = {
        item.name: set(context.capabilities.add) - _CAPABILITIES
        for item, context in _contexts(spec)
        if context.capabilities is not None
    }
    bad = [name for name, extra in added.items() if extra]
    if not bad:
        return None
    extra = sorted(set[str]().union(*added.values()))
    return (
        "non-default capabilities",
        f"{_named(bad)} must not include {_quoted(extra)} in securityContext.capabilities.add",
    )


def _host_namespaces(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    given = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if getattr(spec, name)]
    return ("host namespaces", ", ".join(given)) if given else None


def _host_paths(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    bad = [volume.name for volume in spec.volumes if volume.hostPath is not None]
    return ("hostPath volumes", f"{_plural('volume', bad)} {_quoted(bad)}") if bad else None


def _host_ports(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    held = [(item.name, str(port.hostPort)) for item in _containers(spec) for port in item.ports if port.hostPort]
    if not held:
        return None
    bad, ports = list(dict.fromkeys(name for name, _ in held)), sorted({port for _, port in held})
    verb = "uses" if len(bad) == 1 else "use"
    return "hostPort", f"{_named(bad)} {verb} {_plural('hostPort', ports)} {', '.join(ports)}"


def _host_probes(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    held = set()
    for item in _containers(spec):
        lifecycle = item.lifecycle or core.Lifecycle()
        probes = (item.livenessProbe, item.readinessProbe, item.startupProbe, lifecycle.postStart, lifecycle.preStop)
        for probe in probes:
            for action in (probe.httpGet, probe.tcpSocket) if probe is not None else ():
                if action is not None and action.host:
                    held.add((item.name, action.host))
    if not held:
        return None
    bad, hosts = sorted({name for name, _ in held}), sorted({host for _, host in held})
    verb = "uses" if len(bad) == 1 else "use"
    what = _plural("probe or lifecycle host", hosts)
    return "probe or lifecycle host", f"{_named(bad)} {verb} {what} {_quoted(hosts)}"


def _privileged(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    bad = [item.name for item, context in _contexts(spec) if context.privileged]
    return ("privileged", f"{_named(bad)} must not set securityContext.privileged=true") if bad else None


def _proc_mount(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    bad = [item.name for item, context in _contexts(spec) if context.procMount not in (None, "Default")]
    if not bad:
        return None
    kinds = sorted({context.procMount for _, context in _contexts(spec) if context.procMount not in (None, "Default")})
    return "procMount", f"{_named(bad)} must not set securityContext.procMount to {_quoted([k or '' for k in kinds])}"


def _proc_mount_relaxed(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    own_users = minor >= 35 and spec.hostUsers is False
    return None if own_users else _proc_mount(annotations, spec, minor)


def _selinux(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    def bad_type(options: core.SELinuxOptions | None) -> bool:
        return options is not None and minor < _SELINUX_TYPES.get(options.type or "", LATEST + 1)

    def bad(options: core.SELinuxOptions | None) -> bool:
        return options is not None and (bad_type(options) or bool(options.user) or bool(options.role))

    setters = _setters(spec, "seLinuxOptions", bad)
    if not setters:
        return None
    options = [item for item in _values(spec, "seLinuxOptions") if item is not None]
    types = sorted({item.type for item in options if bad_type(item)})
    data = [f"{_plural('type', types)} {_quoted(types)}"] if types else []
    data += [f"{name} may not be set" for name in ("user", "role") if any(getattr(item, name) for item in options)]
    text = f"{' and '.join(setters)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
    return "seLinuxOptions", text


def _unsealed(profile: core.SeccompProfile | None) -> bool:
    return profile is not None and profile.type not in _SEALED


def _seccomp(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    if minor < 19:
        return _seccomp_annotations(annotations, spec)
    setters = _setters(spec, "seccompProfile", _unsealed)
    if not setters:
        return None
    types = sorted({profile.type for profile in _values(spec, "seccompProfile") if _unsealed(profile)})
    text = f"{' and '.join(setters)} must not set securityContext.seccompProfile.type to {_quoted(types)}"
    return "seccompProfile", text


def _seccomp_annotations(annotations: Mapping[str, str], spec: core.PodSpec) -> Found | None:
    keys = [_SECCOMP_POD, *(_SECCOMP_CONTAINER + item.name for item in _containers(spec))]
    bad = sorted(
        f'{key}="{annotations[key]}"'
        for key in keys
        if key in annotations
        and annotations[key] not in ("runtime/default", "docker/default")
        and not annotations[key].startswith("localhost/")
    )
    return ("seccompProfile", f"forbidden {_plural('annotation', bad)} {', '.join(bad)}") if bad else None


def _sysctls(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    given = spec.securityContext.sysctls if spec.securityContext is not None else []
    bad = [item.name for item in given if minor < _SYSCTLS.get(item.name, LATEST + 1)]
    return ("forbidden sysctls", ", ".join(bad)) if bad else None


def _host_process(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    setters = _setters(spec, "windowsOptions", lambda options: options is not None and bool(options.hostProcess))
    text = "must not set securityContext.windowsOptions.hostProcess=true"
    return ("hostProcess", f"{' and '.join(setters)} {text}") if setters else None


# Restricted


def _escalation(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    if _windows(spec, minor):
        return None
    bad = [
        item.name
        for item in _containers(spec)
        if item.securityContext is None or item.securityContext.allowPrivilegeEscalation is not False
    ]
    text = "must set securityContext.allowPrivilegeEscalation=false"
    return ("allowPrivilegeEscalation != false", f"{_named(bad)} {text}") if bad else None


def _all_dropped(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    if _windows(spec, minor):
        return None
    keeping, adding, added = [], [], set[str]()
    for item in _containers(spec):
        capabilities = item.securityContext.capabilities if item.securityContext is not None else None
        if capabilities is None or "ALL" not in capabilities.drop:
            keeping.append(item.name)
        extra = set(capabilities.add) - {"NET_BIND_SERVICE"} if capabilities is not None else set[str]()
        if extra:
            adding.append(item.name)
            added |= extra
    details = [f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if adding:
        extra_text = f"must not include {_quoted(sorted(added))} in securityContext.capabilities.add"
        details.append(f"{_named(adding)} {extra_text}")
    return ("unrestricted capabilities", "; ".join(details)) if details else None


def _volumes(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    bad: dict[str, str] = {}
    for volume in spec.volumes:
        given = [name for name in volume.__struct_fields__ if name != "name" and getattr(volume, name) is not None]
        if not set(given) & set(_VOLUMES_ALLOWED):
            bad[volume.name] = given[0] if given else "unknown"
    if not bad:
        return None
    named, kinds = list(bad), sorted(set(bad.values()))
    verb = "uses" if len(named) == 1 else "use"
    detail = f"{_plural('volume', named)} {_quoted(named)} {verb} {_plural('restricted volume type', kinds)} "
    return "restricted volume types", detail + _quoted(kinds)


def _not_root(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    if minor >= 35 and spec.hostUsers is False:
        return None
    title = "runAsNonRoot != true"
    setters = _setters(spec, "runAsNonRoot", lambda value: value is False)
    if setters:
        return title, f"{' and '.join(setters)} must not set securityContext.runAsNonRoot=false"
    if spec.securityContext is not None and spec.securityContext.runAsNonRoot:
        return None
    bad = [
        item.name
        for item in _containers(spec)
        if item.securityContext is None or item.securityContext.runAsNonRoot is None
    ]
    return (title, f"pod or {_named(bad)} must set securityContext.runAsNonRoot=true") if bad else None


def _user(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    if minor >= 35 and spec.hostUsers is False:
        return None
    setters = _setters(spec, "runAsUser", lambda value: value == 0)
    return ("runAsUser=0", f"{' and '.join(setters)} must not set runAsUser=0") if setters else None


def _all_sealed(annotations: Mapping[str, str], spec: core.PodSpec, minor: int) -> Found | None:
    if _windows(spec, minor):
        return None
    explicit = _seccomp(annotations, spec, minor)
    if explicit is not None:
        return explicit
    whole = spec.securityContext.seccompProfile if spec.securityContext is not None else None
    if whole is not None:
        return None
    bad = [
        item.name
        for item in _containers(spec)
        if item.securityContext is None or item.securityContext.seccompProfile is None
    ]
    text = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return ("seccompProfile", f"pod or {_named(bad)} {text}") if bad else None


_BASELINE: tuple[tuple[str, int, Check], ...] = (
    ("appArmorProfile", 0, _apparmor),
    ("capabilities_baseline", 0, _capabilities),
    ("hostNamespaces", 0, _host_namespaces),
    ("hostPathVolumes", 0, _host_paths),
    ("hostPorts", 0, _host_ports),
    ("hostProbesAndHostLifecycle", 34, _host_probes),
    ("privileged", 0, _privileged),
    ("procMount", 0, _proc_mount_relaxed),
    ("seLinuxOptions", 0, _selinux),
    ("seccompProfile_baseline", 0, _seccomp),
    ("sysctls", 0, _sysctls),
    ("windowsHostProcess", 0, _host_process),
)
_RESTRICTED: tuple[tuple[str, int, Check], ...] = (
    ("allowPrivilegeEscalation", 8, _escalation),
    ("capabilities_restricted", 22, _all_dropped),
    ("procMount_restricted", 35, _proc_mount),
    ("restrictedVolumes", 0, _volumes),
    ("runAsNonRoot", 0, _not_root),
    ("runAsUser", 23, _user),
    ("seccompProfile_restricted", 19, _all_sealed),
)
_OVERRIDES = {"capabilities_baseline": 22, "procMount": 35, "hostPathVolumes": 0, "seccompProfile_baseline": 19}
