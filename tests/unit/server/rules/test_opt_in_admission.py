"""Plugins that are off until asked for, and how they are asked for."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.server.rules.world import Objects, attributes
from wherry.aio.clock import Clock, SystemClock
from wherry.aio.entropy import Entropy
from wherry.api import core_v1 as core
from wherry.meta.errors import StatusError
from wherry.meta.wire import convert
from wherry.server.admission import opt_in
from wherry.server.admission.chain import OFF, AdmissionChoice, built_in_plugins
from wherry.server.admission.configuration import read_configurations
from wherry.server.admission.event_rate_limit import EventRateLimit
from wherry.server.admission.plugin import AdmissionPlugin, Attributes
from wherry.server.admission.pod_node_selector import ANNOTATION, PodNodeSelector
from wherry.server.app import Server
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store


def pod(container: dict[str, Any] | None = None, **spec: Any) -> core.Pod:
    containers = [{"name": "c", "image": "i", **(container or {})}]
    return convert({"metadata": {"name": "x", "namespace": "d"}, "spec": {"containers": containers, **spec}}, core.Pod)


async def admitted(plugin: AdmissionPlugin, asked: Attributes) -> str:
    """The refusal, if there is one."""
    try:
        await plugin.admit(asked)
        await plugin.validate(asked)
    except StatusError as error:
        return f"{error.code} {error.message}"
    return ""


async def test_every_image_is_pulled() -> None:
    made = pod({"imagePullPolicy": "Never"}, volumes=[{"name": "v", "image": {"reference": "r"}}])
    assert await admitted(opt_in.AlwaysPullImages(), attributes(made, Objects())) == ""
    assert made.spec.containers[0].imagePullPolicy == "Always"
    assert made.spec.volumes[0].image is not None and made.spec.volumes[0].image.pullPolicy == "Always"


async def test_pods_that_want_a_device_tolerate_its_taint() -> None:
    made = pod({"resources": {"requests": {"cpu": "1", "example.com/gpu": "1"}}})
    await admitted(opt_in.ExtendedResourceToleration(), attributes(made, Objects()))
    assert made.spec.tolerations == [core.Toleration(key="example.com/gpu", operator="Exists")]


async def test_external_addresses_are_denied_but_old_ones_stay() -> None:
    meta = {"metadata": {"name": "x", "namespace": "d"}}
    service = convert({**meta, "spec": {"externalIPs": ["1.2.3.4"]}}, core.Service)
    plugin = opt_in.DenyServiceExternalIPs()
    denied = '403 services "x" is forbidden: Use of external IPs is denied by admission control'
    assert await admitted(plugin, attributes(service, Objects())) == denied
    assert await admitted(plugin, attributes(service, Objects(), "UPDATE")) == ""


async def test_only_nodes_may_be_kept_for_oneself() -> None:
    def keeping(key: str) -> core.Pod:
        required = [{"topologyKey": key, "labelSelector": {}}]
        return pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})

    plugin = opt_in.LimitPodHardAntiAffinityTopology()
    assert await admitted(plugin, attributes(keeping("kubernetes.io/hostname"), Objects())) == ""
    assert await admitted(plugin, attributes(keeping("zone"), Objects())) == (
        '403 pods "x" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only '
        "key kubernetes.io/hostname is allowed"
    )


async def test_a_namespace_says_where_its_pods_go() -> None:
    meta = {"name": "d", "annotations": {ANNOTATION: "zone=a, disk=ssd"}}
    caches = Objects(convert({"metadata": meta}, core.Namespace))
    plugin = PodNodeSelector(caches, {})
    made = pod(nodeSelector={"own": "1"})
    assert await admitted(plugin, attributes(made, caches)) == ""
    assert made.spec.nodeSelector == {"zone": "a", "disk": "ssd", "own": "1"}
    told = '403 pods "x" is forbidden: pod node label selector conflicts with its namespace node label selector'
    assert await admitted(plugin, attributes(pod(nodeSelector={"zone": "b"}), caches)) == told
    told = '403 pods "x" is forbidden: pod node label selector labels conflict with its namespace whitelist'
    listed = PodNodeSelector(caches, {"podNodeSelectorPluginConfig": {"d": "zone=a"}})
    assert await admitted(listed, attributes(pod(), caches)) == told


class StandingClock(SystemClock):
    """Goes on when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at


