"""Security contexts of pods and containers: identities, profiles, sysctls, and what each operating system knows.

Source: kubernetes pkg/apis/core/validation.
"""

import re
from collections.abc import Iterator

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required, too_long
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.mount_rules import AnyContainer

_ID_MAX = 2**31 - 1
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL_MAX = 253
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_APPARMOR_PATH_MAX = 4095
_SPEC_KIB_MAX, _DOMAIN_MAX, _USER_MAX = 64, 256, 104
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DNS_NAME = re.compile(
    r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
)
_NOT_ON_WINDOWS = "cannot be set for a windows pod"
_WINDOWS_POD = (
    "appArmorProfile seLinuxOptions seccompProfile fsGroup fsGroupChangePolicy sysctls runAsUser runAsGroup "
    "supplementalGroups supplementalGroupsPolicy seLinuxChangePolicy".split()
)
_WINDOWS_CONTAINER = (
    "appArmorProfile seLinuxOptions seccompProfile capabilities readOnlyRootFilesystem privileged "
    "allowPrivilegeEscalation procMount runAsUser runAsGroup".split()
)


def each_container(path: str, spec: core.PodSpec) -> Iterator[tuple[str, AnyContainer]]:
    """Every container with its path."""
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(getattr(spec, name)):
            yield f"{path}.{name}[{index}]", container


def container_context(path: str, context: core.SecurityContext, host_users: bool) -> Faults:
    """One container's."""
    yield from checks.within(f"{path}.runAsUser", context.runAsUser, 0, _ID_MAX)
    yield from checks.within(f"{path}.runAsGroup", context.runAsGroup, 0, _ID_MAX)
    if context.procMount is not None:
        if context.procMount not in ("Default", "Unmasked"):
            yield not_supported(f"{path}.procMount", context.procMount, ("Default", "Unmasked"))
        if host_users and context.procMount == "Unmasked":
            text = "`hostUsers` must be false to use `Unmasked`"
            yield invalid_value(f"{path}.procMount", context.procMount, text)
    yield from _seccomp(f"{path}.seccompProfile", context.seccompProfile)
    if context.allowPrivilegeEscalation is False:
        if context.privileged:
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield invalid_value(path, context, text)
        if context.capabilities is not None and "CAP_SYS_ADMIN" in context.capabilities.add:
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid_value(path, context, text)
    yield from _windows(f"{path}.windowsOptions", context.windowsOptions)
    yield from _apparmor(f"{path}.appArmorProfile", context.appArmorProfile)


def pod_context(path: str, spec: core.PodSpec) -> Faults:
    """A pod's; `path` is that of its spec."""
    context = spec.securityContext
    if context is None:
        return
    here = f"{path}.securityContext"
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        yield from checks.within(f"{here}.{name}", getattr(context, name), 0, _ID_MAX)
    for index, group in enumerate(context.supplementalGroups):
        yield from checks.within(f"{here}.supplementalGroups[{index}]", group, 0, _ID_MAX)
    if spec.shareProcessNamespace and spec.hostPID:
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid_value(f"{here}.shareProcessNamespace", True, text)
    yield from _sysctls(f"{here}.sysctls", context.sysctls, spec)
    yield from checks.one_of(f"{here}.fsGroupChangePolicy", context.fsGroupChangePolicy, ("Always", "OnRootMismatch"))
    yield from _seccomp(f"{here}.seccompProfile", context.seccompProfile)
    yield from _windows(f"{here}.windowsOptions", context.windowsOptions)
    yield from _apparmor(f"{here}.appArmorProfile", context.appArmorProfile)
    groups = context.supplementalGroupsPolicy
    yield from checks.one_of(f"{here}.supplementalGroupsPolicy", groups, ("Merge", "Strict"))
    change = context.seLinuxChangePolicy
    yield from checks.one_of(f"{here}.seLinuxChangePolicy", change, ("MountOption", "Recursive"))


def _sysctls(path: str, items: list[core.Sysctl], spec: core.PodSpec) -> Faults:
    seen: set[str] = set()
    for index, item in enumerate(items):
        here, name = f"{path}[{index}].name", item.name
        if not name:
            yield required(here)
        elif len(name) > _SYSCTL_MAX or not re.fullmatch(_SYSCTL, name):
            text = f"must have at most {_SYSCTL_MAX} characters and match regex ^{_SYSCTL}$"
            yield invalid_value(here, name, text)
        elif name in seen:
            yield duplicate(here, name)
        dotted = name.replace("/", ".")
        if spec.hostNetwork and dotted.startswith("net."):
            yield invalid_value(here, name, "may not be specified when 'hostNetwork' is true")
        elif spec.hostIPC and (dotted.startswith(("kernel.shm", "kernel.msg", "fs.mqueue.")) or dotted == "kernel.sem"):
            yield invalid_value(here, name, "may not be specified when 'hostIPC' is true")
        seen.add(name)


def _seccomp(path: str, profile: core.SeccompProfile | None) -> Faults:
    if profile is None:
        return
    if not profile.type:
        yield required(f"{path}.type", "type is required when seccompProfile is set")
    elif profile.type not in _PROFILES:
        yield not_supported(f"{path}.type", profile.type, _PROFILES)
    if profile.type == "Localhost":
        if profile.localhostProfile is None:
            yield required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            yield from checks.descending(f"{path}.localhostProfile", profile.localhostProfile)
    elif profile.localhostProfile is not None:
        yield invalid_value(f"{path}.localhostProfile", profile, "can only be set when seccomp type is Localhost")


