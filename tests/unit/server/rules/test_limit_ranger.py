"""LimitRanger: what it fills in, and what it says of what is outside a range."""

from typing import Any

import pytest

from tests.unit.server.rules.world import Objects, attributes
from wherry.api import core_v1 as core
from wherry.meta.errors import StatusError
from wherry.meta.object import KubernetesObject
from wherry.meta.wire import convert
from wherry.server.admission.limit_ranger import LimitRanger
from wherry.server.admission.plugin import Operation

Json = dict[str, Any]


def pod(*containers: Json, init: list[Json] | None = None, **spec: Any) -> core.Pod:
    kinds = {"containers": list(containers), "initContainers": init or []}
    named = {
        kind: [{"name": f"{kind[0]}{number}", "image": "i", **item} for number, item in enumerate(items)]
        for kind, items in kinds.items()
    }
    return convert({"metadata": {"name": "p", "namespace": "d"}, "spec": {**named, **spec}}, core.Pod)


def wants(requests: Json, limits: Json | None = None, **more: Any) -> Json:
    return {"resources": {"requests": requests, "limits": limits or {}}, **more}


def claim(storage: str) -> core.PersistentVolumeClaim:
    spec = {"resources": {"requests": {"storage": storage}}}
    return convert({"metadata": {"name": "p", "namespace": "d"}, "spec": spec}, core.PersistentVolumeClaim)


async def said(
    obj: KubernetesObject, *ranges: list[Json], operation: Operation = "CREATE", subresource: str = ""
) -> str:
    """The refusal, after the kind and name."""
    items = [
        convert({"metadata": {"name": f"r{number}", "namespace": "d"}, "spec": {"limits": limits}}, core.LimitRange)
        for number, limits in enumerate(ranges)
    ]
    asked = attributes(obj, Objects(*items), operation)
    asked.subresource = subresource
    plugin = LimitRanger(asked.ctx.caches)
    await plugin.admit(asked)
    try:
        await plugin.validate(asked)
    except StatusError as error:
        assert error.code == 403
        return error.message.partition(" is forbidden: ")[2]
    return ""