async def test_events_come_no_faster_than_a_namespace_may_send_them() -> None:
    clock = StandingClock()
    plugin = EventRateLimit(clock, {"limits": [{"type": "Namespace", "qps": 1, "burst": 2}]})
    event = convert({"metadata": {"name": "e", "namespace": "d"}}, core.Event)
    asked = attributes(event, Objects())
    assert [await admitted(plugin, asked) for _ in range(3)] == [
        "",
        "",
        "429 limit reached on type Namespace for key d",
    ]
    clock.at += 1
    assert await admitted(plugin, asked) == ""


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        ([], "at least one limit"),
        ([{"type": "Moon"}], "type must be"),
        ([{"type": "User", "qps": 2, "burst": 1}], "qps"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: list[dict[str, Any]], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        EventRateLimit(SystemClock(), {"limits": limits})


def names(choice: AdmissionChoice, clock: Clock | None = None) -> list[str]:
    def no_client() -> Any:
        raise AssertionError("nobody writes here")

    return [plugin.name for plugin in built_in_plugins(Objects(), no_client, clock or SystemClock(), (), choice)]


def test_plugins_are_chosen_by_name_and_keep_their_order() -> None:
    usual = names(AdmissionChoice())
    assert "PodSecurity" in usual and not OFF & set(usual)
    chosen = names(AdmissionChoice(enabled=("AlwaysDeny", "AlwaysPullImages"), disabled=("PodSecurity",)))
    assert "PodSecurity" not in chosen
    assert chosen.index("NodeRestriction") < chosen.index("AlwaysPullImages") < chosen.index("ResourceQuota")
    assert chosen[-1] == "AlwaysDeny"


@pytest.mark.parametrize(
    ("choice", "fault"),
    [
        (AdmissionChoice(enabled=("Moon",)), "unknown admission plugin Moon"),
        (AdmissionChoice(("AlwaysAdmit",), ("AlwaysAdmit",)), "AlwaysAdmit is both enabled and disabled"),
        (AdmissionChoice(enabled=("EventRateLimit",)), "admission plugin EventRateLimit: limits must name"),
        (
            AdmissionChoice(configurations={"PodSecurity": {"defaults": {"enforce": "lax"}}}),
            "admission plugin PodSecurity: defaults: 'lax'",
        ),
    ],
)
def test_a_choice_that_cannot_be_is_one_line(choice: AdmissionChoice, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        choice.check()


def test_configurations_stand_in_a_file_or_beside_it(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("limits: [{type: Server, qps: 1, burst: 1}]")
    whole = tmp_path / "admission.yaml"
    whole.write_text(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
        "- {name: PodSecurity, configuration: {defaults: {enforce: baseline}}}\n"
        "- {name: EventRateLimit, path: limits.yaml}\n"
    )
    found = read_configurations(whole)
    assert found["PodSecurity"] == {"defaults": {"enforce": "baseline"}}
    AdmissionChoice(enabled=("EventRateLimit",), configurations=found).check()
    whole.write_text("kind: Pod")
    with pytest.raises(ValueError, match="must be an AdmissionConfiguration"):
        read_configurations(whole)
    with pytest.raises(ValueError, match="cannot be read"):
        read_configurations(tmp_path / "none.yaml")


async def test_a_server_asks_whom_its_options_name() -> None:
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    choice = AdmissionChoice(("NamespaceAutoProvision", "AlwaysPullImages"), ("ServiceAccount", "NamespaceLifecycle"))
    server = Server(store, clock, entropy, ServerOptions(bootstrap=False, admission_choice=choice))
    await server.start()
    try:
        client = server.client()
        made = await client.create(pod({"imagePullPolicy": "Never"}))
        assert made.spec.containers[0].imagePullPolicy == "Always"
        assert (await client.get(core.Namespace, "d")).metadata.name == "d", "the namespace came with the pod"
    finally:
        await server.close()
        await store.close()