def _apparmor(path: str, profile: core.AppArmorProfile | None) -> Faults:
    if profile is None:
        return
    local, here = profile.localhostProfile, f"{path}.localhostProfile"
    if not profile.type:
        yield required(f"{path}.type", "type is required when appArmorProfile is set")
    elif profile.type not in _PROFILES:
        yield not_supported(f"{path}.type", profile.type, _PROFILES)
    elif profile.type != "Localhost":
        if local is not None:
            yield invalid_value(here, local, "can only be set when AppArmor type is Localhost")
    elif local is not None and local.strip() != local:
        yield invalid_value(here, local, "must not be padded with whitespace")
    elif not local:
        yield required(here, "must be set when AppArmor type is Localhost")
    elif len(local) > _APPARMOR_PATH_MAX:
        yield too_long(here, _APPARMOR_PATH_MAX)


def _windows(path: str, options: core.WindowsSecurityContextOptions | None) -> Faults:
    if options is None:
        return
    if options.gmsaCredentialSpecName is not None:
        name = options.gmsaCredentialSpecName
        yield from checks.named(f"{path}.gmsaCredentialSpecName", name, names.dns1123_subdomain)
    spec = options.gmsaCredentialSpec
    if spec == "":
        yield invalid_value(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string")
    elif spec is not None and len(spec) > _SPEC_KIB_MAX * 1024:
        text = f"gmsaCredentialSpec size must be under {_SPEC_KIB_MAX} KiB"
        yield invalid_value(f"{path}.gmsaCredentialSpec", spec, text)
    if options.runAsUserName is not None:
        for text in _user_name(options.runAsUserName):
            yield invalid_value(f"{path}.runAsUserName", options.runAsUserName, f"runAsUserName{text}")


def _user_name(value: str) -> Iterator[str]:
    domain, backslash, user = value.partition("\\") if "\\" in value else ("", "", value)
    if not value:
        yield " cannot be an empty string"
    elif any(ord(char) < 32 or ord(char) == 127 for char in value):
        yield " cannot contain control characters"
    elif "\\" in user:
        yield " cannot contain more than one backslash"
    else:
        if len(domain) >= _DOMAIN_MAX:
            yield f"'s Domain length must be under {_DOMAIN_MAX} characters"
        if backslash and not (_NETBIOS.fullmatch(domain) or _DNS_NAME.fullmatch(domain)):
            yield "'s Domain doesn't match the NetBios nor the DNS format"
        if not user:
            yield "'s User cannot be empty"
        elif len(user) > _USER_MAX:
            yield f"'s User length must not be longer than {_USER_MAX} characters"
        if user and not user.strip(". "):
            yield "'s User cannot contain only periods or spaces"
        if any(char in '"/\\:;|=,+*?<>@[]' for char in user):
            yield """'s User cannot contain the following characters: "/\\:;|=,+*?<>@[]"""


def operating_system(path: str, spec: core.PodSpec) -> Faults:
    """Each system's own settings, and none of the other's."""
    assert spec.os is not None
    system, context = spec.os.name, spec.securityContext
    if not system:
        yield required(f"{path}.os.name")
    elif system not in ("linux", "windows"):
        yield not_supported(f"{path}.os", system, ("linux", "windows"))
    elif system == "linux":
        text = "windows options cannot be set for a linux pod"
        if context is not None and context.windowsOptions is not None:
            yield field_forbidden(f"{path}.securityContext.windowsOptions", text)
        for here, container in each_container(path, spec):
            if container.securityContext is not None and container.securityContext.windowsOptions is not None:
                yield field_forbidden(f"{here}.securityContext.windowsOptions", text)
    else:
        for name in ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"):
            if getattr(spec, name) not in (None, False) or (name == "hostUsers" and spec.hostUsers is not None):
                yield field_forbidden(f"{path}.{name}", _NOT_ON_WINDOWS)
        for name in _WINDOWS_POD:
            if context is not None and getattr(context, name) not in (None, []):
                yield field_forbidden(f"{path}.securityContext.{name}", _NOT_ON_WINDOWS)
        for here, container in each_container(path, spec):
            for name in _WINDOWS_CONTAINER:
                if container.securityContext is not None and getattr(container.securityContext, name) is not None:
                    yield field_forbidden(f"{here}.securityContext.{name}", _NOT_ON_WINDOWS)


def host_process(path: str, spec: core.PodSpec) -> Faults:
    """Windows' host processes: all containers or none, and on the host's network."""
    context = spec.securityContext
    of_pod = context.windowsOptions.hostProcess if context is not None and context.windowsOptions is not None else None
    flags = []
    for here, container in each_container(path, spec):
        own = container.securityContext
        flag = own.windowsOptions.hostProcess if own is not None and own.windowsOptions is not None else None
        if of_pod is not None and flag is not None and of_pod != flag:
            text = f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}"
            yield invalid_value(f"{here}.securityContext.windowsOptions.hostProcess", flag, text)
        flags.append(of_pod if flag is None else flag)
    if any(flags):
        if not all(flags):
            text = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
            yield invalid_value(path, "", text)
        if not spec.hostNetwork:
            text = "hostNetwork must be true if pod contains any hostProcess containers"
            yield invalid_value(f"{path}.hostNetwork", False, text)
