"""The Pod Security Standards, and how namespaces' labels choose among them."""

from contextlib import suppress
from typing import Any

import pytest

from tests.unit.server.rules.world import Objects, attributes
from wherry.api import core_v1 as core
from wherry.api.apps_v1 import Deployment
from wherry.meta.errors import StatusError
from wherry.meta.wire import convert
from wherry.server.admission.pod_security import PREFIX, PodSecurity, PodSecurityOptions

SAFE: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
EVERYTHING_MISSING = (
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)


def namespace(**labels: str) -> core.Namespace:
    named = {PREFIX + key.replace("_", "-"): value for key, value in labels.items()}
    return convert({"metadata": {"name": "d", "labels": named}}, core.Namespace)


def pod(container: dict[str, Any] | None = None, name: str = "x", **spec: Any) -> core.Pod:
    containers = [{"name": "c", "image": "i", **(container or {})}]
    meta = {"name": name, "namespace": "d"}
    return convert({"metadata": meta, "spec": {"containers": containers, **spec}}, core.Pod)


def secured(**context: Any) -> dict[str, Any]:
    return {"securityContext": context}


async def said(obj: Any, *objects: Any, old: Any = None, options: PodSecurityOptions | None = None) -> list[str]:
    """What the plugin answers: its refusal, or its warnings."""
    caches = Objects(*objects)
    asked = attributes(obj, caches, "CREATE" if old is None else "UPDATE")
    asked.old_object = old
    try:
        await PodSecurity(caches, options).validate(asked)
    except StatusError as error:
        return [f"{error.code} {error.message}"]
    return asked.warnings