FAULTS: dict[str, tuple[KubernetesObject, Json, str]] = {
    "min, no request": (
        pod({}), {"type": "Container", "min": {"cpu": "50m"}},
        "minimum cpu usage per Container is 50m.  No request is specified",
    ),
    "min, request and limit": (
        pod(wants({"cpu": "40m"}, {"cpu": "45m"})), {"type": "Container", "min": {"cpu": "50m"}},
        "minimum cpu usage per Container is 50m, but request is 40m",
    ),
    "min, limit": (
        pod(wants({"cpu": "60m"}, {"cpu": "45m"})), {"type": "Container", "min": {"cpu": "50m"}},
        "minimum cpu usage per Container is 50m, but limit is 45m",
    ),
    "max, no limit": (
        pod(wants({"cpu": "60m"})), {"type": "Container", "max": {"cpu": "1"}},
        "maximum cpu usage per Container is 1.  No limit is specified",
    ),
    "max, limit": (
        pod(wants({"cpu": "3"}, {"cpu": "2"})), {"type": "Container", "max": {"cpu": "1"}},
        "maximum cpu usage per Container is 1, but limit is 2",
    ),
    "max, init container, said once": (
        pod(wants({}, {"cpu": "1"}), init=[wants({}, {"cpu": "2"}), wants({}, {"cpu": "2"})]),
        {"type": "Container", "max": {"cpu": "1"}},
        "maximum cpu usage per Container is 1, but limit is 2",
    ),
    "several faults": (
        pod(wants({"cpu": "1"}, {"cpu": "2"})),
        {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}},
        "[minimum cpu usage per Container is 2, but request is 1, "
        "maximum cpu usage per Container is 1, but limit is 2]",
    ),
    "ratio": (
        pod(wants({"cpu": "250m"}, {"cpu": "1"})), {"type": "Container", "maxLimitRequestRatio": {"cpu": "3"}},
        "cpu max limit to request ratio per Container is 3, but provided ratio is 4.000000",
    ),
    "ratio, no limit": (
        pod(wants({"cpu": "250m"})), {"type": "Container", "maxLimitRequestRatio": {"cpu": "3"}},
        "cpu max limit to request ratio per Container is 3, but no limit is specified or limit is 0",
    ),
    "ratio, no request": (
        pod(wants({}, {"cpu": "1"})), {"type": "Container", "maxLimitRequestRatio": {"cpu": "3"}},
        "cpu max limit to request ratio per Container is 3, but no request is specified or request is 0",
    ),
    "pod, sum of containers and sidecars, without overhead": (
        pod(wants({}, {"cpu": "1"}), wants({}, {"cpu": "1"}),
            init=[wants({}, {"cpu": "500m"}, restartPolicy="Always")], overhead={"cpu": "4"}),
        {"type": "Pod", "max": {"cpu": "2"}},
        "maximum cpu usage per Pod is 2, but limit is 2500m",
    ),
    "pod, greatest init container": (
        pod(wants({"cpu": "1"}), init=[wants({"cpu": "3"}), wants({"cpu": "2"})]),
        {"type": "Pod", "min": {"cpu": "4"}},
        "minimum cpu usage per Pod is 4, but request is 3",
    ),
    "pod, its own resources": (
        pod(wants({"cpu": "1"}), resources={"requests": {"cpu": "2"}}), {"type": "Pod", "min": {"cpu": "3"}},
        "minimum cpu usage per Pod is 3, but request is 2",
    ),
    "claim, min": (
        claim("1Gi"), {"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}},
        "minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi",
    ),
    "claim, max": (
        claim("1Gi"), {"type": "PersistentVolumeClaim", "max": {"storage": "1Mi", "x": "1"}},
        "[maximum storage usage per PersistentVolumeClaim is 1Mi, but request is 1Gi, "
        "maximum x usage per PersistentVolumeClaim is 1.  No request is specified]",
    ),
    "within": (pod(wants({"cpu": "1"}, {"cpu": "2"})), {"type": "Container", "max": {"cpu": "2"}}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
async def test_bounds(name: str) -> None:
    obj, limits, expected = FAULTS[name]
    assert await said(obj, [limits]) == expected


async def test_the_first_range_that_refuses_speaks() -> None:
    one, two = ([{"type": "Container", "max": {"cpu": cpu}}] for cpu in ("2", "1"))
    assert await said(pod(wants({}, {"cpu": "3"})), one, two) == "maximum cpu usage per Container is 2, but limit is 3"


async def test_defaults_are_filled_in_and_noted() -> None:
    made = pod(wants({"cpu": "1"}), init=[{}])
    defaults = {"default": {"memory": "1Gi", "cpu": "2"}, "defaultRequest": {"memory": "1Mi", "cpu": "1m"}}
    assert await said(made, [{"type": "Container", **defaults}, {"type": "Pod", "max": {"cpu": "9"}}]) == ""
    resources = made.spec.containers[0].resources
    assert resources.limits == {"cpu": "2", "memory": "1Gi"}
    assert resources.requests == {"cpu": "1", "memory": "1Mi"}
    assert made.metadata.annotations == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: memory request for container c0; "
        "cpu, memory limit for container c0; cpu, memory request for init container i0; "
        "cpu, memory limit for init container i0"
    }


async def test_changes_of_claims_and_resizes_of_pods_are_looked_at_other_changes_are_not() -> None:
    bounds = [{"type": kind, "max": {name: "1"}} for kind, name in
              (("Container", "cpu"), ("PersistentVolumeClaim", "storage"))]  # fmt: skip
    over = pod(wants({}, {"cpu": "3"}))
    assert await said(over, bounds, operation="UPDATE") == ""
    assert "but limit is 3" in await said(over, bounds, operation="UPDATE", subresource="resize")
    assert "but request is 2" in await said(claim("2"), bounds, operation="UPDATE")
    over.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    assert await said(over, bounds, operation="UPDATE", subresource="resize") == ""
