"""Definitions of the size and shape that large operators bring: taken, and as exact as small ones."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from benchmarks.large_definitions import DEFINITIONS, GROUP, instance

from tests.conformance.world import PATCHES, Json, World, world

MONITORS = f"/apis/{GROUP}/v1/namespaces/default/monitors"
FLOWS = f"/apis/{GROUP}/v1alpha1/namespaces/default/flows"
CERTIFICATES = f"/apis/{GROUP}/v1/namespaces/default/certificates"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        for make in DEFINITIONS.values():
            await made.define(make())
        yield made


async def messages(api: World, path: str, body: Json) -> str:
    """What a create is refused with."""
    refused = await api.refused(422, "POST", path, body)
    return str(refused["message"])


def test_they_are_hundreds_of_kilobytes() -> None:
    sizes = {name: len(json.dumps(make())) for name, make in DEFINITIONS.items()}
    assert min(sizes.values()) > 300_000 and max(sizes.values()) > 900_000, sizes


async def test_defaults_are_filled_in_and_unknown_fields_dropped(api: World) -> None:
    made = await api.create(MONITORS, instance("monitor", "m", unknown=1))
    spec = made["spec"]
    assert (spec["retention"], spec["logLevel"], spec["replicas"], spec["minReplicas"]) == ("24h", "info", 2, 0)
    assert spec["targets"] == [{"url": "http://a", "timeout": "30s", "capacity": 2500}] and "unknown" not in spec
    pod = {"containers": [{"name": "c", "ports": [{"containerPort": 1}], "nonsense": True}]}
    made = await api.create(MONITORS, instance("monitor", "deep", pod=pod))
    assert made["spec"]["pod"]["containers"] == [{"name": "c", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]
    made = await api.create(CERTIFICATES, instance("certificate", "c"))
    assert made["spec"]["privateKey"] == {"algorithm": "RSA", "size": 2048}
    assert made["spec"]["issuerRef"] == {"name": "i", "kind": "Issuer"} and made["spec"]["duration"] == "2160h"


async def test_what_is_wrong_is_named_however_deep(api: World) -> None:
    target = {"url": "ftp://x", "timeout": "soon"}
    said = await messages(api, MONITORS, instance("monitor", "m", logLevel="loud", targets=[target]))
    assert 'spec.logLevel: Unsupported value: "loud": supported values: "debug", "info", "warn", "error"' in said
    assert "spec.targets[0].timeout in body should match '^[0-9]+(ms|s|m)$'" in said
    said = await messages(api, MONITORS, instance("monitor", "m", targets=[{"url": "ftp://x"}], minReplicas=3))
    assert "url must be of http or https" in said and "replicas must be at least minReplicas" in said
    bad = {"containers": [{"name": "c", "ports": [{"containerPort": "http"}]}]}
    said = await messages(api, MONITORS, instance("monitor", "m", sidecarPod=bad))
    path = "spec.sidecarPod.containers[0].ports[0].containerPort"
    assert f'{path}: Invalid value: "string": {path} in body must be of type integer: "string"' in said
    said = await messages(api, FLOWS, instance("flow", "f", entrypoint="other"))
    assert "entrypoint must be one of the templates" in said
    twice = [{"name": "main", "container": {"name": "c"}, "script": {"name": "c"}}, {"name": "main"}]
    said = await messages(api, FLOWS, instance("flow", "f", templates=twice))
    assert 'spec.templates[1]: Duplicate value: {"name":"main"}' in said
    said = await messages(api, CERTIFICATES, instance("certificate", "c", solvers=[{"http": {}, "dns": {}}]))
    assert "must validate one and only one schema (oneOf). Found 2 valid alternatives" in said


async def test_immutable_fields_stay_and_the_rest_may_change(api: World) -> None:
    await api.create(CERTIFICATES, instance("certificate", "c"))
    refused = await api.refused(
        422, "PATCH", f"{CERTIFICATES}/c", {"spec": {"secretName": "other"}}, content_type=PATCHES["merge"]
    )
    assert "secretName is immutable" in refused["message"]
    changed = await api.patch(f"{CERTIFICATES}/c", {"spec": {"dnsNames": ["a.example.com"]}})
    assert changed["metadata"]["generation"] == 2
    other = await api.get(f"/apis/{GROUP}/v1beta1/namespaces/default/certificates/c")
    assert other["apiVersion"] == f"{GROUP}/v1beta1" and other["spec"] == changed["spec"]


async def test_two_appliers_own_items_of_one_list(api: World) -> None:
    for manager, template in (("one", "main"), ("two", "extra")):
        body = instance("flow", "f", templates=[{"name": template, "container": {"name": "c", "image": manager}}])
        await api.patch(f"{FLOWS}/f", body, "apply", fieldManager=manager)
    found = await api.get(f"{FLOWS}/f")
    assert [item["name"] for item in found["spec"]["templates"]] == ["main", "extra"]
    assert {item["manager"] for item in found["metadata"]["managedFields"]} == {"one", "two"}
    body = instance("flow", "f", templates=[{"name": "extra", "container": {"name": "c", "image": "other"}}])
    refused = await api.refused(409, "PATCH", f"{FLOWS}/f", body, content_type=PATCHES["apply"], fieldManager="three")
    assert 'conflict with "two": .spec.templates[name="extra"].container.image' in refused["message"]


async def test_columns_status_and_scale(api: World) -> None:
    await api.create(MONITORS, instance("monitor", "m"))
    table = await api.get(MONITORS, accept=TABLE)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Replicas", "Level", "Age"]
    assert table["rows"][0]["cells"][:3] == ["m", 2, "info"]
    await api.patch(f"{MONITORS}/m/status", {"status": {"replicas": 1, "selector": "a=b"}})
    scale = await api.get(f"{MONITORS}/m/scale")
    assert (scale["spec"]["replicas"], scale["status"]) == (2, {"replicas": 1, "selector": "a=b"})
    await api.patch(f"{MONITORS}/m/scale", {"spec": {"replicas": 5}})
    assert (await api.get(f"{MONITORS}/m"))["spec"]["replicas"] == 5


async def test_kubectl_explains_all_of_it(api: World) -> None:
    shown = (await api.kubectl("explain", "monitors", "--recursive")).out
    assert len(shown.splitlines()) > 2000 and "requiredDuringSchedulingIgnoredDuringExecution" in shown
    field = (await api.kubectl("explain", "flows.spec.templates.sidecars.livenessProbe.httpGet.port")).out
    assert "KIND:       Flow" in field and "port <" in field