BASELINE: dict[str, tuple[core.Pod, str]] = {
    "capabilities": (
        pod(secured(capabilities={"add": ["SYS_ADMIN", "CHOWN"]})),
        'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
    ),
    "host namespaces": (pod(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
    "host paths": (pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
    "host ports": (
        pod({"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 81}]}),
        'hostPort (container "c" uses hostPorts 80, 81)',
    ),
    "probe hosts": (
        pod({"livenessProbe": {"httpGet": {"host": "1.2.3.4", "port": 80}}}),
        'probe or lifecycle host (container "c" uses probe or lifecycle host "1.2.3.4")',
    ),
    "privileged": (
        pod(secured(privileged=True)),
        'privileged (container "c" must not set securityContext.privileged=true)',
    ),
    "proc mount": (
        pod(secured(procMount="Unmasked")),
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ),
    "AppArmor": (
        pod(secured(appArmorProfile={"type": "Unconfined"})),
        'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
    ),
    "SELinux": (
        pod(securityContext={"seLinuxOptions": {"type": "spc_t", "user": "u"}}),
        'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)',
    ),
    "seccomp": (
        pod(secured(seccompProfile={"type": "Unconfined"}), securityContext={"seccompProfile": {"type": "Unconfined"}}),
        'seccompProfile (pod and container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    "sysctls": (
        pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        "forbidden sysctls (kernel.msgmax)",
    ),
    "host processes": (
        pod(securityContext={"windowsOptions": {"hostProcess": True}}),
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    ),
}


@pytest.mark.parametrize("name", BASELINE)
async def test_baseline_refuses(name: str) -> None:
    made, fault = BASELINE[name]
    told = f'403 pods "x" is forbidden: violates PodSecurity "baseline:latest": {fault}'
    assert await said(made, namespace(enforce="baseline")) == [told]


async def test_baseline_lets_plain_pods_be_and_restricted_names_all_they_lack() -> None:
    assert await said(pod(), namespace(enforce="baseline", warn="privileged")) == []
    told = f'403 pods "x" is forbidden: violates PodSecurity "restricted:latest": {EVERYTHING_MISSING}'
    assert await said(pod(), namespace(enforce="restricted")) == [told]
    assert await said(pod(secured(**SAFE)), namespace(enforce="restricted")) == []


RESTRICTED: dict[str, tuple[core.Pod, str]] = {
    "root": (
        pod(secured(**SAFE, runAsUser=0), securityContext={"runAsUser": 0}),
        'runAsUser=0 (pod and container "c" must not set runAsUser=0)',
    ),
    "may be root": (
        pod(secured(**SAFE | {"runAsNonRoot": False})),
        'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
    ),
    "host paths are one more volume type": (
        pod(secured(**SAFE), volumes=[{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]),
        'restricted volume types (volume "v" uses restricted volume type "hostPath")',
    ),
    "capabilities added": (
        pod(secured(**SAFE | {"capabilities": {"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]}})),
        'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
    ),
}


@pytest.mark.parametrize("name", RESTRICTED)
async def test_restricted_refuses(name: str) -> None:
    made, fault = RESTRICTED[name]
    told = f'403 pods "x" is forbidden: violates PodSecurity "restricted:latest": {fault}'
    assert await said(made, namespace(enforce="restricted")) == [told]


async def test_a_user_namespace_makes_root_harmless() -> None:
    made = pod(secured(**SAFE | {"runAsNonRoot": False}, runAsUser=0), hostUsers=False)
    assert await said(made, namespace(enforce="restricted")) == []
    assert await said(made, namespace(enforce="restricted", enforce_version="v1.34")) != []


async def test_windows_pods_are_not_asked_for_what_they_cannot_set() -> None:
    made = pod(secured(runAsNonRoot=True), os={"name": "windows"})
    assert await said(made, namespace(enforce="restricted")) == []
    assert await said(made, namespace(enforce="restricted", enforce_version="v1.24")) != []


async def test_a_version_keeps_the_standard_of_its_time() -> None:
    sysctl = pod(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]})
    assert await said(sysctl, namespace(enforce="baseline", enforce_version="v1.32")) == []
    refused = await said(sysctl, namespace(enforce="baseline", enforce_version="v1.31"))
    assert len(refused) == 1
    assert refused[0].endswith('PodSecurity "baseline:v1.31": forbidden sysctls (net.ipv4.tcp_rmem)')


async def test_who_is_warned_may_write_pods_and_workloads() -> None:
    told = [f'would violate PodSecurity "restricted:latest": {EVERYTHING_MISSING}']
    assert await said(pod(), namespace(warn="restricted")) == told
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment = convert({"metadata": {"name": "x", "namespace": "d"}, "spec": {"template": template}}, Deployment)
    assert await said(deployment, namespace(warn="restricted")) == told
    assert await said(deployment, namespace(enforce="restricted")) == told, "enforcement warns of what it will refuse"


async def test_an_update_is_only_looked_at_when_it_runs_something_else() -> None:
    where = namespace(enforce="restricted")
    assert await said(pod(tolerations=[{"operator": "Exists"}]), where, old=pod()) == []
    assert len(await said(pod({"image": "j"}), where, old=pod())) == 1


async def test_exemptions_and_defaults_are_configured() -> None:
    options = PodSecurityOptions.from_configuration(
        {"defaults": {"enforce": "baseline"}, "exemptions": {"runtimeClasses": ["vm"]}}
    )
    assert len(await said(pod(hostPID=True), namespace(), options=options)) == 1
    assert await said(pod(hostPID=True), namespace(enforce="privileged"), options=options) == []
    assert await said(pod(hostPID=True, runtimeClassName="vm"), namespace(), options=options) == []
    for exempt in ({"usernames": ["admin"]}, {"namespaces": ["d"]}):
        options = PodSecurityOptions.from_configuration({"exemptions": exempt})
        assert await said(pod(), namespace(enforce="restricted"), options=options) == []
    with pytest.raises(ValueError, match="defaults: 'lax' must be one of privileged, baseline, restricted"):
        PodSecurityOptions.from_configuration({"defaults": {"enforce": "lax"}})


async def test_labels_must_name_levels_and_versions() -> None:
    refused = await said(namespace(enforce="lax", warn_version="1.30"))
    assert refused == [
        '422 Namespace "d" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "lax": '
        "must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: "
        'Invalid value: "1.30": must be "latest" or "v1.x"]'
    ]
    faulty = namespace(enforce="lax")
    assert await said(faulty, old=faulty) == [], "what was wrong before does not stop other changes"
    assert "restricted:latest" in (await said(pod(), faulty))[0], "a level nobody knows is the strictest"


async def test_a_stricter_level_names_the_pods_that_stand_against_it() -> None:
    standing = [pod(name=f"p{number}") for number in range(3)]
    quiet = pod(secured(**SAFE), name="good")
    warned = await said(namespace(enforce="restricted"), *standing, quiet, old=namespace(enforce="baseline"))
    assert warned == [
        'existing pods in namespace "d" violate the new PodSecurity enforce level "restricted:latest"',
        "p0 (and 2 other pods): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, "
        "seccompProfile",
    ]
    assert await said(namespace(enforce="baseline"), *standing, old=namespace(enforce="restricted")) == []


async def noted(obj: Any, *objects: Any, old: Any = None, options: PodSecurityOptions | None = None) -> dict[str, str]:
    """What is written for the audit log, without the prefix."""
    caches = Objects(*objects)
    asked = attributes(obj, caches, "CREATE" if old is None else "UPDATE")
    asked.old_object = old
    with suppress(StatusError):
        await PodSecurity(caches, options).validate(asked)
    return {key.removeprefix(PREFIX): value for key, value in asked.ctx.audit.items()}


async def test_the_audit_log_says_what_was_held_against_what() -> None:
    violation = f'would violate PodSecurity "restricted:latest": {EVERYTHING_MISSING}'
    assert await noted(pod(), namespace()) == {"enforce-policy": "privileged:latest"}
    audited = namespace(enforce="baseline", enforce_version="v1.30", audit="restricted")
    assert await noted(pod(), audited) == {"enforce-policy": "baseline:v1.30", "audit-violations": violation}
    assert await noted(pod(), namespace(enforce="restricted", audit="restricted")) == {
        "enforce-policy": "restricted:latest",
        "audit-violations": violation,
    }
    assert await noted(pod(), audited, old=pod()) == {}
    template = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
    web = convert({"metadata": {"name": "w", "namespace": "d"}, "spec": {"template": template}}, Deployment)
    assert await noted(web, audited) == {"audit-violations": violation}
    assert await noted(pod(), namespace(audit="odd")) == {
        "error": f'Failed to parse policy: metadata.labels[{PREFIX}audit]: Invalid value: "odd": '
        "must be one of privileged, baseline, restricted",
        "enforce-policy": "privileged:latest",
    }


async def test_the_audit_log_says_who_is_exempt() -> None:
    strict = namespace(enforce="restricted")
    for exempt, subject in (
        ("namespace", PodSecurityOptions(namespaces=("d",))),
        ("user", PodSecurityOptions(usernames=("admin",))),
        ("runtimeClass", PodSecurityOptions(runtime_classes=("kata",))),
    ):
        assert await noted(pod(runtimeClassName="kata"), strict, options=subject) == {"exempt": exempt}
