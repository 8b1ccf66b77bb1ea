"""From securityContext and resources to what a runtime is told. Pure.

Where pod and container both speak, the container wins. Numbers of cgroup shares and quotas and of OOM scores are
Kubernetes' (pkg/kubelet/cm, pkg/kubelet/qos).
"""

from wherry.api.core_v1 import Pod, PodSecurityContext, SecurityContext
from wherry.kubelet.environment import ConfigFailure
from wherry.kubelet.machine import AnyContainer, full_name
from wherry.kubelet.runtimes.protocol import Image, Resources, Security
from wherry.rules.requests import qos_class

SHARES_PER_CPU, SHARES_MIN, SHARES_MAX = 1024, 2, 262144
QUOTA_PERIOD_MICROSECONDS, QUOTA_MIN_MICROSECONDS = 100_000, 1000
_OOM_SCORES = {"Guaranteed": -997, "BestEffort": 1000}


def container_security(pod: Pod, container: AnyContainer, image: Image | None = None) -> Security:
    """The effective context. Raises ConfigFailure where runAsNonRoot does not hold."""
    own, common = container.securityContext or SecurityContext(), pod.spec.securityContext or PodSecurityContext()
    user = own.runAsUser if own.runAsUser is not None else common.runAsUser
    non_root = own.runAsNonRoot if own.runAsNonRoot is not None else common.runAsNonRoot
    if non_root:
        _check_non_root(pod, container, user, image)
    groups = [*common.supplementalGroups, *([common.fsGroup] if common.fsGroup is not None else [])]
    seccomp = own.seccompProfile or common.seccompProfile
    apparmor = own.appArmorProfile or common.appArmorProfile
    capabilities = own.capabilities
    privileged = bool(own.privileged)
    return Security(
        run_as_user=user,
        run_as_group=own.runAsGroup if own.runAsGroup is not None else common.runAsGroup,
        supplemental_groups=tuple(groups),
        privileged=privileged,
        read_only_root=bool(own.readOnlyRootFilesystem),
        no_new_privileges=own.allowPrivilegeEscalation is False and not privileged,
        add_capabilities=tuple(capabilities.add) if capabilities else (),
        drop_capabilities=tuple(capabilities.drop) if capabilities else (),
        seccomp=seccomp.type if seccomp else "Unconfined",
        seccomp_profile=(seccomp.localhostProfile or "") if seccomp else "",
        apparmor=apparmor.type if apparmor else "",
        apparmor_profile=(apparmor.localhostProfile or "") if apparmor else "",
        unmasked_proc=own.procMount == "Unmasked",
    )


def _check_non_root(pod: Pod, container: AnyContainer, user: int | None, image: Image | None) -> None:
    where = f'pod: "{full_name(pod)}", container: {container.name}'
    if user is not None:
        if user == 0:
            raise ConfigFailure(f"container's runAsUser breaks non-root policy ({where})")
        return
    image_user = image.user if image else ""
    if image_user in ("", "0", "root"):
        raise ConfigFailure(f"container has runAsNonRoot and image will run as root ({where})")
    if not image_user.isdigit():
        text = (
            f"container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
        )
        raise ConfigFailure(f"{text} ({where})")


def sandbox_security(pod: Pod) -> Security:
    """The pause process's: the pod's identity, privileged when a container is."""
    common = pod.spec.securityContext or PodSecurityContext()
    everyone = (*pod.spec.containers, *pod.spec.initContainers)
    groups = [*common.supplementalGroups, *([common.fsGroup] if common.fsGroup is not None else [])]
    return Security(
        run_as_user=common.runAsUser,
        run_as_group=common.runAsGroup if common.runAsUser is not None else None,
        supplemental_groups=tuple(groups),
        privileged=any(item.securityContext and item.securityContext.privileged for item in everyone),
        seccomp="RuntimeDefault",
    )


def container_resources(pod: Pod, container: AnyContainer, node_memory_bytes: int, oom_scores: bool) -> Resources:
    """cgroup limits from requests and limits."""
    limits, requests = container.resources.limits, container.resources.requests
    cpu_limit = limits["cpu"].milli_value() if "cpu" in limits else 0
    cpu_request = requests["cpu"].milli_value() if "cpu" in requests else cpu_limit
    memory_limit = limits["memory"].value() if "memory" in limits else 0
    memory_request = requests["memory"].value() if "memory" in requests else memory_limit
    return Resources(
        cpu_shares=min(max(cpu_request * SHARES_PER_CPU // 1000, SHARES_MIN), SHARES_MAX),
        cpu_quota=max(cpu_limit * QUOTA_PERIOD_MICROSECONDS // 1000, QUOTA_MIN_MICROSECONDS) if cpu_limit else 0,
        cpu_period=QUOTA_PERIOD_MICROSECONDS,
        memory_limit_bytes=memory_limit,
        oom_score_adj=oom_score(pod, memory_request, node_memory_bytes) if oom_scores else 0,
    )


def oom_score(pod: Pod, memory_request_bytes: int, node_memory_bytes: int) -> int:
    """-997 for what is critical or guaranteed, 1000 for best effort, else less the more was requested."""
    if (pod.spec.priority or 0) >= 2_000_000_000:
        return -997
    fixed = _OOM_SCORES.get(qos_class(pod))
    if fixed is not None:
        return fixed
    score = 1000 - 1000 * memory_request_bytes // max(node_memory_bytes, 1)
    return min(max(score, 3), 999)
